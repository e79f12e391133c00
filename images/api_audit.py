"""The audit log, duplicates of a collection, and reports from viewers."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from images import audit_trail, duplicates, moderation
from images.access import Action, require
from images.api_collections import CollectionEndpoint
from images.api_images import ImageEndpoint
from images.api_teams import TeamEndpoint
from images.duplicates import Label
from images.endpoint import invalid, operation
from images.models import Image
from images.pagination import PARAMETERS, Order, page, read_limit
from images.serializers import listed
from images.serializers_team import (
    AuditEventSerializer,
    DuplicatesSerializer,
    KeepForm,
    ReportForm,
    ReportSerializer,
    event_json,
    group_json,
    report_json,
)

EVENTS = Order("audit")
FILTERS = [
    OpenApiParameter(
        "action", {"type": "string", "maxLength": 60}, description="`image.trashed`, or all of `image`."
    ),
    OpenApiParameter("actor", OpenApiTypes.UUID, description="Only what this person did."),
    OpenApiParameter("target", {"type": "string", "maxLength": 120}, description="Part of the target."),
    OpenApiParameter("after", OpenApiTypes.DATETIME, description="From this moment on."),
    OpenApiParameter("before", OpenApiTypes.DATETIME, description="Before this moment."),
]
OFFSET = OpenApiParameter(
    "offset",
    {"type": "integer", "minimum": 0, "maximum": 20_000, "default": 0},
    description="How many groups to pass over.",
)

KIND = OpenApiParameter(
    "kind",
    {"type": "string", "enum": [one.value for one in Label]},
    description="Only the same, or only the similar.",
)


class AuditFilter(serializers.Serializer):
    action = serializers.CharField(max_length=60, default="")
    actor = serializers.UUIDField(default=None)
    target = serializers.CharField(max_length=120, default="")
    after = serializers.DateTimeField(default=None)
    before = serializers.DateTimeField(default=None)


class Audit(TeamEndpoint):
    @operation(
        Action.MANAGE_TEAM,
        "audit_list",
        "Who did what in a team",
        description="Newest first; rows are never changed.",
        responses={200: listed(AuditEventSerializer, "AuditPage")},
        parameters=[*PARAMETERS, *FILTERS],
        tags=["teams"],
        errors=[404],
    )
    def get(self, request: Request, uid: UUID) -> Response:
        team = self.team(uid)
        require(self.principal, Action.MANAGE_TEAM, team)
        given = AuditFilter(data={name: value for name, value in request.query_params.items() if value})
        given.is_valid(raise_exception=True)
        rows = audit_trail.events(team, audit_trail.Filter(**given.validated_data))
        return Response(page(rows, request, EVENTS, lambda found: [event_json(one) for one in found]))


class Duplicates(CollectionEndpoint):
    @operation(
        Action.VIEW,
        "duplicates_list",
        "Pictures that show the same",
        description="Groups, the largest first. `same`: perceptual hashes differ in at most 31 of 256 bits (among the "
        "newest 10,000 of the collection). `similar`: the collection's model calls them the same (among the newest "
        "5,000). The same bytes twice are never stored.",
        responses={200: DuplicatesSerializer},
        parameters=[PARAMETERS[0], OFFSET, KIND],
        tags=["collections"],
        errors=[404],
    )
    def get(self, request: Request, uid: UUID) -> Response:
        start, limit, label = _offset(request), read_limit(request), _label(request)
        found = duplicates.find(self.collection(uid), self.principal, start, limit, label)
        return Response(
            {
                "data": [group_json(group) for group in found.groups],
                "has_more": found.total > start + limit,
                "total": found.total,
                "compared": found.compared,
                "complete": found.complete,
            }
        )


class DuplicatesKeep(CollectionEndpoint):
    @operation(
        Action.EDIT,
        "duplicates_keep",
        "Keep look-alikes",
        description="These pictures are not listed together as duplicates again. To part with one, `DELETE` it.",
        request=KeepForm,
        responses={204: None},
        tags=["collections"],
        errors=[404],
    )
    def post(self, request: Request, uid: UUID) -> Response:
        collection = self.collection(uid)
        require(self.principal, Action.EDIT, collection)
        asked = set(self.check(KeepForm)["images"])
        visible = Image.objects.visible_to(self.principal).filter(collection=collection, uid__in=asked)  # type: ignore[attr-defined]
        found = list(visible.select_related("collection__team"))
        if len(found) != len(asked):
            raise invalid("images", _("Not all of these are pictures of this collection."))
        duplicates.keep(found, self.user)
        return Response(status=204)


class Reports(ImageEndpoint):
    @operation(
        None,
        "images_report",
        "Report a picture to the moderators",
        description="The picture stays until they decide. Reporting it again changes the reason.",
        request=ReportForm,
        responses={201: ReportSerializer},
        tags=["moderation"],
        errors=[404],
    )
    def post(self, request: Request, uid: UUID) -> Response:
        image = self.image(uid)
        report = moderation.report(image, self.user, self.check(ReportForm)["reason"])
        return Response(report_json(report), status=201)


def _offset(request: Request) -> int:
    text: Any = request.query_params.get("offset", "0")
    if not (text.isascii() and text.isdigit() and len(text) < 6 and int(text) <= 20_000):
        raise ValidationError({"offset": [_("This has to lie between 0 and 20,000.")]})
    return int(text)


def _label(request: Request) -> Label | None:
    given = request.query_params.get("kind")
    if given is None:
        return None
    if given not in [one.value for one in Label]:
        raise ValidationError({"kind": [_("Choose one of: %(names)s.") % {"names": ", ".join(Label)}]})
    return Label(given)
