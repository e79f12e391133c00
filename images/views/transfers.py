"""Archives in and out of a collection, in the browser: asked for here, done by a worker, watched under Jobs."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from images import transfer
from images.access import Action, allowed
from images.companions import companion
from images.forms_transfer import ExportForm, ImportForm
from images.ingest import UploadRefused
from images.models import Collection, Job, JobKind, JobState
from images.moderation import Conflict
from images.views.collections import frame
from images.views.managed import managed_collection
from images.views.request import Request

MOST_SHOWN = 10


@require_safe
@login_required
def page(request: Request, uid: UUID) -> HttpResponse:
    """The two forms and one's own last jobs here; htmx gets the jobs alone."""
    return _page(request, managed_collection(request, uid, Action.VIEW))


@require_http_methods(["POST"])
@login_required
def take_in(request: Request, uid: UUID) -> HttpResponse:
    """A zip of pictures becomes a job."""
    collection = managed_collection(request, uid, Action.UPLOAD)
    form = ImportForm(request.POST, request.FILES)
    if form.is_valid():
        try:
            transfer.request_import(
                collection, request.principal, request.user, form.cleaned_data["file"].file
            )
        except (UploadRefused, Conflict) as error:
            form.add_error("file", str(error))
        else:
            messages.success(request, _("The archive is here; its pictures follow. You can leave this page."))
            return redirect("images:transfer", uid=uid)
    return _page(request, collection, 422, import_form=form)


@require_POST
@login_required
def take_out(request: Request, uid: UUID) -> HttpResponse:
    """What the reader sees, or what a search finds of it, becomes a job that makes a zip."""
    collection = managed_collection(request, uid, Action.VIEW)
    form = ExportForm(request.POST)
    if form.is_valid():
        try:
            only = _selected(request, collection, form.cleaned_data["query"])
            originals = form.cleaned_data["originals"]
            transfer.request_export(
                collection, request.principal, request.user, originals=originals, only=only
            )
        except (UploadRefused, Conflict) as error:
            form.add_error("query" if form.cleaned_data["query"] else None, str(error))
        else:
            messages.success(request, _("The archive is being made. You can leave this page."))
            return redirect("images:transfer", uid=uid)
    return _page(request, collection, 422, export_form=form)


@require_safe
@login_required
def result(request: Request, uid: UUID) -> HttpResponse:
    """A finished export, for whoever asked for it."""
    visible = Job.objects.visible_to(request.principal).filter(kind=JobKind.EXPORT)  # type: ignore[attr-defined]
    job = get_object_or_404(visible.select_related("collection__team", "team"), uid=uid)
    if job.created_by_id != request.user.pk:
        return render(request, "404.html", status=404)
    try:
        return redirect(transfer.result_link(job, request.principal, request.user))
    except (UploadRefused, Conflict) as error:
        messages.error(request, str(error))
        return redirect("images:jobs")


def _selected(request: Request, collection: Collection, words: str) -> list[int] | None:
    """Row ids of what a search for these words finds here; None: everything."""
    search = companion()
    if not words or search is None:
        return None
    return search.select({"query": [{"text": words}]}, request.principal, collection)


def _page(request: Request, collection: Collection, status: int = 200, **forms: object) -> HttpResponse:
    own = Job.objects.visible_to(request.principal).filter(collection=collection, created_by=request.user)  # type: ignore[attr-defined]
    jobs = list(own.filter(kind__in=transfer.KINDS).select_related("collection", "created_by")[:MOST_SHOWN])
    context = {
        "jobs": jobs,
        "running": any(job.state in transfer.OPEN for job in jobs),
        "done": JobState.DONE,
        "import_form": ImportForm(),
        "export_form": ExportForm(),
        "may_import": allowed(request.principal, Action.UPLOAD, collection),
        "most_mb": transfer.ARCHIVE_BYTES // 1024**2,
    }
    template = "images/_jobs.html" if request.htmx else "images/transfer.html"
    return render(request, template, frame(request, collection) | context | forms, status=status)
