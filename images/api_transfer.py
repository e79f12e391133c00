"""Zip archives in and out, as jobs."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.http import HttpResponse, HttpResponseRedirect
from django.urls import path
from django.utils.translation import gettext as _
from rest_framework import serializers
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from images import transfer
from images.access import Action, require
from images.api_collections import CollectionEndpoint
from images.api_images import REDIRECT
from images.api_jobs import visible_jobs
from images.companions import companion
from images.endpoint import FORM_BYTES, AnyMedia, Endpoint, invalid, operation
from images.models import Collection, Image, Job
from images.problems import Problem
from images.serializers import JobSerializer, Strict, job_json

MAX_CHOSEN = 1000


class ImportForm(Strict):
    file = serializers.FileField(max_length=1000, help_text="A zip of at most 1,000 files and 512 MB.")


class ExportForm(Strict):
    originals = serializers.BooleanField(default=True, help_text="False: metadata and vectors alone.")
    query = serializers.DictField(
        required=False,
        allow_null=True,
        help_text="As for `POST search/`: only what this finds in the collection.",
    )
    images = serializers.ListField(
        child=serializers.UUIDField(),
        required=False,
        allow_null=True,
        max_length=MAX_CHOSEN,
        help_text="Only these.",
    )


class Imports(CollectionEndpoint):
    parser_classes = [MultiPartParser]

    @operation(
        Action.UPLOAD,
        "imports_create",
        "Import a zip of pictures",
        description="Pictures that are there already are skipped. `metadata.jsonl`, `metadata.csv` or `name.jpg.json` "
        "bring titles, captions, tags and dates; an export of this server comes back as it was.",
        request={"multipart/form-data": ImportForm},
        responses={202: JobSerializer},
        tags=["transfer"],
        errors=[404],
    )
    def post(self, request: Request, uid: UUID) -> Response:
        collection = self.collection(uid)
        require(self.principal, Action.UPLOAD, collection)
        file = self.check(ImportForm)["file"]
        return accepted(transfer.request_import(collection, self.principal, self.user, file.file))

    def _refuse_oversized(self, request: Request) -> None:
        """Archives are larger than pictures: only the declared length is compared, before anything is read."""
        declared = request.META.get("CONTENT_LENGTH") or "0"
        if declared.isdigit() and int(declared) > transfer.ARCHIVE_BYTES + FORM_BYTES:
            limit = transfer.ARCHIVE_BYTES // 1024**2
            raise Problem(413, "too_large", _("The archive is larger than %d MB.") % limit, "/file")


class Exports(CollectionEndpoint):
    @operation(
        Action.VIEW,
        "exports_create",
        "Export a collection, or some of its pictures",
        description="Approved pictures that you may see, with their metadata and vectors, as one zip. Where a picture "
        "was taken is told to its uploader and to managers only.",
        request=ExportForm,
        responses={202: JobSerializer},
        tags=["transfer"],
        errors=[404],
    )
    def post(self, request: Request, uid: UUID) -> Response:
        collection = self.collection(uid)
        require(self.principal, Action.VIEW, collection)
        wanted = self.check(ExportForm)
        only = self._only(collection, wanted)
        job = transfer.request_export(
            collection, self.principal, self.user, originals=wanted["originals"], only=only
        )
        return accepted(job)

    def _only(self, collection: Collection, wanted: dict[str, Any]) -> list[int] | None:
        """Row ids of a selection; None: everything. What is found now is gated again when it is written."""
        query, images = wanted.get("query"), wanted.get("images")
        if query is not None and images is not None:
            raise invalid("images", _("Choose by a query or by ids, not by both."))
        if images is not None:
            rows = Image.objects.visible_to(self.principal).filter(collection=collection, uid__in=images)
            return list(rows.values_list("pk", flat=True))
        search = companion()
        if query is None:
            return None
        require(self.principal, Action.SEARCH, collection)
        if search is None:
            raise invalid("query", _("Search is not installed on this server."))
        return search.select(query, self.principal, collection)


class JobResult(Endpoint):
    content_negotiation_class = AnyMedia

    @operation(
        Action.VIEW,
        "jobs_result",
        "Download an export",
        description="For whoever asked for it, for seven days, while they may see every picture in it.",
        responses=REDIRECT,
        tags=["transfer"],
        errors=[404, 409, 410],
    )
    def get(self, request: Request, uid: UUID) -> HttpResponse:
        job = self.find(visible_jobs(self.principal), uid)
        return HttpResponseRedirect(transfer.result_link(job, self.principal, self.user))


def accepted(job: Job) -> Response:
    body = job_json(job)
    return Response(body, status=202, headers={"Location": f"/api/v1/jobs/{body['id']}/"})


urlpatterns = [
    path("collections/<uuid:uid>/imports/", Imports.as_view(), name="imports"),
    path("collections/<uuid:uid>/exports/", Exports.as_view(), name="exports"),
    path("jobs/<uuid:uid>/result/", JobResult.as_view(), name="job-result"),
]
