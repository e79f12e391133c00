"""What happened to one picture, for those who may edit it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_safe

from images.access import Action, require
from images.models import AuditEvent, Collection, Image
from images.views.managed import is_uid
from images.views.request import Request

MOST_EVENTS = 30
WORDS = {
    "image.edited": _("Title, text or tags edited"),
    "image.moved": _("Moved"),
    "image.trashed": _("Moved to the trash"),
    "image.restored": _("Brought back from the trash"),
    "image.reported": _("Reported"),
    "moderation.approve": _("Approved"),
    "moderation.reject": _("Rejected"),
    "moderation.hide": _("Hidden"),
    "moderation.restore": _("Shown again"),
    "moderation.undo": _("Back to review"),
}


@require_safe
@login_required
def history(request: Request, uid: UUID) -> HttpResponse:
    """The newest entries of the audit log about this picture, in plain words."""
    visible = Image.objects.visible_to(request.principal).select_related("collection__team", "uploader")
    image = get_object_or_404(visible, uid=uid)
    require(request.principal, Action.EDIT, image)
    events = AuditEvent.objects.filter(team=image.collection.team, target=f"image:{image.uid}")
    rows = [_row(event, request) for event in events.select_related("actor")[:MOST_EVENTS]]
    return render(request, "images/_history.html", {"image": image, "rows": rows})


def _row(event: AuditEvent, request: Request) -> dict[str, Any]:
    reason = event.after.get("reason") or ""
    if event.action == "image.moved":
        uid = str(event.after.get("collection"))
        places = Collection.objects.visible_to(request.principal).filter(uid=uid) if is_uid(uid) else ()
        reason = next((place.name for place in places), "")
    return {"event": event, "what": WORDS.get(event.action, event.action), "reason": reason}
