"""What moderators want to be told of: words that pictures are compared with by meaning."""

from __future__ import annotations

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from images.models.base import Public
from images.models.collection import Collection
from images.models.team import Team, User


class ModerationPrompt(Public):
    """“Might show …”: a hint to moderators, which changes no picture. Without a collection it is for the whole team.

    `cutoff` is a calibrated match in 0–1; without one, the model's own line between weak and possible matches counts.
    """

    team = models.ForeignKey(Team, models.CASCADE, related_name="prompts", verbose_name=_("team"))
    collection = models.ForeignKey(
        Collection,
        models.CASCADE,
        null=True,
        blank=True,
        related_name="prompts",
        verbose_name=_("collection"),
    )
    text = models.CharField(_("what it might show"), max_length=200)
    cutoff = models.FloatField(
        _("least match"), null=True, blank=True, validators=[MinValueValidator(0.0), MaxValueValidator(1.0)]
    )
    created_by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+", verbose_name=_("by"))
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)

    class Meta:
        verbose_name = _("moderation prompt")
        verbose_name_plural = _("moderation prompts")
        ordering = ["text", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["team", "text"], condition=Q(collection__isnull=True), name="one_prompt_per_team"
            ),
            models.UniqueConstraint(fields=["collection", "text"], name="one_prompt_per_collection"),
        ]

    def __str__(self) -> str:
        return self.text
