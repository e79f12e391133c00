"""One contract that every kind of segment keeps, checked against plain numpy."""

import json

import faiss
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from search.index.errors import BadParameters, DamagedSegment, NotFinite, UnorderedIds, WrongDimension
from search.index.masks import Bitmap, mask_of
from search.index.segment import (
    HEADER_BYTES,
    KINDS,
    MAGIC,
    Segment,
    build,
    digest,
    kind_parameters,
    open_segment,
)
from tests.search.index.shapes import unit, world

pytestmark = pytest.mark.parametrize("kind", KINDS)
EVERYTHING = 4096


def made(folder, kind, vectors, ids=None, **parameters):
    path = folder / f"{kind}-{len(vectors)}.segment"
    ids = np.arange(len(vectors)) * 3 + 11 if ids is None else ids
    built = build(path, kind, vectors, ids, parameters=parameters)
    return open_segment(path, built.sha256)


def reference(vectors, ids, queries, k, mask=None):
    """Ids and scores of the best k, by numpy, over vectors rounded as they are stored."""
    scores = queries @ vectors.astype(np.float16).astype(np.float32).T
    if mask is not None:
        scores = np.where(mask, scores, -np.inf)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    best = np.take_along_axis(scores, order, axis=1)
    return np.where(np.isfinite(best), np.asarray(ids)[order], -1), best


def recall(found, truth):
    return np.mean([len(np.intersect1d(a, b)) / len(b) for a, b in zip(found, truth, strict=True)])


@pytest.fixture(scope="module")
def small():
    return world(1500, 20, dimension=48, concepts=60)


@pytest.fixture(scope="module")
def segments(small, tmp_path_factory):
    folder = tmp_path_factory.mktemp("segments")
    return {kind: made(folder, kind, small[0]) for kind in KINDS}


def test_exact_search_equals_numpy(kind, small, segments):
    vectors, queries = small
    ids, scores = segments[kind].search(queries, 20)
    true_ids, true_scores = reference(vectors, segments[kind].ids, queries, 20)
    assert recall(ids, true_ids) > 0.999
    np.testing.assert_allclose(scores, true_scores, atol=1e-4)


def test_approximate_search_reaches_exact_recall_with_enough_effort(kind, small, segments):
    vectors, queries = small
    ids, scores = segments[kind].search(queries, 20, effort=EVERYTHING)
    true_ids, _scores = reference(vectors, segments[kind].ids, queries, 20)
    assert recall(ids, true_ids) > 0.98
    assert np.all(np.diff(scores, axis=1) <= 1e-6)


def test_less_effort_costs_recall_for_that_request_alone(kind, small, segments):
    if kind == "exact":
        pytest.skip("an exact segment has no effort to spend")
    vectors, queries = small
    true_ids, _scores = reference(vectors, segments[kind].ids, queries, 50)
    before = segments[kind].search(queries, 50, effort=EVERYTHING)[0]
    little = segments[kind].search(queries, 50, effort=1)[0]
    after = segments[kind].search(queries, 50, effort=EVERYTHING)[0]
    assert recall(little, true_ids) < recall(before, true_ids)
    np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("effort", [None, EVERYTHING])
@pytest.mark.parametrize("share", [0.5, 0.05, 0.005])
def test_filter_keeps_k_full_and_finds_the_best(kind, effort, share, small, segments):
    vectors, queries = small
    segment = segments[kind]
    wanted = np.random.default_rng(1).choice(segment.ids, int(share * 1500), replace=False)
    mask = segment.mask(wanted)
    ids, _scores = segment.search(queries, 5, effort=effort, allowed=Bitmap.from_mask(mask))
    true_ids, _true = reference(vectors, segment.ids, queries, 5, mask)
    assert np.isin(ids[ids >= 0], wanted).all()
    assert recall(ids, true_ids) > (0.999 if effort is None else 0.9)


def test_unknown_filter_ids_are_ignored(kind, small, segments):
    segment = segments[kind]
    mask = segment.mask(np.array([-5, 12, 10**12, int(segment.ids[3])]))
    assert np.flatnonzero(mask).tolist() == [3]


def test_empty_filter_finds_nothing(kind, small, segments):
    empty = Bitmap.from_mask(np.zeros(1500, bool))
    ids, scores = segments[kind].search(small[1], 3, effort=8, allowed=empty)
    assert (ids == -1).all() and np.isneginf(scores).all()


def test_ids_come_back_as_given(kind, small, tmp_path):
    ids = np.sort(np.random.default_rng(3).choice(2**60, 1500, replace=False))
    segment = made(tmp_path, kind, small[0], ids)
    found, _scores = segment.search(small[0][:30], 1)
    np.testing.assert_array_equal(found[:, 0], ids[:30])
    np.testing.assert_array_equal(np.flatnonzero(segment.mask(ids[[7, 900]])), [7, 900])


