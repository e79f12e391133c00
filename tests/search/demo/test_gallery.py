from collections import Counter
from datetime import datetime

import numpy as np
import pytest
from PIL import Image

from search.demo import gallery
from search.demo.captions import object_concepts
from search.demo.gallery import GALLERY, collections, paint, read_rows, shots
from search.demo.lexicon import by_name
from search.demo.questions import facts_of, labelled_queries
from search.demo.scene import PLACES, TIMES, WEATHERS


@pytest.fixture(scope="module")
def manifest():
    return read_rows(GALLERY / "manifest.jsonl")


@pytest.fixture(scope="module")
def queries():
    return read_rows(GALLERY / "queries.jsonl")


def test_the_manifest_names_every_picture_once(manifest):
    files = sorted(row["file"] for row in manifest)
    assert files == sorted(path.name for path in GALLERY.glob("*.webp"))
    assert 400 <= len(files) <= 800


def test_the_gallery_is_compact():
    assert sum(path.stat().st_size for path in GALLERY.iterdir()) <= 12_000_000


def test_a_picture_opens_and_shapes_vary(manifest):
    shapes = Counter()
    for row in manifest[::12]:
        with Image.open(GALLERY / row["file"]) as picture:
            shapes[np.sign(picture.width - picture.height)] += 1
    assert set(shapes) == {-1, 0, 1}


def test_rows_are_complete(manifest):
    for row in manifest:
        assert datetime.fromisoformat(row["taken_at"]).utcoffset() is not None
        assert row["uploader"] in ("owner", "editor", "contributor")
        facts = row["facts"]
        assert set(facts["objects"]) <= set(by_name())
        assert facts["place"] in PLACES and facts["time"] in TIMES and facts["weather"] in WEATHERS


def test_the_dates_span_years(manifest):
    years = {row["taken_at"][:4] for row in manifest}
    assert len(years) >= 5


def test_some_pictures_are_poor(manifest):
    flaws = Counter(row["facts"]["flaw"] for row in manifest if row["facts"]["quality"] == "poor")
    assert set(flaws) == {"blurred", "dark", "noisy"}


def test_every_collection_is_described_and_one_is_private(manifest):
    assert {row["collection"] for row in manifest} == {row["name"] for row in collections()}
    assert Counter(row["visibility"] for row in collections())["private"] == 1


def test_the_plan_and_the_manifest_agree(manifest):
    planned = [[thing.name for thing in shot.subjects] for shot in shots() if shot.twin_of is None]
    made = [
        row["facts"]["objects"] for row, shot in zip(manifest, shots(), strict=True) if shot.twin_of is None
    ]
    assert planned == made


def test_a_picture_is_drawn_the_same_again(manifest, font):
    shot = next(shot for shot in shots() if shot.collection == "Studio")
    picture, scene, _ = paint(shot)
    assert picture.tobytes() == paint(shot)[0].tobytes()
    assert scene.background == manifest[shot.number]["facts"]["background"]


def test_the_queries_follow_from_the_manifest(manifest, queries):
    assert labelled_queries(manifest) == queries


def test_the_queries_are_enough_and_in_four_languages(queries):
    answerable = [row for row in queries if row["relevant"]]
    refused = [row for row in queries if not row["relevant"]]
    assert len(answerable) >= 150 and len(refused) >= 60
    assert (
        {row["language"] for row in answerable}
        == {row["language"] for row in refused}
        == {"en", "es", "fr", "de"}
    )
    assert {row["kind"] for row in refused} == {"nonsense", "absent"}


def test_queries_about_absent_objects_have_no_picture(manifest, queries):
    shown = {number for row in manifest for number in facts_of(row).objects}
    for row in queries:
        if row["kind"] == "absent":
            named = [n for n, c in enumerate(object_concepts()) if row["query"] in c.names[row["language"]]]
            assert not shown & set(named)


def test_a_folder_with_other_things_is_not_replaced(tmp_path):
    (tmp_path / "diary.txt").write_text("mine")
    with pytest.raises(gallery.ForeignFolder):
        gallery.make(tmp_path)
    assert (tmp_path / "diary.txt").exists()
