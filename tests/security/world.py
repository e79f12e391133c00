"""One team with everything in it, and everybody who might ask: what the permission matrix is played on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection, transaction
from django.utils import timezone

from images import invitations, members, prompts, shares, webhooks
from images.access import Rank
from images.models import (
    ApiKey,
    Collection,
    CollectionGrant,
    Image,
    Invitation,
    Job,
    Membership,
    ModerationPrompt,
    ShareLink,
    Team,
    Webhook,
    WebhookDelivery,
)
from search.models import CollectionIndex, Embedding, SavedSearch, Space
from tests.search.axes import DIMENSION, NAME, SHA256, vector

MARK = "Kept-among-us"
ROLES = ("viewer", "contributor", "editor", "manager", "owner")
STRANGERS = ("anonymous", "suspended", "outsider", "revoked")
TABLES = (
    Team, Membership, ApiKey, Collection, Image, Job, Invitation, ShareLink, CollectionGrant, Webhook, WebhookDelivery,
    ModerationPrompt, SavedSearch,
)  # fmt: skip


def people(member: Any, outsider: Any) -> dict[str, Any]:
    """A user per role, and those who are not (any more) of the team."""
    users = {role: member(role) for role in (*ROLES, "suspended", "revoked") if role in ROLES}
    users |= {name: member(name, "editor") for name in ("suspended", "revoked")}
    users["suspended"].is_active = False
    users["suspended"].save()
    users["revoked"].memberships.all().delete()
    return {**users, "outsider": outsider}


def furnish(
    team: Any, users: dict[str, Any], make_collection: Any, make_image: Any, make_user: Any
) -> dict[str, Any]:
    """The things that routes are about, by the name that their row in the matrix uses."""
    team.name = MARK
    team.save()
    place = make_collection(MARK)
    pictures = {
        name: make_image(place, users["owner"], title=MARK, tags=(MARK.lower(),))
        for name in ("image", "pending", "trashed")
    }
    Image.objects.filter(pk=pictures["pending"].pk).update(moderation="pending")
    Image.objects.filter(pk=pictures["trashed"].pk).update(trashed_at=timezone.now())
    _embed(place, pictures["image"])
    from images import keys

    key, _secret = keys.issue(team, users["owner"], MARK, ["images:read"])
    job = Job.objects.create(team=team, collection=place, kind="reindex", created_by=users["manager"])
    export = Job.objects.create(team=team, collection=place, kind="export", created_by=users["owner"])
    hook, _secret = webhooks.create(team, users["owner"], "https://192.0.2.1/hook", ["image.ready"])
    delivery = WebhookDelivery.objects.create(
        webhook=hook, collection=place, event="image.ready", payload={}, state="failed"
    )
    invitation = invitations.invite(team, "guest@example.org", "viewer", "check", users["owner"], Rank.OWNER)
    share, _token = shares.create(place, users["owner"], MARK)
    saved = SavedSearch.objects.create(owner=users["owner"], name=MARK, address="q=dog")
    prompt = prompts.add(team, "weapon", users["owner"])
    granted = make_user("granted")
    granted.memberships.create(team=team, role="viewer")
    members.grant(place, granted, "contributor", users["owner"], Rank.OWNER)
    target = make_user("target")
    target.memberships.create(team=team, role="viewer")
    newcomer = make_user("newcomer")
    return {**pictures, "team": team, "collection": place, "empty": make_collection(f"{MARK} too"), "key": key,
            "job": job, "export": export, "target": target, "newcomer": newcomer, "webhook": hook,
            "delivery": delivery, "invitation": invitation, "share": share, "granted": granted,
            "prompt": prompt, "saved": saved}  # fmt: skip


def _embed(place: Collection, image: Image) -> None:
    space = Space.objects.create(name=NAME, sha256=SHA256, dimension=DIMENSION, languages=["en"])
    CollectionIndex.objects.create(collection=place, space=space, last_seq=1)
    bits = vector("dog").astype("<f2").tobytes()
    Embedding.objects.create(image=image, collection=place, space=space, state="done", vector=bits, seq=1)


def snapshot() -> list[Any]:
    """Every row that a request might change; when a key was last used is no change."""
    rows = [list(table.objects.order_by("pk").values()) for table in TABLES]
    return [[{k: v for k, v in row.items() if k != "last_used_at"} for row in table] for table in rows]


def sharing_middleware(clients: dict[str, Any]) -> dict[str, Any]:
    """The same clients behind one chain of middleware: to load it takes longer than to answer a request."""
    first, *others = clients.values()
    first.handler.load_middleware()
    for client in others:
        client.handler._middleware_chain = first.handler._middleware_chain
    return clients


@contextmanager
def undone() -> Iterator[list[str]]:
    """What was written inside, by table; all of it is taken back."""
    written: list[str] = []

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.startswith(("INSERT", "UPDATE", "DELETE")):
            written.append(sql)
        return execute(sql, params, many, context)

    with transaction.atomic(), connection.execute_wrapper(note):
        yield written
        transaction.set_rollback(True)


def touched(written: list[str]) -> bool:
    """Whether a table that matters was written to at all; only then its rows are worth comparing."""
    names = {f'"{table._meta.db_table}"' for table in TABLES}
    return any(name in sql[:80] for sql in written for name in names)
