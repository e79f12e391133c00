"""What a read-only link opens: nobody is signed in here, the token in the address is the right to look.

The grid and the search behind a link are in the search app.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any
from uuid import UUID

from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_safe

from images import shares
from images.access import principal_for_share
from images.forms_team import SharePasswordForm
from images.models import Image, ShareLink
from images.views import files
from images.views.managed import visitor_address
from images.views.request import Request

View = Callable[..., HttpResponseBase]


def by_link(view: View) -> View:
    """Open `view` to whoever holds a living link: it gets the ShareLink, and `request.principal` is the link's."""

    @wraps(view)
    def opened(request: Request, token: str, *args: Any, **kwargs: Any) -> HttpResponseBase:
        share = shares.find(token)
        if share is None:
            return _discreet(render(request, "team/share_ended.html", status=404))
        if not shares.unlocked(share, request.session):
            return redirect("images:shared-unlock", token=token)
        request.principal = principal_for_share(share)
        return _discreet(view(request, share, token, *args, **kwargs))

    return opened


@require_http_methods(["GET", "HEAD", "POST"])
def unlock(request: Request, token: str) -> HttpResponseBase:
    """Ask for the link's password."""
    share = shares.find(token)
    if share is None:
        return _discreet(render(request, "team/share_ended.html", status=404))
    form = SharePasswordForm(request.POST or None)
    if shares.unlocked(share, request.session) or (form.is_valid() and _right(request, share, form)):
        return redirect("search:shared", token=token)
    context = {"form": form, "token": token}
    return _discreet(
        render(request, "team/share_password.html", context, status=422 if form.is_bound else 200)
    )


@require_safe
@by_link
def picture(request: Request, share: ShareLink, token: str, uid: UUID) -> HttpResponse:
    visible = Image.objects.visible_to(request.principal)  # type: ignore[attr-defined]
    image = get_object_or_404(visible.select_related("collection"), uid=uid)
    beside = {
        "newer": visible.filter(pk__gt=image.pk).order_by("pk").values_list("uid", flat=True).first(),
        "older": visible.filter(pk__lt=image.pk).order_by("-pk").values_list("uid", flat=True).first(),
    }
    return render(
        request, "team/shared_picture.html", {"share": share, "token": token, "image": image, **beside}
    )


@require_safe
@by_link
def rendition(request: Request, share: ShareLink, token: str, uid: UUID, kind: str) -> HttpResponseBase:
    """A thumbnail or preview. Originals stay inside: they may tell where a picture was taken."""
    image = get_object_or_404(Image.objects.visible_to(request.principal), uid=uid)  # type: ignore[attr-defined]
    return files.serve_rendition(image, kind)


def _right(request: Request, share: ShareLink, form: SharePasswordForm) -> bool:
    try:
        if shares.unlock(share, form.cleaned_data["password"], request.session, visitor_address(request)):
            return True
        form.add_error("password", _("This is not the password of the link."))
    except shares.TooManyTries as error:
        form.add_error(None, str(error))
    return False


def _discreet(response: HttpResponseBase) -> HttpResponseBase:
    """Pages are kept by no cache, and nothing by a search engine; the address goes to nobody with the next click."""
    response.setdefault("Cache-Control", "private, no-store")
    response["X-Robots-Tag"] = "noindex, nofollow"
    response["Referrer-Policy"] = "no-referrer"
    return response
