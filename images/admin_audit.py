"""What the admin changes is told in the audit log too: Django writes a LogEntry for each change, this copies it."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.db.models import Model
from django.db.models.signals import post_save

from images import audit
from images.models import Team

VERBS = {1: "added", 2: "changed", 3: "deleted"}


def connect() -> None:
    post_save.connect(_logged, apps.get_model("admin", "LogEntry"), dispatch_uid="images.admin_audit")


def _logged(sender: type[Model], instance: Any, created: bool, **kwargs: Any) -> None:
    """Names the fields that were changed; their values stay in the admin's own history."""
    target = instance.get_edited_object() if created and instance.action_flag != 3 else None
    if not created or (target is None and instance.action_flag != 3):
        return
    kind = instance.content_type.model if instance.content_type else "object"
    action = f"admin.{kind}.{VERBS.get(instance.action_flag, 'changed')}"
    after = {"object": instance.object_repr[:120], "fields": instance.get_change_message()[:500]}
    if target is None:
        audit.record(action, instance, team=None, actor=instance.user, before=after)
    else:
        audit.record(action, target, team=_team_of(target), actor=instance.user, after=after)


def _team_of(target: Any) -> Team | None:
    if isinstance(target, Team):
        return target
    holder = getattr(target, "collection", None) or target
    team = getattr(holder, "team", None)
    return team if isinstance(team, Team) else None
