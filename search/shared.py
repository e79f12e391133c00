"""The collection behind a read-only link: its grid, and the search within it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from django.http import HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from images import shares
from images.models import Image, ShareLink
from images.views.managed import visitor_address
from images.views.request import Request
from images.views.shared import by_link
from search import engine, query_text
from search.query import Query, QueryError
from search.retrieval import SpaceUnavailable

PAGE_SIZE = 48
LAST_START = 20_000


@require_safe
@by_link
def page(request: Request, share: ShareLink, token: str) -> HttpResponse:
    """Newest first, or what a question finds; htmx gets the next tiles alone."""
    question = request.GET.get("q", "").strip()
    context = _found(request, share, question) if question else _newest(request)
    context |= {"share": share, "token": token, "question": question}
    more = request.htmx and (request.GET.get("start") or request.GET.get("cursor"))
    return render(request, "team/_shared_tiles.html" if more else "team/shared.html", context)


def _newest(request: Request) -> dict[str, Any]:
    start = _whole(request.GET.get("start", ""))
    pictures = Image.objects.visible_to(request.principal).select_related("collection").order_by("-pk")  # type: ignore[attr-defined]
    rows = list(pictures[start : start + PAGE_SIZE + 1])
    more = f"?start={start + PAGE_SIZE}" if len(rows) > PAGE_SIZE and start < LAST_START else ""
    total = pictures.count() if not start else None
    return {"images": rows[:PAGE_SIZE], "more": more, "total": total}


def _found(request: Request, share: ShareLink, question: str) -> dict[str, Any]:
    try:
        if not shares.may_search(share, visitor_address(request)):
            raise QueryError("/q", _("Too many searches at once. Wait a minute and try again."))
        query = _query(share, question, request.GET.get("cursor") or None)
        found = engine.find(query, request.principal)
    except QueryError as error:
        return {"problem": error.message, "images": []}
    except SpaceUnavailable as error:
        return {"problem": str(error), "images": []}
    images = [result.image for result in found.results]
    more = f"?{_address(question, found.next_cursor)}" if found.has_more and found.next_cursor else ""
    return {"images": images, "more": more, "total": found.total, "strong": found.bands.get("strong", 0)}


def _query(share: ShareLink, question: str, cursor: str | None) -> Query:
    """Whatever the words ask for, it is asked of this collection."""
    asked = query_text.from_url({"q": [question]})
    return replace(asked, collections=(share.collection.uid,), limit=PAGE_SIZE, cursor=cursor, explain=False)


def _address(question: str, cursor: str) -> str:
    return urlencode({"q": question, "cursor": cursor})


def _whole(text: str) -> int:
    return min(int(text), LAST_START) if text.isascii() and text.isdigit() and len(text) < 9 else 0
