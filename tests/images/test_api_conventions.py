"""What every endpoint promises: problems, request ids, limits, Idempotency-Key, paging."""

import json

import pytest
from django.core.cache import cache
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import OperationalError

from images import api_collections, teams, throttling
from images.models import ApiKey, Collection, Image
from images.storage import StorageUnavailable

COLLECTIONS = "/api/v1/collections/"
PROBLEM = "application/problem+json"


def problem(answer, status):
    """Assert an RFC 9457 body of that status and return it."""
    body = answer.json()
    assert (answer.status_code, answer["Content-Type"], body["status"]) == (status, PROBLEM, status)
    assert body["request_id"] == answer["X-Request-Id"]
    assert all(body[name] for name in ("type", "title", "detail", "code"))
    return body


# ── Problems ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "path", ["/api/v1/", "/api/v1/nothing/", "/api/v2/teams/", "/api/v1/teams/7/", "/api/v1/teams"]
)
def test_an_unknown_address_is_a_problem(api, owner, path):
    assert problem(api(owner).get(path), 404)["code"] == "not_found"


def test_no_credentials_is_a_problem(api):
    problem(api().get(COLLECTIONS), 401)


@pytest.mark.parametrize(
    "header", ["Bearer nothing", "Bearer lp_0_0", "Basic eDp5", "Bearer", "Bearer lp_" + "x" * 500]
)
def test_a_bad_key_is_a_problem_even_with_a_session(api, owner, header):
    problem(api(owner).get(COLLECTIONS, HTTP_AUTHORIZATION=header), 401)


def test_a_session_without_csrf_token_changes_nothing(owner):
    from rest_framework.test import APIClient

    client = APIClient(enforce_csrf_checks=True)
    client.force_login(owner, "allauth.account.auth_backends.AuthenticationBackend")
    problem(client.post(COLLECTIONS, {"name": "Dunes"}), 403)
    assert not Collection.objects.exists()


@pytest.mark.parametrize("method", ["put", "delete", "options", "trace"])
def test_a_wrong_method_is_a_problem(api, owner, method):
    answer = getattr(api(owner), method)(COLLECTIONS)
    problem(answer, 405)


def test_another_language_than_json_is_not_spoken(api, owner):
    problem(api(owner).get(COLLECTIONS, HTTP_ACCEPT="text/html"), 406)


def test_an_oversized_body_is_refused_unread(api, owner):
    answer = api(owner).generic("POST", COLLECTIONS, b"{" + bytes(3 * 1024**2), "application/json")
    problem(answer, 413)


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/xml", "application/x-www-form-urlencoded", "multipart/form-data"]
)
def test_a_body_in_another_format_is_a_problem(api, owner, kind):
    problem(api(owner).generic("POST", COLLECTIONS, b"name=x", kind), 415)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"7", b'"x"', b"\xff\xfe", b"[" * 100_000, b'{"name": "\x00"}']
)
def test_a_broken_body_is_a_problem(api, owner, body):
    problem(api(owner).generic("POST", COLLECTIONS, body, "application/json"), 400)
    assert not Collection.objects.exists()


@pytest.mark.parametrize("name", ["\x00", "\ud800", "a\x00b"])
def test_characters_that_no_store_takes_are_refused(api, owner, name):
    body = problem(
        api(owner).generic("POST", COLLECTIONS, json.dumps({"name": name}), "application/json"), 400
    )
    assert body["errors"][0]["pointer"] == "/name"


def test_a_surprise_is_told_to_the_log_alone(api, owner, monkeypatch):
    def explode(*args, **kwargs):
        raise RuntimeError("the password is swordfish")

    monkeypatch.setattr(api_collections, "page", explode)
    answer = api(owner).get(COLLECTIONS)
    assert "swordfish" not in problem(answer, 500)["detail"]


