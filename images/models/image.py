"""The picture: one row, its object in storage, and what was learnt from its pixels."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from images import refusals
from images.access import Principal
from images.leases import Leased
from images.models.base import Public
from images.models.collection import Collection
from images.models.team import Team, User


class Tag(models.Model):
    team = models.ForeignKey(Team, models.CASCADE, related_name="tags", verbose_name=_("team"))
    name = models.CharField(_("name"), max_length=60)

    class Meta:
        verbose_name = _("tag")
        verbose_name_plural = _("tags")
        ordering = ["name"]
        constraints = [models.UniqueConstraint(fields=["team", "name"], name="one_tag_per_team")]

    def __str__(self) -> str:
        return self.name


class ImageState(models.TextChoices):
    """Where the bytes stand. "Searchable" is not here: it is ready + embedded, a fact of the search app."""

    STORED = "stored", _("Uploaded")
    READY = "ready", _("Checked")
    REJECTED = "rejected", _("Refused")


class Moderation(models.TextChoices):
    PENDING = "pending", _("Waiting for approval")
    APPROVED = "approved", _("Approved")
    REJECTED = "rejected", _("Rejected")
    HIDDEN = "hidden", _("Hidden")


class ImageQuerySet(models.QuerySet["Image"]):
    def visible_to(self, principal: Principal) -> ImageQuerySet:
        """The pictures that `principal` may see: the last gate of every list, count, search, file and job."""
        return self.filter(principal.images_q())

    def present(self) -> ImageQuerySet:
        return self.filter(trashed_at__isnull=True)

    def searchable(self) -> ImageQuerySet:
        """Checked, approved and not in the trash: what everyone with access to the collection may find."""
        return self.present().filter(state=ImageState.READY, moderation=Moderation.APPROVED)


class Image(Public, Leased):
    WAITING = ImageState.STORED
    QUARANTINED = ImageState.REJECTED

    collection = models.ForeignKey(
        Collection, models.CASCADE, related_name="images", verbose_name=_("collection")
    )
    uploader = models.ForeignKey(
        User, models.SET_NULL, null=True, related_name="uploads", verbose_name=_("uploader")
    )
    file_name = models.CharField(_("file name"), max_length=255)
    title = models.CharField(_("title"), max_length=200, blank=True)
    caption = models.TextField(_("caption"), blank=True, max_length=2000)
    alt_text = models.CharField(_("alternative text"), max_length=500, blank=True)
    tags = models.ManyToManyField(Tag, blank=True, related_name="images", verbose_name=_("tags"))

    sha256 = models.CharField(_("SHA-256"), max_length=64, editable=False)
    byte_size = models.BigIntegerField(_("bytes"), editable=False)
    content_type = models.CharField(_("content type"), max_length=60, blank=True, editable=False)
    original_key = models.CharField(max_length=200, editable=False)
    preview_key = models.CharField(max_length=200, blank=True, editable=False)
    thumbnail_key = models.CharField(max_length=200, blank=True, editable=False)
    rendition_type = models.CharField(max_length=60, blank=True, editable=False)
    width = models.PositiveIntegerField(_("width"), null=True, editable=False)
    height = models.PositiveIntegerField(_("height"), null=True, editable=False)
    thumbnail_width = models.PositiveIntegerField(null=True, editable=False)
    thumbnail_height = models.PositiveIntegerField(null=True, editable=False)
    preview_width = models.PositiveIntegerField(null=True, editable=False)
    preview_height = models.PositiveIntegerField(null=True, editable=False)

    taken_at = models.DateTimeField(_("taken"), null=True, blank=True)
    uploaded_at = models.DateTimeField(_("uploaded"), default=timezone.now, editable=False)
    processed_at = models.DateTimeField(_("checked"), null=True, editable=False)
    quality = models.FloatField(_("quality"), null=True, editable=False)
    quality_parts = models.JSONField(default=dict, editable=False)
    phash = models.BinaryField(_("perceptual hash"), max_length=32, null=True, editable=False)
    colours = models.JSONField(default=list, editable=False)
    exif = models.JSONField(default=dict, editable=False)
    gps = models.JSONField(null=True, editable=False)
    # Whether the original may tell where it was taken. True until its check has looked for that.
    holds_place = models.BooleanField(default=True, editable=False)

    state = models.CharField(
        _("state"), max_length=10, choices=ImageState, default=ImageState.STORED, editable=False
    )
    reason = models.CharField(_("why it was refused"), max_length=300, blank=True, editable=False)
    moderation = models.CharField(
        _("moderation"), max_length=10, choices=Moderation, default=Moderation.APPROVED, editable=False
    )
    moderation_reason = models.CharField(_("moderator's reason"), max_length=300, blank=True, editable=False)
    trashed_at = models.DateTimeField(_("in the trash since"), null=True, blank=True, editable=False)
    version = models.PositiveIntegerField(default=1, editable=False)

    objects: ClassVar[models.Manager[Image]] = ImageQuerySet.as_manager()

    class Meta:
        verbose_name = _("image")
        verbose_name_plural = _("images")
        ordering = ["-uploaded_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["collection", "sha256"],
                condition=Q(trashed_at__isnull=True),
                name="one_copy_per_collection",
            )
        ]
        indexes = [
            models.Index(fields=["collection", "-uploaded_at", "-id"], name="image_by_upload"),
            models.Index(fields=["collection", "-taken_at", "-id"], name="image_by_capture"),
            models.Index(fields=["id"], condition=Q(state="stored"), name="image_waiting"),
            models.Index(fields=["collection"], condition=Q(moderation="pending"), name="image_pending"),
        ]

    def __str__(self) -> str:
        return self.title or self.file_name

    @property
    def told_reason(self) -> str:
        """Why it was refused, in the active language."""
        return refusals.told(self.reason)

    @property
    def description(self) -> str:
        """What a screen reader says: the alternative text, else the best words there are."""
        return self.alt_text or self.title or self.caption or self.file_name
