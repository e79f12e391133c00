import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.index.manifest import RecallPoint
from search.index.planner import Searchable, kind_for, plan

CURVE = (RecallPoint(50, 0.9, 0.2), RecallPoint(128, 0.985, 0.4), RecallPoint(256, 0.99, 0.8))
HNSW = Searchable(100_000, "hnsw", 128, 0, CURVE)
IVF = Searchable(1_000_000, "ivf", 128, 4000, CURVE)
CODED = Searchable(100_000, "ivf-pq", 128, 500, CURVE)


@pytest.mark.parametrize(
    ("count", "kind"),
    [(0, "exact"), (20_000, "exact"), (20_001, "ivf-pq"), (250_001, "ivf-pq")],
)
def test_kind_by_size(count, kind):
    assert kind_for(count) == kind


@pytest.mark.parametrize("segment", [HNSW, IVF, CODED])
def test_without_a_filter_the_tuned_effort_is_used(segment):
    found = plan(segment, 50)
    assert (found.name, found.effort, found.exact, found.estimated_recall) == (
        segment.kind,
        128,
        False,
        0.985,
    )


@pytest.mark.parametrize("allowed", [0, 1, 50, 500, 5000, 10_000])
@pytest.mark.parametrize("segment", [HNSW, IVF, CODED])
def test_small_sets_are_searched_exactly(segment, allowed):
    found = plan(segment, 50, allowed)
    assert (found.name, found.exact, found.estimated_recall) == ("filtered-exact", True, 1.0)


@pytest.mark.parametrize("segment", [HNSW, IVF, CODED])
def test_large_sets_are_searched_wider(segment):
    found = plan(segment, 50, segment.count // 2)
    assert (found.name, found.effort, found.exact) == (f"{segment.kind}-filtered", 256, False)


def test_set_whose_exact_search_is_cheaper_than_the_widened_one():
    assert plan(IVF, 50, 20_000).exact
    assert plan(HNSW, 50, 20_000).exact


def test_graph_must_keep_k_candidates():
    assert plan(HNSW, 500).effort == 500


@pytest.mark.parametrize(
    "segment", [Searchable(100_000, "exact"), Searchable(100_000, "hnsw"), Searchable(40, "ivf", 4)]
)
def test_exact_where_nothing_else_reached_the_target_or_everything_is_asked(segment):
    assert plan(segment, 50).exact and plan(segment, 50, 30_000).exact


def test_whoever_wants_a_large_share_is_answered_exactly():
    assert not plan(CODED, 500).exact
    assert plan(CODED, 3000).exact


def test_fallback_is_exact_and_says_so():
    found = plan(HNSW, 50, 60_000).fallback()
    assert (found.name, found.effort, found.exact) == ("hnsw-filtered+exact", None, True)


@given(
    count=st.integers(0, 10**7),
    share=st.floats(0, 1),
    kind=st.sampled_from(["exact", "hnsw", "ivf", "ivf-pq", "ivf-flat"]),
    effort=st.none() | st.integers(1, 4096),
    k=st.integers(1, 1000),
)
def test_any_plan_is_either_exact_or_wide_enough(count, share, kind, effort, k):
    segment = Searchable(count, kind, effort, 4096 if kind.startswith("ivf") else 0, CURVE)
    allowed = int(share * count)
    found = plan(segment, k, allowed)
    if found.exact:
        assert found.effort is None
    else:
        assert allowed > k and found.effort * allowed >= effort * count * 0.999
