"""Rebuilds that somebody asked for: every end that they come to is the end of their job, too."""

from datetime import timedelta

import pytest
from django.utils import timezone

from images.models import Job
from search import index, reindexing
from search.index import builder
from search.models import CollectionIndex, Generation

pytestmark = pytest.mark.django_db


@pytest.fixture
def shore(indexed, add, vectors, rebuilt):
    """A collection with a generation and a picture beside it."""
    shore = indexed()
    add(shore, vectors(10))
    rebuilt(shore)
    add(shore, vectors(1))
    return shore


def numbers():
    return list(Generation.objects.order_by("number").values_list("number", "state"))


def later():
    CollectionIndex.objects.update(not_before=None, lease_until=None)


def test_a_wish_that_is_cancelled_before_its_turn_is_not_built(shore):
    assert reindexing.cancel(reindexing.request(shore, None), None)
    assert CollectionIndex.objects.get().state == "idle"
    assert index.build_due() == 0 and numbers() == [(1, "live")]


def test_a_build_that_runs_is_not_withdrawn(shore):
    index.request_rebuild(shore)
    CollectionIndex.objects.update(lease_until=timezone.now() + timedelta(minutes=5))
    assert not index.withdraw(shore)
    later()
    assert index.withdraw(shore) and not index.withdraw(shore)


def test_a_cancelled_wish_keeps_the_build_that_damage_wants(shore):
    job = reindexing.request(shore, None)
    Generation.objects.update(state="failed")
    reindexing.cancel(job, None)
    assert index.build_due() == 1 and numbers() == [(1, "failed"), (2, "live")]


def test_a_build_that_fails_for_good_ends_its_job_with_the_reason(shore, monkeypatch):
    job = reindexing.request(shore, None)

    def fails(_self, _probes):
        raise RuntimeError("no room is left")

    monkeypatch.setattr(builder.Build, "run", fails)
    for state in ("running", "running", "failed"):
        later()
        index.build_due()
        job.refresh_from_db()
        assert job.state == state
    assert "no room is left" in job.error and job.errors == [job.error] and job.finished_at
    monkeypatch.undo()
    again = reindexing.request(shore, None)
    assert again.pk != job.pk and index.build_due() == 1
    again.refresh_from_db()
    assert again.state == "done" and CollectionIndex.objects.get().live.number == 5


def test_a_build_whose_process_dies_again_and_again_ends_its_job(shore):
    job = reindexing.request(shore, None)
    CollectionIndex.objects.update(attempts=5, lease_until=timezone.now() - timedelta(seconds=1))
    assert index.build_due() == 0
    job.refresh_from_db()
    assert (job.state, CollectionIndex.objects.get().state) == ("failed", "failed")
    assert "ended repeatedly" in job.error


def test_a_job_is_taken_up_again_after_a_kill(shore, monkeypatch):
    job = reindexing.request(shore, None)

    def die(_name):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(builder, "faultpoint", die)
        with pytest.raises(KeyboardInterrupt):
            index.build_due()
    job.refresh_from_db()
    assert job.state == "running" and reindexing.request(shore, None).pk == job.pk
    later()
    assert index.build_due() == 1
    job.refresh_from_db()
    assert (job.state, job.done) == ("done", 11) and Job.objects.count() == 1
    assert numbers() == [(1, "retired"), (2, "failed"), (3, "live")]
