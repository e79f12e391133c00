"""API keys: issue, find, rotate, revoke. The secret exists in the answer of `issue` alone."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from images import audit
from images.models import ApiKey, Collection, Scope, Team, User

LAST_USED_RESOLUTION = timedelta(minutes=1)


def issue(
    team: Team,
    owner: User,
    name: str,
    scopes: Sequence[str],
    *,
    collections: Sequence[Collection] | None = None,
    expires_at: datetime | None = None,
    rate: int | None = None,
) -> tuple[ApiKey, str]:
    """Create a key; returns the row and the full key text, which is never to be had again.

    `rate`: requests per minute, where fewer than the server allows. Raises ValueError for unknown scopes.
    """
    unknown = set(scopes) - set(Scope.values)
    if unknown:
        raise ValueError(f"unknown scopes: {', '.join(sorted(unknown))}")
    prefix, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    with transaction.atomic():
        key = ApiKey.objects.create(
            team=team,
            owner=owner,
            name=name,
            prefix=prefix,
            secret_hash=_hash(secret),
            scopes=sorted(set(scopes)),
            limited=collections is not None,
            expires_at=expires_at,
            rate=rate,
        )
        key.collections.set(collections or [])
        audit.record("key.issued", key, team=team, actor=owner, after=_told(key))
    return key, f"lp_{prefix}_{secret}"


def find(text: str) -> ApiKey | None:
    """The live key that `text` proves to hold, or None; compares in constant time and notes the use."""
    mark, _, rest = text.partition("_")
    prefix, _, secret = rest.partition("_")
    if mark != "lp" or not prefix or not secret or len(text) > 200:
        return None
    key = ApiKey.objects.select_related("owner", "team").filter(prefix=prefix).first()
    if key is None or not hmac.compare_digest(key.secret_hash, _hash(secret)) or not key.live:
        return None
    _note_use(key)
    return key


def rotate(key: ApiKey, actor: User, overlap: timedelta = timedelta(hours=24)) -> tuple[ApiKey, str]:
    """Issue a successor with the same rights; the old key goes on working for `overlap`, or until it ends anyway."""
    with transaction.atomic():
        limited = list(key.collections.all()) if key.limited else None
        successor, text = issue(
            key.team,
            key.owner,
            key.name,
            key.scopes,
            collections=limited,
            expires_at=key.expires_at,
            rate=key.rate,
        )
        before, until = _told(key), timezone.now() + overlap
        key.expires_at = min(key.expires_at or until, until)
        key.save(update_fields=["expires_at"])
        after = {**_told(key), "successor": str(successor.uid)}
        audit.record("key.rotated", key, team=key.team, actor=actor, before=before, after=after)
    return successor, text


def revoke(key: ApiKey, actor: User) -> None:
    """Stop the key at once."""
    with transaction.atomic():
        if ApiKey.objects.filter(pk=key.pk, revoked_at__isnull=True).update(revoked_at=timezone.now()):
            audit.record("key.revoked", key, team=key.team, actor=actor, before=_told(key))


def _told(key: ApiKey) -> dict[str, Any]:
    """What the audit log says of a key; nothing of its secret."""
    told = {
        "name": key.name,
        "owner": str(key.owner.uid),
        "scopes": key.scopes,
        "collections": [str(one.uid) for one in key.collections.all()] if key.limited else None,
        "expires_at": key.expires_at.isoformat() if key.expires_at else None,
        "rate": key.rate,
    }
    return {name: value for name, value in told.items() if value is not None}


def _hash(secret: str) -> str:
    return hashlib.sha512(secret.encode()).hexdigest()


def _note_use(key: ApiKey) -> None:
    now = timezone.now()
    stale = Q(last_used_at__isnull=True) | Q(last_used_at__lt=now - LAST_USED_RESOLUTION)
    ApiKey.objects.filter(stale, pk=key.pk).update(last_used_at=now)
