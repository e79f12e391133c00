"""Bodies of the API about invitations, links, collection roles, webhooks, the audit log, duplicates and reports."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from images.duplicates import MOST_IN_GROUP, Group, Label
from images.endpoint import moment
from images.models import (
    AuditEvent,
    CollectionGrant,
    DeliveryState,
    Invitation,
    Report,
    Role,
    ShareLink,
    Trust,
    User,
    Webhook,
    WebhookDelivery,
    WebhookEvent,
)
from images.serializers import ImageSerializer, PersonSerializer, Strict, images_json


def person_json(user: User | None) -> dict[str, str] | None:
    return {"id": str(user.uid), "name": user.name} if user else None


# ── Invitations, links, roles ───────────────────────────────────────────────────────────────────────────────────


class InvitationForm(Strict):
    email = serializers.EmailField(max_length=254)
    role = serializers.ChoiceField(Role.choices, default=Role.VIEWER)
    trust = serializers.ChoiceField(Trust.choices, default=Trust.CHECK)


class InvitationSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    email = serializers.EmailField()
    role = serializers.ChoiceField(Role.choices)
    trust = serializers.ChoiceField(Trust.choices)
    invited_by = PersonSerializer(allow_null=True)
    live = serializers.BooleanField()
    sent_at = serializers.DateTimeField(allow_null=True, help_text="Null: the mail could not be sent.")
    expires_at = serializers.DateTimeField()
    accepted_at = serializers.DateTimeField(allow_null=True)
    revoked_at = serializers.DateTimeField(allow_null=True)


def invitation_json(invitation: Invitation) -> dict[str, Any]:
    return {
        "id": str(invitation.uid),
        "email": invitation.email,
        "role": invitation.role,
        "trust": invitation.trust,
        "invited_by": person_json(invitation.invited_by),
        "live": invitation.live,
        "sent_at": moment(invitation.sent_at),
        "expires_at": moment(invitation.expires_at),
        "accepted_at": moment(invitation.accepted_at),
        "revoked_at": moment(invitation.revoked_at),
    }


class ShareForm(Strict):
    name = serializers.CharField(max_length=80)
    expires_at = serializers.DateTimeField(allow_null=True, default=None)
    password = serializers.CharField(
        min_length=6, max_length=128, allow_null=True, default=None, trim_whitespace=False
    )


class ShareSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    name = serializers.CharField()
    has_password = serializers.BooleanField()
    live = serializers.BooleanField()
    created_by = PersonSerializer(allow_null=True)
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField(allow_null=True)
    revoked_at = serializers.DateTimeField(allow_null=True)
    last_used_at = serializers.DateTimeField(allow_null=True)


class MadeShareSerializer(ShareSerializer):
    url = serializers.CharField(
        allow_null=True,
        help_text="The link, told in this answer alone; null when the answer is repeated.",
    )


def share_json(share: ShareLink) -> dict[str, Any]:
    return {
        "id": str(share.uid),
        "name": share.name,
        "has_password": share.has_password,
        "live": share.live,
        "created_by": person_json(share.created_by),
        "created_at": moment(share.created_at),
        "expires_at": moment(share.expires_at),
        "revoked_at": moment(share.revoked_at),
        "last_used_at": moment(share.last_used_at),
    }


class GrantForm(Strict):
    user = serializers.UUIDField(help_text="A member of the team.")
    role = serializers.ChoiceField(Role.choices)


class GrantSerializer(serializers.Serializer):
    user = PersonSerializer()
    role = serializers.ChoiceField(Role.choices)


def grant_json(grant: CollectionGrant) -> dict[str, Any]:
    return {"user": person_json(grant.user), "role": grant.role}


# ── Webhooks ────────────────────────────────────────────────────────────────────────────────────────────────────


class EventsField(serializers.ListField):
    child = serializers.ChoiceField(WebhookEvent.choices)

    def __init__(self, **options: Any) -> None:
        super().__init__(min_length=1, max_length=len(WebhookEvent.values), **options)


class NewWebhookForm(Strict):
    url = serializers.CharField(max_length=500)
    events = EventsField()


class WebhookForm(NewWebhookForm):
    active = serializers.BooleanField()


class WebhookSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    url = serializers.CharField()
    events = serializers.ListField(child=serializers.ChoiceField(WebhookEvent.choices))
    active = serializers.BooleanField()
    stopped_because = serializers.CharField(allow_blank=True)
    owner = PersonSerializer(help_text="It is told what this person may see.")
    created_at = serializers.DateTimeField()


class MadeWebhookSerializer(WebhookSerializer):
    secret = serializers.CharField(
        allow_null=True,
        help_text="Signs every message; told in this answer alone, null when the answer is repeated.",
    )


class DeliverySerializer(serializers.Serializer):
    id = serializers.UUIDField()
    webhook_id = serializers.CharField(help_text="The header `webhook-id` of every attempt.")
    event = serializers.ChoiceField(WebhookEvent.choices)
    payload = serializers.DictField()
    state = serializers.ChoiceField(DeliveryState.choices)
    attempts = serializers.IntegerField()
    response_code = serializers.IntegerField(allow_null=True)
    response_ms = serializers.IntegerField(allow_null=True)
    error = serializers.CharField(allow_blank=True)
    created_at = serializers.DateTimeField()
    tried_at = serializers.DateTimeField(allow_null=True)
    next_try_at = serializers.DateTimeField(allow_null=True)


def webhook_json(hook: Webhook) -> dict[str, Any]:
    return {
        "id": str(hook.uid),
        "url": hook.url,
        "events": hook.events,
        "active": hook.active,
        "stopped_because": hook.stopped_because,
        "owner": person_json(hook.owner),
        "created_at": moment(hook.created_at),
    }


def delivery_json(delivery: WebhookDelivery) -> dict[str, Any]:
    return {
        "id": str(delivery.uid),
        "webhook_id": delivery.webhook_id_header,
        "event": delivery.event,
        "payload": delivery.payload,
        "state": delivery.state,
        "attempts": delivery.attempts,
        "response_code": delivery.response_code,
        "response_ms": delivery.response_ms,
        "error": delivery.error,
        "created_at": moment(delivery.created_at),
        "tried_at": moment(delivery.tried_at),
        "next_try_at": moment(delivery.not_before),
    }


# ── Audit log, duplicates, reports ──────────────────────────────────────────────────────────────────────────────


class AuditEventSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    at = serializers.DateTimeField()
    actor = PersonSerializer(allow_null=True)
    action = serializers.CharField()
    target = serializers.CharField(help_text="The kind of thing and its id.")
    before = serializers.DictField()
    after = serializers.DictField()
    request_id = serializers.CharField(allow_blank=True)


def event_json(event: AuditEvent) -> dict[str, Any]:
    return {
        "id": str(event.uid),
        "at": moment(event.at),
        "actor": person_json(event.actor),
        "action": event.action,
        "target": event.target,
        "before": event.before,
        "after": event.after,
        "request_id": event.request_id,
    }


class DuplicateGroupSerializer(serializers.Serializer):
    kind = serializers.ChoiceField(
        [one.value for one in Label],
        help_text="`same`: the same picture, resized or saved again. `similar`: another picture of the same.",
    )
    distance = serializers.IntegerField(
        allow_null=True,
        help_text="Same: of 256 bits, how many differ at most between two neighbours.",
    )
    similarity = serializers.FloatField(
        allow_null=True, help_text="Similar: the least cosine between two neighbours."
    )
    images = ImageSerializer(many=True, help_text="The best first.")


class DuplicatesSerializer(serializers.Serializer):
    data = DuplicateGroupSerializer(many=True)  # type: ignore[assignment]
    has_more = serializers.BooleanField()
    total = serializers.IntegerField(help_text="How many groups there are.")
    compared = serializers.IntegerField(help_text="How many pictures were compared.")
    complete = serializers.BooleanField(
        help_text="False: the collection has more pictures than are compared."
    )


def group_json(group: Group) -> dict[str, Any]:
    return {
        "kind": group.label.value,
        "distance": group.distance,
        "similarity": group.similarity,
        "images": images_json(group.images),
    }


class KeepForm(Strict):
    images = serializers.ListField(child=serializers.UUIDField(), min_length=2, max_length=MOST_IN_GROUP)


class ReportForm(Strict):
    reason = serializers.CharField(max_length=500)


class ReportSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    image = serializers.UUIDField()
    reason = serializers.CharField()
    created_at = serializers.DateTimeField()


def report_json(report: Report) -> dict[str, Any]:
    return {
        "id": str(report.uid),
        "image": str(report.image.uid),
        "reason": report.reason,
        "created_at": moment(report.created_at),
    }
