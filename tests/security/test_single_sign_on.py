"""Sign-in through an OpenID Connect provider: a real one on this machine, in a Loupe that was started with it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    environment = {**os.environ, "LOUPE_DATA": str(tmp_path_factory.mktemp("sso")), "LOG_LEVEL": "ERROR",
                   "DATABASE_URL": ""}  # fmt: skip
    command = [sys.executable, "-m", "tests.security.sso_visits"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_sign_in_page_leads_there(told):
    own, provider = told["form-action"]
    assert told["button"] and own == "'self'" and provider.startswith("http://127.0.0.1:")


def test_a_stranger_gets_no_account(told):
    assert told["stranger"] == [None, 0]


@pytest.mark.parametrize("how", ["another address", "unverified"])
def test_an_invitation_is_for_its_verified_address_alone(told, how):
    assert told[how] == [None, 1]


def test_whoever_is_invited_gets_an_account_and_joins(told):
    assert told["invited"] == ["guest@example.org", "/collections/", "editor"]
    assert told["name"] == "Guest"
    assert told["again"] == ["guest@example.org", 2]


def test_an_account_is_known_by_its_verified_address_alone(told):
    assert (told["known by address"], told["claimed address"]) == ("owner@example.org", None)


def test_the_second_factor_is_asked_for_all_the_same(told):
    assert told["second factor"] == ["/accounts/2fa/authenticate/", None]


def test_somebody_suspended_stays_out(told):
    assert told["suspended"] is None


def test_without_a_provider_there_is_no_such_door(client, db):
    assert "Sign in with" not in client.get("/accounts/login/").content.decode().replace(
        "Sign in with a passkey", ""
    )
    assert client.post("/accounts/oidc/sso/login/").status_code == 404
