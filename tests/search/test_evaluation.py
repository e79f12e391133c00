"""The yardsticks measure what they say, and a fitted calibration keeps its promises."""

import json

import numpy as np
import pytest
from PIL import Image as Pillow

from images.models import Image, Team
from search import evaluation
from search.curve import draw_curve, place
from search.encoders import SpaceIdentity
from search.evaluation import (
    Answer,
    Asked,
    Labelled,
    ask,
    calibrated,
    halves,
    load,
    ndcg,
    precision_at,
    reciprocal_rank,
    report,
    scratch,
)
from search.intents import intended
from search.models import Embedding, Space
from search.ranking import Calibration
from tests.search.axes import DIMENSION, NAME, SHA256, WORDS, AxesEncoder, installed, vector

IDENTITY = SpaceIdentity(NAME, "1", SHA256, DIMENSION, {}, ("en",))


def marks(*values):
    return np.array(values, bool)


def test_precision_is_over_as_many_as_can_be_right():
    assert precision_at(marks(1, 0, 1, 0, 0), 2, 5) == 0.5
    assert precision_at(marks(1, 1, 0, 0, 0), 9, 5) == pytest.approx(0.4)


def test_reciprocal_rank_is_of_the_first_right_one():
    assert reciprocal_rank(marks(0, 0, 1, 1)) == pytest.approx(1 / 3)
    assert reciprocal_rank(marks(0, 0)) == 0


def test_ndcg_is_one_for_the_best_order_and_less_for_a_later_one():
    assert ndcg(marks(1, 1, 0), 2) == pytest.approx(1)
    assert 0 < ndcg(marks(0, 1, 1), 2) < 1


def test_a_report_tells_honesty_from_skill():
    took = {"total": 2.0}
    good = Answer(
        Asked("a", "object", frozenset("x")), marks(1, 0), np.array([0.9, 0.85]), ("strong", "strong"), took
    )
    bad = Answer(Asked("b", "nonsense", frozenset()), marks(0), np.array([0.1]), ("weak",), took)
    made = report([good, bad])
    assert made.figures["right of those shown at 0.8 or more"] == 0.5
    assert made.figures["nonsense: without a strong result"] == 1
    assert made.figures["top-5 accuracy"] == 1
    assert made.stages["total"] == (2.0, 2.0)
    assert "| precision@5 | 1.000 |" in made.formatted()


@pytest.fixture
def folder(tmp_path):
    """Pictures whose red names their word, as the axis encoder reads them."""
    rows, queries = [], []
    for number, word in enumerate(WORDS):
        for copy in range(3):
            Pillow.new("RGB", (4, 4), (number, copy, 0)).save(tmp_path / f"{word}-{copy}.png")
            rows.append({"file": f"{word}-{copy}.png", "title": word, "facts": {"objects": [word]}})
        relevant = [f"{word}-{copy}.png" for copy in range(3)]
        queries.append({"query": word, "kind": "object", "relevant": relevant})
    queries += [{"query": f"nothing {n}", "kind": "nonsense", "relevant": []} for n in range(10)]
    for name, listed in (("manifest", rows), ("queries", queries)):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(json.dumps(row) for row in listed))
    return tmp_path


def test_a_data_set_is_read_with_its_groups(folder):
    data = load(folder)
    assert (len(data.files), len(data.asked), len(data.same)) == (30, 20, 10)


def test_questions_are_made_of_labels_where_there_are_none(tmp_path):
    rows = [{"file": "a.jpg", "label": "Sea_horse"}, {"file": "b.jpg", "label": None}]
    (tmp_path / "manifest.jsonl").write_text("\n".join(map(json.dumps, rows)))
    data = load(tmp_path)
    assert data.files == ("a.jpg",)
    assert data.asked[0] == Asked("sea horse", "label", frozenset({"a.jpg"}))
    assert {one.kind for one in data.asked[1:]} == {"nonsense"}


