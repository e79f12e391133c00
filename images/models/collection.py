"""Collections: the unit of permission and of the index."""

from __future__ import annotations

from typing import ClassVar

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from images.access import Principal
from images.models.base import Public
from images.models.team import Role, Team, User

SHARE = [MinValueValidator(0.0), MaxValueValidator(1.0)]


class Visibility(models.TextChoices):
    PRIVATE = "private", _("Only its own members")
    TEAM = "team", _("Everyone in the team")
    PUBLIC = "public", _("Everyone on this server")


class ModerationPolicy(models.TextChoices):
    OFF = "off", _("Uploads appear at once")
    NEW = "new", _("Uploads of members who are not trusted wait for approval")
    EVERYONE = "everyone", _("Every upload waits for approval")


class CollectionQuerySet(models.QuerySet["Collection"]):
    def visible_to(self, principal: Principal) -> CollectionQuerySet:
        """The collections that `principal` may read; the only way from a request to collections."""
        return self.filter(principal.collections_q())


class Collection(Public):
    team = models.ForeignKey(Team, models.CASCADE, related_name="collections", verbose_name=_("team"))
    name = models.CharField(_("name"), max_length=120)
    description = models.TextField(_("description"), blank=True, max_length=2000)
    visibility = models.CharField(_("visibility"), max_length=8, choices=Visibility, default=Visibility.TEAM)
    moderation = models.CharField(
        _("moderation"), max_length=8, choices=ModerationPolicy, default=ModerationPolicy.OFF
    )
    cover = models.ForeignKey(
        "images.Image", models.SET_NULL, null=True, blank=True, related_name="+", verbose_name=_("cover")
    )
    rerank_recency = models.FloatField(_("weight of recency"), default=0.0, validators=SHARE)
    rerank_quality = models.FloatField(_("weight of quality"), default=0.0, validators=SHARE)
    permission_epoch = models.PositiveIntegerField(default=0, editable=False)
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)

    objects: ClassVar[models.Manager[Collection]] = CollectionQuerySet.as_manager()

    class Meta:
        verbose_name = _("collection")
        verbose_name_plural = _("collections")
        ordering = ["name"]
        constraints = [models.UniqueConstraint(fields=["team", "name"], name="one_collection_name_per_team")]

    def __str__(self) -> str:
        return self.name


class CollectionGrant(models.Model):
    """A role in one collection that replaces the member's role in the team there."""

    collection = models.ForeignKey(
        Collection, models.CASCADE, related_name="grants", verbose_name=_("collection")
    )
    user = models.ForeignKey(User, models.CASCADE, related_name="grants", verbose_name=_("user"))
    role = models.CharField(_("role"), max_length=12, choices=Role)

    class Meta:
        verbose_name = _("collection grant")
        verbose_name_plural = _("collection grants")
        constraints = [
            models.UniqueConstraint(fields=["collection", "user"], name="one_grant_per_collection")
        ]

    def __str__(self) -> str:
        return f"{self.user} · {self.collection} · {self.get_role_display()}"
