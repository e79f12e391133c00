"""The pages about finding: the search itself, similar pictures, the index of a collection."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.core.files import File
from django.http import HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from PIL import Image as Picture

from images import duplicates
from images.access import Action, allowed, require
from images.ingest import UploadRefused
from images.models import Collection, Image, ImageState, Job, Moderation
from images.views.collections import frame
from images.views.request import Request
from search import engine, index, reindexing, saved, uploads
from search.box import BLANK, Box, band_label, fixes, hits_of
from search.embedding import searchable_ids
from search.filters import narrow
from search.models import Generation
from search.query import BANDS, MAX_LIMIT, Query, QueryError, UploadedImagePart
from search.retrieval import SpaceUnavailable

PAGE_SIZE = 50
SIMILAR = 18
MOST_STATES = 100
MOST_GENERATIONS = 20
MOST_JOBS = 10


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def home(request: Request) -> HttpResponse:
    """The search page. htmx gets the answer alone, or one more page of it; POST brings pictures along."""
    box = Box(_parameters(request), request.principal)
    live = bool(box.first("live"))
    context: dict[str, Any] = {"filters": box.filters, "pills": box.pills, "live": live}
    context |= _answer(request, box) if box.asked else _browse(request, box)
    context |= _kept(request, box, context.get("hits", []))
    if request.htmx and box.first("cursor"):
        return render(request, "search/_page.html", context)
    context |= {"parts": box.parts, "rest": box.rest, "question": box.question, "box": box}
    if not live:
        context["choices"] = box.choices()
    if request.htmx:
        response = render(request, "search/_answer.html", context)
        # The address follows the question: a new entry in the history for Enter, none while typing.
        response["HX-Replace-Url" if live else "HX-Push-Url"] = box.address
        return response
    context |= {"examples": box.examples(), "blank_part": BLANK}
    return render(request, "search/home.html", context)


def _answer(request: Request, box: Box) -> dict[str, Any]:
    """What the engine finds, ready to show; or the problem in words, for a half-typed question is no error."""
    try:
        query = box.query(explain=True, limit=_limit(request, box), cursor=box.first("cursor") or None)
        page = engine.find(query, request.principal, uploads=_pictures(request, query))
    except (QueryError, UploadRefused) as error:
        return {"problem": error.message}
    except SpaceUnavailable as error:
        return {"problem": str(error)}
    divided = bool(box.first("divided"))
    hits = hits_of(page.results, ranked=query.sort == "relevance", first=not query.cursor, divided=divided)
    divided = divided or any(hit["band"] == "weak" for hit in hits)
    lacking = not page.bands["strong"] and not query.cursor
    ways_out = fixes(query) if lacking else []
    return {
        "page": page,
        "hits": hits,
        "took": page.meta["took_ms"]["total"],
        "is_sorted": query.sort != "relevance",
        "orders": query.sort == "relevance" and not query.diversity,
        "band_labels": [(band, band_label(band)) for band in BANDS],
        "fixes": ways_out,
        "suggestions": box.suggestions() if lacking and not ways_out else [],
        "more": _more(box, page, divided),
    }


def _browse(request: Request, box: Box) -> dict[str, Any]:
    """Nothing was asked: the newest pictures that everybody with access may find, under the filters."""
    pictures = Image.objects.visible_to(request.principal).searchable()
    parameters: dict[str, list[str]] = {}
    for name, value in box.pairs:
        parameters.setdefault(name, []).append(value)
    try:
        narrowed = narrow(pictures, parameters, request.principal, ignored=frozenset({"sort"}))
    except QueryError as error:
        return {"problem": error.message}
    return {"recent": list(narrowed.select_related("collection").order_by("-uploaded_at", "-id")[:PAGE_SIZE])}


def _kept(request: Request, box: Box, hits: list[dict[str, Any]]) -> dict[str, Any]:
    """The saved searches as chips where nothing is asked; behind one of them, what its last look found new."""
    if not box.asked:
        return {"saved_searches": request.user.saved_searches.all()[: saved.MOST]}
    uid = box.first("saved")
    kept = request.user.saved_searches.filter(uid=uid).first() if uid and _is_uid(uid) else None
    if kept is None or kept.address != box.parameters_only:
        return {}
    fresh = saved.fresh_images(kept, [hit["image"] for hit in hits])
    for hit in hits:
        hit["fresh"] = hit["image"].pk in fresh
    return {"saved": kept, "fresh_count": len(kept.fresh)}


def _parameters(request: Request) -> dict[str, list[str]]:
    return {name: given.getlist(name) for given in (request.GET, request.POST) for name in given}


def _limit(request: Request, box: Box) -> int:
    """A reload after scrolling asks for all that was shown, in one page."""
    shown = box.first("show")
    if request.htmx or not (shown.isascii() and shown.isdigit()):
        return PAGE_SIZE
    return max(PAGE_SIZE, min(int(shown[:6]), MAX_LIMIT))


def _pictures(request: Request, query: Query) -> dict[str, Picture.Image]:
    """The pictures that came along. The server keeps none: an address alone does not bring them back."""
    parts = [part for part in (*query.parts, *query.negatives) if isinstance(part, UploadedImagePart)]
    if query.cursor:
        return {}
    if any(part.name not in request.FILES for part in parts):
        raise QueryError(
            "/q", _("The picture of this search was only in the tab that sent it. Drop it here again.")
        )
    sent = {name: file for name, file in request.FILES.items() if isinstance(file, File)}
    return {part.name: uploads.decode(sent[part.name], part.name) for part in parts}


def _more(box: Box, page: engine.Page, divided: bool) -> dict[str, Any]:
    """How the browser asks for the next page, and how many pictures the address then stands for."""
    shown = box.first("show")
    show = min((int(shown[:6]) if shown.isascii() and shown.isdigit() else PAGE_SIZE) + PAGE_SIZE, MAX_LIMIT)
    values = {"cursor": page.next_cursor, "show": show} | ({"divided": 1} if divided else {})
    values |= {"saved": box.first("saved")} if box.first("saved") else {}
    return {"url": box.address, "vals": json.dumps(values), "show": show}


@require_safe
@login_required
def similar(request: Request, uid: UUID) -> HttpResponse:
    """The strip under a picture."""
    image = get_object_or_404(Image.objects.visible_to(request.principal), uid=uid)
    copies = duplicates.copies_of(image, request.principal)
    try:
        page = engine.similar(image, request.principal, limit=SIMILAR + 1)
    except (QueryError, SpaceUnavailable):
        return render(request, "search/_similar.html", {"image": image, "hits": [], "copies": copies})
    others = [result for result in page.results if result.image.pk != image.pk][:SIMILAR]
    hits = hits_of(others, ranked=False, first=False, divided=True)
    return render(request, "search/_similar.html", {"image": image, "hits": hits, "copies": copies})


@require_safe
@login_required
def states(request: Request) -> JsonResponse:
    """Where up to 100 uploads stand: `{states: {uid: {state, reason}}}`; unknown ids are left out."""
    asked = [uid for uid in request.GET.getlist("uid")[:MOST_STATES] if _is_uid(uid)]
    found = list(Image.objects.visible_to(request.principal).filter(uid__in=asked))
    ready = [image.pk for image in found if image.state == ImageState.READY]
    searchable = searchable_ids(ready) if ready else set()
    told = {
        str(image.uid): {"state": _state(image, searchable), "reason": image.told_reason} for image in found
    }
    return JsonResponse({"states": told})


def _state(image: Image, searchable: set[int]) -> str:
    if image.state == ImageState.READY and image.moderation == Moderation.PENDING:
        return "review"
    return "searchable" if image.pk in searchable else image.state


def _is_uid(value: str) -> bool:
    try:
        UUID(value)
    except ValueError:
        return False
    return True


@require_safe
@login_required
def index_page(request: Request, uid: UUID) -> HttpResponse:
    """The index of a collection: what answers, what waits, what was built; htmx gets the moving part alone.

    For its managers: the counts include what is hidden from others.
    """
    collection = _visible(request, uid)
    require(request.principal, Action.REINDEX, collection)
    visible = Job.objects.visible_to(request.principal).filter(collection=collection)  # type: ignore[attr-defined]
    jobs = list(visible.select_related("created_by")[:MOST_JOBS])
    context = {
        "index": index.status(collection),
        "generations": Generation.objects.filter(index__collection=collection)[:MOST_GENERATIONS],
        "jobs": jobs,
        "running": any(job.state in reindexing.OPEN for job in jobs),
        "may_reindex": allowed(request.principal, Action.REINDEX, collection),
    }
    template = "search/_index.html" if request.htmx else "search/index.html"
    return render(request, template, frame(request, collection) | context)


@require_POST
@login_required
def reindex(request: Request, uid: UUID) -> HttpResponse:
    collection = _visible(request, uid)
    require(request.principal, Action.REINDEX, collection)
    reindexing.request(collection, request.user)
    messages.success(request, _("The index will be rebuilt; searching goes on meanwhile."))
    return redirect("search:index", uid=uid)


@require_POST
@login_required
def cancel(request: Request, uid: UUID) -> HttpResponse:
    """Stop a job; what was live stays live."""
    visible = Job.objects.visible_to(request.principal).select_related("collection__team", "team")  # type: ignore[attr-defined]
    job = get_object_or_404(visible, uid=uid)
    if not reindexing.may_cancel(job, request.principal):
        raise PermissionDenied
    if not reindexing.cancel(job, request.user):
        messages.error(request, _("The job was over already."))
    return redirect("images:jobs")


def _visible(request: Request, uid: UUID) -> Collection:
    return get_object_or_404(Collection.objects.visible_to(request.principal).select_related("team"), uid=uid)
