"""The living page of the design system, for staff."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from images.forms import KeyForm
from images.models import Image
from images.views.request import Request

SWATCHES = ("bg", "surface", "surface-2", "accent", "accent-soft", "strong", "possible", "weak", "danger")


@require_safe
@login_required
def page(request: Request) -> HttpResponse:
    if not request.user.is_staff:
        raise Http404
    pictures = Image.objects.visible_to(request.principal).searchable().select_related("collection")
    titles = {"light": _("Light theme"), "dark": _("Dark theme")}
    themes = [
        {"name": name, "title": title, "form": KeyForm(auto_id=f"{name}_%s")}
        for name, title in titles.items()
    ]
    context = {"swatches": SWATCHES, "images": pictures.order_by("-id")[:4], "themes": themes}
    return render(request, "images/styleguide.html", context)
