import numpy as np
import pytest

from search.index import tuning
from search.index.segment import build, open_segment
from tests.search.index.shapes import world


@pytest.fixture(scope="module")
def segments(tmp_path_factory):
    pictures, text = world(6000, 60, dimension=64, concepts=200)
    folder = tmp_path_factory.mktemp("tuning")
    made = {}
    for kind in ("exact", "hnsw", "ivf", "ivf-pq", "ivf-flat"):
        built = build(folder / kind, kind, pictures, np.arange(6000))
        made[kind] = open_segment(folder / kind, built.sha256)
    return pictures, text, made


@pytest.mark.parametrize("kind", ["hnsw", "ivf", "ivf-pq", "ivf-flat"])
def test_cheapest_effort_that_reaches_the_target_is_chosen(kind, segments):
    _pictures, text, made = segments
    effort, curve = tuning.tune(made[kind], text, 0.9)
    recall = {point.effort: point.recall for point in curve}
    assert recall[effort] >= 0.9 and list(recall) == sorted(recall)
    assert all(
        one < 0.915 for effort_, one in recall.items() if effort_ < effort
    )  # within the standard error
    fresh = world(6000, 360, dimension=64, concepts=200)[1][60:]
    found, truth = (made[kind].search(fresh, 50, effort=one)[0] for one in (effort, None))
    assert tuning.recalls(found, truth).mean() > 0.88


def test_exact_needs_no_tuning(segments):
    assert tuning.tune(segments[2]["exact"], segments[1], 0.98) == (None, ())


def test_target_out_of_reach_means_exact_search(segments, monkeypatch):
    monkeypatch.setattr(tuning, "efforts", lambda _segment: iter([1, 2]))
    effort, curve = tuning.tune(segments[2]["ivf"], segments[1], 0.9999)
    assert effort is None and [point.effort for point in curve] == [1, 2]


def test_probes_lie_where_text_lies(segments):
    pictures, text, _made = segments
    probes = tuning.text_like_probes(pictures[:2000], 60)
    np.testing.assert_allclose(np.linalg.norm(probes, axis=1), 1, atol=1e-5)
    like_pictures, like_text = (
        np.median(pictures[:500] @ pictures[500]),
        np.median((pictures @ text.T).max(0)),
    )
    assert np.median((pictures @ probes.T).max(0)) < like_pictures
    assert abs(np.median((pictures @ probes.T).max(0)) - like_text) < 0.15


def test_probes_are_the_same_each_time(segments):
    one, other = (tuning.text_like_probes(segments[0][:500], 10) for _round in range(2))
    np.testing.assert_array_equal(one, other)


def test_recall_ignores_places_that_nothing_fills():
    found, truth = np.array([[1, 2, 9], [1, 8, 9]]), np.array([[1, 2, -1], [1, 2, -1]])
    assert tuning.recalls(found, truth).tolist() == [1.0, 0.5]
