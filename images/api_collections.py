"""Collections: the unit of permission. Uploads are in `api_images`, indexes in the search app."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from uuid import UUID

from django.db import transaction
from django.db.models import Count
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response

from images import teams
from images.access import Action, require
from images.api_teams import visible_teams
from images.endpoint import Endpoint, invalid, operation
from images.models import Collection, Image, Team
from images.pagination import PARAMETERS, Order, page
from images.problems import Problem
from images.serializers import (
    CollectionForm,
    CollectionSerializer,
    NewCollectionForm,
    collection_json,
    listed,
)

OLDEST = Order("collections", newest_first=False)
IN_TEAM = OpenApiParameter("team", OpenApiTypes.UUID, description="Only those of this team.")


def etag(collection: Collection) -> str:
    """Changes with every setting that PATCH can change."""
    settings = [getattr(collection, name) for name in teams.COLLECTION_FIELDS]
    return f'"{hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:20]}"'


class CollectionEndpoint(Endpoint):
    def collection(self, uid: UUID) -> Collection:
        return self.find(Collection.objects.visible_to(self.principal).select_related("team"), uid)

    def show(self, rows: Sequence[Collection]) -> list[dict]:
        visible = Image.objects.visible_to(self.principal).filter(collection__in=[row.pk for row in rows])
        counts = dict(visible.order_by().values_list("collection").annotate(n=Count("pk")))
        return [collection_json(row, self.principal, counts.get(row.pk, 0)) for row in rows]

    def answer(self, collection: Collection, status: int = 200) -> Response:
        body = self.show([collection])[0]
        headers = {"ETag": etag(collection)}
        if status == 201:
            headers["Location"] = f"{self.request.path}{collection.uid}/"
        return Response(body, status=status, headers=headers)


class Collections(CollectionEndpoint):
    @operation(
        Action.VIEW,
        "collections_list",
        "Collections that you may read",
        responses={200: listed(CollectionSerializer, "CollectionPage")},
        parameters=[*PARAMETERS, IN_TEAM],
        tags=["collections"],
    )
    def get(self, request: Request) -> Response:
        rows = Collection.objects.visible_to(self.principal).select_related("team")
        if given := request.query_params.get("team"):
            rows = rows.filter(team__uid=read_uid(given, "team"))
        return Response(page(rows, request, OLDEST, self.show))

    @operation(
        Action.CREATE_COLLECTION,
        "collections_create",
        "Create a collection",
        description="Whoever makes a private collection owns it.",
        request=NewCollectionForm,
        responses={201: CollectionSerializer},
        tags=["collections"],
    )
    def post(self, request: Request) -> Response:
        wanted = self.check(NewCollectionForm)
        team = self._team(wanted.pop("team", None))
        require(self.principal, Action.CREATE_COLLECTION, team)
        if self.principal.only_collections is not None:
            raise PermissionDenied(_("This API key is limited to some collections and makes no others."))
        collection = teams.create_collection(team, self.user, **wanted)
        self.request._request.principal = self.fresh_principal()  # type: ignore[attr-defined]
        return self.answer(collection, status=201)

    def _team(self, uid: UUID | None) -> Team:
        """The named team, or the only one. A team that is not to be seen is an invalid field, not a 404."""
        found = list(
            (visible_teams(self.principal).filter(uid=uid) if uid else visible_teams(self.principal))[:2]
        )
        if len(found) == 1:
            return found[0]
        raise invalid(
            "team", _("You have no such team.") if uid or not found else _("Say which of your teams.")
        )


class CollectionDetail(CollectionEndpoint):
    @operation(
        Action.VIEW,
        "collections_get",
        "A collection",
        responses={200: CollectionSerializer},
        tags=["collections"],
        errors=[404],
    )
    def get(self, request: Request, uid: UUID) -> Response:
        return self.answer(self.collection(uid))

    @operation(
        Action.MANAGE,
        "collections_change",
        "Change a collection",
        request=CollectionForm,
        responses={200: CollectionSerializer},
        tags=["collections"],
        errors=[404],
        match=True,
    )
    def patch(self, request: Request, uid: UUID) -> Response:
        collection = self.collection(uid)
        require(self.principal, Action.MANAGE, collection)
        wanted = self.check(CollectionForm, partial=True)
        with transaction.atomic():
            # Only a locked row can be compared with If-Match and changed in one step.
            collection = (
                Collection.objects.select_for_update(of=("self",))
                .select_related("team")
                .get(pk=collection.pk)
            )
            self.require_match(etag(collection))
            teams.edit_collection(collection, self.user, **wanted)
        self.request._request.principal = self.fresh_principal()  # type: ignore[attr-defined]
        return self.answer(collection)

    @operation(
        Action.MANAGE,
        "collections_delete",
        "Delete an empty collection",
        description="409 while it holds pictures: they leave through the trash.",
        responses={204: None},
        tags=["collections"],
        errors=[404],
    )
    def delete(self, request: Request, uid: UUID) -> Response:
        collection = self.collection(uid)
        require(self.principal, Action.MANAGE, collection)
        teams.delete_collection(collection, self.user)
        return Response(status=204)


def read_uid(text: str, field: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise Problem(400, "invalid", _("This is not an id."), f"/{field}") from None
