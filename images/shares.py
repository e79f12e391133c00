"""Read-only links to a collection: make, find, revoke, and the password that may stand before one."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.hashers import check_password, make_password
from django.core.cache import cache
from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone
from django.utils.crypto import salted_hmac
from django.utils.translation import gettext as _

from images import audit
from images.models import Collection, ShareLink, User
from images.moderation import Conflict

MOST_LIVE = 50
LAST_USED_RESOLUTION = timedelta(minutes=1)
TRIES, TRIES_SECONDS = 10, 15 * 60
# Over all addresses together: a password that many machines guess at is slow to guess as well.
ALL_TRIES = 100
SEARCHES_PER_MINUTE = 60
ALL_SEARCHES_PER_MINUTE = 600
SESSION_KEY = "shares"


class TooManyTries(Exception):
    """Wrong passwords were sent too often; try again in a quarter of an hour."""


def create(
    collection: Collection, actor: User, name: str, *, expires_at: datetime | None = None, password: str = ""
) -> tuple[ShareLink, str]:
    """A new link; returns the row and its token, which is never to be had again. Callers have checked the actor."""
    token = secrets.token_urlsafe(24)
    with transaction.atomic():
        Collection.objects.select_for_update().get(pk=collection.pk)
        if _living(collection).count() >= MOST_LIVE:
            raise Conflict(_("A collection has at most %d links; revoke one first.") % MOST_LIVE)
        share = ShareLink.objects.create(
            collection=collection,
            name=name,
            token_hash=_hash(token),
            password=make_password(password) if password else "",
            created_by=actor,
            expires_at=expires_at,
        )
        after = {"name": name, "expires_at": str(expires_at or ""), "password": bool(password)}
        _record("share.created", share, actor, after=after)
    return share, token


def find(token: str) -> ShareLink | None:
    """The living link with this token, or None; notes the use."""
    if not 20 <= len(token) <= 64:
        return None
    rows = ShareLink.objects.select_related("collection__team").filter(token_hash=_hash(token))
    share = rows.first()
    if share is None or not share.live:
        return None
    now = timezone.now()
    stale = Q(last_used_at__isnull=True) | Q(last_used_at__lt=now - LAST_USED_RESOLUTION)
    ShareLink.objects.filter(stale, pk=share.pk).update(last_used_at=now)
    return share


def revoke(share: ShareLink, actor: User) -> None:
    """End the link at once: the next request with it finds nothing."""
    with transaction.atomic():
        mine = ShareLink.objects.filter(pk=share.pk, revoked_at__isnull=True)
        if not mine.update(revoked_at=timezone.now()):
            raise Conflict(_("This link was revoked already."))
        Collection.objects.filter(pk=share.collection_id).update(permission_epoch=F("permission_epoch") + 1)
        _record("share.revoked", share, actor, before={"name": share.name})


def unlock(share: ShareLink, password: str, session: Any, address: str) -> bool:
    """Try a password; where it is right, this browser need not send it again. Raises TooManyTries."""
    for slot, most in ((f"{share.pk}:{address}", TRIES), (f"{share.pk}", ALL_TRIES)):
        if _count(f"share-tries:{slot}", TRIES_SECONDS) > most:
            raise TooManyTries(_("Too many wrong passwords. Try again in a quarter of an hour."))
    if not check_password(password, share.password):
        return False
    cache.delete(f"share-tries:{share.pk}:{address}")
    session[SESSION_KEY] = {**session.get(SESSION_KEY, {}), str(share.uid): _mark(share)}
    return True


def unlocked(share: ShareLink, session: Any) -> bool:
    """Whether this browser may look: no password, or it was sent before and is still the same."""
    return not share.has_password or session.get(SESSION_KEY, {}).get(str(share.uid)) == _mark(share)


def may_search(share: ShareLink, address: str) -> bool:
    """A search costs the model's time: bounded for each visitor, and for all who have the link."""
    mine = _count(f"share-searches:{share.pk}:{address}", 60) <= SEARCHES_PER_MINUTE
    return mine and _count(f"share-searches:{share.pk}", 60) <= ALL_SEARCHES_PER_MINUTE


def _living(collection: Collection) -> Any:
    unexpired = Q(expires_at__isnull=True) | Q(expires_at__gt=timezone.now())
    return ShareLink.objects.filter(unexpired, collection=collection, revoked_at__isnull=True)


def _hash(token: str) -> str:
    """A plain digest is enough: tokens are 192 random bits, nobody guesses through them."""
    return hashlib.sha256(token.encode()).hexdigest()


def _mark(share: ShareLink) -> str:
    return salted_hmac("images.shares", f"{share.uid}:{share.password}").hexdigest()


def _count(slot: str, seconds: int) -> int:
    """How often this was asked for within `seconds`, this time included."""
    cache.add(slot, 0, seconds)
    try:
        return cache.incr(slot)
    except ValueError:  # expired between the two
        return 1


def _record(action: str, share: ShareLink, actor: User, **change: Any) -> None:
    audit.record(action, share, team=share.collection.team, actor=actor, **change)