@pytest.mark.parametrize("error", [OperationalError("gone"), StorageUnavailable("full")])
def test_an_outage_says_when_to_try_again(api, owner, monkeypatch, error):
    def explode(*args, **kwargs):
        raise error

    monkeypatch.setattr(api_collections, "page", explode)
    answer = api(owner).get(COLLECTIONS)
    problem(answer, 503)
    assert answer["Retry-After"] == "5"


# ── Request ids and limits ──────────────────────────────────────────────────────────────────────────────────────


def test_a_request_id_comes_back(api, owner):
    assert api(owner).get(COLLECTIONS, HTTP_X_REQUEST_ID="abc-123-xyz")["X-Request-Id"] == "abc-123-xyz"


@pytest.mark.parametrize("given", ["short", "with space and more", "x" * 65, "quote\"'<>&;"])
def test_an_odd_request_id_is_replaced(api, owner, given):
    assert api(owner).get(COLLECTIONS, HTTP_X_REQUEST_ID=given)["X-Request-Id"] != given


def test_every_answer_tells_the_rate_limit(api, owner):
    client = api(owner)
    first, second = client.get(COLLECTIONS), client.get("/api/v1/teams/")
    assert first["RateLimit-Policy"] == '"principal";q=1200;w=60'
    assert int(first["RateLimit"].split("r=")[1].split(";")[0]) - 1 == int(
        second["RateLimit"].split("r=")[1].split(";")[0]
    )


def test_too_many_requests_wait(api, owner, viewer, monkeypatch):
    monkeypatch.setattr(throttling.PrincipalThrottle, "THROTTLE_RATES", {"principal": "2/hour"})
    client = api(owner)
    answers = [client.get(COLLECTIONS) for _number in range(3)]
    problem(answers[2], 429)
    assert (answers[1].status_code, int(answers[2]["Retry-After"]) > 0) == (200, True)
    assert api(viewer).get(COLLECTIONS).status_code == 200


def test_a_key_has_a_limit_of_its_own(api, key_client, owner, monkeypatch):
    monkeypatch.setattr(throttling.PrincipalThrottle, "THROTTLE_RATES", {"principal": "1/hour"})
    assert api(owner).get(COLLECTIONS).status_code == key_client(owner).get(COLLECTIONS).status_code == 200


def test_answers_are_not_kept_by_caches(api, owner):
    assert api(owner).get(COLLECTIONS)["Cache-Control"] == "private, no-store"


# ── Idempotency-Key ─────────────────────────────────────────────────────────────────────────────────────────────


def post(client, body, key="k-1", path=COLLECTIONS):
    return client.post(path, body, HTTP_IDEMPOTENCY_KEY=key)


def test_a_repeated_post_is_done_once_and_answered_alike(api, owner):
    client = api(owner)
    first, again = post(client, {"name": "Dunes"}), post(client, {"name": "Dunes"})
    assert (again.status_code, again.json(), again["Location"]) == (201, first.json(), first["Location"])
    assert (again["Idempotency-Replayed"], Collection.objects.count()) == ("true", 1)


def test_a_private_collection_is_replayed_to_its_maker(api, owner):
    body = {"name": "Vault", "visibility": "private"}
    client = api(owner)
    assert [post(client, body).status_code for _twice in range(2)] == [201, 201]


def test_the_same_key_with_another_body_is_refused(api, owner):
    client = api(owner)
    post(client, {"name": "Dunes"})
    assert problem(post(client, {"name": "Hills"}), 422)["code"] == "idempotency_key_reused"
    assert Collection.objects.count() == 1


def test_a_request_under_way_is_a_conflict(api, owner, monkeypatch):
    client, inner = api(owner), []
    create = teams.create_collection

    def twice(*args, **fields):
        inner.append(post(client, {"name": "Dunes"}))
        return create(*args, **fields)

    monkeypatch.setattr(teams, "create_collection", twice)
    assert post(client, {"name": "Dunes"}).status_code == 201
    assert problem(inner[0], 409)["code"] == "idempotency_in_flight"


