"""Rate limits per key, person or address: a fixed window, counted atomically in the cache, told in every answer.

Wrong keys are counted for each address, so that nobody tries keys at the speed of the database.
"""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import structlog
from allauth.account.adapter import get_adapter
from django.core.cache import cache
from rest_framework.exceptions import Throttled
from rest_framework.request import Request
from rest_framework.throttling import SimpleRateThrottle

from images.models import ApiKey

log = structlog.get_logger(__name__)
WRONG_KEYS, WRONG_KEYS_SECONDS = 30, 60


def count(key: str, seconds: int) -> int:
    """How often `key` was counted in its window, this time included; 1 where the cache cannot tell."""
    try:
        cache.add(key, 0, seconds)
        return cache.incr(key)
    except ValueError:  # evicted between the two
        return 1
    except Exception as error:  # noqa: BLE001  (a cache that is away must not take the API with it)
        log.warning("rate_not_counted", error=str(error))
        return 1


def address_of(request: Request) -> str:
    """Where a request comes from: the same address as for sign-in, so one setting tells both about proxies in front."""
    return str(get_adapter(request._request).get_client_ip(request._request))


def note_wrong_key(request: Request) -> None:
    """Raises Throttled from the 31st wrong key on that an address sends within a minute."""
    now = time.time()
    window = int(now // WRONG_KEYS_SECONDS)
    if count(f"wrong-keys:{address_of(request)}:{window}", WRONG_KEYS_SECONDS * 2) > WRONG_KEYS:
        raise Throttled(wait=int((window + 1) * WRONG_KEYS_SECONDS - now) + 1)


class Rate(NamedTuple):
    """`limit` requests per `window` seconds; `remaining` of them until `reset` seconds from now."""

    limit: int
    remaining: int
    reset: int
    window: int

    @property
    def headers(self) -> dict[str, str]:
        """draft-ietf-httpapi-ratelimit-headers-10."""
        return {
            "RateLimit-Policy": f'"principal";q={self.limit};w={self.window}',
            "RateLimit": f'"principal";r={self.remaining};t={self.reset}',
        }


class PrincipalThrottle(SimpleRateThrottle):
    scope = "principal"
    num_requests: int
    duration: int

    def allow_request(self, request: Request, view: Any) -> bool:
        now = time.time()
        window = int(now // self.duration)
        self.reset = max(1, int((window + 1) * self.duration - now))
        used, most = count(f"rate:{self._ident(request)}:{window}", self.duration * 2), self._most(request)
        request._request.rate = Rate(most, max(0, most - used), self.reset, self.duration)  # type: ignore[attr-defined]
        return used <= most

    def wait(self) -> float:
        return self.reset

    def _most(self, request: Request) -> int:
        """The server's limit, or the key's own where that is lower."""
        own = request.auth.rate if isinstance(request.auth, ApiKey) else None
        return self.num_requests if own is None else min(self.num_requests, max(1, own * self.duration // 60))

    def _ident(self, request: Request) -> str:
        principal = getattr(request._request, "principal", None)
        if principal is not None and principal.key_id:
            return f"key-{principal.key_id}"
        if principal is not None and principal.user_id:
            return f"user-{principal.user_id}"
        return f"address-{address_of(request)}"
