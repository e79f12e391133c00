"""Changes to many pictures at once, each asked for its own rights: tag, move, trash, restore; and their download."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponse, JsonResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from images import bundles, moderation, storage
from images.access import Action, allowed
from images.forms import TagsField
from images.models import Collection, Image
from images.views.files import download_key
from images.views.managed import is_uid
from images.views.pictures import trashed
from images.views.request import Request

MOST_AT_ONCE = 200
MOST_BYTES = 1024**3
MOST_TARGETS = 200


@require_POST
@login_required
def change(request: Request) -> JsonResponse:
    """Up to 200 pictures: `{done: [uid…], refused: n}`, for a move also `from: {uid: collection}`."""
    known = {"tag": _add_tags, "move": _move, "trash": _trash, "restore": _restore}
    act, uids = known.get(request.POST.get("do", "")), _uids(request)
    if act is None or not uids:
        return JsonResponse({"detail": _("Nothing to do.")}, status=400)
    done = act(request, uids)
    more = {"from": done} if isinstance(done, dict) else {}
    return JsonResponse({"done": list(done), "refused": len(uids) - len(done), **more})


def _add_tags(request: Request, uids: list[str]) -> list[str]:
    names = TagsField().clean(request.POST.get("tags", ""))
    done = []
    for image in _allowed(request, Image.objects.visible_to(request.principal), uids, Action.EDIT):
        kept = [tag.name for tag in image.tags.all()]
        moderation.edit(image, request.user, tags=[*kept, *names])
        done.append(str(image.uid))
    return done


def _move(request: Request, uids: list[str]) -> dict[str, str]:
    """Where each picture that moved came from, so that it can go back."""
    wanted = request.POST.get("collection", "")
    places = Collection.objects.visible_to(request.principal).select_related("team")
    target = get_object_or_404(places, uid=wanted if is_uid(wanted) else None)
    done: dict[str, str] = {}
    for image in _allowed(request, Image.objects.visible_to(request.principal), uids, Action.DELETE):
        source = str(image.collection.uid)
        try:
            moderation.carry(image, target, request.principal, request.user)
        except (moderation.Conflict, PermissionDenied, Http404):
            continue
        done[str(image.uid)] = source
    return done


def _trash(request: Request, uids: list[str]) -> list[str]:
    found = _allowed(request, Image.objects.visible_to(request.principal), uids, Action.DELETE)
    for image in found:
        moderation.trash(image, request.user)
    return [str(image.uid) for image in found]


def _restore(request: Request, uids: list[str]) -> list[str]:
    done = []
    for image in _allowed(request, trashed(request.principal), uids, Action.DELETE):
        try:
            moderation.restore(image, request.user)
        except moderation.Conflict:
            continue
        done.append(str(image.uid))
    return done


@require_safe
@login_required
def targets(request: Request) -> HttpResponse:
    """The dialog of a move: the collections that take uploads of this person."""
    places = (
        Collection.objects.visible_to(request.principal).select_related("team").order_by("team__name", "name")
    )
    open_ones = [one for one in places[:MOST_TARGETS] if allowed(request.principal, Action.UPLOAD, one)]
    return render(request, "images/_move.html", {"targets": open_ones})


@require_POST
@login_required
def download(request: Request) -> HttpResponseBase:
    """The selection as one zip, in a stream: originals, or the copies that `files.original` would give, too."""
    found = _allowed(request, Image.objects.visible_to(request.principal), _uids(request), Action.VIEW)
    if not found or sum(image.byte_size for image in found) > MOST_BYTES:
        messages.error(
            request, _("That is nothing, or more than 1 GB. Download fewer, or export the collection.")
        )
        return redirect(_back(request))
    files = [_file(request, image) for image in found]
    response = StreamingHttpResponse(bundles.stream(files), content_type="application/zip")
    name = f"loupe-{timezone.localdate():%Y-%m-%d}.zip"
    response["Content-Disposition"] = storage.attachment(name)
    response["Cache-Control"] = "private, no-store"
    return response


def _file(request: Request, image: Image) -> bundles.File:
    key = download_key(image, request.principal)
    kind = image.content_type if key == image.original_key else image.rendition_type
    return bundles.File(key, image.file_name, kind, image.taken_at or image.uploaded_at)


def _back(request: Request) -> str:
    """The page that the form was on, never another site's."""
    came = request.META.get("HTTP_REFERER", "")
    own = url_has_allowed_host_and_scheme(came, {request.get_host()}, require_https=request.is_secure())
    return came if own else "/"


def _uids(request: Request) -> list[str]:
    """Ids in fields of their own or separated by commas, for a form may have 200 fields in all."""
    given = (uid.strip() for field in request.POST.getlist("uid") for uid in field.split(","))
    return [uid for uid in given if uid][:MOST_AT_ONCE]


def _allowed(request: Request, images: Any, uids: list[str], action: Action) -> list[Image]:
    found = images.filter(uid__in=[uid for uid in uids if is_uid(uid)]).select_related("collection__team")
    ordered = found.prefetch_related("tags").order_by("pk")
    return [image for image in ordered if allowed(request.principal, action, image)]
