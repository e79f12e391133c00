# ruff: noqa: F811  (a fixture is an argument of its own name)
"""The committed description of the API is what the server says, and what the server does."""

import os
import re
from collections import Counter
from pathlib import Path

import pytest
import schemathesis
import yaml
from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.validation import validate_schema
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from config.wsgi import application
from images.access import SCOPES
from tests.security.conftest import world  # noqa: F401  (a fixture)

COMMITTED = Path(__file__).parents[1] / "docs" / "openapi.yaml"
PROBLEM = "application/problem+json"
METHODS = ("get", "post", "put", "patch", "delete")
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.fixture(scope="module")
def generated():
    GENERATOR_STATS.reset()
    return SchemaGenerator().get_schema(request=None, public=True)


def operations(schema):
    for path, item in schema["paths"].items():
        for method in METHODS:
            if method in item:
                yield f"{method} {path}", item[method]


def test_the_committed_schema_is_the_generated_one(generated):
    assert yaml.safe_load(COMMITTED.read_text()) == generated, (
        "run: manage.py spectacular --file docs/openapi.yaml"
    )


def test_the_schema_is_valid_and_made_without_warnings(generated):
    validate_schema(generated)
    assert not GENERATOR_STATS


def test_every_operation_names_the_scope_it_needs(generated):
    known = {*SCOPES.values()}
    assert {
        name for name, one in operations(generated) if one.get("x-required-scope", "") not in known
    } == set()


def test_every_operation_declares_its_problems(generated):
    for name, one in operations(generated):
        declared = {code for code, answer in one["responses"].items() if PROBLEM in answer.get("content", ())}
        assert {"400", "401", "403", "429", "503"} <= declared, name


def test_every_unsafe_operation_is_sent_with_a_key_or_repeats_harmlessly(generated):
    without = {
        name
        for name, one in operations(generated)
        if name.startswith("post") and "Idempotency-Key" not in [p["name"] for p in one.get("parameters", ())]
    }
    assert without == {
        "post /api/v1/search/",
        "post /api/v1/collections/{uid}/images/check/",
        "post /api/v1/collections/{uid}/uploads/",  # an upload that is begun twice is cleaned after a day
    }


def test_the_schema_is_served_to_everybody(client):
    assert yaml.safe_load(client.get("/api/schema/").content)["info"]["title"] == "Loupe"


def test_the_docs_page_needs_no_other_server(client):
    page = client.get("/api/docs/")
    policy = page["Content-Security-Policy"]
    assert "://" not in page.content.decode().replace("http://testserver", "")
    assert (
        "script-src 'self';" in policy + ";"
        and "unsafe-inline" not in policy.split("script-src")[1].split(";")[0]
    )


def test_the_docs_page_alone_may_style_inline(client):
    assert "unsafe-inline" in client.get("/api/docs/")["Content-Security-Policy"]
    assert "unsafe-inline" not in client.get("/api/v1/")["Content-Security-Policy"]


def test_the_docs_pages_files_are_there(client):
    for address in re.findall(r'(?:src|href)="(/[^"]+)"', client.get("/api/docs/").content.decode()):
        assert client.get(address).status_code == 200, address


# ── The server answers as described, whatever it is sent ────────────────────────────────────────────────────────

NAMES = [name for name, _one in operations(yaml.safe_load(COMMITTED.read_text()))]
PLACES = {"teams": "team", "collections": "collection", "images": "image", "jobs": "job"}
REAL = ("key", "invitation", "webhook", "delivery", "share", "prompt")
TOKEN = "t" * 32
# What somebody without a session may be told: sign in, or that the request is no request.
REFUSALS = {400, 401, 404, 406, 413, 415}
LONG = int(os.environ.get("LOUPE_SCHEMA_EXAMPLES", "8"))


@pytest.fixture(scope="module")
def described(django_db_setup, django_db_blocker):
    """Requests to the bare application would close the connection that the test's transaction lives in."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    with django_db_blocker.unblock():
        yield schemathesis.openapi.from_wsgi("/api/schema/", application)
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


WHO = ("anonymous", "outsider", "viewer", "contributor", "editor", "manager", "owner", "key")


@pytest.fixture
def signed(world, api, key_client):
    """The headers by which everybody signs a request: a session, or for "key" one of the owner with every scope."""

    def make(who):
        if who == "anonymous":
            return {}
        if who == "key":
            return {"Authorization": key_client(world["users"]["owner"])._credentials["HTTP_AUTHORIZATION"]}
        session = api(world["users"][who]).cookies["sessionid"].value
        return {"Cookie": f"sessionid={session}; csrftoken={TOKEN}", "X-CSRFToken": TOKEN}

    return make


@pytest.fixture(autouse=True)
def unlimited(request, monkeypatch):
    """Thousands of requests in a minute are what these tests are about."""
    from images.throttling import PrincipalThrottle

    monkeypatch.setattr(PrincipalThrottle, "get_rate", lambda self: "1000000/min")


def fuzz(name, described, world, headers, examples):
    """Send generated requests, three of four with the ids of things that are there; returns the statuses answered."""
    method, path = name.split(" ")
    operation = described[path][method]
    real = {name: str(world[name].uid) for name in REAL} | {"member": str(world["target"].uid)}
    real["uid"] = str(world[PLACES.get(path.split("/")[3], "team")].uid)
    real = {name: value for name, value in real.items() if f"{{{name}}}" in path}
    answered = Counter()

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(), is_real=st.integers(0, 3))
    def run(case, is_real):
        if is_real:
            case.path_parameters = {**(case.path_parameters or {}), **real}
        response = case.call(headers=headers)
        answered[response.status_code] += 1
        case.validate_response(response, checks=CHECKS)

    run()
    return answered


@pytest.mark.parametrize("name", NAMES)
def test_no_request_surprises_the_server(name, described, world, signed):
    """Signed as the owner of everything: by key, or where no key may, by session."""
    method, path = name.split(" ")
    person = described[path][method].definition.raw.get("x-required-scope") is None
    fuzz(name, described, world, signed("owner" if person else "key"), examples=6)


@pytest.mark.parametrize("who", WHO)
def test_nobody_surprises_the_server(who, described, world, signed):
    """Everybody, one generated request to every operation; what must not be answered is not."""
    headers = signed(who)
    answered = sum((fuzz(name, described, world, headers, examples=1) for name in NAMES), Counter())
    assert sum(answered.values()) >= len(NAMES)
    assert who != "anonymous" or set(answered) <= REFUSALS


@pytest.mark.slow
@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("name", NAMES)
def test_nobody_surprises_the_server_for_long(name, who, described, world, signed):
    fuzz(name, described, world, signed(who), examples=LONG)
