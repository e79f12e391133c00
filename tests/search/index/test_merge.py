"""A merge adds to a copy of the live lists, or trains them anew."""

import numpy as np
import pytest

from images.models import Image
from search import index
from search.index import builder
from search.index.errors import BadParameters
from search.index.segment import build, open_segment
from search.models import CollectionIndex
from tests.search.index.shapes import world

LISTED = ["ivf", "ivf-pq", "ivf-flat"]


@pytest.fixture
def pictures():
    return world(2000, 40, dimension=32, concepts=80)


def opened(path, *arguments, **options):
    built = build(path, *arguments, **options)
    return open_segment(path, built.sha256)


@pytest.mark.parametrize("kind", LISTED)
@pytest.mark.parametrize("case", ["appended", "one deleted", "one replaced", "nothing new"])
def test_copy_holds_what_a_new_segment_holds(kind, case, pictures, tmp_path):
    vectors, text = pictures[0].copy(), pictures[1]
    before = opened(tmp_path / "before", kind, vectors[:1500].astype(np.float16), np.arange(1500) * 2)
    ids = np.arange(2000) * 2
    if case == "one deleted":
        vectors, ids = np.delete(vectors, 700, 0), np.delete(ids, 700)
    elif case == "one replaced":
        vectors[700] = vectors[1900]
    elif case == "nothing new":
        vectors, ids = vectors[:1500], ids[:1500]
    held = before.grown(ids, vectors.astype(np.float16))[1]
    assert held == (1500 if case in ("appended", "nothing new") else 0)
    after = opened(tmp_path / "after", kind, vectors.astype(np.float16), ids, like=before)
    assert after.count == len(ids) and after.nlist == before.nlist
    found, scores = after.search(text, 10, effort=after.nlist)
    truth, best = after.search(text, 10)
    assert np.mean([len(np.intersect1d(a, b)) for a, b in zip(found, truth, strict=True)]) > 9.8
    np.testing.assert_allclose(scores[:, 0], best[:, 0], atol=5e-3)
    np.testing.assert_array_equal(before.search(text, 5, effort=3)[0], before.search(text, 5, effort=3)[0])
    assert before.count == 1500


def test_without_lists_there_is_nothing_to_add_to(pictures, tmp_path):
    before = opened(tmp_path / "before", "exact", pictures[0][:50], np.arange(50))
    with pytest.raises(BadParameters, match="no lists"):
        before.grown(np.arange(60), pictures[0][:60])


# ── Through the builder ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def likes(monkeypatch):
    """What each build was given to copy: True or False."""
    seen = []

    def noted(*arguments, like=None, **options):
        seen.append(like is not None)
        return build(*arguments, like=like, **options)

    monkeypatch.setattr(builder, "build", noted)
    return seen


@pytest.fixture
def grown(indexed, add, vectors, rebuilt, likes):
    """`grown(first, then)`: a collection built with `first` pictures and merged with `then` more."""

    def make(first=1000, then=200, between=lambda collection: None):
        shore = indexed()
        add(shore, vectors(first))
        rebuilt(shore, kind="ivf-pq")
        between(shore)
        added = vectors(then)
        ids = add(shore, added)
        return shore, added, ids, rebuilt(shore)

    return make


@pytest.mark.django_db
def test_merge_adds_to_a_copy(grown, likes, find):
    shore, added, ids, row = grown()
    assert likes == [False, True]
    assert (row.live.count, row.live.parameters["trained"]) == (1200, 1000)
    assert row.live.recall >= 0.98 and row.live.manifest["curve"]
    assert [find(vector, shore, k=1).ids for vector in added[:20]] == [[pk] for pk in ids[:20]]


@pytest.mark.django_db
def test_merge_after_a_delete_uses_the_trained_lists(grown, likes, find):
    shore, added, ids, row = grown(
        between=lambda collection: Image.objects.filter(collection=collection).first().delete()
    )
    assert likes == [False, True] and row.live.count == 1199
    assert find(added[3], shore, k=1).ids == [ids[3]]


@pytest.mark.django_db
def test_collection_that_doubled_is_trained_anew(grown, likes):
    row = grown(then=1000)[3]
    assert likes == [False, False] and row.live.parameters["trained"] == 2000


@pytest.mark.django_db
def test_live_recall_that_dropped_is_trained_anew(grown, likes):
    grown(
        between=lambda collection: CollectionIndex.objects.filter(collection=collection).update(
            live_recall=0.9, live_recall_count=60
        )
    )
    assert likes == [False, False]


@pytest.mark.django_db
@pytest.mark.parametrize(("before", "anew"), [(3, True), (30, False)])
def test_copy_that_finds_far_less_with_the_same_effort_is_trained_anew(grown, likes, before, anew):
    def tuned(collection):
        row = CollectionIndex.objects.get(collection=collection)
        row.live.manifest["effort"] = before
        row.live.save()

    assert grown(between=tuned)[3].live.manifest["effort"] > builder.WORN * 3
    assert likes == [False, True, *[False] * anew]


@pytest.mark.django_db
def test_copy_that_misses_the_target_is_trained_anew(grown, likes, monkeypatch):
    tune = builder.tune
    answers = iter([tune, lambda *_given: (None, ()), tune])
    monkeypatch.setattr(builder, "tune", lambda *given: next(answers)(*given))
    row = grown()[3]
    assert likes == [False, True, False] and row.live.manifest["effort"]


@pytest.mark.django_db
def test_live_file_that_is_damaged_is_not_copied(grown, likes, find, settings):
    def damage(collection):
        path = next(settings.MEDIA_ROOT.glob("indexes/**/*.segment"))
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)

    shore, added, ids, row = grown(between=damage)
    assert likes == [False, False] and row.live.count == 1200
    assert find(added[0], shore, k=1).ids == [ids[0]]


@pytest.mark.django_db
def test_rebuild_that_somebody_asked_for_is_trained_anew(grown, likes, rebuilt):
    from search import reindexing

    shore = grown()[0]
    reindexing.request(shore, None)
    rebuilt(shore)
    assert likes == [False, True, False]


@pytest.mark.django_db
def test_build_that_cannot_begin_gives_its_lease_back(indexed, add, vectors, rebuilt, monkeypatch):
    shore = indexed()
    add(shore, vectors(5))

    def fails(_self):
        raise RuntimeError("the database is full")

    monkeypatch.setattr(builder.Build, "_announce", fails)
    row = rebuilt(shore)
    assert row.lease_until is None and "the database is full" in row.error
    monkeypatch.undo()
    CollectionIndex.objects.update(not_before=None)
    assert index.build_due() == 1


@pytest.mark.django_db
def test_curve_of_a_generation_is_printed(grown):
    from search.management.commands.evaluate import _curve

    row = grown()[3]
    CollectionIndex.objects.update(live_recall=0.9876, live_recall_count=60)
    row.refresh_from_db()
    lines = _curve(row).splitlines()
    chosen = [line for line in lines if line.endswith("chosen")]
    assert len(chosen) == 1 and chosen[0].startswith(f"| {row.live.manifest['effort']} |")
    assert len(lines) >= 4 + len(row.live.manifest["curve"]) and lines[-1] == "live queries: 0.9876 of 60"
