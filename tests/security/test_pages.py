"""Every page × method × actor: the addresses of `config.urls` outside the API. A page that no table lists fails.

Pages know no API keys: a key of any scope is nobody there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import pytest
from django.contrib import admin as django_admin
from django.contrib.auth.models import Group, Permission
from django.core.cache import cache
from django.urls import URLPattern, URLResolver, get_resolver, resolve, reverse
from django.utils.html import escape

from images import storage
from tests.conftest import SCOPES
from tests.security.test_matrix import archive, missing, secrets
from tests.security.world import MARK, ROLES, STRANGERS, sharing_middleware, snapshot, touched, undone

METHODS = ("get", "post", "put", "patch", "delete")
LIST = ""  # answers everybody who signed in, with what they may see
SIGN_IN = "/accounts/login/"


@dataclass(frozen=True)
class Row:
    """`least`: the lowest role that may (LIST: any account). `ok`: what whoever may is answered; `denied`: what roles
    below are told, 404 where they may not even see it; `other`: further exceptions by actor."""

    name: str
    method: str
    path: str
    least: str
    ok: int = 200
    body: Callable[[dict[str, Any]], Any] | None = None
    denied: int = 403
    other: dict[str, int] = field(default_factory=dict)


def uids(*names: str) -> Callable[[dict[str, Any]], Any]:
    return lambda w: {"uid": [str(w[name].uid) for name in names]}


PLACE, TEAM = "collections/{collection}/", "teams/{team}/"
INVITED, HOOK = f"{TEAM}invitations/{{invitation}}/", f"{TEAM}webhooks/{{webhook}}/"
NEW_PLACE = lambda w: {"name": "New", "team": w["team"].pk, "visibility": "team", "moderation": "off"}  # noqa: E731
SETTINGS = {
    "name": "New",
    "visibility": "team",
    "moderation": "off",
    "rerank_recency": 0,
    "rerank_quality": 0,
}
ONLY_FOR_EDITORS = {"viewer": 422, "contributor": 422, "outsider": 422, "revoked": 422}
LINKED = {"url": "https://192.0.2.1/hook", "events": ["image.ready"]}

PAGES = [
    Row("search:home", "get", "", LIST),
    Row("search:home", "get", "?q=dog", LIST),
    Row("search:home", "post", "", LIST, body=lambda w: {"q": "dog"}),
    Row("search:similar", "get", "images/{image}/similar/", "viewer"),
    Row("search:states", "get", "uploads/states/?uid={image}&uid={pending}", LIST),
    Row("search:index", "get", f"{PLACE}index/", "manager"),
    Row("search:reindex", "post", f"{PLACE}reindex/", "manager", 302),
    Row("search:job-cancel", "post", "jobs/{job}/cancel/", "manager", 302, denied=404, other={"editor": 403}),
    Row("search:saved", "get", "saved/", LIST),
    Row("search:saved-news", "get", "saved/news/", LIST),
    Row("search:saved-new", "get", "saved/new/?q=dog", LIST),
    Row("search:saved-new", "post", "saved/new/?q=dog", LIST, 302, lambda w: {"name": "New"}),
    Row("search:saved-open", "get", "saved/{saved}/", "owner", 302, denied=404, other={"superuser": 404}),
    Row("search:saved-rename", "post", "saved/{saved}/rename/", "owner", 302, lambda w: {"name": "New"}, denied=404,
        other={"superuser": 404}),
    Row("search:saved-delete", "post", "saved/{saved}/delete/", "owner", 302, denied=404, other={"superuser": 404}),
    Row("search:code", "get", "search/code/?q=dog", LIST),
    Row("images:upload", "get", "upload/", LIST),
    Row("images:collections", "get", "collections/", LIST),
    Row("images:collection-new", "get", "collections/new/", LIST),
    Row("images:collection-new", "post", "collections/new/", "editor", 302, NEW_PLACE, other=ONLY_FOR_EDITORS),
    Row("images:collection", "get", PLACE, "viewer"),
    Row("images:collection-settings", "get", f"{PLACE}settings/", "manager"),
    Row("images:collection-settings", "post", f"{PLACE}settings/", "manager", 302, lambda w: SETTINGS),
    Row("images:trash", "get", f"{PLACE}trash/", "viewer"),
    Row("images:bulk", "post", "images/bulk/", LIST, body=lambda w: {"do": "nothing"}, ok=400),
    Row("images:bulk-move", "get", "images/bulk/move/", LIST),
    Row("images:bulk-download", "post", "images/bulk/download/", "viewer", 200, uids("image"),
        other={"outsider": 302, "revoked": 302, "staff": 302}),
    Row("images:image", "get", "images/{image}/", "viewer"),
    Row("images:image-history", "get", "images/{image}/history/", "editor"),
    Row("images:image-edit", "post", "images/{image}/edit/", "editor", 302, lambda w: {"title": "New"}),
    Row("images:image-trash", "post", "images/{image}/trash/", "editor", 302),
    Row("images:image-restore", "post", "images/{trashed}/restore/", "editor", 302, denied=404),
    Row("images:decide", "post", "images/{pending}/decide/", "editor", 302, lambda w: {"decision": "approve"},
        denied=404),
    Row("images:original", "get", "images/{image}/original/", "viewer", 302),
    Row("images:rendition", "get", "images/{image}/thumbnail/", "viewer"),
    Row("images:rendition", "get", "images/{pending}/preview/", "editor", denied=404),
    Row("images:moderation", "get", "review/", LIST),
    Row("images:moderation", "get", "review/?after={pending}", LIST),
    Row("images:review-batch", "get", "review/many/", LIST),
    Row("images:review-batch", "post", "review/many/", LIST, 302,
        lambda w: {"decision": "approve", **uids("pending")(w)}),
    Row("images:teams", "get", "teams/", LIST, 302, other={"revoked": 200, "staff": 200, "superuser": 200}),
    Row("images:teams", "get", "teams/?all", LIST),
    Row("images:team-new", "get", "teams/new/", LIST, 403, other={"superuser": 200}),
    Row("images:team-new", "post", "teams/new/", LIST, 403, lambda w: {"name": "New"}, other={"superuser": 302}),
    Row("images:team", "get", TEAM, "viewer"),
    Row("images:member-add", "post", f"{TEAM}members/", "manager", 302,
        lambda w: {"email": w["newcomer"].email, "role": "viewer", "trust": "check"}),
    Row("images:member", "post", f"{TEAM}members/{{target}}/", "manager", 302,
        lambda w: {"role": "editor", "trust": "check"}),
    Row("images:member-remove", "post", f"{TEAM}members/{{target}}/remove/", "manager", 302),
    Row("images:keys", "get", f"{TEAM}keys/", "viewer"),
    Row("images:keys", "post", f"{TEAM}keys/", "viewer", 200, lambda w: {"name": "New", "scopes": ["images:read"]}),
    Row("images:key-revoke", "post", "keys/{key}/revoke/", "manager", 302, denied=404),
    Row("images:key-rotate", "post", "keys/{key}/rotate/", "owner", 200, denied=404, other={"superuser": 404}),
    Row("images:jobs", "get", "jobs/", LIST),
    Row("images:invitations", "get", f"{TEAM}invitations/", "manager"),
    Row("images:invitations", "post", f"{TEAM}invitations/", "manager", 302,
        lambda w: {"email": "new@example.org", "role": "viewer", "trust": "check"}),
    Row("images:invitation-resend", "post", f"{INVITED}resend/", "manager", 302),
    Row("images:invitation-revoke", "post", f"{INVITED}revoke/", "manager", 302),
    Row("images:webhooks", "get", f"{TEAM}webhooks/", "manager"),
    Row("images:webhooks", "post", f"{TEAM}webhooks/", "manager", 200, lambda w: LINKED),
    Row("images:webhook", "get", HOOK, "manager"),
    Row("images:webhook", "post", HOOK, "manager", 302, lambda w: LINKED),
    Row("images:webhook-switch", "post", f"{HOOK}switch/", "manager", 302),
    Row("images:webhook-rotate", "post", f"{HOOK}rotate/", "manager"),
    Row("images:webhook-remove", "post", f"{HOOK}remove/", "manager", 302),
    Row("images:delivery-resend", "post", HOOK + "{delivery}/resend/", "manager", 302),
    Row("images:prompts", "get", f"{TEAM}prompts/", "editor"),
    Row("images:prompts", "post", f"{TEAM}prompts/", "editor", 302, lambda w: {"text": "knife"}),
    Row("images:prompt-remove", "post", f"{TEAM}prompts/{{prompt}}/remove/", "editor", 302),
    Row("images:transfer", "get", f"{PLACE}transfer/", "viewer"),
    Row("images:import", "post", f"{PLACE}transfer/import/", "contributor", 302, archive),
    Row("images:export", "post", f"{PLACE}transfer/export/", "viewer", 302, lambda w: {"originals": "on"}),
    Row("images:job-result", "get", "jobs/{export}/result/", "owner", 302, denied=404, other={"superuser": 404}),
    Row("images:audit", "get", f"{TEAM}audit/", "manager"),
    Row("images:audit-export", "get", f"{TEAM}audit/export/", "manager"),
    Row("images:sharing", "get", f"{PLACE}sharing/", "manager"),
    Row("images:share-create", "post", f"{PLACE}sharing/links/", "manager", 200, lambda w: {"share-name": "New"}),
    Row("images:share-revoke", "post", f"{PLACE}sharing/links/{{share}}/revoke/", "manager", 302),
    Row("images:grant", "post", f"{PLACE}sharing/members/", "manager", 302,
        lambda w: {"grant-user": str(w["target"].uid), "grant-role": "editor"}),
    Row("images:grant-withdraw", "post", f"{PLACE}sharing/members/{{granted}}/withdraw/", "manager", 302),
    Row("images:duplicates", "get", f"{PLACE}duplicates/", "editor"),
    Row("images:duplicates-decide", "post", f"{PLACE}duplicates/decide/", "editor", 302,
        lambda w: {"decision": "trash", "trash": str(w["image"].uid)}),
    Row("images:image-report", "get", "images/{image}/report/", "viewer"),
    Row("images:image-report", "post", "images/{image}/report/", "viewer", 302, lambda w: {"reason": "Blurred"}),
]  # fmt: skip

# The token in the address is the right: whoever holds it is let in, nobody else is.
BY_TOKEN = {
    "search:shared": "s/{token}/",
    "images:shared-unlock": "s/{token}/unlock/",
    "images:shared-image": "s/{token}/images/{image}/",
    "images:shared-thumbnail": "s/{token}/images/{image}/thumbnail/",
    "images:shared-preview": "s/{token}/images/{image}/preview/",
    "images:invitation": "invitations/{invited}/",
    "images:file": "files/{file}",
}
# About nobody but whoever asks, and known to no team: the door, and one's own password, addresses and factors.
OWN = {
    "set_language",
    "account_login", "account_logout", "account_inactive", "account_signup", "account_reauthenticate", "account_email",
    "account_email_verification_sent", "account_change_password", "account_set_password", "account_reset_password",
    "account_confirm_login_code", "account_confirm_email", "account_reset_password_from_key_done",
    "account_reset_password_from_key", "account_reset_password_done", "mfa_index", "mfa_authenticate",
    "mfa_reauthenticate", "mfa_activate_totp", "mfa_deactivate_totp", "mfa_view_recovery_codes",
    "mfa_generate_recovery_codes", "mfa_download_recovery_codes", "mfa_list_webauthn", "mfa_add_webauthn",
    "mfa_remove_webauthn", "mfa_edit_webauthn", "mfa_login_webauthn", "mfa_reauthenticate_webauthn",
    "mfa_signup_webauthn",
}  # fmt: skip
FOR_STAFF = {"images:styleguide"}
ARGUMENTS = {"key": "none", "uidb36": "1", "pk": "1"}


def routes(patterns: Any, space: str = "", prefix: str = "") -> Iterator[tuple[str, str, URLPattern]]:
    """(name with its namespace, address, pattern) of everything outside the API."""
    for pattern in patterns:
        address = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            inner = f"{pattern.namespace}:" if pattern.namespace else ""
            yield from routes(pattern.url_patterns, space + inner, address)
        elif not address.startswith("api/"):
            yield f"{space}{pattern.name}", address, pattern


def arguments(address: str) -> list[str]:
    """The names in an address, of `<int:pk>` and `(?P<pk>…)` alike."""
    return re.findall(r"<(?:\w+:)?(\w+)>", address)


def every_route() -> list[tuple[str, str, URLPattern]]:
    return list(routes(get_resolver().url_patterns))


# ── Everybody who might ask ─────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def visitors(world, page, make_user, key_client):
    """A browser for everybody, and one for every scope that sends an API key of the owner."""
    people = {name: page(world["users"][name]) for name in (*ROLES, *STRANGERS) if name != "anonymous"}
    people["staff"] = page(make_user("staff", is_staff=True))
    people["superuser"] = page(make_user("superuser", is_staff=True, is_superuser=True))
    by_key = {scope: page() for scope in SCOPES}
    for scope, client in by_key.items():
        client.defaults["HTTP_AUTHORIZATION"] = key_client(world["users"]["owner"], scope)._credentials[
            "HTTP_AUTHORIZATION"
        ]
    return sharing_middleware({"anonymous": page(), **people, **by_key})


@pytest.fixture
def addresses(world):
    """What stands in for the names in a path."""
    from images import invitations, shares

    _share, token = shares.create(world["collection"], world["users"]["owner"], "Guests")
    invited = invitations.path(world["invitation"]).strip("/").split("/")[-1]
    file = storage.signed_url(world["image"].original_key).split("/files/")[-1]
    known = {name: str(thing.uid) for name, thing in world.items() if hasattr(thing, "uid")}
    return {**known, "token": token, "invited": invited, "file": file}


def ask(client: Any, method: str, path: str, body: Any = None) -> Any:
    cache.clear()
    client.raise_request_exception = False
    return (
        getattr(client, method)(f"/{path}", body or {})
        if method in ("get", "post")
        else getattr(client, method)(f"/{path}")
    )


def expected(row: Row, actor: str) -> int:
    if actor in ("anonymous", "suspended") or actor in SCOPES:
        return 302
    if actor in row.other:
        return row.other[actor]
    if row.least == LIST or actor == "superuser":
        return row.ok
    if actor in ("outsider", "revoked", "staff"):
        return row.other.get("outsider", 404)
    return row.ok if ROLES.index(actor) >= ROLES.index(row.least) else row.denied


def sent_away(answer: Any) -> bool:
    return answer.status_code == 302 and answer["Location"].startswith(SIGN_IN)


# ── The tables are whole ────────────────────────────────────────────────────────────────────────────────────────


def test_every_page_is_in_a_table():
    listed = {row.name for row in PAGES} | set(BY_TOKEN) | OWN | FOR_STAFF
    found = {name for name, address, _p in every_route() if not address.startswith("admin/")}
    plain = {name for name, address, _p in every_route() if address in ("livez", "readyz", "metrics")}
    assert found - listed - plain == set()
    assert listed - OWN - found == set(), "no such page any more"


def test_paths_of_the_table_lead_where_it_says(addresses):
    for row in PAGES:
        match = resolve("/" + row.path.format_map(addresses).partition("?")[0])
        assert match.view_name == row.name


# ── Pages of people ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("row", PAGES, ids=lambda row: f"{row.method}-{row.name}")
def test_everybody_gets_the_pages_they_may_and_strangers_learn_nothing(row, world, visitors, addresses):
    before, path = snapshot(), row.path.format_map(addresses)
    told = {}
    for actor, client in visitors.items():
        with undone() as written:
            answer = told[actor] = ask(client, row.method, path, row.body(world) if row.body else None)
            if answer.status_code >= 400 or sent_away(answer):
                assert not touched(written) or snapshot() == before, (
                    f"{actor} was refused and changed something"
                )
    assert {who: one.status_code for who, one in told.items()} == {
        who: expected(row, who) for who in visitors
    }
    for nobody in ("anonymous", "suspended", *SCOPES):
        assert sent_away(told[nobody]), nobody
    for stranger in (*STRANGERS, *SCOPES):
        read = lasting(told[stranger])
        assert not [secret for secret in secrets(world) if secret in read], f"{stranger} read {read}"
    if "{" in row.path and row.least != LIST:
        looks_missing(row, world, visitors["outsider"], told["outsider"])


def looks_missing(row, world, client, answer):
    """Forbidden looks like missing, byte by byte."""
    nowhere = {name: getattr(thing, "uid", "") for name, thing in missing(world).items()}
    nothing = ask(client, row.method, row.path.format_map(nowhere), row.body(world) if row.body else None)
    assert (nothing.status_code, lasting(nothing)) == (answer.status_code, lasting(answer))


def lasting(answer: Any) -> str:
    """The text without what whoever asked has sent along, and without tokens that differ in every answer."""
    read = b"".join(answer) if answer.streaming else answer.content
    asked = answer.wsgi_request
    sent = (escape(asked.get_full_path()), escape(asked.path), quote(asked.path))
    text = re.sub(r'(?<=")[0-9A-Za-z]{64}(?=")', "", read.decode())
    for one in sorted(sent, key=len, reverse=True):
        text = text.replace(one, "") if one != "/" else text
    return text


@pytest.mark.parametrize("name", sorted({row.name for row in PAGES} | set(BY_TOKEN)))
def test_methods_that_no_table_lists_are_refused(name, world, visitors, addresses):
    """Even to whoever may do everything."""
    rows = [row for row in PAGES if row.name == name]
    listed = {row.method for row in rows} if rows else {"get", "post"}
    path = (rows[0].path if rows else BY_TOKEN[name]).format_map(addresses)
    before = snapshot()
    for method in set(METHODS) - listed:
        with undone():
            assert ask(visitors["superuser"], method, path).status_code == 405, method
    assert snapshot() == before


BULK = {"trash": "editor", "tag": "editor", "move": "editor", "restore": "editor"}


@pytest.mark.parametrize("change", BULK)
def test_many_at_once_are_each_asked_for(change, world, visitors):
    """Who may change none of them is told that none was changed; the rows say the same."""
    named = uids("image", "pending", "trashed")(world)
    body = {**named, "do": change, "tags": "sea", "collection": str(world["empty"].uid)}
    before = snapshot()
    for actor in (*ROLES, *STRANGERS, *SCOPES):
        with undone():
            answer = ask(visitors[actor], "post", "images/bulk/", body)
            done = answer.json()["done"] if answer.status_code == 200 else []
            may = actor in ROLES and ROLES.index(actor) >= ROLES.index(BULK[change])
            assert len(done) == ((1 if change == "restore" else 2) if may else 0), actor
            assert may or snapshot() == before, actor


def test_many_decisions_are_each_asked_for(world, visitors):
    body = {"decision": "approve", **uids("image", "pending")(world)}
    before = snapshot()
    for actor in (*ROLES, *STRANGERS, *SCOPES):
        with undone():
            ask(visitors[actor], "post", "review/many/", body)
            may = actor in ROLES and ROLES.index(actor) >= ROLES.index("editor")
            world["pending"].refresh_from_db()
            assert (world["pending"].moderation == "approved") is may, actor
            assert may or snapshot() == before, actor


# ── Pages behind a token ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", BY_TOKEN)
def test_a_token_opens_its_page_to_whoever_holds_it_and_a_changed_one_to_nobody(
    name, world, visitors, addresses
):
    wrong = {**addresses, **{one: addresses[one][:-6] + "xxxxxx" for one in ("token", "invited", "file")}}
    before = snapshot()
    for actor, client in visitors.items():
        with undone() as written:
            right = ask(client, "get", BY_TOKEN[name].format_map(addresses)).status_code
            assert right == (302 if name == "images:shared-unlock" else 200), actor
            refused = ask(client, "get", BY_TOKEN[name].format_map(wrong))
            text = b"".join(refused).decode() if refused.streaming else refused.content.decode()
            assert refused.status_code == 404 and MARK not in text, actor
            touches = [one for one in written if "images_sharelink" not in one]  # when a link was last used
            assert not touched(touches), actor
    assert snapshot() == before


def test_a_link_opens_settled_pictures_of_its_collection_alone(world, visitors, addresses):
    for name in ("pending", "trashed"):
        for kind in ("", "thumbnail/", "preview/"):
            path = f"s/{addresses['token']}/images/{addresses[name]}/{kind}"
            assert ask(visitors["owner"], "get", path).status_code == 404


# ── The door, and what is one's own ─────────────────────────────────────────────────────────────────────────────


def own_pages() -> list[tuple[str, str]]:
    pages = []
    for name, address, _pattern in every_route():
        if name in OWN:
            needed = {key: ARGUMENTS[key] for key in arguments(address)}
            pages.append((name, reverse(name, kwargs=needed).lstrip("/")))
    return pages


@pytest.mark.parametrize(("name", "path"), own_pages())
def test_pages_about_oneself_tell_nothing_of_others(name, path, world, visitors):
    before = snapshot()
    for actor in ("anonymous", "suspended", "outsider", "viewer", "owner", "images:read"):
        for method in METHODS:
            with undone() as written:
                answer = ask(visitors[actor], method, path)
                assert answer.status_code < 500, (actor, method)
                assert MARK not in answer.content.decode(), (actor, method)
                assert not touched(written) or snapshot() == before, (actor, method)


# ── Pages for staff and operators ───────────────────────────────────────────────────────────────────────────────


def test_the_styleguide_is_for_staff(visitors):
    told = {actor: ask(client, "get", "styleguide/").status_code for actor, client in visitors.items()}
    assert {actor for actor, status in told.items() if status == 200} == {"staff", "superuser"}


@pytest.mark.parametrize("path", ["livez", "readyz", "metrics"])
def test_what_operators_read_names_nobody(path, world, visitors, monkeypatch):
    monkeypatch.setattr("config.warmup.done", lambda: True)
    for actor, client in visitors.items():
        answer = ask(client, "get", path)
        assert answer.status_code in (200, 503), actor
        assert not [secret for secret in secrets(world) if secret in answer.content.decode()], actor


def admin_pages(world: dict[str, Any]) -> list[str]:
    """Every address of the admin, with a row of the right kind in it where there is one."""
    pages = []
    for name, address, _pattern in every_route():
        if address.startswith("admin/") and name != "admin:None":
            needed = dict.fromkeys(arguments(address), "1") | {"app_label": "images"}
            known = {key: needed[key] for key in arguments(address)}
            model = next((one for one in django_admin.site._registry if _about(one, name)), None)
            row = model._default_manager.order_by("pk").first() if model else None
            known |= {key: str(row.pk) for key in known if row and key in ("object_id", "id")}
            pages.append(reverse(name, kwargs=known).lstrip("/"))
    return pages


def _about(model: Any, name: str) -> bool:
    return name.startswith(f"admin:{model._meta.app_label}_{model._meta.model_name}_")


DOORS = ("admin/login/", "admin/logout/")


def test_the_admin_is_closed_to_everybody_but_staff(world, visitors):
    paths, before = admin_pages(world), snapshot()
    assert len(paths) > 80
    for actor in set(visitors) - {"staff", "superuser"}:
        for path in set(paths) - set(DOORS):
            for method in ("get", "post"):
                with undone() as written:
                    answer = ask(visitors[actor], method, path, {"action": "hide", "_selected_action": "1"})
                    assert answer.status_code in (302, 403, 405), (actor, method, path)
                    assert not secrets_in(answer, world), (actor, method, path)
                    assert not touched(written), (actor, method, path)
    assert snapshot() == before


def test_staff_without_permissions_read_and_change_nothing(world, visitors):
    before = snapshot()
    for path in admin_pages(world):
        for method in ("get", "post"):
            with undone() as written:
                answer = ask(visitors["staff"], method, path, {"action": "hide", "_selected_action": "1"})
                assert answer.status_code < 500, (method, path)
                assert not secrets_in(answer, world), (method, path)
                assert not touched(written) or snapshot() == before, (method, path)


def test_a_superuser_opens_every_page_of_the_admin(world, visitors):
    Group.objects.create(name="Helpers")
    for path in admin_pages(world):
        with undone():
            assert ask(visitors["superuser"], "get", path).status_code in (200, 302, 400, 403, 404, 405), path


def secrets_in(answer: Any, world: dict[str, Any]) -> list[str]:
    text = lasting(answer)
    return [secret for secret in secrets(world) if secret in text]


def test_staff_with_permissions_see_in_the_admin_what_they_moderate(world, page, make_user):
    """Permissions of the admin say what may be done, the gate says to what."""
    clerk = make_user("clerk", is_staff=True)
    clerk.user_permissions.set(Permission.objects.filter(content_type__app_label__in=("images", "search")))
    client = page(clerk)
    for path in admin_pages(world):
        answer = ask(client, "get", path)
        assert answer.status_code < 500 and not secrets_in(answer, world), path
    clerk.memberships.create(team=world["team"], role="owner")
    listed = ask(client, "get", "admin/images/image/")
    assert listed.status_code == 200 and str(world["image"].pk) in listed.content.decode()
