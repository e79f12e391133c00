"""Who sends an API request: a key in `Authorization: Bearer`, or the browser's session with CSRF."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext_lazy as _
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework import authentication, exceptions, permissions
from rest_framework.request import Request

from images import keys
from images.access import principal_for_key, principal_for_user
from images.models import User
from images.throttling import note_wrong_key


class ApiKeyAuthentication(authentication.BaseAuthentication):
    """Replaces the request's principal by the key's, which is never wider than its owner's."""

    def authenticate(self, request: Request) -> tuple[User, Any] | None:
        scheme, _sep, text = request.headers.get("Authorization", "").partition(" ")
        if not scheme:
            return None
        key = keys.find(text.strip()) if scheme.lower() == "bearer" else None
        if key is None or not key.owner.is_active:
            note_wrong_key(request)
            raise exceptions.AuthenticationFailed(_("The API key is unknown, expired or revoked."))
        request._request.principal = principal_for_key(key)  # type: ignore[attr-defined]
        return key.owner, key

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="loupe"'


class SessionAuthentication(authentication.SessionAuthentication):
    def authenticate(self, request: Request) -> tuple[User, Any] | None:
        found = super().authenticate(request)
        if found:
            request._request.principal = principal_for_user(found[0])  # type: ignore[attr-defined]
        return found


class SignedIn(permissions.BasePermission):
    """The least that any endpoint asks for; what may be done is decided by `images.access`."""

    def has_permission(self, request: Request, view: Any) -> bool:
        return bool(request.user and request.user.is_authenticated and request.user.is_active)


class ApiKeyScheme(OpenApiAuthenticationExtension):
    target_class = ApiKeyAuthentication
    name = "apiKey"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "bearerFormat": "lp_<prefix>_<secret>"}


class SessionScheme(OpenApiAuthenticationExtension):
    target_class = SessionAuthentication
    name = "session"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "apiKey", "in": "cookie", "name": "sessionid"}
