"""Bytes on their way out: renditions for pages, originals as downloads, and the local links of images.storage."""

from __future__ import annotations

import mimetypes
from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.http import FileResponse, Http404, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.utils.cache import patch_vary_headers
from django.views.decorators.http import require_safe

from images import storage
from images.access import Action, Principal, allowed
from images.models import Image
from images.views.request import Request

# A rendition never changes: a new one would have a new key, and a page never asks for another picture's.
IMMUTABLE = "private, max-age=31536000, immutable"
LINK_AGE = "private, max-age=240"
KINDS = {"thumbnail": "thumbnail_key", "preview": "preview_key"}


@require_safe
@login_required
def rendition(request: Request, uid: UUID, kind: str) -> HttpResponseBase:
    """The thumbnail or preview of a picture that the reader may see."""
    image = get_object_or_404(Image.objects.visible_to(request.principal), uid=uid)
    response = serve_rendition(image, kind)
    patch_vary_headers(response, ["Cookie"])
    return response


def serve_rendition(image: Image, kind: str) -> HttpResponseBase:
    """A rendition's bytes, or a link to them; callers have checked that the picture may be seen."""
    key = getattr(image, KINDS[kind]) or image.thumbnail_key
    if not key:
        raise Http404
    if storage.local_path(key) is None:
        return _redirect(storage.signed_url(key))
    response = _file(key, image.rendition_type or "image/jpeg")
    response["Cache-Control"] = IMMUTABLE
    return response


@require_safe
@login_required
def original(request: Request, uid: UUID) -> HttpResponse:
    """Download: the file as it was sent, or a copy without its place for those who may not know it."""
    image = get_object_or_404(Image.objects.visible_to(request.principal), uid=uid)
    return _redirect(
        storage.signed_url(download_key(image, request.principal), download_name=image.file_name)
    )


def download_key(image: Image, principal: Principal) -> str:
    """The original holds where it was taken: uploaders and editors get it, others the re-encoded preview then."""
    if image.holds_place and not allowed(principal, Action.EDIT, image):
        if not image.preview_key:
            raise Http404
        return image.preview_key
    return image.original_key


@require_safe
def signed(request: Request, token: str) -> HttpResponseBase:
    """A local link of `storage.signed_url`: the token is the permission, for minutes."""
    try:
        link = storage.unsign(token)
    except storage.BadLink as error:
        raise Http404(str(error)) from error
    response = _file(link.key, mimetypes.guess_type(link.key)[0] or "application/octet-stream")
    if link.download_name is not None:
        response["Content-Type"] = "application/octet-stream"
        response["Content-Disposition"] = storage.attachment(link.download_name)
    response["Cache-Control"] = LINK_AGE
    return response


def _file(key: str, content_type: str) -> FileResponse:
    try:
        response = FileResponse(storage.open(key), content_type=content_type)
    except storage.ObjectMissing as error:
        raise Http404(str(error)) from error
    # Somebody else's bytes: whatever they hold, the browser must not run it.
    response["Content-Security-Policy"] = "default-src 'none'; sandbox"
    response["X-Content-Type-Options"] = "nosniff"
    return response


def _redirect(url: str) -> HttpResponse:
    response = HttpResponseRedirect(url)
    response["Cache-Control"] = LINK_AGE
    return response
