"""How people get an account: by invitation, unless the operator opens sign-up."""

from __future__ import annotations

from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest
from django.utils.translation import gettext as _

from images import invitations
from images.models import User


class AccountAdapter(DefaultAccountAdapter):
    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return bool(settings.SIGNUP_OPEN) or invitations.held_by(request) is not None

    def clean_email(self, email: str) -> str:
        """Where people sign up by invitation alone, nobody but the invited address does."""
        email = super().clean_email(email)
        here = getattr(self.request, "resolver_match", None)
        if here is None or here.url_name != "account_signup" or settings.SIGNUP_OPEN:
            return email
        invitation = invitations.held_by(self.request)
        # allauth asks again once the account is made, and the invitation used with it.
        invited = getattr(self.request, "joined_as", None) or (invitation and invitation.email)
        if invited != email.lower():
            raise ValidationError(_("Sign up with the address that the invitation was sent to."))
        return email

    def save_user(self, request: HttpRequest, user: User, form: Any, commit: bool = True) -> User:
        """A new account joins the team whose invitation it holds, in the same transaction."""
        with transaction.atomic():
            super().save_user(request, user, form, commit)
            invitation = invitations.held_by(request)
            if commit and invitation is not None and invitation.email == user.email.lower():
                invitations.accept(invitation, user)
                request.joined_as = invitation.email  # type: ignore[attr-defined]
                request.session.pop(invitations.SESSION_KEY, None)
        return user
