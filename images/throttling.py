"""Rate limits per key, person or address: a fixed window, counted atomically in the cache, told in every answer."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import structlog
from django.core.cache import cache
from rest_framework.request import Request
from rest_framework.throttling import SimpleRateThrottle

log = structlog.get_logger(__name__)


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
        used = self._count(f"rate:{self._ident(request)}:{window}")
        request._request.rate = Rate(  # type: ignore[attr-defined]
            self.num_requests, max(0, self.num_requests - used), self.reset, self.duration
        )
        return used <= self.num_requests

    def wait(self) -> float:
        return self.reset

    def _count(self, key: str) -> int:
        try:
            cache.add(key, 0, self.duration * 2)
            return cache.incr(key)
        except ValueError:  # evicted between the two
            return 1
        except Exception as error:  # noqa: BLE001  (a cache that is away must not take the API with it)
            log.warning("rate_not_counted", error=str(error))
            return 1

    def _ident(self, request: Request) -> str:
        principal = getattr(request._request, "principal", None)
        if principal is not None and principal.key_id:
            return f"key-{principal.key_id}"
        if principal is not None and principal.user_id:
            return f"user-{principal.user_id}"
        return f"address-{self.get_ident(request)}"
