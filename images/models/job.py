"""Long work that people wait for: shown with its progress, cancelled, taken up again after a crash."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from images.access import Principal
from images.leases import Leased
from images.models.base import Public
from images.models.collection import Collection
from images.models.team import Team, User


class JobKind(models.TextChoices):
    REINDEX = "reindex", _("Rebuild the index")
    IMPORT = "import", _("Import an archive")
    EXPORT = "export", _("Export pictures")


class JobState(models.TextChoices):
    WAITING = "waiting", _("Waiting")
    RUNNING = "running", _("Running")
    DONE = "done", _("Done")
    FAILED = "failed", _("Failed")
    CANCELLED = "cancelled", _("Cancelled")


class JobQuerySet(models.QuerySet["Job"]):
    def visible_to(self, principal: Principal) -> JobQuerySet:
        """Of collections that the principal may read: its own jobs, and everybody's where it moderates."""
        readable = self.filter(collection__in=Collection.objects.visible_to(principal))  # type: ignore[attr-defined]
        mine = Q(created_by=principal.user_id) if principal.signed_in else Q(pk__in=[])
        return readable.filter(mine | principal.moderated_q("collection__"))


class Job(Public, Leased):
    WAITING = JobState.WAITING
    QUARANTINED = JobState.FAILED

    team = models.ForeignKey(Team, models.CASCADE, related_name="jobs", verbose_name=_("team"))
    collection = models.ForeignKey(
        Collection, models.CASCADE, null=True, related_name="jobs", verbose_name=_("collection")
    )
    kind = models.CharField(_("kind"), max_length=20, choices=JobKind)
    state = models.CharField(
        _("state"), max_length=10, choices=JobState, default=JobState.WAITING, editable=False
    )
    done = models.PositiveIntegerField(_("done"), default=0, editable=False)
    total = models.PositiveIntegerField(_("total"), default=0, editable=False)
    errors = models.JSONField(_("errors"), default=list, editable=False)
    parameters = models.JSONField(default=dict, editable=False)
    summary = models.JSONField(_("summary"), default=dict, editable=False)
    source_key = models.CharField(max_length=200, blank=True, editable=False)
    result_key = models.CharField(max_length=200, blank=True, editable=False)
    result_name = models.CharField(max_length=200, blank=True, editable=False)
    expires_at = models.DateTimeField(_("result expires"), null=True, editable=False)
    created_by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+", verbose_name=_("by"))
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    started_at = models.DateTimeField(_("started"), null=True, editable=False)
    finished_at = models.DateTimeField(_("finished"), null=True, editable=False)

    objects: ClassVar[models.Manager[Job]] = JobQuerySet.as_manager()

    class Meta:
        verbose_name = _("job")
        verbose_name_plural = _("jobs")
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} · {self.get_state_display()}"

    @property
    def rate(self) -> float | None:
        """Units per second since the start; None before there is anything to divide."""
        if self.started_at is None or not self.done:
            return None
        seconds = ((self.finished_at or timezone.now()) - self.started_at).total_seconds()
        return self.done / seconds if seconds > 0 else None

    @property
    def eta(self) -> float | None:
        """Seconds until done at the present rate; None where unknown."""
        rate = self.rate
        return (self.total - self.done) / rate if rate and self.total >= self.done else None