def test_a_failed_post_may_be_tried_again(api, owner):
    client = api(owner)
    assert post(client, {"name": ""}).status_code == 400
    assert post(client, {"name": "Dunes"}).status_code == 201


def test_people_do_not_share_keys(api, owner, member):
    editor = member("editor")
    assert post(api(owner), {"name": "Dunes"}).status_code == 201
    assert (
        post(api(editor), {"name": "Dunes"}).status_code == 409
    )  # the name is taken: this was a request of its own


def test_changed_rights_are_told_nothing_of_the_earlier_answer(api, member, team):
    user = member("editor")
    client = api(user)
    post(client, {"name": "Dunes"})
    user.memberships.update(role="viewer")
    assert problem(post(client, {"name": "Dunes"}), 409)["code"] == "idempotency_rights_changed"


def test_a_secret_is_not_repeated_nor_kept(api, owner, team):
    path, body = f"/api/v1/teams/{team.uid}/keys/", {"name": "Script", "scopes": ["images:read"]}
    client = api(owner)
    first, again = post(client, body, path=path).json(), post(client, body, path=path).json()
    assert (again["secret"], again["id"], ApiKey.objects.count()) == (None, first["id"], 1)
    assert first["secret"] not in str(getattr(cache, "_cache", ""))


def test_a_repeated_upload_is_one_picture(api, teammate, collection, picture):
    content, client = picture(), api(teammate)
    answers = [
        client.post(
            f"{COLLECTIONS}{collection.uid}/images/",
            {"file": SimpleUploadedFile("a.jpg", content)},
            "multipart",
            HTTP_IDEMPOTENCY_KEY="up",
        )
        for _twice in range(2)
    ]
    assert [one.status_code for one in answers] == [201, 201]
    assert Image.objects.count() == 1


def test_another_file_under_the_same_key_is_refused(api, teammate, collection, picture):
    client, path = api(teammate), f"{COLLECTIONS}{collection.uid}/images/"
    statuses = [
        client.post(
            path, {"file": SimpleUploadedFile("a.jpg", picture())}, "multipart", HTTP_IDEMPOTENCY_KEY="up"
        )
        for _twice in range(2)
    ]
    assert [one.status_code for one in statuses] == [201, 422]


@pytest.mark.parametrize("key", ["", "with space", "x" * 256, "ü"])
def test_an_odd_key_is_refused(api, owner, key):
    assert post(api(owner), {"name": "Dunes"}, key).status_code == 400
    assert not Collection.objects.exists()


# ── Paging ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("limit", ["0", "201", "-1", "x", "1e2", "9" * 400, "²"])
def test_a_limit_out_of_bounds_names_the_field(api, owner, limit):
    assert problem(api(owner).get(COLLECTIONS, {"limit": limit}), 400)["errors"][0]["pointer"] == "/limit"


@pytest.mark.parametrize("cursor", ["x", "\x00", "a:b:c", "9" * 5000])
def test_a_forged_cursor_is_refused(api, owner, cursor):
    assert problem(api(owner).get(COLLECTIONS, {"cursor": cursor}), 400)["errors"][0]["pointer"] == "/cursor"


def test_pages_follow_each_other(api, owner, make_collection):
    for number in range(5):
        make_collection(str(number))
    client, seen, cursor = api(owner), [], ""
    while cursor is not None:
        answer = client.get(COLLECTIONS, {"limit": 2, "cursor": cursor}).json()
        seen += [one["name"] for one in answer["data"]]
        cursor = answer["next_cursor"]
    assert sorted(seen) == ["0", "1", "2", "3", "4"]


def test_a_cursor_opens_no_foreign_rows(api, owner, outsider, make_collection):
    make_collection("0"), make_collection("1")
    cursor = api(owner).get(COLLECTIONS, {"limit": 1}).json()["next_cursor"]
    assert api(outsider).get(COLLECTIONS, {"cursor": cursor}).json()["data"] == []
