"""Look-alikes of a collection, side by side: keep them all, or put some into the trash."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_POST, require_safe

from images import duplicates, moderation
from images.access import Action, allowed
from images.models import Collection, Image
from images.moderation import Conflict
from images.views.collections import frame
from images.views.managed import is_uid, managed_collection
from images.views.request import Request

PAGE_SIZE = 20


@require_safe
@login_required
def page(request: Request, uid: UUID) -> HttpResponse:
    collection = managed_collection(request, uid, Action.DELETE)
    found = duplicates.find(collection, request.principal, limit=PAGE_SIZE)
    context = {"found": found, "rest": found.total - len(found.groups)}
    return render(request, "team/duplicates.html", frame(request, collection) | context)


@require_POST
@login_required
def decide(request: Request, uid: UUID) -> HttpResponse:
    """One group: `trash` moves the chosen ones into the trash, `keep` remembers that all of them stay."""
    collection = managed_collection(request, uid, Action.DELETE)
    decision = request.POST.get("decision")
    if decision == "keep":
        _keep(request, collection)
    elif decision == "trash":
        _trash(request, collection)
    return redirect("images:duplicates", uid=uid)


def _keep(request: Request, collection: Collection) -> None:
    try:
        duplicates.keep(_named(request, collection, "image"), request.user)
    except Conflict as error:
        messages.error(request, str(error))
    else:
        messages.success(request, _("All of them stay, and are not shown here again."))


def _trash(request: Request, collection: Collection) -> None:
    chosen = _named(request, collection, "trash")
    done = [image for image in chosen if allowed(request.principal, Action.DELETE, image)]
    for image in done:
        moderation.trash(image, request.user)
    said = ngettext("%d picture is in the trash.", "%d pictures are in the trash.", len(done)) % len(done)
    messages.success(request, said) if done else messages.error(
        request, _("Choose what to put into the trash.")
    )


def _named(request: Request, collection: Collection, field: str) -> list[Image]:
    """The pictures of this collection that the form names, as far as the reader sees them."""
    uids = [one for one in request.POST.getlist(field)[: duplicates.MOST_IN_GROUP] if is_uid(one)]
    visible = Image.objects.visible_to(request.principal)  # type: ignore[attr-defined]
    return list(visible.filter(collection=collection, uid__in=uids).select_related("collection__team"))
