"""Every API error is `application/problem+json` (RFC 9457)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
import structlog
from django.core.exceptions import (
    BadRequest,
    PermissionDenied,
    RequestDataTooBig,
    SuspiciousOperation,
    TooManyFieldsSent,
    TooManyFilesSent,
)
from django.core.signals import got_request_exception
from django.db import DatabaseError, IntegrityError, InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from rest_framework import exceptions, renderers
from rest_framework.response import Response
from rest_framework.views import exception_handler, set_rollback

from images.ingest import UploadRefused
from images.moderation import Conflict
from images.storage import StorageUnavailable

log = structlog.get_logger(__name__)
MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = "5"
TITLES = {
    400: "The request is not valid",
    401: "Sign in or send an API key",
    403: "Not allowed",
    404: "Not found",
    405: "This address does not support that method",
    406: "Only JSON is produced here",
    409: "Conflict with the present state",
    410: "No longer there",
    412: "Changed by somebody else meanwhile",
    413: "Too large",
    415: "Unsupported format",
    422: "Cannot be processed",
    429: "Too many requests",
    500: "Something went wrong here",
    503: "Try again in a moment",
}


class Problem(exceptions.APIException):
    """An error with a machine-readable `code` and, where it concerns a field or file, a JSON pointer to it."""

    def __init__(
        self, status_code: int, code: str, detail: Any, pointer: str | None = None, **headers: str
    ) -> None:
        super().__init__(detail, code)
        self.status_code = status_code
        self.pointer = pointer
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


class JSONRenderer(renderers.BaseRenderer):
    """orjson; a problem answers with its own media type."""

    media_type = "application/json"
    format = "json"
    charset = None

    def render(self, data: Any, accepted_media_type: Any = None, renderer_context: Any = None) -> bytes:
        return b"" if data is None else orjson.dumps(data, default=str)


def handle(error: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's exception handler: one body for what DRF knows, for what the rooms below raise, and for surprises."""
    request = context["request"]._request
    error = _translated(error)
    response = exception_handler(error, context)
    if response is None:
        response = _surprise(error, request, context)
    response.data = body(response.status_code, error, getattr(request, "request_id", ""))
    response.content_type = MEDIA_TYPE
    for name, value in getattr(error, "headers", {}).items():
        response[name] = value
    return response


def not_found(request: HttpRequest, path: str = "") -> HttpResponse:
    """Any address under /api/v1/ that nothing else answers."""
    problem = body(404, Http404(), getattr(request, "request_id", ""))
    return HttpResponse(orjson.dumps(problem), status=404, content_type=MEDIA_TYPE)


def body(status_code: int, error: Exception, request_id: str) -> dict[str, Any]:
    code = _code(error)
    problem: dict[str, Any] = {
        "type": f"/api/docs/#{code}",
        "title": TITLES.get(status_code, "Error"),
        "status": status_code,
        "detail": _detail(error, status_code),
        "code": code,
        "request_id": request_id,
    }
    if errors := _errors(error):
        problem["errors"] = errors
    return problem


def _translated(error: Exception) -> Exception:
    """Errors of the framework and of the rooms below, as problems; anything else as it came."""
    if isinstance(error, UploadRefused):
        return Problem(error.status, error.code, error.message, error.pointer)
    if isinstance(error, Conflict):
        return Problem(409, "conflict", str(error))
    if isinstance(error, IntegrityError):
        return Problem(
            409, "conflict", _("Somebody else made a change that contradicts this one; read it again.")
        )
    if isinstance(error, RequestDataTooBig):
        return Problem(413, "too_large", _("The request is too large."), "")
    if isinstance(
        error, (TooManyFieldsSent, TooManyFilesSent, SuspiciousOperation, BadRequest, RecursionError)
    ):
        return Problem(400, "malformed", _("The request cannot be read."), "")
    if isinstance(error, (StorageUnavailable, OperationalError, InterfaceError)):
        log.error("unavailable", error=str(error))
        return Problem(
            503, "unavailable", _("A part of the server does not answer."), None, Retry_After=RETRY_SECONDS
        )
    return error


def _surprise(error: Exception, request: HttpRequest, context: dict[str, Any]) -> Response:
    """Told to the log and to whoever listens for failed requests, but not to the client."""
    set_rollback()
    log.error("request_failed", path=request.path, exc_info=error)
    got_request_exception.send(sender=type(context["view"]), request=request)
    return Response(status=500)


def _code(error: Exception) -> str:
    if isinstance(error, Http404):
        return "not_found"
    if isinstance(error, PermissionDenied):
        return "permission_denied"
    if isinstance(error, exceptions.ValidationError):
        return "invalid"
    codes = error.get_codes() if isinstance(error, exceptions.APIException) else "error"
    return codes if isinstance(codes, str) else "invalid"


def _detail(error: Exception, status_code: int) -> str:
    if isinstance(error, exceptions.ValidationError):
        return "; ".join(f"{e['pointer'] or 'body'}: {e['detail']}" for e in _errors(error)[:5])
    if isinstance(error, exceptions.APIException):
        return _safe(str(error.detail))
    if isinstance(error, Http404):
        return _("There is nothing here that you may see.")
    if status_code >= 500 or isinstance(error, DatabaseError):
        return _("The failure was recorded. Quote the request id when you report it.")
    return str(error) or TITLES.get(status_code, "Error")


def _errors(error: Exception) -> list[dict[str, str]]:
    if isinstance(error, Problem):
        return (
            []
            if error.pointer is None
            else [{"pointer": _safe(error.pointer), "detail": _safe(str(error.detail))}]
        )
    if isinstance(error, exceptions.ValidationError):
        return list(_walk(error.detail, ""))[:50]
    return []


def _walk(detail: Any, pointer: str) -> Iterator[dict[str, str]]:
    if isinstance(detail, dict):
        for name, inner in detail.items():
            yield from _walk(
                inner, pointer if name == "non_field_errors" else f"{pointer}/{_escaped(str(name))}"
            )
    elif isinstance(detail, list):
        for place, inner in enumerate(detail):
            nested = isinstance(inner, (dict, list))
            yield from _walk(inner, f"{pointer}/{place}" if nested else pointer)
    else:
        yield {"pointer": pointer, "detail": str(detail)}


def _escaped(name: str) -> str:
    """RFC 6901."""
    return _safe(name.replace("~", "~0").replace("/", "~1"))[:80]


def _safe(text: str) -> str:
    """With what UTF-8 cannot carry (lone surrogates that somebody sent) shown by its escapes."""
    return text.encode("utf-8", "backslashreplace").decode()
