"""The review queue: one big picture at a time, oldest first; or many side by side."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db.models import Exists, OuterRef, Q
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from images import duplicates, moderation, prompts
from images.access import Action, Principal, allowed, require
from images.models import Image, ImageState, Moderation, Report
from images.views.managed import is_uid
from images.views.request import Request

MOST_AT_ONCE = 60
MANY = ("approve", "reject", "undo")
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


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def batch(request: Request) -> HttpResponse:
    """Many at once: the oldest that wait, look-alikes side by side; POST decides on the chosen ones, each under its own
    rights."""
    if request.method == "POST":
        return _decide_many(request)
    pictures = list(waiting(request.principal)[: MOST_AT_ONCE + 1])
    shown = duplicates.side_by_side(pictures[:MOST_AT_ONCE])
    context = {
        "images": shown,
        "hints": prompts.hints(shown, request.principal),
        "more": len(pictures) > MOST_AT_ONCE,
        "undone": request.GET.getlist("undo")[:MOST_AT_ONCE],
        "section": "review",
    }
    return render(request, "images/review_batch.html", context)


def _decide_many(request: Request) -> HttpResponse:
    decision = request.POST.get("decision", "")
    if decision not in MANY:
        return HttpResponse(status=400)
    chosen = [uid for uid in request.POST.getlist("uid")[:MOST_AT_ONCE] if is_uid(uid)]
    found = (
        Image.objects.visible_to(request.principal).filter(uid__in=chosen).select_related("collection__team")
    )  # type: ignore[attr-defined]
    done = [image for image in found if allowed(request.principal, Action.MODERATE, image)]
    for image in done:
        moderation.decide(image, decision, request.user, request.POST.get("reason", ""))
    if not done:
        messages.error(request, _("Choose pictures that wait for your decision."))
        return redirect("images:review-batch")
    said = ngettext("%d picture: done.", "%d pictures: done.", len(done)) % len(done)
    messages.success(request, said)
    undo = "" if decision == "undo" else "?" + urlencode([("undo", image.uid) for image in done])
    return redirect(reverse("images:review-batch") + undo)


def waiting(principal: Principal) -> Any:
    """What this principal may decide on, oldest first: new pictures that wait, and those that viewers reported."""
    pictures = Image.objects.visible_to(principal).filter(principal.moderated_q("collection__"))
    reported = Exists(Report.objects.open().filter(image=OuterRef("pk")))
    pending = pictures.filter(Q(moderation=Moderation.PENDING) | reported, state=ImageState.READY)
    return pending.select_related("collection__team", "uploader").order_by("pk")


def _context(principal: Principal, after: str) -> dict[str, Any]:
    pending = waiting(principal)
    current = Image.objects.visible_to(principal).filter(uid=after).first() if is_uid(after) else None
    image = pending.filter(pk__gt=current.pk).first() if current else pending.first()
    return _card(principal, image)


def _card(principal: Principal, image: Image | None) -> dict[str, Any]:
    pending = waiting(principal)
    following = pending.filter(pk__gt=image.pk).first() if image else None
    hints = prompts.hints([image], principal).get(image.pk, []) if image else []
    return {
        "image": image,
        "following": following,
        "left": pending.count(),
        "hints": hints,
        "section": "review",
    }
