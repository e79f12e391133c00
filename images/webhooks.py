"""Webhooks: an outbox of deliveries, written with the change, sent by whoever claims them.

    WAITING ──deliver──▶ DELIVERED (2xx)
       ▲        └─ anything else ─▶ not_before by RETRIES ──(3 days)──▶ FAILED
       └──resend────────────────────────────────────────────┘

Signed as Standard Webhooks says (https://www.standardwebhooks.com): `webhook-id`, `webhook-timestamp` and
`webhook-signature`, over `id.timestamp.body`. A webhook is never told more than its owner may see at that moment.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import random
import secrets
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import orjson
from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from images import audit, leases, outbound
from images.access import Action, Rank, allowed, principal_for_user
from images.models import (
    Collection,
    DeliveryState,
    Image,
    Team,
    User,
    Webhook,
    WebhookDelivery,
    WebhookEvent,
)  # fmt: skip
from images.moderation import Conflict
from images.signals import (
    deliveries_changed,
    image_decided,
    image_deleted,
    image_failed,
    image_ready,
    index_swapped,
)  # fmt: skip

MOST_WEBHOOKS = 20
BATCH = 16
LEASE = timedelta(seconds=120)
OVERLAP = timedelta(hours=24)
KEPT = timedelta(days=30)
# Waits after the first, second … attempt; together 3 days and 3 hours.
RETRIES = tuple(timedelta(seconds=s) for s in (5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400))
SUCCESS = range(200, 300)
GONE = 410


# ── What managers do ────────────────────────────────────────────────────────────────────────────────────────────


def create(team: Team, owner: User, url: str, events: Sequence[str]) -> tuple[Webhook, str]:
    """A new webhook and its secret, which is never to be had again. Raises AddressRefused, Conflict, ValueError."""
    chosen = _known(events)
    _refuse_private(url)
    with transaction.atomic():
        Team.objects.select_for_update().get(pk=team.pk)
        if Webhook.objects.filter(team=team).count() >= MOST_WEBHOOKS:
            raise Conflict(_("A team has at most %d webhooks.") % MOST_WEBHOOKS)
        secret = _new_secret()
        hook = Webhook.objects.create(team=team, owner=owner, url=url, events=chosen, secret=secret)
        _record("webhook.created", hook, owner, after={"url": url, "events": chosen})
    return hook, secret


def change(hook: Webhook, actor: User, **fields: Any) -> None:
    """Set `url`, `events` or `active`; who changes it becomes its owner, since it then acts in their name."""
    if unknown := set(fields) - {"url", "events", "active"}:
        raise ValueError(f"not editable: {', '.join(sorted(unknown))}")
    if "url" in fields:
        _refuse_private(fields["url"])
    if "events" in fields:
        fields["events"] = _known(fields["events"])
    with transaction.atomic():
        before = {name: getattr(hook, name) for name in fields}
        Webhook.objects.filter(pk=hook.pk).update(owner=actor, stopped_because="", **fields)
        _record("webhook.changed", hook, actor, before=before, after=fields)
        deliveries_changed.send(Webhook)
    hook.refresh_from_db()


def rotate(hook: Webhook, actor: User) -> str:
    """A new secret; for a day every delivery is signed with both, so receivers change over without a gap."""
    secret = _new_secret()
    with transaction.atomic():
        Webhook.objects.filter(pk=hook.pk).update(
            secret=secret, former_secret=hook.secret, former_until=timezone.now() + OVERLAP
        )
        _record("webhook.rotated", hook, actor)
    hook.refresh_from_db()
    return secret


def remove(hook: Webhook, actor: User) -> None:
    with transaction.atomic():
        _record("webhook.removed", hook, actor, before={"url": hook.url, "events": hook.events})
        hook.delete()


def resend(delivery: WebhookDelivery, actor: User) -> None:
    """Send once more under the same id, with a fresh three days of attempts."""
    with transaction.atomic():
        WebhookDelivery.objects.filter(pk=delivery.pk).exclude(state=DeliveryState.WAITING).update(
            state=DeliveryState.WAITING, attempts=0, not_before=None, lease_until=None, error=""
        )
        _record("webhook.resent", delivery.webhook, actor, after={"delivery": str(delivery.uid)})
        deliveries_changed.send(Webhook)
    delivery.refresh_from_db()


# ── The outbox ──────────────────────────────────────────────────────────────────────────────────────────────────


def emit(event: WebhookEvent, collection: Collection, data: dict[str, Any]) -> int:
    """Write a delivery for every webhook that wants `event` and may know of `collection`. Call it inside the
    transaction of the change. Returns how many were written."""
    hooks = Webhook.objects.filter(team=collection.team_id, active=True).select_related("owner")
    told = [hook for hook in hooks[:MOST_WEBHOOKS] if event in hook.events and _may_know(hook, collection)]
    if not told:
        return 0
    payload = {"type": event.value, "timestamp": timezone.now().isoformat(), "data": data}
    WebhookDelivery.objects.bulk_create(
        WebhookDelivery(webhook=hook, collection=collection, event=event, payload=payload) for hook in told
    )
    deliveries_changed.send(Webhook)
    return len(told)


def emit_image(event: WebhookEvent, image: Image, **more: Any) -> int:
    """`emit` for something that happened to one picture."""
    data = {
        "id": str(image.uid),
        "collection": str(image.collection.uid),
        "file_name": image.file_name,
        "sha256": image.sha256,
        "state": str(image.state),
        "moderation": str(image.moderation),
        **more,
    }
    return emit(event, image.collection, data)


def deliver_due(limit: int = BATCH) -> int:
    """Claim what is due and send it, as many at once as were claimed. Returns how many were claimed.

    Threads only send; the database is spoken to by the calling thread alone.
    """
    due = WebhookDelivery.objects.filter(webhook__active=True)
    due = due.select_related("webhook__owner", "webhook__team", "collection")
    rows = leases.claim_fairly(due, limit, group="webhook", lease=LEASE)
    ready = [row for row in rows if _still_wanted(row)]
    if ready:
        with ThreadPoolExecutor(len(ready)) as threads:
            for delivery, (answer, error) in zip(ready, threads.map(_send, ready), strict=True):
                _conclude(delivery, answer, error)
    return len(rows)


def _still_wanted(delivery: WebhookDelivery) -> bool:
    """Rights may have ended since the event."""
    if _may_know(delivery.webhook, delivery.collection):
        return True
    _settle(delivery, None, _("The owner of this webhook may no longer see the collection."), final=True)
    return False


def _send(delivery: WebhookDelivery) -> tuple[outbound.Answer | None, str]:
    """The answer, or why there is none."""
    body = orjson.dumps(delivery.payload)
    try:
        return outbound.post(delivery.webhook.url, body, _headers(delivery.webhook, delivery, body)), ""
    except (outbound.AddressRefused, outbound.NoAnswer) as error:
        return None, str(error)


def _conclude(delivery: WebhookDelivery, answer: outbound.Answer | None, error: str) -> None:
    if answer is not None and answer.status not in SUCCESS:
        error = _("It answered %d.") % answer.status
    gone = answer is not None and answer.status == GONE
    _settle(delivery, answer, error, final=gone or not error)
    if gone:
        _stop(delivery.webhook, _("The receiver answered 410: it wants no more."))


def forget_old() -> int:
    """Remove what was settled more than 30 days ago."""
    old = WebhookDelivery.objects.filter(created_at__lt=timezone.now() - KEPT)
    return old.exclude(state=DeliveryState.WAITING).delete()[0]


def sign(hook: Webhook, webhook_id: str, timestamp: int, body: bytes) -> str:
    """The `webhook-signature` header: one `v1` signature, two while a former secret is still valid."""
    keys = [hook.secret]
    if hook.former_secret and hook.former_until and hook.former_until > timezone.now():
        keys.append(hook.former_secret)
    message = b"%s.%d.%s" % (webhook_id.encode(), timestamp, body)
    made = (
        hmac.digest(base64.b64decode(key.removeprefix("whsec_")), message, hashlib.sha256) for key in keys
    )
    return " ".join(f"v1,{base64.b64encode(one).decode()}" for one in made)


# ── What happened ───────────────────────────────────────────────────────────────────────────────────────────────


def connect() -> None:
    """Listen to what is told inside the transactions of the changes."""
    for signal, receiver in (
        (image_ready, _ready), (image_failed, _failed), (image_deleted, _deleted), (image_decided, _decided),
        (index_swapped, _swapped),
    ):  # fmt: skip
        signal.connect(receiver, dispatch_uid=f"images.webhooks.{receiver.__name__}")


def _ready(sender: object, image: Image, **kwargs: Any) -> None:
    emit_image(WebhookEvent.IMAGE_READY, image, state="ready")


def _failed(sender: object, image: Image, reason: str, **kwargs: Any) -> None:
    emit_image(WebhookEvent.IMAGE_FAILED, image, state="rejected", reason=reason)


def _deleted(sender: object, image: Image, for_good: bool, **kwargs: Any) -> None:
    emit_image(WebhookEvent.IMAGE_DELETED, image, for_good=for_good)


def _decided(sender: object, image: Image, decision: str, reason: str, **kwargs: Any) -> None:
    emit_image(WebhookEvent.MODERATION_DECIDED, image, decision=decision, reason=reason)


def _swapped(sender: object, collection: Collection, generation: int, count: int, **kwargs: Any) -> None:
    data = {"collection": str(collection.uid), "generation": generation, "vectors": count}
    emit(WebhookEvent.INDEX_SWAPPED, collection, data)


# ── Pieces ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _may_know(hook: Webhook, collection: Collection) -> bool:
    """Deliveries tell of waiting and refused pictures too, so it takes somebody who moderates there."""
    principal = principal_for_user(hook.owner)
    return (
        allowed(principal, Action.MANAGE_WEBHOOKS, hook.team) and principal.rank_in(collection) >= Rank.EDITOR
    )


def _headers(hook: Webhook, delivery: WebhookDelivery, body: bytes) -> dict[str, str]:
    webhook_id, timestamp = delivery.webhook_id_header, int(time.time())
    return {
        "Content-Type": "application/json",
        "User-Agent": "Loupe-Webhooks/1",
        "webhook-id": webhook_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": sign(hook, webhook_id, timestamp, body),
    }


def _settle(delivery: WebhookDelivery, answer: outbound.Answer | None, error: str, *, final: bool) -> None:
    """Write an attempt's outcome under its fence: delivered, failed for good, or waiting for the next attempt."""
    spent = bool(error) and delivery.attempts > len(RETRIES)
    state = DeliveryState.DELIVERED if not error else DeliveryState.FAILED
    values: dict[str, Any] = {
        "lease_until": None,
        "error": error[:2000],
        "response_code": answer.status if answer else None,
        "response_ms": answer.milliseconds if answer else None,
        "tried_at": timezone.now(),
        "not_before": None if final or spent else _next_try(delivery.attempts),
    }
    if final or spent:
        values["state"] = state
    WebhookDelivery.objects.filter(pk=delivery.pk, fence=delivery.fence).update(**values)
    if spent:
        _stop_if_dead(delivery)


