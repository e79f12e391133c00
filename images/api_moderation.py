"""The review queue and what moderators decide."""

from __future__ import annotations

from uuid import UUID

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request
from rest_framework.response import Response

from images import moderation, prompts
from images.access import Action, require
from images.api_collections import read_uid
from images.api_images import ImageEndpoint
from images.endpoint import Endpoint, operation
from images.pagination import PARAMETERS, Order, page
from images.serializers import DecisionForm, ImageSerializer, for_json, listed
from images.serializers_review import QueuedImageSerializer, queue_json
from images.views.review import waiting

OLDEST = Order("moderation", newest_first=False)
IN_COLLECTION = OpenApiParameter(
    "collection", OpenApiTypes.UUID, description="Only those of this collection."
)


class ModerationQueue(Endpoint):
    @operation(
        Action.MODERATE,
        "moderation_list",
        "Pictures that wait for your decision",
        description="Oldest first, with hints of what they might show. A hint is a guess and changes no picture.",
        responses={200: listed(QueuedImageSerializer, "QueuePage")},
        parameters=[*PARAMETERS, IN_COLLECTION],
        tags=["moderation"],
    )
    def get(self, request: Request) -> Response:
        rows = for_json(waiting(self.principal))
        if given := request.query_params.get("collection"):
            rows = rows.filter(collection__uid=read_uid(given, "collection"))
        return Response(
            page(rows, request, OLDEST, lambda found: queue_json(found, prompts.hints(found, self.principal)))
        )


class Decision(ImageEndpoint):
    @operation(
        Action.MODERATE,
        "moderation_decide",
        "Approve, reject, hide, restore or undo",
        description="`restore` approves what was rejected or hidden; `undo` puts it back into the queue.",
        request=DecisionForm,
        responses={200: ImageSerializer},
        tags=["moderation"],
        errors=[404],
    )
    def post(self, request: Request, uid: UUID) -> Response:
        image = self.image(uid)
        require(self.principal, Action.MODERATE, image)
        wanted = self.check(DecisionForm)
        moderation.decide(image, wanted["decision"], self.user, wanted["reason"])
        return self.answer(image)
