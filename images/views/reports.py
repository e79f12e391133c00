"""“Report this picture”: whoever sees it may ask the moderators to look at it."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from images import moderation
from images.forms_team import ReportForm
from images.models import Image
from images.views.request import Request


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def page(request: Request, uid: UUID) -> HttpResponse:
    visible = Image.objects.visible_to(request.principal).select_related("collection__team")  # type: ignore[attr-defined]
    image = get_object_or_404(visible, uid=uid)
    form = ReportForm(request.POST or None)
    if form.is_valid():
        try:
            moderation.report(image, request.user, form.cleaned_data["reason"])
            messages.success(request, _("Thank you. The moderators will look at it."))
            return redirect("images:image", uid=uid)
        except moderation.Conflict as error:
            form.add_error(None, str(error))
    context = {"image": image, "form": form, "section": "collections"}
    return render(request, "team/report.html", context, status=422 if form.is_bound else 200)
