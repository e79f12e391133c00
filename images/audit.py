"""Write the audit log: one row in the same transaction as the change that it tells of."""

from __future__ import annotations

from typing import Any

import structlog

from images.models import AuditEvent, Team, User


def record(
    action: str,
    target: Any,
    *,
    team: Team | None,
    actor: User | None,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
) -> AuditEvent:
    """`target` is named by its kind and public id; the request's id comes from the log context."""
    uid = getattr(target, "uid", None) or target.pk
    request_id = structlog.contextvars.get_contextvars().get("request_id", "")
    return AuditEvent.objects.create(
        team=team,
        actor=actor,
        action=action,
        target=f"{target._meta.model_name}:{uid}",
        before=before or {},
        after=after or {},
        request_id=request_id,
    )
