"""One picture: its page, its edits, the trash, and changes to many at once."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_POST, require_safe

from images import moderation
from images.access import Action, Principal, allowed, require
from images.forms import ImageForm
from images.models import Collection, Image
from images.views.request import Request

QUALITY_LABELS = {
    "sharpness": gettext_lazy("Sharpness"),
    "exposure": gettext_lazy("Exposure"),
    "contrast": gettext_lazy("Contrast"),
    "resolution": gettext_lazy("Resolution"),
    "compression": gettext_lazy("Compression"),
}


@require_safe
@login_required
def page(request: Request, uid: UUID) -> HttpResponse:
    image = _visible(request, uid)
    return render(request, "images/image.html", _context(request, image, ImageForm(instance=image)))


@require_POST
@login_required
def edit(request: Request, uid: UUID) -> HttpResponse:
    image = _visible(request, uid)
    require(request.principal, Action.EDIT, image)
    form = ImageForm(request.POST, instance=image)
    if not form.is_valid():
        return render(request, "images/image.html", _context(request, image, form), status=422)
    moderation.edit(image, request.user, **form.cleaned_data)
    messages.success(request, _("Saved."))
    return redirect("images:image", uid=uid)


@require_POST
@login_required
def trash(request: Request, uid: UUID) -> HttpResponse:
    image = _visible(request, uid)
    require(request.principal, Action.DELETE, image)
    moderation.trash(image, request.user)
    messages.success(request, _("Moved to the trash. It stays there for 30 days."))
    return redirect("images:trash", uid=image.collection.uid)


@require_POST
@login_required
def restore(request: Request, uid: UUID) -> HttpResponse:
    image = get_object_or_404(trashed(request.principal), uid=uid)
    require(request.principal, Action.DELETE, image)
    try:
        moderation.restore(image, request.user)
    except moderation.Conflict as error:
        messages.error(request, str(error))
        return redirect("images:trash", uid=image.collection.uid)
    return redirect("images:image", uid=uid)


def trashed(principal: Principal) -> Any:
    return moderation.in_trash(Collection.objects.visible_to(principal)).select_related("collection__team")


def _visible(request: Request, uid: UUID) -> Image:
    images = Image.objects.visible_to(request.principal).select_related("collection__team", "uploader")
    return get_object_or_404(images.prefetch_related("tags"), uid=uid)


def _context(request: Request, image: Image, form: ImageForm) -> dict[str, Any]:
    return {
        "image": image,
        "form": form,
        "section": "collections",
        "may_edit": allowed(request.principal, Action.EDIT, image),
        "may_delete": allowed(request.principal, Action.DELETE, image),
        "may_moderate": allowed(request.principal, Action.MODERATE, image),
        "quality_parts": [(QUALITY_LABELS.get(k, k), v) for k, v in image.quality_parts.items()],
        "neighbours": _neighbours(request.principal, image),
        "camera": _camera(image.exif),
    }


def _neighbours(principal: Principal, image: Image) -> dict[str, str]:
    """The pages before and after in the collection, newest first; the browser puts a search's own order over it."""
    beside = Image.objects.visible_to(principal).filter(collection=image.collection_id)
    newer = beside.filter(pk__gt=image.pk).order_by("pk").values_list("uid", flat=True).first()
    older = beside.filter(pk__lt=image.pk).order_by("-pk").values_list("uid", flat=True).first()
    found = {"previous": newer, "next": older}
    return {name: reverse("images:image", args=[uid]) for name, uid in found.items() if uid}


def _camera(exif: dict[str, Any]) -> list[tuple[Any, Any]]:
    """EXIF the way photographers read it: camera, lens, and the exposure on one line."""
    exposure = [
        f"{exif['exposure_time']} s" if exif.get("exposure_time") else "",
        f"f/{exif['f_number']:g}" if exif.get("f_number") else "",
        f"ISO {exif['iso']}" if exif.get("iso") else "",
        f"{exif['focal_length']:g} mm" if exif.get("focal_length") else "",
    ]
    rows = [
        (_("Camera"), _joined(exif, "camera_make", "camera_model")),
        (_("Lens"), _joined(exif, "lens_make", "lens_model")),
        (_("Exposure"), " · ".join(part for part in exposure if part)),
        (_("Artist"), exif.get("artist")),
        (_("Copyright"), exif.get("copyright")),
    ]
    return [(label, value) for label, value in rows if value]


def _joined(exif: dict[str, Any], maker: str, model: str) -> str:
    """Maker and model; most models already begin with their maker's name."""
    first, second = exif.get(maker, ""), exif.get(model, "")
    return second if second.lower().startswith(first.lower()) else f"{first} {second}".strip()
