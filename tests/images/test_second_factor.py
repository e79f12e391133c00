"""Signing in with more than a password: authenticator apps, recovery codes, passkeys; at the admin's door as well."""

import json
import time

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value
from django.core.cache import cache
from django.test import Client
from django.urls import reverse

pytestmark = pytest.mark.django_db
PASSWORD = "a good pass phrase"
LOGIN, ASKED, HOME = "/accounts/login/", "/accounts/2fa/authenticate/", "/"
PASSKEY = "/accounts/2fa/webauthn/login/"


def code(secret, steps=0):
    return format_hotp_value(hotp_value(secret, int(time.time()) // 30 + steps))


def sign_in(user, after=""):
    browser = Client()
    answer = browser.post(LOGIN + after, {"login": user.email, "password": PASSWORD})
    return browser, answer


def confirm(browser):
    """What any change of the factors asks for first."""
    assert browser.get(reverse("mfa_activate_totp"))["Location"].startswith("/accounts/reauthenticate/")
    assert browser.post("/accounts/reauthenticate/", {"password": PASSWORD}).status_code == 302


@pytest.fixture
def protected(viewer):
    """A viewer who switched an authenticator app on, by the pages; with its secret and recovery codes."""
    browser, answer = sign_in(viewer)
    assert answer["Location"] == HOME
    confirm(browser)
    form = browser.get(reverse("mfa_activate_totp"))
    secret = form.context["form"].secret
    assert "data:image/svg+xml" in form.content.decode() and secret in form.content.decode()
    done = browser.post(reverse("mfa_activate_totp"), {"code": code(secret, -1)}, follow=True)
    assert done.status_code == 200
    codes = Authenticator.objects.get(user=viewer, type="recovery_codes").wrap().get_unused_codes()
    cache.clear()  # a code is taken once
    return viewer, secret, codes


def test_a_wrong_code_switches_nothing_on(viewer):
    browser, _answer = sign_in(viewer)
    confirm(browser)
    browser.get(reverse("mfa_activate_totp"))
    assert browser.post(reverse("mfa_activate_totp"), {"code": "000000"}).status_code == 200
    assert not Authenticator.objects.exists()


def test_the_password_alone_no_longer_signs_in(protected):
    browser, answer = sign_in(protected[0])
    assert answer["Location"] == ASKED
    assert browser.get(HOME)["Location"].startswith(LOGIN)


def test_the_code_of_the_app_signs_in_once(protected):
    user, secret, _codes = protected
    used = code(secret)
    browser, _answer = sign_in(user)
    assert browser.post(ASKED, {"code": used})["Location"] == HOME
    assert browser.get(HOME).status_code == 200
    again, _answer = sign_in(user)
    assert again.post(ASKED, {"code": used}).status_code == 200
    assert again.get(HOME)["Location"].startswith(LOGIN)


def test_a_recovery_code_signs_in_once(protected):
    user, _secret, codes = protected
    for expected in (302, 200):
        browser, _answer = sign_in(user)
        assert browser.post(ASKED, {"code": codes[0]}).status_code == expected


def test_guessing_codes_is_slowed_down(protected):
    browser, _answer = sign_in(protected[0])
    answers = [browser.post(ASKED, {"code": "000000"}).content.decode() for _n in range(12)]
    assert "Too many" in answers[-1] and "Too many" not in answers[0]


def test_guessing_passwords_is_slowed_down(viewer):
    answers = [
        Client().post(LOGIN, {"login": viewer.email, "password": "wrong"}).content.decode()
        for _n in range(12)
    ]
    assert "Too many" in answers[-1] and "Too many" not in answers[0]
    assert sign_in(viewer)[1].status_code == 200, "the right password waits as well"


def test_the_admin_asks_for_it_too(protected, admin):
    Authenticator.objects.filter(user=protected[0]).update(user=admin)
    browser, answer = sign_in(admin, "?next=/admin/")
    assert answer["Location"].startswith(ASKED)
    assert browser.get("/admin/", follow=True).redirect_chain[-1][0].startswith(ASKED)
    done = browser.post(ASKED, {"code": code(protected[1])}, follow=True)
    assert done.status_code == 200 and browser.get("/admin/").status_code == 200


def test_somebody_suspended_gets_no_further_with_a_code(protected):
    user, secret, _codes = protected
    browser, _answer = sign_in(user)
    user.is_active = False
    user.save()
    browser.post(ASKED, {"code": code(secret)})
    assert browser.get(HOME)["Location"].startswith(LOGIN)


def test_switching_it_off_asks_for_the_password_again(protected):
    """A browser that was left open is not enough to take the second factor away."""
    user, secret, _codes = protected
    browser, _answer = sign_in(user)
    browser.post(ASKED, {"code": code(secret)})
    answer = browser.post(reverse("mfa_deactivate_totp"))
    assert "/reauthenticate/" in answer["Location"] and Authenticator.objects.filter(type="totp").exists()


def test_every_page_of_it_looks_like_ours_and_runs_nothing_inline(protected):
    user, secret, _codes = protected
    browser, _answer = sign_in(user)
    pages = [browser.get(ASKED)]
    browser.post(ASKED, {"code": code(secret)})
    pages.append(browser.get(reverse("mfa_add_webauthn"), follow=True))
    browser.post("/accounts/reauthenticate/", {"password": PASSWORD})
    for name in ("mfa_index", "mfa_deactivate_totp", "mfa_view_recovery_codes", "mfa_generate_recovery_codes",
                 "mfa_add_webauthn", "mfa_list_webauthn"):  # fmt: skip
        pages.append(browser.get(reverse(name), follow=True))
    pages.append(Client().get(LOGIN))
    for shown in pages:
        text = shown.content.decode()
        assert shown.status_code == 200 and "app.css" in text
        executed = [tag for tag in text.split("<script")[1:] if "src=" not in tag[: tag.index(">")]]
        assert all('type="application/json"' in tag[: tag.index(">")] for tag in executed)
        assert "onclick" not in text and 'style="' not in text


# ── Passkeys ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_passkey_is_asked_for_with_a_fresh_challenge(viewer):
    first, second = (Client().get(PASSKEY, HTTP_ACCEPT="application/json").json() for _n in range(2))
    challenges = {one["request_options"]["publicKey"]["challenge"] for one in (first, second)}
    assert len(challenges) == 2


def test_a_made_up_passkey_signs_nobody_in(viewer):
    browser = Client()
    browser.get(PASSKEY, HTTP_ACCEPT="application/json")
    forged = {"id": "AAAA", "rawId": "AAAA", "type": "public-key", "response": {
        "clientDataJSON": "e30", "authenticatorData": "AAAA", "signature": "AAAA", "userHandle": None,
    }}  # fmt: skip
    answer = browser.post(PASSKEY, {"credential": json.dumps(forged)})
    assert answer.status_code < 500
    assert browser.get(HOME)["Location"].startswith(LOGIN)


def test_the_sign_in_page_offers_it(db):
    assert 'id="passkey_login"' in Client().get(LOGIN).content.decode()
