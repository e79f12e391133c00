"""Sign-in through the organisation's own OpenID Connect provider (LOUPE_OIDC_ISSUER), beside email and password.

The provider proves who somebody is, not what they may do: sign-up stays closed to those without an invitation, and a
person who was suspended here stays out. Only addresses that the provider calls verified count.
"""

from __future__ import annotations

from typing import Any

from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from django.conf import settings
from django.db import transaction
from django.http import HttpRequest

from images import invitations
from images.models import Invitation, User


class SocialAdapter(DefaultSocialAccountAdapter):
    def is_open_for_signup(self, request: HttpRequest, sociallogin: Any) -> bool:
        return bool(settings.SIGNUP_OPEN) or self._invitation(request, sociallogin) is not None

    def populate_user(self, request: HttpRequest, sociallogin: Any, data: dict[str, Any]) -> User:
        user: User = super().populate_user(request, sociallogin, data)
        user.name = str(data.get("name") or "")[:120]
        return user

    def save_user(self, request: HttpRequest, sociallogin: Any, form: Any = None) -> User:
        """A new account joins the team whose invitation it holds, in the same transaction."""
        invitation = self._invitation(request, sociallogin)
        with transaction.atomic():
            user: User = super().save_user(request, sociallogin, form)
            if (
                invitation is not None
                and user.email.lower() == invitation.email
                and not user.memberships.exists()
            ):
                invitations.accept(invitation, user)
                request.session.pop(invitations.SESSION_KEY, None)
        return user

    def _invitation(self, request: HttpRequest, sociallogin: Any) -> Invitation | None:
        invitation = invitations.held_by(request)
        verified = {one.email.lower() for one in sociallogin.email_addresses if one.verified}
        return invitation if invitation is not None and invitation.email in verified else None
