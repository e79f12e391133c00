"""How many pictures there are of each kind: counted over the same visible, filtered set that a list or search shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.db.models import Case, CharField, Count, F, QuerySet, Value, When
from django.db.models.functions import ExtractYear

from images.access import Principal
from images.models import Image
from search.engine import found_ids
from search.filters import narrow
from search.query import Query
from search.retrieval import gated

MOST = 30


def facets(principal: Principal, parameters: Mapping[str, Sequence[str]] | None = None) -> dict[str, Any]:
    """Counts over what `principal` may see under the filters in URL parameters (name → values)."""
    return _counted(narrow(Image.objects.visible_to(principal), parameters or {}, principal))


def facets_of(query: Query, principal: Principal) -> dict[str, Any]:
    """Counts over what a search has found."""
    return _counted(gated(query, principal).filter(pk__in=found_ids(query, principal)))


def _counted(rows: QuerySet[Image]) -> dict[str, Any]:
    rows = rows.order_by()
    return {
        "total": rows.count(),
        "collections": _named(rows, "collection__uid", "collection__name"),
        "tags": _values(rows.filter(tags__isnull=False), "tags__name"),
        "uploaders": _named(rows.filter(uploader__isnull=False), "uploader__uid", "uploader__name"),
        "years": _values(rows.filter(taken_at__isnull=False).annotate(year=ExtractYear("taken_at")), "year"),
        "orientations": _values(rows.filter(width__isnull=False).annotate(turned=_orientation()), "turned"),
    }


def _orientation() -> Case:
    return Case(
        When(width__gt=F("height"), then=Value("landscape")),
        When(width__lt=F("height"), then=Value("portrait")),
        default=Value("square"),
        output_field=CharField(),
    )


def _values(rows: QuerySet[Image], column: str) -> list[dict[str, Any]]:
    """The most frequent values of a column; a tag of two teams is one value."""
    counted = rows.values(column).annotate(count=Count("pk", distinct=True)).order_by("-count", column)
    return [{"value": row[column], "count": row["count"]} for row in counted[:MOST]]


def _named(rows: QuerySet[Image], uid: str, name: str) -> list[dict[str, Any]]:
    counted = rows.values(uid, name).annotate(count=Count("pk")).order_by("-count", name)
    return [{"id": str(row[uid]), "name": row[name], "count": row["count"]} for row in counted[:MOST]]
