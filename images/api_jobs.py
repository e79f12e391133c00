"""Long work, for whoever asked for it and for those who moderate where it is done."""

from __future__ import annotations

from uuid import UUID

from django.db.models import Q, QuerySet
from rest_framework.request import Request
from rest_framework.response import Response

from images.access import Action, Principal
from images.endpoint import Endpoint, operation
from images.models import Collection, Job
from images.pagination import PARAMETERS, Order, page
from images.serializers import JobSerializer, job_json, listed

NEWEST = Order("jobs")


def visible_jobs(principal: Principal) -> QuerySet[Job]:
    """Of collections that the principal may read: its own jobs, and everybody's where it moderates."""
    readable = Job.objects.filter(collection__in=Collection.objects.visible_to(principal))
    mine = Q(created_by=principal.user_id) if principal.signed_in else Q(pk__in=[])
    return readable.filter(mine | principal.moderated_q("collection__")).select_related("collection", "team")


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
