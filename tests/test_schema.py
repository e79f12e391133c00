"""The committed description of the API is what the server says, and what the server does."""

import re
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
from tests.security.test_matrix import world  # noqa: F401  (a fixture)

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
TOKEN = "t" * 32


@pytest.fixture(scope="module")
def described(django_db_setup, django_db_blocker):
    """Requests to the bare application would close the connection that the test's transaction lives in."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    with django_db_blocker.unblock():
        yield schemathesis.openapi.from_wsgi("/api/schema/", application)
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@pytest.fixture
def headers(world, api, key_client):  # noqa: F811
    """How the owner of everything signs a request: by key, or where no key may, by session."""
    owner = world["users"]["owner"]
    key = {"Authorization": key_client(owner)._credentials["HTTP_AUTHORIZATION"]}
    session = api(owner).cookies["sessionid"].value
    return {False: key, True: {"Cookie": f"sessionid={session}; csrftoken={TOKEN}", "X-CSRFToken": TOKEN}}


def fuzz(name, described, world, headers, examples):  # noqa: F811
    method, path = name.split(" ")
    operation = described[path][method]
    person = operation.definition.raw.get("x-required-scope") is None
    real = {name: str(world[name].uid) for name in ("key",)} | {"member": str(world["target"].uid)}
    real["uid"] = str(world[PLACES.get(path.split("/")[3], "team")].uid)

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
        response = case.call(headers=headers[person])
        case.validate_response(response, checks=CHECKS)

    run()


@pytest.mark.parametrize("name", NAMES)
def test_no_request_surprises_the_server(name, described, world, headers):  # noqa: F811
    fuzz(name, described, world, headers, examples=6)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_no_request_surprises_the_server_for_long(name, described, world, headers):  # noqa: F811
    fuzz(name, described, world, headers, examples=150)
