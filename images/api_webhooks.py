"""Webhooks of a team, and what was delivered."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from rest_framework.request import Request
from rest_framework.response import Response

from images import webhooks
from images.access import Action, require
from images.api_teams import TeamEndpoint
from images.endpoint import invalid, operation
from images.models import Team, Webhook, WebhookDelivery
from images.outbound import AddressRefused
from images.pagination import PARAMETERS, Order, page
from images.serializers import listed
from images.serializers_team import (
    DeliverySerializer,
    MadeWebhookSerializer,
    NewWebhookForm,
    WebhookForm,
    WebhookSerializer,
    delivery_json,
    webhook_json,
)

WEBHOOKS = Order("webhooks")
DELIVERIES = Order("deliveries")


class WebhookEndpoint(TeamEndpoint):
    def managed(self, uid: UUID) -> Team:
        team = self.team(uid)
        require(self.principal, Action.MANAGE_WEBHOOKS, team)
        return team

    def hooks(self, uid: UUID) -> QuerySet[Webhook]:
        return Webhook.objects.filter(team=self.managed(uid)).select_related("team", "owner")

    def deliveries(self, uid: UUID, webhook: UUID) -> QuerySet[WebhookDelivery]:
        found = WebhookDelivery.objects.filter(webhook=self.find(self.hooks(uid), webhook))
        return found.select_related("webhook__team")


class Webhooks(WebhookEndpoint):
    @operation(
        Action.MANAGE_WEBHOOKS,
        "webhooks_list",
        "Webhooks of a team",
        responses={200: listed(WebhookSerializer, "WebhookPage")},
        parameters=PARAMETERS,
        tags=["webhooks"],
        errors=[404],
    )
    def get(self, request: Request, uid: UUID) -> Response:
        rows = self.hooks(uid)
        return Response(page(rows, request, WEBHOOKS, lambda found: [webhook_json(one) for one in found]))

    @operation(
        Action.MANAGE_WEBHOOKS,
        "webhooks_create",
        "Make a webhook",
        description="It is told what you may see. Private and local addresses are refused.",
        request=NewWebhookForm,
        responses={201: MadeWebhookSerializer},
        tags=["webhooks"],
        errors=[404],
        unrepeated=["secret"],
    )
    def post(self, request: Request, uid: UUID) -> Response:
        team = self.managed(uid)
        wanted = self.check(NewWebhookForm)
        try:
            hook, secret = webhooks.create(team, self.user, wanted["url"], wanted["events"])
        except AddressRefused as error:
            raise invalid("url", str(error)) from error
        return Response({**webhook_json(hook), "secret": secret}, status=201)


class WebhookDetail(WebhookEndpoint):
    @operation(
        Action.MANAGE_WEBHOOKS,
        "webhooks_get",
        "A webhook",
        responses={200: WebhookSerializer},
        tags=["webhooks"],
        errors=[404],
    )
    def get(self, request: Request, uid: UUID, webhook: UUID) -> Response:
        return Response(webhook_json(self.find(self.hooks(uid), webhook)))

    @operation(
        Action.MANAGE_WEBHOOKS,
        "webhooks_change",
        "Change, pause or go on with a webhook",
        description="From then on it is told what you may see.",
        request=WebhookForm,
        responses={200: WebhookSerializer},
        tags=["webhooks"],
        errors=[404],
    )
    def patch(self, request: Request, uid: UUID, webhook: UUID) -> Response:
        hook = self.find(self.hooks(uid), webhook)
        wanted: dict[str, Any] = self.check(WebhookForm, partial=True)
        try:
            webhooks.change(hook, self.user, **wanted)
        except AddressRefused as error:
            raise invalid("url", str(error)) from error
        return Response(webhook_json(hook))

    @operation(
        Action.MANAGE_WEBHOOKS,
        "webhooks_remove",
        "Remove a webhook and its deliveries",
        responses={204: None},
        tags=["webhooks"],
        errors=[404],
    )
    def delete(self, request: Request, uid: UUID, webhook: UUID) -> Response:
        webhooks.remove(self.find(self.hooks(uid), webhook), self.user)
        return Response(status=204)


class WebhookRotation(WebhookEndpoint):
    @operation(
        Action.MANAGE_WEBHOOKS,
        "webhooks_rotate",
        "Replace the secret of a webhook",
        description="For 24 hours every message carries two signatures, of the new and of the former secret.",
        responses={200: MadeWebhookSerializer},
        tags=["webhooks"],
        errors=[404],
        unrepeated=["secret"],
    )
    def post(self, request: Request, uid: UUID, webhook: UUID) -> Response:
        hook = self.find(self.hooks(uid), webhook)
        secret = webhooks.rotate(hook, self.user)
        return Response({**webhook_json(hook), "secret": secret})


class Deliveries(WebhookEndpoint):
    @operation(
        Action.MANAGE_WEBHOOKS,
        "deliveries_list",
        "What a webhook was told",
        description="Kept for 30 days.",
        responses={200: listed(DeliverySerializer, "DeliveryPage")},
        parameters=PARAMETERS,
        tags=["webhooks"],
        errors=[404],
    )
    def get(self, request: Request, uid: UUID, webhook: UUID) -> Response:
        rows = self.deliveries(uid, webhook)
        return Response(page(rows, request, DELIVERIES, lambda found: [delivery_json(one) for one in found]))


class DeliveryResend(WebhookEndpoint):
    @operation(
        Action.MANAGE_WEBHOOKS,
        "deliveries_resend",
        "Send a delivery again",
        description="Under the same `webhook-id`.",
        responses={200: DeliverySerializer},
        tags=["webhooks"],
        errors=[404],
    )
    def post(self, request: Request, uid: UUID, webhook: UUID, delivery: UUID) -> Response:
        found = self.find(self.deliveries(uid, webhook), delivery)
        webhooks.resend(found, self.user)
        return Response(delivery_json(found))
