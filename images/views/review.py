"""The review queue: one big picture at a time, oldest first."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.db.models import Exists, OuterRef, Q
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe

from images import moderation
from images.access import Action, Principal, require
from images.models import Image, ImageState, Moderation, Report
from images.views.request import Request

BY_PAGE = ("approve", "reject", "hide", "undo", "restore")


@require_safe
@login_required
def queue(request: Request) -> HttpResponse:
    """The picture after `after`, or the first; htmx gets the card alone."""
    after = request.GET.get("after", "")
    template = "images/_review_card.html" if request.htmx else "images/review.html"
    return render(
        request, template, _context(request.principal, after) | {"last": request.GET.get("last", "")}
    )


@require_POST
@login_required
def decide(request: Request, uid: UUID) -> HttpResponse:
    """Decide one picture, then show the next (htmx) or its page."""
    image = get_object_or_404(
        Image.objects.visible_to(request.principal).select_related("collection__team"), uid=uid
    )
    require(request.principal, Action.MODERATE, image)
    decision = request.POST.get("decision", "")
    if decision not in BY_PAGE:
        return HttpResponse(status=400)
    moderation.decide(image, decision, request.user, request.POST.get("reason", ""))
    if not request.htmx:
        return redirect("images:image", uid=uid)
    if decision == "undo":
        return render(request, "images/_review_card.html", _card(request.principal, image))
    context = _context(request.principal, str(uid)) | {"last": str(uid), "decided": decision}
    return render(request, "images/_review_card.html", context)


def waiting(principal: Principal) -> Any:
    """What this principal may decide on, oldest first: new pictures that wait, and those that viewers reported."""
    pictures = Image.objects.visible_to(principal).filter(principal.moderated_q("collection__"))
    reported = Exists(Report.objects.open().filter(image=OuterRef("pk")))
    pending = pictures.filter(Q(moderation=Moderation.PENDING) | reported, state=ImageState.READY)
    return pending.select_related("collection", "uploader").order_by("pk")


def _context(principal: Principal, after: str) -> dict[str, Any]:
    pending = waiting(principal)
    current = Image.objects.visible_to(principal).filter(uid=after).first() if _is_uid(after) else None
    image = pending.filter(pk__gt=current.pk).first() if current else pending.first()
    return _card(principal, image)


def _card(principal: Principal, image: Image | None) -> dict[str, Any]:
    pending = waiting(principal)
    following = pending.filter(pk__gt=image.pk).first() if image else None
    return {"image": image, "following": following, "left": pending.count(), "section": "review"}


def _is_uid(value: str) -> bool:
    try:
        UUID(value)
    except ValueError:
        return False
    return True
