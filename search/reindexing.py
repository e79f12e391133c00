"""Rebuilds that people ask for: a job to watch and to cancel; the build itself is the index's own."""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone

from images import audit
from images.access import Action, Principal, allowed
from images.models import Collection, Job, JobKind, JobState, User
from search import index
from search.models import CollectionIndex, Embedding, EmbeddingState, Generation
from search.signals import vectors_changed

OPEN = (JobState.WAITING, JobState.RUNNING)


def request(collection: Collection, user: User | None) -> Job:
    """Want a new generation. A rebuild that already waits or runs is the answer, not a second one."""
    with transaction.atomic():
        row = index.ensure_index(collection)
        CollectionIndex.objects.select_for_update().get(pk=row.pk)
        if job := Job.objects.filter(collection=collection, kind=JobKind.REINDEX, state__in=OPEN).first():
            return job
        done = Embedding.objects.filter(collection=collection, state=EmbeddingState.DONE)
        job = Job.objects.create(
            team=collection.team,
            collection=collection,
            kind=JobKind.REINDEX,
            created_by=user,
            total=done.count(),
        )
        index.request_rebuild(collection)
        audit.record("index.rebuild_wanted", collection, team=collection.team, actor=user)
        vectors_changed.send(Job, kind="index", bulk=False)
    return job


def roll_back(collection: Collection, actor: User | None) -> Generation:
    """The previous generation answers again. Raises `index.NothingToRollBackTo`."""
    with transaction.atomic():
        before = {"generation": index.status(collection).generation}
        again = index.roll_back(collection)
        after = {"generation": again.number}
        audit.record(
            "index.rolled_back", collection, team=collection.team, actor=actor, before=before, after=after
        )
    return again


def may_cancel(job: Job, principal: Principal) -> bool:
    """One's own import or export, and everything in collections that one manages. `job` is visible to `principal`."""
    own = job.kind != JobKind.REINDEX and job.created_by_id == principal.user_id
    return own or (job.collection is not None and allowed(principal, Action.REINDEX, job.collection))


def cancel(job: Job, actor: User | None) -> bool:
    """Stop a job that is not over; what is built is dropped, what was live stays live. False where it was over."""
    with transaction.atomic():
        open_ = Job.objects.filter(pk=job.pk, state__in=OPEN)
        if not open_.update(state=JobState.CANCELLED, finished_at=timezone.now()):
            return False
        if job.kind == JobKind.REINDEX and job.collection:
            index.withdraw(job.collection)
        audit.record("job.cancelled", job, team=job.team, actor=actor)
    job.refresh_from_db()
    return True
