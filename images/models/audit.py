"""Who did what: append-only."""

from __future__ import annotations

from typing import Any, ClassVar, NoReturn

from django.core.exceptions import PermissionDenied
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from images.models.base import Public
from images.models.team import Team, User


class AuditQuerySet(models.QuerySet["AuditEvent"]):
    def update(self, **values: Any) -> NoReturn:
        raise PermissionDenied(_("The audit log is append-only."))

    def delete(self) -> NoReturn:
        raise PermissionDenied(_("The audit log is append-only."))


class AuditEvent(Public):
    """One change of rights, keys, moderation, deletion or indexes. Rows are written once and never changed, by the
    database's own rule too (images.audit_guard); they outlive the team and the person that they tell of."""

    team = models.ForeignKey(Team, models.SET_NULL, null=True, related_name="audit", verbose_name=_("team"))
    actor = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+", verbose_name=_("actor"))
    action = models.CharField(_("action"), max_length=60)
    target = models.CharField(_("target"), max_length=120)
    before = models.JSONField(_("before"), default=dict)
    after = models.JSONField(_("after"), default=dict)
    request_id = models.CharField(_("request"), max_length=64, blank=True)
    at = models.DateTimeField(_("at"), default=timezone.now, editable=False)

    objects: ClassVar[models.Manager[AuditEvent]] = AuditQuerySet.as_manager()

    class Meta:
        verbose_name = _("audit event")
        verbose_name_plural = _("audit log")
        ordering = ["-id"]
        indexes = [models.Index(fields=["team", "-id"], name="audit_by_team")]

    def __str__(self) -> str:
        return f"{self.action} {self.target}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if self.pk is not None:
            raise PermissionDenied(_("The audit log is append-only."))
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise PermissionDenied(_("The audit log is append-only."))
