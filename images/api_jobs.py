"""Long work, for whoever asked for it and for those who moderate where it is done."""

from __future__ import annotations

from uuid import UUID

from django.db.models import QuerySet
from rest_framework.request import Request
from rest_framework.response import Response

from images.access import Action, Principal
from images.endpoint import Endpoint, operation
from images.models import Job
from images.pagination import PARAMETERS, Order, page
from images.serializers import JobSerializer, job_json, listed

NEWEST = Order("jobs")


def visible_jobs(principal: Principal) -> QuerySet[Job]:
    return Job.objects.visible_to(principal).select_related("collection", "team")  # type: ignore[attr-defined, no-any-return]


class Jobs(Endpoint):
    @operation(
        Action.VIEW,
        "jobs_list",
        "Long work",
        responses={200: listed(JobSerializer, "JobPage")},
        parameters=PARAMETERS,
        tags=["jobs"],
    )
    def get(self, request: Request) -> Response:
        return Response(
            page(visible_jobs(self.principal), request, NEWEST, lambda rows: [job_json(job) for job in rows])
        )


class JobDetail(Endpoint):
    @operation(Action.VIEW, "jobs_get", "A job", responses={200: JobSerializer}, tags=["jobs"], errors=[404])
    def get(self, request: Request, uid: UUID) -> Response:
        return Response(job_json(self.find(visible_jobs(self.principal), uid)))
