"""Vectors and what is built from them. Every index file can be rebuilt from these rows."""

from __future__ import annotations

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from images.leases import Leased
from images.models import Collection, Image, User
from images.models.base import Public


class Space(models.Model):
    """An embedding model in one exact form: vectors of two spaces are never compared."""

    name = models.CharField(_("model"), max_length=200)
    revision = models.CharField(_("revision"), max_length=80, blank=True)
    sha256 = models.CharField(_("checksum"), max_length=64, unique=True)
    dimension = models.PositiveIntegerField(_("dimension"))
    preprocessing = models.JSONField(_("preprocessing"), default=dict)
    languages = models.JSONField(_("languages"), default=list)
    calibration = models.JSONField(_("calibration"), default=dict)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        verbose_name = _("embedding space")
        verbose_name_plural = _("embedding spaces")
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"{self.name} ({self.dimension}-d, {self.sha256[:8]})"


class EmbeddingState(models.TextChoices):
    WAITING = "waiting", _("Waiting")
    DONE = "done", _("Embedded")
    QUARANTINED = "quarantined", _("Failed")


class Embedding(Leased):
    """The vector of one image in one space. The row is created when the image becomes ready and is the work order.

    `seq` rises per collection in commit order, so a reader that knows everything up to S misses nothing by asking
    for `seq > S`. `vector` holds `dimension` little-endian float16 of unit norm.
    """

    image = models.ForeignKey(Image, models.CASCADE, related_name="embeddings", verbose_name=_("image"))
    collection = models.ForeignKey(
        Collection, models.CASCADE, related_name="embeddings", verbose_name=_("collection")
    )
    space = models.ForeignKey(Space, models.CASCADE, related_name="embeddings", verbose_name=_("space"))
    state = models.CharField(
        _("state"), max_length=12, choices=EmbeddingState, default=EmbeddingState.WAITING, editable=False
    )
    vector = models.BinaryField(null=True)
    seq = models.BigIntegerField(null=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    embedded_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        verbose_name = _("embedding")
        verbose_name_plural = _("embeddings")
        constraints = [
            models.UniqueConstraint(fields=["image", "space"], name="one_embedding_per_image_and_space"),
            models.UniqueConstraint(fields=["collection", "seq"], name="one_seq_per_collection"),
        ]
        indexes = [
            models.Index(fields=["collection", "space", "seq"], name="embedding_by_seq"),
            models.Index(fields=["id"], condition=models.Q(state="waiting"), name="embedding_waiting"),
            models.Index(
                fields=["id"], condition=models.Q(state="done", seq__isnull=True), name="embedding_stray"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.image_id} in {self.space_id}"


class IndexState(models.TextChoices):
    IDLE = "idle", _("Up to date")
    WANTED = "wanted", _("Build wanted")
    FAILED = "failed", _("Build failed")


class CollectionIndex(Leased):
    """The index of one collection: hands out `seq`, points at the live generation, and its lease is the builder's.

    `space` is the space that answers; `next_space` is being filled beside it during a change of model.
    """

    WAITING = IndexState.WANTED
    QUARANTINED = IndexState.FAILED

    collection = models.OneToOneField(
        Collection, models.CASCADE, related_name="index", verbose_name=_("collection")
    )
    state = models.CharField(
        _("state"), max_length=8, choices=IndexState, default=IndexState.IDLE, editable=False
    )
    space = models.ForeignKey(Space, models.PROTECT, related_name="+", verbose_name=_("space"))
    next_space = models.ForeignKey(
        Space, models.PROTECT, null=True, blank=True, related_name="+", verbose_name=_("next space")
    )
    last_seq = models.BigIntegerField(default=0, editable=False)
    live = models.ForeignKey(
        "Generation", models.SET_NULL, null=True, related_name="+", verbose_name=_("live generation")
    )
    kind = models.CharField(_("kind"), max_length=12, blank=True, help_text=_("Empty: chosen by size."))
    target_recall = models.FloatField(_("target recall@50"), default=0.98)
    # Of replayed live queries against the live generation; null where none was replayed yet.
    live_recall = models.FloatField(_("live recall@50"), null=True, editable=False)
    live_recall_count = models.PositiveIntegerField(_("replayed queries"), default=0, editable=False)
    live_recall_at = models.DateTimeField(_("last replayed"), null=True, editable=False)

    class Meta:
        verbose_name = _("collection index")
        verbose_name_plural = _("collection indexes")

    def __str__(self) -> str:
        return str(self.collection)


class RecallSample(models.Model):
    """The vector of a live query that waits to be replayed exactly; deleted with the replay."""

    index = models.ForeignKey(CollectionIndex, models.CASCADE, related_name="+")
    space = models.ForeignKey(Space, models.CASCADE, related_name="+")
    vector = models.BinaryField()
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        verbose_name = _("recall sample")
        verbose_name_plural = _("recall samples")

    def __str__(self) -> str:
        return f"{self.index} {self.created_at:%F %T}"


class GenerationState(models.TextChoices):
    BUILDING = "building", _("Building")
    LIVE = "live", _("Live")
    RETIRED = "retired", _("Retired")
    FAILED = "failed", _("Failed")


class Generation(Public):
    """One immutable segment and its manifest: build → verify → publish → retire."""

    index = models.ForeignKey(CollectionIndex, models.CASCADE, related_name="generations")
    number = models.PositiveIntegerField(_("number"))
    space = models.ForeignKey(Space, models.PROTECT, related_name="+", verbose_name=_("space"))
    state = models.CharField(
        _("state"), max_length=8, choices=GenerationState, default=GenerationState.BUILDING
    )
    kind = models.CharField(_("kind"), max_length=12)
    parameters = models.JSONField(_("parameters"), default=dict)
    count = models.PositiveIntegerField(_("vectors"), default=0)
    upto_seq = models.BigIntegerField(_("up to"), default=0)
    manifest = models.JSONField(default=dict)
    key = models.CharField(max_length=200, blank=True)
    byte_size = models.BigIntegerField(_("bytes"), default=0)
    recall = models.FloatField(_("measured recall@50"), null=True)
    error = models.TextField(blank=True)
    built_at = models.DateTimeField(_("built"), default=timezone.now)
    published_at = models.DateTimeField(_("published"), null=True)
    retired_at = models.DateTimeField(_("retired"), null=True)

    class Meta:
        verbose_name = _("generation")
        verbose_name_plural = _("generations")
        ordering = ["-number"]
        constraints = [models.UniqueConstraint(fields=["index", "number"], name="one_generation_number")]

    def __str__(self) -> str:
        return f"{self.index} #{self.number}"


class SavedSearch(Public):
    """A question that somebody keeps, and what was strong in its answer when they looked at it last.

    `address` holds the question as the parameters of its address; `seen` and `fresh` hold row ids: the strong matches
    known to its owner, and those of them that the last look found new.
    """

    owner = models.ForeignKey(User, models.CASCADE, related_name="saved_searches", verbose_name=_("owner"))
    name = models.CharField(_("name"), max_length=80)
    address = models.TextField(_("question"))
    seen = models.JSONField(default=list, editable=False)
    fresh = models.JSONField(default=list, editable=False)
    last_seen_at = models.DateTimeField(_("last seen"), default=timezone.now, editable=False)
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)

    class Meta:
        verbose_name = _("saved search")
        verbose_name_plural = _("saved searches")
        ordering = ["name", "id"]
        constraints = [models.UniqueConstraint(fields=["owner", "name"], name="one_saved_search_per_name")]

    def __str__(self) -> str:
        return self.name
