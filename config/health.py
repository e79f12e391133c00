"""For load balancers: alive means the process answers; ready means it can serve a search at once."""

from collections.abc import Callable

import structlog
from django.core.cache import cache
from django.db import connection
from django.http import HttpRequest, HttpResponse, JsonResponse

from config import warmup

log = structlog.get_logger(__name__)


def live(request: HttpRequest) -> HttpResponse:
    return HttpResponse("ok", content_type="text/plain")


def ready(request: HttpRequest) -> JsonResponse:
    """200 where the database, the cache and the warmed model answer; 503 with what is missing otherwise."""
    checks = {"database": _answers(_database), "cache": _answers(_cache), "model": warmup.done()}
    return JsonResponse(checks, status=200 if all(checks.values()) else 503)


def _answers(check: Callable[[], None]) -> bool:
    try:
        check()
    except Exception as error:  # noqa: BLE001  (whatever a driver raises, the answer is "not ready")
        log.warning("not_ready", check=check.__name__, error=str(error))
        return False
    return True


def _database() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def _cache() -> None:
    cache.set("readyz", 1, 10)
    if cache.get("readyz") != 1:
        raise ConnectionError("the cache forgets")
