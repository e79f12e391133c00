"""Collections: the list, the grid, settings, the trash; and the upload page."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db.models import Count, F, Q, QuerySet
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_http_methods, require_safe

from images import moderation, multipart, teams
from images.access import Action, Principal, Rank, allowed, require
from images.forms import CollectionForm, NewCollectionForm
from images.models import Collection, Image, ImageState, Moderation, Team
from images.views.request import Request

PAGE_SIZE = 60
LAST_START = 20_000
MOST_COLLECTIONS = 500
SORTS: dict[str, tuple[Any, list[Any]]] = {
    "newest": (gettext_lazy("Newest upload"), ["-id"]),
    "oldest": (gettext_lazy("Oldest upload"), ["id"]),
    "taken": (gettext_lazy("Date taken"), [F("taken_at").desc(nulls_last=True), "-id"]),
    "quality": (gettext_lazy("Best quality"), [F("quality").desc(nulls_last=True), "-id"]),
}


@require_safe
@login_required
def index(request: Request) -> HttpResponse:
    collections = _listed(request.principal)
    covers = _covers(request.principal, [one.pk for one in collections])
    cards = [{"collection": one, "covers": covers.get(one.pk, [])} for one in collections]
    may_create = _teams_to_create_in(request.principal).exists()
    return render(
        request,
        "images/collections.html",
        {"cards": cards, "may_create": may_create, "section": "collections"},
    )


@require_safe
@login_required
def page(request: Request, uid: UUID) -> HttpResponse:
    """The collection's grid; an htmx request for a later start gets the next tiles alone."""
    collection = _visible(request, uid)
    sort = request.GET.get("sort", "newest")
    sort = sort if sort in SORTS else "newest"
    start = min(_whole(request.GET.get("start", "0")), LAST_START)
    pictures = Image.objects.visible_to(request.principal).filter(collection=collection)
    chosen = _narrowed(pictures, request.GET.get("only", ""))
    rows = list(chosen.select_related("collection").order_by(*SORTS[sort][1])[start : start + PAGE_SIZE + 1])
    context: dict[str, Any] = {
        "images": rows[:PAGE_SIZE],
        "next_start": start + PAGE_SIZE if len(rows) > PAGE_SIZE else None,
        "sort": sort,
        "only": request.GET.get("only", ""),
        "in_collection": True,
    }
    if request.htmx and start:
        return render(request, "images/_tiles.html", context)
    context |= {
        "sorts": [(name, said) for name, (said, _order) in SORTS.items()],
        "counts": _counts(pictures),
    }
    return render(request, "images/collection.html", frame(request, collection) | context)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def create(request: Request) -> HttpResponse:
    form = NewCollectionForm(request.POST or None, teams=_teams_to_create_in(request.principal))
    if not form.is_valid():
        return _form_page(request, form, {"section": "collections"}, "images/collection_new.html")
    fields = dict(form.cleaned_data)
    team = fields.pop("team")
    require(request.principal, Action.CREATE_COLLECTION, team)
    collection = teams.create_collection(team, request.user, **fields)
    messages.success(request, _("The collection is ready for pictures."))
    return redirect("images:collection", uid=collection.uid)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def configure(request: Request, uid: UUID) -> HttpResponse:
    collection = _visible(request, uid)
    require(request.principal, Action.MANAGE, collection)
    form = CollectionForm(request.POST or None, instance=collection)
    if not form.is_valid():
        return _form_page(
            request, form, frame(request, _visible(request, uid)), "images/collection_settings.html"
        )
    teams.edit_collection(collection, request.user, **form.cleaned_data)
    messages.success(request, _("Saved."))
    return redirect("images:collection-settings", uid=uid)


@require_safe
@login_required
def trash(request: Request, uid: UUID) -> HttpResponse:
    """What was deleted here in the last 30 days, for those who may bring it back."""
    collection = _visible(request, uid)
    everything = allowed(request.principal, Action.DELETE, collection)
    whose = Q() if everything else Q(uploader=request.user)
    pictures = moderation.in_trash(Collection.objects.filter(pk=collection.pk)).filter(whose)
    rows = pictures.select_related("uploader").order_by("-trashed_at")[:PAGE_SIZE]
    return render(request, "images/trash.html", frame(request, collection) | {"images": rows})


@require_safe
@login_required
def upload(request: Request) -> HttpResponse:
    targets = [one for one in _listed(request.principal) if allowed(request.principal, Action.UPLOAD, one)]
    wanted = request.GET.get("collection", "")
    return render(
        request,
        "images/upload.html",
        {
            "targets": targets,
            "wanted": wanted,
            "most_mb": settings.MAX_UPLOAD_BYTES // 1024**2,
            "direct": multipart.available(),
        },
    )


def _visible(request: Request, uid: UUID) -> Collection:
    return get_object_or_404(Collection.objects.visible_to(request.principal).select_related("team"), uid=uid)


def _listed(principal: Principal) -> list[Collection]:
    """Each with the number of `pictures` in it that this principal may see."""
    found = Collection.objects.visible_to(principal).select_related("team").order_by("team__name", "name")
    rows = list(found[:MOST_COLLECTIONS])
    seen = Image.objects.visible_to(principal).filter(state=ImageState.READY, collection__in=rows)
    counts = dict(seen.order_by().values_list("collection").annotate(n=Count("pk")))
    for row in rows:
        row.pictures = counts.get(row.pk, 0)  # type: ignore[attr-defined]
    return rows


def _covers(principal: Principal, collections: list[int]) -> dict[int, list[Image]]:
    """Up to three pictures for each collection's card, the newest that everybody there may see."""
    covers: dict[int, list[Image]] = {}
    for pk in collections:
        pictures = (
            Image.objects.visible_to(principal).searchable().filter(collection=pk, thumbnail_key__gt="")
        )
        covers[pk] = list(pictures.order_by("-id")[:3])
    return covers


def _narrowed(pictures: QuerySet[Image], only: str) -> QuerySet[Image]:
    if only == "refused":
        return pictures.filter(state=ImageState.REJECTED)
    if only == "waiting":
        return pictures.filter(moderation=Moderation.PENDING)
    if only == "checking":
        return pictures.filter(state=ImageState.STORED)
    return pictures.exclude(state=ImageState.REJECTED)


def _counts(pictures: QuerySet[Image]) -> dict[str, int]:
    return pictures.aggregate(
        ready=Count("pk", filter=Q(state=ImageState.READY)),
        checking=Count("pk", filter=Q(state=ImageState.STORED)),
        refused=Count("pk", filter=Q(state=ImageState.REJECTED)),
        waiting=Count("pk", filter=Q(moderation=Moderation.PENDING, state=ImageState.READY)),
    )


def frame(request: Request, collection: Collection) -> dict[str, Any]:
    """What the head of every page of a collection needs."""
    principal = request.principal
    return {
        "collection": collection,
        "section": "collections",
        "may_upload": allowed(principal, Action.UPLOAD, collection),
        "may_manage": allowed(principal, Action.MANAGE, collection),
        "may_delete": allowed(principal, Action.DELETE, collection),
    }


def _form_page(request: Request, form: Any, context: dict[str, Any], template: str) -> HttpResponse:
    return render(request, template, context | {"form": form}, status=422 if form.is_bound else 200)


def _teams_to_create_in(principal: Principal) -> QuerySet[Team]:
    teams = Team.objects.all()
    return teams if principal.superuser else teams.filter(pk__in=principal.teams_with(Rank.EDITOR))


def _whole(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 9 else 0
