"""The recall of live queries: sampled where it is switched on, replayed by a worker, kept without text."""

from datetime import timedelta

import numpy as np
import pytest
from django.urls import reverse
from django.utils import timezone

from search import index
from search.index import sampling
from search.models import CollectionIndex, RecallSample
from workers import lanes

pytestmark = pytest.mark.django_db


@pytest.fixture
def coded(indexed, add, vectors, rebuilt):
    """A collection with an approximate generation; and its vectors."""
    shore, given = indexed(), vectors(1500)
    add(shore, given)
    row = rebuilt(shore, kind="ivf-pq")
    assert row.live.manifest["effort"]
    return shore, given


def sampled(collection):
    return RecallSample.objects.filter(index__collection=collection)


def test_nothing_is_sampled_unless_it_is_switched_on(coded, find):
    find(coded[1][3], coded[0], k=10)
    assert not RecallSample.objects.exists()
    assert index.replay_samples() == 0


def test_sampled_query_is_replayed_and_deleted(coded, find, settings):
    settings.INDEX_LIVE_RECALL = 1.0
    for at in range(5):
        find(coded[1][at], coded[0], k=10)
    assert sampled(coded[0]).count() == 5
    assert lanes.step("live_recall") == 5
    row = CollectionIndex.objects.get(collection=coded[0])
    assert 0.9 < row.live_recall <= 1 and row.live_recall_count == 5 and row.live_recall_at
    assert not RecallSample.objects.exists()
    shown = index.status(coded[0])
    assert (shown.live_recall, shown.live_recall_count) == (row.live_recall, 5)


def test_replay_tells_a_generation_that_misses_what_is_there(coded, find, settings, monkeypatch):
    settings.INDEX_LIVE_RECALL = 1.0
    find(coded[1][0], coded[0], k=10)
    monkeypatch.setattr("search.index.segment._factor", lambda *_given: 1.0)
    monkeypatch.setattr("search.index.view.plan", lambda searchable, *_given: few_lists(searchable))
    index.reset()
    index.replay_samples()
    assert CollectionIndex.objects.get(collection=coded[0]).live_recall < 0.9


def few_lists(searchable):
    from search.index.planner import Plan

    return Plan(searchable.kind, 3, False, 0.5)


def test_exact_answers_are_not_sampled(indexed, add, vectors, rebuilt, find, settings):
    settings.INDEX_LIVE_RECALL = 1.0
    shore = indexed()
    add(shore, vectors(100))
    rebuilt(shore)
    find(vectors(1)[0], shore)
    assert not RecallSample.objects.exists()


def test_share_of_the_queries(settings):
    settings.INDEX_LIVE_RECALL = 0.2
    assert 100 < sum(sampling.chosen() for _query in range(1000)) < 300


def test_new_generation_begins_anew(coded, find, settings, rebuilt):
    settings.INDEX_LIVE_RECALL = 1.0
    find(coded[1][0], coded[0], k=10)
    index.replay_samples()
    settings.INDEX_LIVE_RECALL = 0.0
    row = rebuilt(coded[0], kind="ivf-pq")
    assert (row.live_recall, row.live_recall_count) == (None, 0)


def test_samples_are_bounded(coded, find, settings, monkeypatch):
    settings.INDEX_LIVE_RECALL = 1.0
    monkeypatch.setattr(sampling, "MOST_WAITING", 3)
    for at in range(6):
        find(coded[1][at], coded[0], k=10)
    assert sampled(coded[0]).count() == 3


def test_sample_of_another_model_is_dropped(coded, find, settings):
    from search.models import Space

    settings.INDEX_LIVE_RECALL = 1.0
    find(coded[1][0], coded[0], k=10)
    other = Space.objects.create(name="other", sha256="6" * 64, dimension=16)
    CollectionIndex.objects.filter(collection=coded[0]).update(space=other)
    assert index.replay_samples() == 1
    assert CollectionIndex.objects.get(collection=coded[0]).live_recall_count == 0


def test_vector_is_all_that_is_kept(coded, find, settings):
    settings.INDEX_LIVE_RECALL = 1.0
    find(coded[1][7], coded[0], k=10)
    sample = sampled(coded[0]).get()
    kept = {field.name for field in RecallSample._meta.get_fields()}
    assert kept == {"id", "index", "space", "vector", "created_at"}
    stored = np.frombuffer(bytes(sample.vector), "<f2")
    np.testing.assert_allclose(stored, coded[1][7], atol=1e-3)


def test_figure_is_shown_to_whoever_may_see_the_index(coded, page, api, owner, viewer):
    CollectionIndex.objects.filter(collection=coded[0]).update(live_recall=0.9753, live_recall_count=12)
    address = f"/api/v1/collections/{coded[0].uid}/index/"
    told = api(owner).get(address).json()
    assert (told["live_recall"], told["live_recall_queries"]) == (0.9753, 12)
    assert api(viewer).get(address).status_code == 403
    shown = page(owner).get(reverse("search:index", args=[coded[0].uid])).content.decode()
    assert "recall of 12 live queries" in shown
    line = f'loupe_index_live_recall{{collection="{coded[0].uid}"}} 0.9753'
    assert line in page().get("/metrics").content.decode()


def test_samples_that_nobody_replays_are_dropped_after_a_day(coded, find, settings):
    settings.INDEX_LIVE_RECALL = 1.0
    for at in range(2):
        find(coded[1][at], coded[0], k=10)
    old = sampled(coded[0]).first()
    sampled(coded[0]).filter(pk=old.pk).update(created_at=timezone.now() - timedelta(days=2))
    index.collect_garbage()
    assert sampled(coded[0]).count() == 1 and not sampled(coded[0]).filter(pk=old.pk).exists()
