"""Reading the audit log: filters, and a CSV that no spreadsheet runs as formulas."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from images.models import AuditEvent, Team

MOST_EXPORTED = 100_000
COLUMNS = ("at", "actor", "action", "target", "before", "after", "request_id")
# A cell that begins with one of these is a formula somewhere (OWASP, CSV injection), the full-width forms included.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


@dataclass(frozen=True)
class Filter:
    """What narrows the log; `action` also stands for all that begin with it and a dot (`image`, `image.trashed`)."""

    action: str = ""
    actor: UUID | None = None
    target: str = ""
    after: datetime | None = None
    before: datetime | None = None


def events(team: Team, wanted: Filter) -> QuerySet[AuditEvent]:
    """The team's events, newest first. Callers have checked that the reader manages the team."""
    rows = AuditEvent.objects.filter(team=team).select_related("actor")
    if wanted.action:
        rows = rows.filter(action=wanted.action) | rows.filter(action__startswith=f"{wanted.action}.")
    if wanted.actor is not None:
        rows = rows.filter(actor__uid=wanted.actor)
    if wanted.target:
        rows = rows.filter(target__contains=wanted.target)
    if wanted.after is not None:
        rows = rows.filter(at__gte=wanted.after)
    if wanted.before is not None:
        rows = rows.filter(at__lt=wanted.before)
    return rows.order_by("-pk")


def as_csv(rows: QuerySet[AuditEvent]) -> Iterator[str]:
    """Lines of a CSV file with a head, at most 100,000 events."""
    line = csv.writer(_Echo())
    yield line.writerow(COLUMNS)
    for event in rows[:MOST_EXPORTED].iterator(chunk_size=1000):
        yield line.writerow(neutral(cell) for cell in _cells(event))


def neutral(cell: str) -> str:
    """With an apostrophe before what a spreadsheet would take for a formula."""
    return f"'{cell}" if cell.lstrip(" ").startswith(FORMULA) else cell


def _cells(event: AuditEvent) -> Iterable[str]:
    return (
        event.at.isoformat(),
        event.actor.email if event.actor else "",
        event.action,
        event.target,
        _json(event.before),
        _json(event.after),
        event.request_id,
    )


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, default=str) if value else ""


class _Echo:
    """A file for csv.writer that hands every line back."""

    def write(self, line: str) -> str:
        return line
