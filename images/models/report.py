"""What viewers report, and which look-alikes people decided to keep."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from images.models.base import Public
from images.models.image import Image, Moderation
from images.models.team import User


class ReportQuerySet(models.QuerySet["Report"]):
    def open(self) -> ReportQuerySet:
        return self.filter(settled_at__isnull=True)


class Report(Public):
    """A viewer asks the moderators to look at a picture. The picture stays as it is until one of them decides."""

    image = models.ForeignKey(Image, models.CASCADE, related_name="reports", verbose_name=_("picture"))
    reporter = models.ForeignKey(User, models.CASCADE, related_name="reports", verbose_name=_("reported by"))
    reason = models.CharField(_("reason"), max_length=500)
    created_at = models.DateTimeField(_("reported"), default=timezone.now, editable=False)
    settled_at = models.DateTimeField(_("settled"), null=True, editable=False)
    # The picture's moderation when the last decision settled this report, so that undoing it can go back there.
    moderation_before = models.CharField(max_length=10, choices=Moderation, blank=True, editable=False)

    objects: ClassVar[models.Manager[Report]] = ReportQuerySet.as_manager()

    class Meta:
        verbose_name = _("report")
        verbose_name_plural = _("reports")
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(
                fields=["image", "reporter"],
                condition=Q(settled_at__isnull=True),
                name="one_open_report_per_reporter",
            )
        ]

    def __str__(self) -> str:
        return f"{self.image} · {self.reason[:40]}"


class KeptPair(models.Model):
    """Two pictures that look alike and were both kept on purpose: not shown as duplicates again."""

    first = models.ForeignKey(Image, models.CASCADE, related_name="+")
    second = models.ForeignKey(Image, models.CASCADE, related_name="+")
    by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")
    at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        verbose_name = _("kept pair")
        verbose_name_plural = _("kept pairs")
        constraints = [
            models.UniqueConstraint(fields=["first", "second"], name="one_row_per_kept_pair"),
            models.CheckConstraint(condition=Q(first__lt=F("second")), name="kept_pair_in_order"),
        ]

    def __str__(self) -> str:
        return f"{self.first_id} · {self.second_id}"
