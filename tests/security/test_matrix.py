"""Every route of the API × method × actor. A route that this table does not list fails."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.core.cache import cache
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import URLPattern, URLResolver, get_resolver

from tests.conftest import SCOPES
from tests.security.world import MARK, ROLES, STRANGERS, sharing_middleware, snapshot, touched, undone

OPEN = {"schema", "api-docs", "api-not-found"}
LIST = ""  # a list answers everybody who signed in, with what they may see


@dataclass(frozen=True)
class Row:
    """`least`: the lowest role that may (LIST: any account). `scope`: what a key needs; None: no key may.
    `denied`: what roles below `least` are told, 404 where they may not even see it; `other`: further exceptions."""

    route: str
    method: str
    path: str
    least: str
    scope: str | None
    ok: int = 200
    body: Callable[[dict[str, Any]], Any] | None = None
    kind: str = "json"
    denied: int = 403
    other: dict[str, int] = field(default_factory=dict)


def upload(world: dict[str, Any]) -> dict[str, Any]:
    return {"file": SimpleUploadedFile("a.jpg", world["bytes"])}


def archive(world: dict[str, Any]) -> dict[str, Any]:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        made.writestr("a.jpg", world["bytes"])
    return {"file": SimpleUploadedFile("a.zip", file.getvalue())}


def in_team(world: dict[str, Any]) -> dict[str, Any]:
    return {"name": "New", "team": str(world["team"].uid)}


READ, WRITE, ADMIN, INDEX, MODERATE, SEARCH = (
    "images:read", "images:write", "collections:admin", "index:admin", "moderation:write", "search:read",
)  # fmt: skip
ISSUE = {"name": "New", "scopes": ["images:read"]}
QUERY = {"query": [{"text": "dog"}]}

HOOKS = "webhooks:write"
ANNOUNCE = {"file_name": "a.jpg", "size": 9, "sha256": "0" * 64}
HOOK, DELIVERY = "teams/{team}/webhooks/{webhook}/", "teams/{team}/webhooks/{webhook}/deliveries/"
APPROVE, HASHES, NAMED = {"decision": "approve"}, {"sha256": []}, {"name": "New"}

MATRIX = [
    Row("teams", "get", "teams/", LIST, READ),
    Row("teams", "post", "teams/", LIST, None, 201, lambda w: NAMED,
        other=dict.fromkeys((*ROLES, "outsider", "revoked"), 403)),  # sign-up is closed here
    Row("team", "get", "teams/{team}/", "viewer", READ),
    Row("team", "patch", "teams/{team}/", "manager", None, body=lambda w: NAMED),
    Row("members", "get", "teams/{team}/members/", "viewer", None),
    Row("members", "post", "teams/{team}/members/", "manager", None, 201, lambda w: {"email": w["newcomer"].email}),
    Row("member", "patch", "teams/{team}/members/{target}/", "manager", None, body=lambda w: {"role": "editor"}),
    Row("member", "delete", "teams/{team}/members/{target}/", "manager", None, 204),
    Row("keys", "get", "teams/{team}/keys/", "viewer", None),
    Row("keys", "post", "teams/{team}/keys/", "viewer", None, 201, lambda w: ISSUE),
    Row("key", "delete", "teams/{team}/keys/{key}/", "manager", None, 204, denied=404),
    Row("key-rotate", "post", "teams/{team}/keys/{key}/rotate/", "owner", None, 201, denied=404,
        other={"manager": 403}),
    Row("collections", "get", "collections/", LIST, READ),
    Row("collections", "post", "collections/", "editor", ADMIN, 201, in_team, other={"outsider": 400, "revoked": 400}),
    Row("collection", "get", "collections/{collection}/", "viewer", READ),
    Row("collection", "patch", "collections/{collection}/", "manager", ADMIN, body=lambda w: NAMED),
    Row("collection", "delete", "collections/{empty}/", "manager", ADMIN, 204),
    Row("uploads", "post", "collections/{collection}/images/", "contributor", WRITE, 201, upload, "multipart"),
    Row("upload-check", "post", "collections/{collection}/images/check/", "contributor", WRITE, body=lambda w: HASHES),
    Row("imports", "post", "collections/{collection}/imports/", "contributor", WRITE, 202, archive, "multipart"),
    Row("exports", "post", "collections/{collection}/exports/", "viewer", READ, 202, lambda w: {}),
    Row("image", "get", "images/{image}/", "viewer", READ),
    Row("image", "patch", "images/{image}/", "editor", WRITE, body=lambda w: {"title": "New"}),
    Row("image", "delete", "images/{image}/", "editor", WRITE, 204),
    Row("image-restore", "post", "images/{trashed}/restore/", "editor", WRITE, denied=404),
    Row("image-file", "get", "images/{image}/file/", "viewer", READ, 302),
    Row("image-thumbnail", "get", "images/{image}/thumbnail/", "viewer", READ, 302),
    Row("image-moderation", "post", "images/{pending}/moderation/", "editor", MODERATE, 200, lambda w: APPROVE,
        denied=404),
    Row("moderation", "get", "moderation/", LIST, MODERATE),
    Row("jobs", "get", "jobs/", LIST, READ),
    Row("job", "get", "jobs/{job}/", "editor", READ, denied=404),
    Row("job-cancel", "post", "jobs/{job}/cancel/", "manager", INDEX, denied=404, other={"editor": 403}),
    Row("job-result", "get", "jobs/{export}/result/", "owner", READ, 409, denied=404),  # not finished
    Row("images", "get", "images/", LIST, READ),
    Row("image-similar", "get", "images/{image}/similar/", "viewer", SEARCH),
    Row("search", "get", "search/?q=dog", LIST, SEARCH),
    Row("search", "post", "search/", LIST, SEARCH, body=lambda w: QUERY),
    Row("search-facets", "get", "search/facets/", LIST, SEARCH),
    Row("index", "get", "collections/{collection}/index/", "manager", INDEX),
    Row("reindex", "post", "collections/{collection}/reindex/", "manager", INDEX, 202),
    # Files are local here, so direct uploads answer 409 to those who may, and nobody has one under way.
    Row("direct-uploads", "post", "collections/{collection}/uploads/", "contributor", WRITE, 409, lambda w: ANNOUNCE),
    Row("direct-upload", "get", "uploads/{image}/", LIST, WRITE, 404),
    Row("direct-upload", "delete", "uploads/{image}/", LIST, WRITE, 404),
    Row("direct-complete", "post", "uploads/{image}/complete/", LIST, WRITE, 404),
    Row("invitations", "get", "teams/{team}/invitations/", "manager", None),
    Row("invitations", "post", "teams/{team}/invitations/", "manager", None, 201,
        lambda w: {"email": "new@example.org", "role": "viewer"}),
    Row("invitation", "delete", "teams/{team}/invitations/{invitation}/", "manager", None, 204),
    Row("invitation-resend", "post", "teams/{team}/invitations/{invitation}/resend/", "manager", None),
    Row("webhooks", "get", "teams/{team}/webhooks/", "manager", HOOKS),
    Row("webhooks", "post", "teams/{team}/webhooks/", "manager", HOOKS, 201,
        lambda w: {"url": "https://192.0.2.1/hook", "events": ["image.ready"]}),
    Row("webhook", "get", HOOK, "manager", HOOKS),
    Row("webhook", "patch", HOOK, "manager", HOOKS, body=lambda w: {"active": False}),
    Row("webhook", "delete", HOOK, "manager", HOOKS, 204),
    Row("webhook-rotate", "post", f"{HOOK}rotate/", "manager", HOOKS),
    Row("deliveries", "get", DELIVERY, "manager", HOOKS),
    Row("delivery-resend", "post", DELIVERY + "{delivery}/resend/", "manager", HOOKS),
    Row("prompts", "get", "teams/{team}/prompts/", "viewer", MODERATE),
    Row("prompts", "post", "teams/{team}/prompts/", "editor", MODERATE, 201, lambda w: {"text": "knife"}),
    Row("prompt", "patch", "teams/{team}/prompts/{prompt}/", "editor", MODERATE, body=lambda w: {"cutoff": 0.5},
        denied=404),
    Row("prompt", "delete", "teams/{team}/prompts/{prompt}/", "editor", MODERATE, 204, denied=404),
    Row("audit", "get", "teams/{team}/audit/", "manager", None),
    Row("shares", "get", "collections/{collection}/shares/", "manager", ADMIN),
    Row("shares", "post", "collections/{collection}/shares/", "manager", ADMIN, 201, lambda w: {"name": "New"}),
    Row("share", "delete", "collections/{collection}/shares/{share}/", "manager", ADMIN, 204),
    Row("grants", "get", "collections/{collection}/members/", "manager", None),
    Row("grants", "post", "collections/{collection}/members/", "manager", None, 201,
        lambda w: {"user": str(w["target"].uid), "role": "editor"}),
    Row("grant", "delete", "collections/{collection}/members/{granted}/", "manager", None, 204),
    Row("duplicates", "get", "collections/{collection}/duplicates/", "viewer", READ),
    Row("duplicates-keep", "post", "collections/{collection}/duplicates/keep/", "editor", WRITE, 204,
        lambda w: {"images": [str(w["image"].uid), str(w["pending"].uid)]}),
    Row("image-report", "post", "images/{image}/report/", "viewer", None, 201, lambda w: {"reason": "Blurred"}),
]  # fmt: skip


def routes(patterns: Any, prefix: str = "") -> Iterator[tuple[str, URLPattern]]:
    for pattern in patterns:
        address = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from routes(pattern.url_patterns, address)
        elif address.startswith("api/"):
            yield address, pattern


def offered(pattern: URLPattern) -> set[str]:
    view = getattr(pattern.callback, "cls", None)
    return {name for name in ("get", "post", "put", "patch", "delete") if hasattr(view, name)}


def expected(row: Row, actor: str) -> int:
    if actor in ("anonymous", "suspended"):
        return 401
    if actor in SCOPES:
        return row.ok if actor == row.scope else 403
    if actor in row.other:
        return row.other[actor]
    if row.least == LIST:
        return row.ok
    if actor in ("outsider", "revoked"):
        return 404
    return row.ok if ROLES.index(actor) >= ROLES.index(row.least) else row.denied


@pytest.fixture
def clients(world, api, key_client):
    """Everybody who might ask; a key acts for the owner with one scope alone."""
    signed_in = {name: api(world["users"][name]) for name in (*ROLES, *STRANGERS) if name != "anonymous"}
    by_key = {scope: key_client(world["users"]["owner"], scope) for scope in SCOPES}
    return sharing_middleware({"anonymous": api(), **signed_in, **by_key})


def send(client: Any, row: Row, world: dict[str, Any]) -> Any:
    path = row.path.format_map({name: getattr(thing, "uid", "") for name, thing in world.items()})
    body = row.body(world) if row.body else None
    cache.clear()
    return getattr(client, row.method)(
        f"/api/v1/{path}", body, format=row.kind if row.method != "get" else None
    )


def test_every_route_and_method_is_in_the_matrix():
    known = {(row.route, row.method) for row in MATRIX}
    found = {(p.name, method) for _address, p in routes(get_resolver().url_patterns) for method in offered(p)}
    assert {one for one in found if one[0] not in OPEN} == known


def ask(clients: dict[str, Any], row: Row, world: dict[str, Any]) -> dict[str, Any]:
    """The answer to everybody, each to the same world; who is refused leaves every row as it was."""
    before, answers = snapshot(), {}
    for actor, client in clients.items():
        with undone() as written:
            answers[actor] = send(client, row, world)
            if answers[actor].status_code >= 400 and touched(written):
                assert snapshot() == before, f"{actor} was refused and changed something"
    return answers


def secrets(world: dict[str, Any]) -> list[str]:
    return [MARK, MARK.lower(), *(str(thing.uid) for thing in world.values() if hasattr(thing, "uid"))]


def missing(world: dict[str, Any]) -> dict[str, Any]:
    """The same names, leading nowhere."""
    nowhere = type("Nowhere", (), {"uid": "01900000-0000-7000-8000-000000000000"})
    return {
        name: nowhere if hasattr(thing, "uid") and name != "newcomer" else thing
        for name, thing in world.items()
    }


@pytest.mark.parametrize("row", MATRIX, ids=lambda row: f"{row.method}-{row.route}")
def test_everybody_gets_what_they_may_and_strangers_learn_nothing(row, world, clients):
    answers = ask(clients, row, world)
    assert {who: one.status_code for who, one in answers.items()} == {
        who: expected(row, who) for who in clients
    }
    for stranger in STRANGERS:
        told = answers[stranger].content.decode()
        assert not [secret for secret in secrets(world) if secret in told], f"{stranger} read {told}"
    if "{" in row.path:
        nothing = send(clients["outsider"], row, missing(world))
        # Byte for byte, apart from the request's id: forbidden must look like missing.
        assert {**nothing.json(), "request_id": ""} == {**answers["outsider"].json(), "request_id": ""}