def test_vectors_come_back_in_half_precision(kind, small, segments):
    ids, vectors = segments[kind].lookup(segments[kind].ids[[5, 1499]])
    np.testing.assert_array_equal(ids, segments[kind].ids[[5, 1499]])
    np.testing.assert_array_equal(vectors, small[0][[5, 1499]].astype(np.float16).astype(np.float32))


def test_empty_segment(kind, tmp_path):
    segment = made(tmp_path, kind, np.empty((0, 16), np.float16))
    ids, scores = segment.search(np.ones((2, 16)), 4, effort=10)
    assert ids.shape == scores.shape == (2, 4)
    assert (ids == -1).all()
    assert segment.vectors(np.empty(0, np.int64)).shape == (0, 16)


def test_one_vector(kind, tmp_path):
    segment = made(tmp_path, kind, unit(np.ones((1, 16))))
    ids, scores = segment.search(unit(np.ones((1, 16))), 4, effort=10)
    assert ids[0].tolist() == [11, -1, -1, -1]
    assert scores[0, 0] == pytest.approx(1.0, abs=1e-3)


def test_more_wanted_than_there_are(kind, small, tmp_path):
    segment = made(tmp_path, kind, small[0][:10])
    ids, _scores = segment.search(small[1], 25)
    assert ids.shape == (20, 25)
    assert (np.sort(ids[:, :10], axis=1) == segment.ids).all()
    assert (ids[:, 10:] == -1).all()


def test_duplicates_all_come_back(kind, small, tmp_path):
    vectors = np.repeat(small[0][:40], 3, axis=0)
    segment = made(tmp_path, kind, vectors)
    ids, scores = segment.search(small[0][:1], 3, effort=EVERYTHING)
    assert sorted(ids[0]) == [11, 14, 17]
    np.testing.assert_allclose(scores, 1.0, atol=1e-3)


@pytest.mark.parametrize("shape", [(1, 47), (1, 49), (2, 3, 48)])
def test_wrong_dimension_is_refused(kind, shape, segments):
    with pytest.raises(WrongDimension, match="48"):
        segments[kind].search(np.ones(shape), 3)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_query_that_is_not_finite_is_refused(kind, value, segments):
    query = np.ones((1, 48))
    query[0, 7] = value
    with pytest.raises(NotFinite):
        segments[kind].search(query, 3)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_vector_that_is_not_finite_enters_no_segment(kind, value, small, tmp_path):
    vectors = small[0].copy()
    vectors[1200, 3] = value
    with pytest.raises(NotFinite, match="rows"):
        made(tmp_path, kind, vectors)


@pytest.mark.parametrize("ids", [[1, 2, 2], [3, 2, 5]])
def test_ids_that_do_not_rise_are_refused(kind, ids, tmp_path):
    with pytest.raises(UnorderedIds):
        made(tmp_path, kind, np.ones((3, 8)), np.array(ids))


def test_ids_and_vectors_must_match(kind, tmp_path):
    with pytest.raises(WrongDimension, match="2 ids"):
        build(tmp_path / "x", kind, np.ones((3, 8)), np.arange(2))


@pytest.mark.parametrize(("k", "effort"), [(0, None), (5, 0), (5, 1 << 20)])
def test_parameters_out_of_range_are_refused(kind, k, effort, segments):
    with pytest.raises(BadParameters):
        segments[kind].search(np.ones((1, 48)), k, effort=effort)


@pytest.mark.parametrize(
    "parameters", [{"bogus": 3}, {"nlist": 0}, {"m": 10**6}, {"nlist": 2.5}, {"m": True}]
)
def test_build_parameters_are_checked(kind, parameters):
    with pytest.raises(BadParameters, match=next(iter(parameters))):
        kind_parameters(kind, 1000, parameters)