@pytest.fixture
def noisy():
    """Three hundred noisy pictures and their questions, with the vectors."""
    files = tuple(f"{word}-{n}" for word in WORDS for n in range(30))
    same = tuple(frozenset(f"{word}-{n}" for n in range(30)) for word in WORDS)
    asked = [Asked(word, "object", group) for word, group in zip(WORDS, same, strict=True)]
    asked += [Asked(f"nothing {n}", "nonsense", frozenset()) for n in range(40)]
    vectors = [vector(name.split("-")[0], noise=2.5, seed=seed) for seed, name in enumerate(files)]
    return Labelled(evaluation.Path(), files, tuple(asked), {}, same), np.stack(vectors)


def test_a_fitted_calibration_keeps_its_promises(noisy):
    made = calibrated(*noisy, AxesEncoder(), source="test")
    assert Calibration.from_json(json.loads(json.dumps(made.to_json()))).of("text") == made.of("text")
    assert made.of("image").z > 0 or made.of("image").cosine > 0
    assert 0.2 <= made.possible <= 0.35


@pytest.fixture
def known(monkeypatch):
    installed(monkeypatch, AxesEncoder())


@pytest.mark.django_db
def test_the_engine_is_honest_with_a_fitted_calibration(noisy, known):
    data, vectors = noisy
    with scratch(
        data, vectors, IDENTITY, calibrated(data, vectors, AxesEncoder(), source="test")
    ) as principal:
        figures = report(ask(data.asked, principal)).figures
    assert figures["right of those shown at 0.8 or more"] >= 0.75
    assert figures["nonsense: without a strong result"] >= 0.9
    assert figures["answerable with a strong result"] == 1


@pytest.mark.django_db
def test_a_scratch_collection_leaves_nothing_behind(noisy, known):
    with scratch(*noisy, IDENTITY, Calibration()) as principal:
        assert Image.objects.visible_to(principal).count() == 300
    assert not any(model.objects.exists() for model in (Image, Team, Space, Embedding))


def test_halves_share_no_question(noisy):
    first, second = halves(noisy[0])
    assert not set(first.asked) & set(second.asked)
    assert len(first.asked) + len(second.asked) == len(noisy[0].asked)


@pytest.mark.django_db
def test_parts_negatives_and_pictures_work_as_intended_where_the_model_knows_its_words(known):
    """Dogs, cats and boats at the beach and in the city: the axis encoder tells them apart, so every case holds."""
    seen = [(word, place) for word in ("dog", "cat", "boat") for place in ("beach", "city") for _ in range(4)]
    facts = {f"{n}": {"objects": [word], "place": place} for n, (word, place) in enumerate(seen)}
    vectors = np.stack([vector(*pair, noise=0.3, seed=seed) for seed, pair in enumerate(seen)])
    data = Labelled(evaluation.Path(), tuple(facts), (), {}, (), facts)
    with scratch(data, vectors, IDENTITY, Calibration()) as principal:
        outcome = intended(data, principal)
    assert outcome == {
        f"intended: {kind}": 1.0 for kind in ("two weighted parts", "negative", "picture and words")
    }


def test_the_curve_is_drawn_where_the_table_says(tmp_path):
    table = ((0.0, 0.2, 400, 0.1, 0.05), (0.8, 1.0, 100, 0.9, 0.5))
    draw_curve(table, "A test", tmp_path / "curve.png")
    with Pillow.open(tmp_path / "curve.png") as picture:
        drawn = picture.convert("RGB")
        dot, between = (tuple(int(one) for one in place(*at)) for at in ((0.9, 0.5), (0.5, 0.275)))
        assert drawn.getpixel(dot) == drawn.getpixel(between) == (0xC2, 0x41, 0x0C)
        assert drawn.getpixel(tuple(int(one) for one in place(0.9, 0.9))) != (0xC2, 0x41, 0x0C)


def test_an_empty_table_is_a_curve_without_points(tmp_path):
    draw_curve((), "Nothing", tmp_path / "curve.png")
    assert (tmp_path / "curve.png").stat().st_size > 0