def _next_try(attempts: int) -> datetime:
    wait = RETRIES[min(attempts, len(RETRIES)) - 1]
    return timezone.now() + wait * random.uniform(0.9, 1.1)  # noqa: S311  (jitter, not a secret)


def _stop_if_dead(delivery: WebhookDelivery) -> None:
    """Nothing has arrived there for as long as this delivery was tried: stop, so that no backlog grows for ever."""
    since = Q(tried_at__gte=delivery.created_at, state=DeliveryState.DELIVERED)
    if not WebhookDelivery.objects.filter(since, webhook=delivery.webhook_id).exists():
        _stop(delivery.webhook, _("Nothing was received for three days."))


def _stop(hook: Webhook, reason: str) -> None:
    with transaction.atomic():
        if Webhook.objects.filter(pk=hook.pk, active=True).update(active=False, stopped_because=reason):
            audit.record("webhook.stopped", hook, team=hook.team, actor=None, after={"reason": reason})


def _known(events: Sequence[str]) -> list[str]:
    chosen = sorted(set(events))
    if not chosen or set(chosen) - set(WebhookEvent.values):
        raise ValueError("unknown or no events")
    return chosen


def _refuse_private(url: str) -> None:
    """As far as can be told now; every delivery looks again. A name that does not resolve yet is accepted."""
    try:
        outbound.resolve(outbound.check(url))
    except outbound.NoAnswer:
        return


def _new_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


def _record(action: str, hook: Webhook, actor: User, **change: Any) -> None:
    audit.record(action, hook, team=hook.team, actor=actor, **change)
