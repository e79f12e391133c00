"""Run by test_single_sign_on: a Loupe with a provider, and people who come through it; prints what happened as JSON."""

from __future__ import annotations

import json
import os
import sys
from typing import Any
from urllib.request import HTTPRedirectHandler, build_opener

import django

from tests.security.provider import CLIENT, SECRET, Provider, providing

EMAIL = "guest@example.org"


class Stay(HTTPRedirectHandler):
    def redirect_request(self, *args: Any) -> None:
        return None


def walk(client: Any, **claims: Any) -> Any:
    """Press the button, be known to the provider by `claims`, come back; the last page."""
    Provider.claims = {"sub": "1", "email": EMAIL, "email_verified": True, "name": "Guest", **claims}
    away = client.post("/accounts/oidc/sso/login/", {"next": "/collections/"})
    assert away.status_code == 302, away.content
    try:
        build_opener(Stay).open(away["Location"])
    except OSError as answer:  # a redirect is an error to urllib
        back = answer.headers["Location"]  # type: ignore[attr-defined]
    return client.get(back.replace("http://testserver", ""), follow=True)


def who(client: Any) -> str | None:
    from images.models import User

    known = client.session.get("_auth_user_id")
    return User.objects.get(pk=known).email if known else None


def visits() -> dict[str, Any]:
    from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
    from django.test import Client

    from images import invitations
    from images.access import Rank
    from images.models import Team, User

    told: dict[str, Any] = {}
    page = Client().get("/accounts/login/?next=/collections/")
    told["button"] = "Sign in with Harbour office" in page.content.decode()
    told["form-action"] = page["Content-Security-Policy"].split("form-action")[1].split(";")[0].split()

    stranger = Client()
    walk(stranger)
    told["stranger"] = [who(stranger), User.objects.count()]

    team = Team.objects.create(name="Harbour", slug="harbour")
    owner = User.objects.create_user("owner@example.org", "a good pass phrase")
    team.memberships.create(user=owner, role="owner")
    invitation = invitations.invite(team, EMAIL, "editor", "check", owner, Rank.OWNER)

    for name, claims in {
        "another address": {"email": "other@example.org"},
        "unverified": {"email_verified": False},
    }.items():
        guest = Client()
        guest.get(invitations.path(invitation))
        walk(guest, **claims)
        told[name] = [who(guest), User.objects.count()]

    guest = Client()
    guest.get(invitations.path(invitation))
    last = walk(guest)
    told["invited"] = [who(guest), last.request["PATH_INFO"], team.memberships.get(user__email=EMAIL).role]
    told["name"] = User.objects.get(email=EMAIL).name
    again = Client()
    walk(again, name="Somebody else")
    told["again"] = [who(again), User.objects.count()]

    known = Client()
    walk(known, sub="2", email="OWNER@example.org")
    told["known by address"] = who(known)
    forged = Client()
    walk(forged, sub="3", email="owner@example.org", email_verified=False)
    told["claimed address"] = who(forged)

    TOTP.activate(owner, generate_totp_secret())
    second = Client()
    told["second factor"] = [walk(second, sub="2", email=owner.email).request["PATH_INFO"], who(second)]

    User.objects.filter(email=EMAIL).update(is_active=False)
    suspended = Client()
    walk(suspended)
    told["suspended"] = who(suspended)
    return told


def main() -> None:
    with providing() as issuer:
        os.environ |= {"LOUPE_OIDC_ISSUER": issuer, "LOUPE_OIDC_CLIENT_ID": CLIENT, "LOUPE_OIDC_SECRET": SECRET,
                       "LOUPE_OIDC_NAME": "Harbour office", "DJANGO_SETTINGS_MODULE": "config.settings"}  # fmt: skip
        django.setup()
        from django.core.management import call_command

        call_command("migrate", verbosity=0)
        json.dump(visits(), sys.stdout)


if __name__ == "__main__":
    main()
