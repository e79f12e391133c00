"""Webhooks and their outbox: a delivery is a row written in the transaction of the change that it tells of."""

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from images.leases import Leased
from images.models.base import Public
from images.models.collection import Collection
from images.models.team import Team, User


class WebhookEvent(models.TextChoices):
    IMAGE_READY = "image.ready", _("A picture was checked")
    IMAGE_FAILED = "image.failed", _("A file was refused")
    IMAGE_DELETED = "image.deleted", _("A picture was deleted")
    INDEX_SWAPPED = "index.swapped", _("A new index answers")
    MODERATION_DECIDED = "moderation.decided", _("A moderator decided")


class Webhook(Public):
    """Acts in its owner's name: it is told of collections that the owner moderates at that moment, and no others."""

    team = models.ForeignKey(Team, models.CASCADE, related_name="webhooks", verbose_name=_("team"))
    owner = models.ForeignKey(User, models.CASCADE, related_name="webhooks", verbose_name=_("owner"))
    url = models.CharField(_("address"), max_length=500)
    events = models.JSONField(_("events"), default=list)
    active = models.BooleanField(_("active"), default=True)
    # Both sides of an HMAC need the secret itself; it is shown once and left out of every other answer.
    secret = models.CharField(max_length=80, editable=False)
    former_secret = models.CharField(max_length=80, blank=True, editable=False)
    former_until = models.DateTimeField(null=True, editable=False)
    stopped_because = models.CharField(_("stopped because"), max_length=300, blank=True, editable=False)
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)

    class Meta:
        verbose_name = _("webhook")
        verbose_name_plural = _("webhooks")
        ordering = ["-id"]

    def __str__(self) -> str:
        return self.url


class DeliveryState(models.TextChoices):
    WAITING = "waiting", _("Waiting")
    DELIVERED = "delivered", _("Delivered")
    FAILED = "failed", _("Failed")


class WebhookDelivery(Public, Leased):
    """One event for one webhook. `uid` is the `webhook-id` that the receiver recognises repetitions by."""

    WAITING = DeliveryState.WAITING
    QUARANTINED = DeliveryState.FAILED

    webhook = models.ForeignKey(Webhook, models.CASCADE, related_name="deliveries", verbose_name=_("webhook"))
    collection = models.ForeignKey(Collection, models.CASCADE, related_name="+", verbose_name=_("collection"))
    event = models.CharField(_("event"), max_length=30, choices=WebhookEvent)
    payload = models.JSONField(_("payload"))
    state = models.CharField(
        _("state"), max_length=10, choices=DeliveryState, default=DeliveryState.WAITING, editable=False
    )
    response_code = models.PositiveSmallIntegerField(_("answer"), null=True, editable=False)
    response_ms = models.PositiveIntegerField(_("milliseconds"), null=True, editable=False)
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    tried_at = models.DateTimeField(_("last tried"), null=True, editable=False)

    class Meta:
        verbose_name = _("webhook delivery")
        verbose_name_plural = _("webhook deliveries")
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["webhook", "-id"], name="delivery_by_webhook"),
            models.Index(fields=["id"], condition=models.Q(state="waiting"), name="delivery_waiting"),
        ]

    def __str__(self) -> str:
        return f"{self.event} → {self.webhook}"

    @property
    def webhook_id_header(self) -> str:
        """The same for every attempt, so that the receiver can tell repetitions."""
        return f"msg_{self.uid.hex}"
