"""Cursor paging: opaque, signed, and stable while rows come and go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.core import signing
from django.db.models import Model, Q, QuerySet
from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request

from images.problems import Problem

DEFAULT_LIMIT, MAX_LIMIT = 50, 200
PARAMETERS = [
    OpenApiParameter(
        "limit",
        {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
        description="How many at most.",
    ),
    OpenApiParameter("cursor", str, description="`next_cursor` of the page before; nothing else fits."),
]


class Order(NamedTuple):
    """A total order: an optional moment, then the public id (UUIDv7, so also an order in time).

    The field paths are those of the listed model; `uid` may lead across a relation.
    """

    name: str
    moment: str | None = None
    uid: str = "uid"
    newest_first: bool = True

    def fields(self) -> list[str]:
        sign = "-" if self.newest_first else ""
        return [f"{sign}{name}" for name in (self.moment, self.uid) if name]


def page(
    rows: QuerySet[Any], request: Request, order: Order, show: Callable[[Sequence[Any]], list[Any]]
) -> dict:
    """One page of `rows` in the API's list form; `show` turns the rows of the page into JSON values."""
    limit = read_limit(request)
    rows = rows.order_by(*order.fields())
    if cursor := request.query_params.get("cursor"):
        rows = rows.filter(_after(cursor, order))
    found = list(rows[: limit + 1])
    more = len(found) > limit
    found = found[:limit]
    return {
        "data": show(found),
        "next_cursor": _cursor(found[-1], order) if more else None,
        "has_more": more,
    }


def read_limit(request: Request) -> int:
    text = request.query_params.get("limit", str(DEFAULT_LIMIT))
    limit = int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0
    if not 1 <= limit <= MAX_LIMIT:
        raise Problem(400, "invalid", _("This has to lie between 1 and %d.") % MAX_LIMIT, "/limit")
    return limit


def _cursor(row: Model, order: Order) -> str:
    place = [_value(row, order.uid).hex]
    if order.moment:
        place.append(_value(row, order.moment).astimezone(UTC).isoformat())
    return signing.dumps(place, salt=f"images.pagination.{order.name}")


def _after(cursor: str, order: Order) -> Q:
    try:
        place = signing.loads(cursor, salt=f"images.pagination.{order.name}")
        uid = UUID(place[0])
    except (signing.BadSignature, ValueError):
        raise Problem(400, "invalid", _("This cursor is not one of this list."), "/cursor") from None
    way = "lt" if order.newest_first else "gt"
    further = Q(**{f"{order.uid}__{way}": uid})
    if not order.moment:
        return further
    moment = datetime.fromisoformat(place[1])
    return Q(**{f"{order.moment}__{way}": moment}) | (Q(**{order.moment: moment}) & further)


def _value(row: Any, path: str) -> Any:
    for name in path.split("__"):
        row = getattr(row, name)
    return row