def test_any_dimension(kind, tmp_path):
    for dimension in (1, 7, 512, 768):
        vectors = unit(np.random.default_rng(dimension).standard_normal((120, dimension)) + 0.01)
        segment = made(tmp_path, kind, vectors.astype(np.float32))
        scores = segment.search(vectors[:5], 1)[1]
        np.testing.assert_allclose(scores[:, 0], 1.0, atol=2e-3)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    count=st.integers(1, 130),
    dimension=st.integers(2, 20),
    k=st.integers(1, 40),
    share=st.floats(0, 1),
    seed=st.integers(0, 2**20),
    gap=st.sampled_from([1, 50, 10**7]),
)
def test_random_worlds_equal_numpy(kind, tmp_path, count, dimension, k, share, seed, gap):
    random = np.random.default_rng(seed)
    vectors = unit(random.standard_normal((count, dimension)) + 1e-3).astype(np.float32)
    ids = np.cumsum(random.integers(1, gap + 1, count))
    segment = made(tmp_path, kind, vectors, ids)
    mask = random.random(count) < share
    query = unit(random.standard_normal((3, dimension)) + 1e-3).astype(np.float32)
    found, scores = segment.search(query, k, allowed=Bitmap.from_mask(mask))
    _ids, truth = reference(vectors, ids, query, k, mask)
    full = np.full((3, k), -np.inf, np.float32)
    full[:, : truth.shape[1]] = truth
    np.testing.assert_allclose(scores, full, atol=1e-3)  # fp16 rounds to 2^-11
    assert np.isin(found[found >= 0], ids[mask]).all()
    assert (np.sum(found >= 0, axis=1) == min(k, mask.sum())).all()
    np.testing.assert_array_equal(mask_of(ids, ids[mask]), mask)


# ── Damage ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def unread(monkeypatch):
    """Fails the test where the engine is handed anything."""

    def refuse(*_args):
        raise AssertionError("damaged bytes reached the engine")

    monkeypatch.setattr(faiss, "read_index", refuse)
    monkeypatch.setattr("search.index.segment.faiss.read_index", refuse, raising=False)


def test_flipped_bits_never_reach_the_engine(kind, small, tmp_path, unread):
    path = tmp_path / "x"
    built = build(path, kind, small[0], np.arange(1500))
    whole, random = path.read_bytes(), np.random.default_rng(5)
    for place in [*random.integers(0, len(whole), 40), *range(0, HEADER_BYTES + 200, 97)]:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(random.integers(8))
        path.write_bytes(damaged)
        with pytest.raises(DamagedSegment, match="checksum"):
            open_segment(path, built.sha256)


def test_truncated_files_never_reach_the_engine(kind, small, tmp_path, unread):
    path = tmp_path / "x"
    built = build(path, kind, small[0], np.arange(1500))
    whole = path.read_bytes()
    for size in [0, 7, HEADER_BYTES, len(whole) // 2, len(whole) - 1]:
        path.write_bytes(whole[:size])
        with pytest.raises(DamagedSegment):
            open_segment(path, built.sha256)


def test_missing_file_is_refused(kind, tmp_path):
    with pytest.raises(DamagedSegment):
        open_segment(tmp_path / "absent", "0" * 64)


def test_swapped_files_are_refused(kind, small, tmp_path, unread):
    first = build(tmp_path / "a", kind, small[0], np.arange(1500))
    build(tmp_path / "b", kind, small[0][:700], np.arange(700))
    with pytest.raises(DamagedSegment, match="checksum"):
        open_segment(tmp_path / "b", first.sha256)


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"kind": "magic"},
        {"count": 1499},
        {"count": "many"},
        {"sections": {}},
        {"sections": []},
        {"sections": {"ids": [0, 12000], "flat": [4096, 10]}},
        {"sections": {"ids": [4096, 12000], "flat": [4096, 1 << 60]}},
    ],
)
def test_header_that_does_not_fit_is_refused_even_with_a_good_checksum(kind, change, small, tmp_path, unread):
    path = tmp_path / "x"
    build(path, kind, small[0], np.arange(1500))
    whole = path.read_bytes()
    header = json.loads(whole[len(MAGIC) : HEADER_BYTES]) | change
    path.write_bytes((MAGIC + json.dumps(header).encode()).ljust(HEADER_BYTES) + whole[HEADER_BYTES:])
    with pytest.raises(DamagedSegment):
        open_segment(path, digest(path))


def test_sections_of_another_size_than_the_header_says_are_refused(kind, small, tmp_path):
    path = tmp_path / "x"
    build(path, kind, small[0], np.arange(1500))
    whole = path.read_bytes()
    header = json.loads(whole[len(MAGIC) : HEADER_BYTES]) | {"dimension": 47}
    path.write_bytes((MAGIC + json.dumps(header).encode()).ljust(HEADER_BYTES) + whole[HEADER_BYTES:])
    with pytest.raises(DamagedSegment, match="another number or size"):
        open_segment(path, digest(path))


def test_foreign_files_are_refused(kind, tmp_path):
    path = tmp_path / "x"
    faiss.write_index(faiss.IndexFlatIP(8), str(path))
    with pytest.raises(DamagedSegment, match="no segment"):
        open_segment(path, digest(path))


def test_segment_in_memory_answers_like_a_file(kind, small, segments):
    memory = Segment.in_memory(segments[kind].ids, small[0])
    for one, other in zip(memory.search(small[1], 9), segments[kind].search(small[1], 9), strict=True):
        np.testing.assert_array_equal(one, other)
