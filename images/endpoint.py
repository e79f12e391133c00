"""What every endpoint of the API has in common: scope, size limit, Idempotency-Key, ETag, rate-limit headers.

A handler says what it needs through `@operation(...)`; the same words guard it and describe it in the schema.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import UUID

from django.conf import settings
from django.db.models import Model, QuerySet
from django.http import Http404, HttpResponse
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.exceptions import PermissionDenied, ValidationError
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import JSONParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import Serializer
from rest_framework.views import APIView

from images import idempotency
from images.access import SCOPES, Action, Principal, principal_for_key, principal_for_user, require_scope
from images.models import ApiKey, User
from images.problem_schema import ProblemSerializer
from images.problems import Problem

JSON_BYTES = 2 * 1024**2
FORM_BYTES = 1024**2  # what a multipart body may hold besides its file
Row = TypeVar("Row", bound=Model)
Handler = TypeVar("Handler", bound=Callable[..., HttpResponse])

ERRORS = {
    400: "A field, parameter or header is not valid: `errors` names it.",
    401: "No session and no valid key.",
    403: "The key lacks the scope, or the role does not allow it here.",
    404: "Missing, or not yours to see: both answer alike.",
    406: "Only JSON is produced here.",
    409: "The change contradicts what is there.",
    410: "The list behind the cursor has expired: start again from the first page.",
    412: "`If-Match` names another version.",
    413: "The file, the request or the team's storage is too large.",
    415: "The format of the body or of the picture is not supported.",
    422: "The request cannot be processed, or its Idempotency-Key belongs to another.",
    429: "Too many requests: wait for `Retry-After` seconds.",
    503: "A part of the server does not answer: try again after `Retry-After` seconds.",
}
EVERYWHERE = (400, 401, 403, 406, 429, 503)
BY_METHOD: dict[str, tuple[int, ...]] = {
    "post": (409, 413, 415, 422),
    "patch": (409, 412, 413, 415),
    "delete": (409,),
}

IDEMPOTENCY = OpenApiParameter(
    idempotency.HEADER,
    {"type": "string", "pattern": "^[!-~]{1,255}$"},
    OpenApiParameter.HEADER,
    description="The same key with the same request within 24 hours answers as before and does nothing again.",
)
IF_MATCH = OpenApiParameter(
    "If-Match",
    OpenApiTypes.STR,
    OpenApiParameter.HEADER,
    description="The `ETag` that you read: 412 where somebody changed it since.",
)


class AnyMedia(BaseContentNegotiation):
    """For addresses that pictures are loaded from: an <img> accepts pictures, and gets a redirect to one."""

    def select_parser(self, request: Request, parsers: Iterable[Any]) -> Any:
        return next(iter(parsers))

    def select_renderer(
        self, request: Request, renderers: Iterable[Any], format_suffix: str | None = None
    ) -> Any:
        renderer = next(iter(renderers))
        return renderer, renderer.media_type


class Endpoint(APIView):
    http_method_names = ["get", "post", "patch", "delete", "head"]
    parser_classes = [JSONParser]
    takes_files = False

    @property
    def principal(self) -> Principal:
        return self.request._request.principal  # type: ignore[attr-defined, no-any-return]

    @property
    def user(self) -> User:
        assert isinstance(self.request.user, User)
        return self.request.user

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        self._slot: str | None = None
        self._refuse_oversized(request)
        super().initial(request, *args, **kwargs)
        handler = getattr(self, str(request.method).lower(), None)
        operation = getattr(handler, "operation", None)
        if handler is None or request.method == "OPTIONS":
            return
        if operation is None:
            raise PermissionDenied(_("This address has no rule for that method."))
        self._require(operation["action"], operation["also"])
        if operation["repeatable"] and request.method == "POST":
            self._slot = idempotency.begin(request, self.principal)

    def _require(self, action: Action | None, also: Sequence[Action] = ()) -> None:
        if any(self.principal.has_scope(one) for one in also):
            return
        if action is not None and SCOPES[action] is not None:
            require_scope(self.principal, action)
        elif self.principal.scopes is not None:
            raise PermissionDenied(_("This needs a signed-in person; no API key may do it."))

    def handle_exception(self, exc: Exception) -> Response:
        if isinstance(exc, idempotency.Replay):
            return exc.response
        return super().handle_exception(exc)

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Response:
        response = super().finalize_response(request, response, *args, **kwargs)
        if rate := getattr(request._request, "rate", None):
            for name, value in rate.headers.items():
                response[name] = value
        response.setdefault("Cache-Control", "private, no-store")
        if slot := getattr(self, "_slot", None):
            self._settle(slot, request, response)
        return response

    def _settle(self, slot: str, request: Request, response: Response) -> None:
        if response.status_code >= 400:
            idempotency.release(slot)
            return
        handler = getattr(self, str(request.method).lower())
        # The request may have changed what its sender may do: the answer belongs to the rights from now on.
        idempotency.keep(slot, request, response, self.fresh_principal(), handler.operation["unrepeated"])

    def fresh_principal(self) -> Principal:
        """The sender's rights as they are by now."""
        auth = self.request.auth
        return principal_for_key(auth) if isinstance(auth, ApiKey) else principal_for_user(self.user)

    def _refuse_oversized(self, request: Request) -> None:
        """By the declared length, before anything is read; what has no length is read as empty."""
        declared = request.META.get("CONTENT_LENGTH") or "0"
        length = int(declared) if declared.isdigit() else 0
        form = str(request.content_type).startswith("multipart/")
        if form and self.takes_files:
            if length > settings.MAX_UPLOAD_BYTES + FORM_BYTES:
                limit = settings.MAX_UPLOAD_BYTES // 1024**2
                raise Problem(413, "too_large", _("The file is larger than %d MB.") % limit, "/file")
        elif length > (FORM_BYTES if form else JSON_BYTES):
            raise Problem(
                413, "too_large", _("The request is larger than %d MB.") % (JSON_BYTES // 1024**2), ""
            )

    def find(self, visible: QuerySet[Row], uid: UUID) -> Row:
        """The row of a queryset that is already narrowed to the principal; missing and foreign are both 404."""
        row = visible.filter(uid=uid).first()
        if row is None:
            raise Http404
        return row

    def check(self, form: type[Serializer], *, partial: bool = False) -> dict[str, Any]:
        """The validated body of the request."""
        serializer = form(data=self.request.data, partial=partial, context={"principal": self.principal})
        serializer.is_valid(raise_exception=True)
        return dict(serializer.validated_data)

    def require_match(self, etag: str) -> None:
        """412 where `If-Match` names other versions than `etag` (call with the row locked)."""
        wanted = self.request.headers.get("If-Match")
        if wanted is None or wanted.strip() == "*":
            return
        if etag not in [tag.strip() for tag in wanted.split(",")]:
            raise Problem(
                412, "changed_meanwhile", _("Somebody changed this since you read it; read it again.")
            )


def operation(
    action: Action | None,
    operation_id: str,
    summary: str,
    *,
    request: Any = None,
    responses: Mapping[Any, Any],
    parameters: Sequence[OpenApiParameter] = (),
    tags: Sequence[str],
    description: str = "",
    errors: Sequence[int] = (),
    repeatable: bool = True,
    unrepeated: Sequence[str] = (),
    match: bool = False,
    also: Sequence[Action] = (),
) -> Callable[[Handler], Handler]:
    """Guard a handler by the scope of `action` (None: only a signed-in person) and describe it.

    `repeatable`: whether POST keeps its answer under an Idempotency-Key, less the fields of `unrepeated`.
    `match`: takes If-Match. `also`: other actions whose scope opens the door as well; the handler then looks closer.
    """

    def decorate(handler: Handler) -> Handler:
        method = handler.__name__
        scope = SCOPES[action] if action is not None else None
        headers = [IDEMPOTENCY] if method == "post" and repeatable else []
        codes = {*EVERYWHERE, *BY_METHOD.get(method, ()), *errors} - ({412} if not match else set())
        problems = {
            (code, "application/problem+json"): OpenApiResponse(ProblemSerializer, description=ERRORS[code])
            for code in sorted(codes)
        }
        handler.operation = {  # type: ignore[attr-defined]
            "action": action,
            "also": tuple(also),
            "repeatable": repeatable,
            "unrepeated": tuple(unrepeated),
        }
        needed = f"Needs the scope `{scope}`." if scope else "Needs a signed-in person; no API key may do it."
        described = extend_schema(
            operation_id=operation_id,
            summary=summary,
            description=f"{description}\n\n{needed}".strip(),
            request=request,
            responses={**responses, **problems},
            parameters=[*parameters, *headers, *([IF_MATCH] if match else [])],
            tags=list(tags),
            extensions={"x-required-scope": scope},
        )
        return described(handler)  # type: ignore[no-any-return]

    return decorate


def moment(value: datetime | None) -> str | None:
    """RFC 3339 in UTC."""
    return None if value is None else value.astimezone(UTC).isoformat().replace("+00:00", "Z")


def invalid(field: str, message: str) -> ValidationError:
    return ValidationError({field: [message]})
