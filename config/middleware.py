"""What every request carries: an id, and the rights of whoever sends it."""

import re
from collections.abc import Callable

import structlog
from django.http import HttpRequest, HttpResponse
from django.utils.functional import SimpleLazyObject

from images.access import principal_for_user
from images.ids import uuid7

ACCEPTED = re.compile(r"[A-Za-z0-9._-]{8,64}\Z")
GetResponse = Callable[[HttpRequest], HttpResponse]


class RequestIdMiddleware:
    """Take a well-formed X-Request-Id or make one; bind it to every log line and send it back."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        given = request.headers.get("X-Request-Id", "")
        request.request_id = given if ACCEPTED.match(given) else uuid7().hex  # type: ignore[attr-defined]
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request.request_id)  # type: ignore[attr-defined]
        response = self.get_response(request)
        response["X-Request-Id"] = request.request_id  # type: ignore[attr-defined]
        return response


class PrincipalMiddleware:
    """`request.principal`: compiled from the session when first asked for; an API key replaces it."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request.principal = SimpleLazyObject(lambda: principal_for_user(request.user))  # type: ignore[attr-defined]
        return self.get_response(request)
