"""One mechanism for every row that waits for work.

The database is the queue. A worker claims rows by a conditional UPDATE that is committed before the work begins,
so a crash counts as an attempt; it prolongs its leases while it works, so a short lease bounds how long a dead worker's
rows wait, not how long work may take; it finishes them in one transaction that is fenced by the claim's number, so a
worker that was presumed dead cannot overwrite its successor.

    WAITING ──claim──▶ WORKING ──finish──▶ DONE
       ▲                 │ ├──fail(permanent) or too many attempts──▶ QUARANTINED (with a reason)
       └──fail(transient), lease expired┘

`state` names differ per model (an image is `stored`, `ready` or `rejected`); the lease fields are the same.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, TypeVar

import structlog
from django.db import connections, models, router, transaction
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

log = structlog.get_logger(__name__)
MAX_ATTEMPTS = 3
LEASE = timedelta(seconds=30)
BEATS = 3  # in the length of a lease
MAX_DEATHS = (
    5  # of workers while they held one row; more than attempts, because a kill is seldom the row's fault
)
BACKOFF = timedelta(seconds=5)
OUTAGE_DELAY = timedelta(seconds=10)
MAX_GROUPS = 100

Row = TypeVar("Row", bound="Leased")


class LostLease(Exception):
    """Another worker holds this row now: the result must be discarded."""


class Leased(models.Model):
    """Mixin for rows that wait for work. Subclasses name their states in WAITING and QUARANTINED."""

    WAITING = "waiting"
    QUARANTINED = "quarantined"

    attempts = models.PositiveSmallIntegerField(_("attempts"), default=0, editable=False)
    lease_until = models.DateTimeField(_("leased until"), null=True, blank=True, editable=False)
    fence = models.PositiveIntegerField(_("fence"), default=0, editable=False)
    not_before = models.DateTimeField(_("not before"), null=True, blank=True, editable=False)
    error = models.TextField(_("last error"), blank=True, editable=False)
    bulk = models.BooleanField(_("behind single uploads"), default=False, editable=False)

    class Meta:
        abstract = True


def due(queryset: models.QuerySet[Row]) -> models.QuerySet[Row]:
    """The rows of `queryset` that wait, are not leased by a living worker and whose back-off is over."""
    now = timezone.now()
    free = Q(lease_until__isnull=True) | Q(lease_until__lt=now)
    ready = Q(not_before__isnull=True) | Q(not_before__lte=now)
    return queryset.filter(free, ready, state=queryset.model.WAITING)


def claim(queryset: models.QuerySet[Row], limit: int, lease: timedelta | None = None) -> list[Row]:
    """Lease up to `limit` due rows of `queryset` (in its order) and return them, fences set.

    On Postgres the pick skips rows that another claim holds; on SQLite (immediate transactions) the whole
    pick is serial. Either way the update is conditional on the fence that was read.
    """
    model, alias = queryset.model, router.db_for_write(queryset.model)
    with transaction.atomic(using=alias):
        picked = due(queryset.using(alias))
        if connections[alias].features.has_select_for_update_skip_locked:
            picked = picked.select_for_update(skip_locked=True, of=("self",))
        rows = list(picked[:limit])
        until = timezone.now() + (lease or LEASE)
        return _take(model, alias, rows, until)


def claim_fairly(
    queryset: models.QuerySet[Row], limit: int, group: str, lease: timedelta | None = None
) -> list[Row]:
    """Like `claim`, but single uploads go before bulk work, and the groups (teams) share what is left equally."""
    rows = _share(queryset.filter(bulk=False), limit, group, lease)
    if len(rows) < limit:
        rows += _share(queryset.filter(bulk=True), limit - len(rows), group, lease)
    return rows


def claim_batch(
    queryset: models.QuerySet[Row],
    limit: int,
    group: str,
    lease: timedelta | None = None,
    *,
    exhausted: str,
    **quarantine: Any,
) -> tuple[list[Row], list[Row]]:
    """(up to `limit` fresh rows claimed fairly, at most one row that was tried before).

    A row whose worker died may be what killed it, and after a kill its whole batch looks like that: taken one at a
    time, only the guilty one dies again, and is quarantined with `exhausted` and the values of `quarantine`.
    """
    if not due(queryset).exists():
        return [], []
    quarantine_exhausted(queryset, exhausted, **quarantine)
    fresh = claim_fairly(queryset.filter(attempts=0), limit, group, lease)
    return fresh, claim(queryset.filter(attempts__gt=0).order_by("bulk", "id"), 1, lease)


def _share(queryset: models.QuerySet[Row], limit: int, group: str, lease: timedelta | None) -> list[Row]:
    groups = list(due(queryset).order_by().values_list(group, flat=True).distinct()[:MAX_GROUPS])
    random.shuffle(groups)
    rows: list[Row] = []
    for left, key in zip(range(len(groups), 0, -1), groups, strict=True):
        wanted = -(-(limit - len(rows)) // left)
        if wanted <= 0:
            break
        rows += claim(queryset.filter(**{group: key}).order_by("id"), wanted, lease)
    return rows


def _take(model: type[Row], alias: str, rows: Sequence[Row], until: datetime) -> list[Row]:
    """Lease those of `rows` whose fence is still as it was read: one statement for each fence among them."""
    every, taken = model._default_manager.using(alias), set()
    for fence in {row.fence for row in rows}:
        group = [row.pk for row in rows if row.fence == fence]
        changed = every.filter(pk__in=group, fence=fence).update(
            fence=fence + 1, attempts=F("attempts") + 1, lease_until=until
        )
        if changed < len(group):  # somebody else was quicker: only where the pick locks nothing
            mine = every.filter(pk__in=group, fence=fence + 1, lease_until=until)
            group = list(mine.values_list("pk", flat=True))
        taken.update(group)
    for row in rows:
        row.fence, row.attempts, row.lease_until = row.fence + 1, row.attempts + 1, until
    return [row for row in rows if row.pk in taken]


def heartbeat(rows: Iterable[Row], lease: timedelta | None = None) -> None:
    """Prolong the leases of rows that this worker still holds and has not finished."""
    until = timezone.now() + (lease or LEASE)
    for row in rows:
        held = type(row)._default_manager.filter(pk=row.pk, fence=row.fence, lease_until__isnull=False)
        held.update(lease_until=until)


@contextmanager
def kept(rows: Sequence[Row], lease: timedelta | None = None) -> Iterator[None]:
    """Prolong the leases of `rows` (which may grow) from a thread of its own until the block ends."""
    over = threading.Event()
    beat = threading.Thread(target=_beat, args=(rows, lease or LEASE, over), name="heartbeat", daemon=True)
    beat.start()
    try:
        yield
    finally:
        over.set()
        beat.join()


def _beat(rows: Sequence[Row], lease: timedelta, over: threading.Event) -> None:
    try:
        while not over.wait(lease.total_seconds() / BEATS):
            try:
                heartbeat(list(rows), lease)
            except Exception as error:  # noqa: BLE001  (the database is away: the fence decides who may finish)
                log.warning("heartbeat_failed", error=str(error))
    finally:
        connections.close_all()  # this thread's own


def finish(row: Row, **values: Any) -> None:
    """Write the outcome where the fence is still ours. Raises LostLease otherwise; call inside the transaction
    that writes everything else of the outcome, so that all of it is discarded together."""
    changed = (
        type(row)
        ._default_manager.filter(pk=row.pk, fence=row.fence)
        .update(lease_until=None, not_before=None, error="", **values)
    )
    if not changed:
        raise LostLease(f"{type(row).__name__} {row.pk} is held by another worker")
    for name, value in values.items():
        setattr(row, name, value)


def fail(row: Row, error: str, *, permanent: bool = False, **quarantine: Any) -> bool:
    """Record a failure: quarantine when permanent or out of attempts, else wait with exponential back-off.

    `quarantine` are extra values written with the quarantined state. Returns True where the row was quarantined;
    a lost lease changes nothing.
    """
    mine = type(row)._default_manager.filter(pk=row.pk, fence=row.fence)
    if permanent or row.attempts >= MAX_ATTEMPTS:
        mine.update(state=row.QUARANTINED, lease_until=None, error=error[:2000], **quarantine)
        return True
    delay = BACKOFF * 2 ** (row.attempts - 1) * random.uniform(0.8, 1.2)  # noqa: S311  (jitter, not a secret)
    mine.update(lease_until=None, not_before=timezone.now() + delay, error=error[:2000])
    return False


def postpone(row: Leased, error: str) -> None:
    """Wait for something outside that is down (storage, a model's files): the attempt does not count."""
    type(row)._default_manager.filter(pk=row.pk, fence=row.fence).update(
        lease_until=None,
        attempts=F("attempts") - 1,
        not_before=timezone.now() + OUTAGE_DELAY,
        error=error[:2000],
    )


def give_back(rows: Iterable[Row]) -> None:
    """Return claimed rows unworked (a worker that shuts down, a batch that is split): the attempt does not count."""
    for row in rows:
        type(row)._default_manager.filter(pk=row.pk, fence=row.fence).update(
            lease_until=None, attempts=F("attempts") - 1
        )


def quarantine_exhausted(queryset: models.QuerySet[Row], error: str, **values: Any) -> int:
    """Quarantine rows whose last lease expired with no attempt left: each of their workers died on them."""
    dead = due(queryset).filter(attempts__gte=MAX_DEATHS)
    return dead.update(state=queryset.model.QUARANTINED, error=error, lease_until=None, **values)


def retry(queryset: models.QuerySet[Row]) -> int:
    """Put quarantined rows back in the queue with a clean record."""
    model = queryset.model
    return queryset.filter(state=model.QUARANTINED).update(
        state=model.WAITING, attempts=0, not_before=None, lease_until=None, error=""
    )
