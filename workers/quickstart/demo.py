"""The demo team: its people, collections, key and pictures, made through the doors that everyone uses."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from django.db import transaction
from tqdm import tqdm

from images import keys
from images.ingest import ingest
from images.models import (
    ApiKey,
    Collection,
    CollectionGrant,
    Image,
    ImageState,
    Membership,
    ModerationPolicy,
    Role,
    Scope,
    Team,
    Trust,
    User,
    Visibility,
)  # fmt: skip
from search.models import Embedding, EmbeddingState

GALLERY = Path(__file__).resolve().parents[2] / "search" / "demo" / "gallery"
PASSWORD = "find-by-meaning"  # noqa: S105  (printed on the terminal; the demo listens on this machine only)
ROLES = (Role.OWNER, Role.MANAGER, Role.EDITOR, Role.CONTRIBUTOR, Role.VIEWER)
STALLED_SECONDS = 300


@dataclass(frozen=True)
class Demo:
    team: Team
    users: dict[str, User]

    @property
    def owner(self) -> User:
        return self.users[Role.OWNER]


def email(role: str) -> str:
    return f"{role}@loupe.example"


@transaction.atomic
def ensure_team() -> Demo:
    """One person per role; the owner may also open the admin. Changes nothing that is there."""
    team, _new = Team.objects.get_or_create(slug="demo", defaults={"name": "Demo team"})
    users: dict[str, User] = {}
    for role in ROLES:
        user = User.objects.filter(email=email(role)).first()
        if user is None:
            owner = role == Role.OWNER
            user = User.objects.create_user(
                email(role), PASSWORD, name=str(role.label), is_staff=owner, is_superuser=owner
            )
            _verify_email(user)
        trust = Trust.CHECK if role == Role.CONTRIBUTOR else Trust.TRUSTED
        Membership.objects.get_or_create(team=team, user=user, defaults={"role": role, "trust": trust})
        users[role] = user
    return Demo(team, users)


def _verify_email(user: User) -> None:
    from allauth.account.models import EmailAddress

    EmailAddress.objects.get_or_create(
        user=user, email=user.email, defaults={"verified": True, "primary": True}
    )


def ensure_key(demo: Demo, path: Path) -> None:
    """An API key with every scope in a file that only its owner can read."""
    if path.exists() and ApiKey.objects.filter(team=demo.team, revoked_at__isnull=True).exists():
        return
    _key, text = keys.issue(demo.team, demo.owner, "Demo", Scope.values)
    path.touch(mode=0o600)
    path.write_text(text + "\n")


def rows() -> list[dict[str, Any]]:
    """The sample gallery's manifest, oldest capture first."""
    manifest = GALLERY / "manifest.jsonl"
    if not manifest.is_file():
        return []
    listed = [json.loads(line) for line in manifest.read_text().splitlines()]
    return sorted(listed, key=lambda row: row["taken_at"])


def ensure_collection(demo: Demo, name: str) -> Collection:
    private, moderated = name == "Drafts", name == "City life"
    collection, new = Collection.objects.get_or_create(
        team=demo.team,
        name=name,
        defaults={
            "visibility": Visibility.PRIVATE if private else Visibility.TEAM,
            "moderation": ModerationPolicy.NEW if moderated else ModerationPolicy.OFF,
        },
    )
    if new and private:
        CollectionGrant.objects.create(collection=collection, user=demo.owner, role=Role.OWNER)
    return collection


def upload_missing(demo: Demo, limit: int | None = None) -> int:
    """Upload the sample pictures that are not there yet, with a progress bar; returns how many were new."""
    listed = rows()[:limit]
    if Image.objects.filter(collection__team=demo.team).count() >= len(listed):
        return 0
    collections = {
        name: ensure_collection(demo, name) for name in sorted({row["collection"] for row in listed})
    }
    new = 0
    for row in tqdm(listed, desc="Uploading", unit=" pictures", ncols=80):
        new += _upload(demo, collections[row["collection"]], row)
    return new


def _upload(demo: Demo, collection: Collection, row: dict[str, Any]) -> bool:
    with (GALLERY / row["file"]).open("rb") as file:
        outcome = ingest(
            collection,
            demo.users.get(row.get("uploader", ""), demo.owner),
            file,
            file_name=row["file"],
            title=row["title"],
            caption=row.get("caption", ""),
            tags=row.get("tags", []),
            taken_at=datetime.fromisoformat(row["taken_at"]),
            bulk=True,
        )
    return not outcome.duplicate


def wait_until_searchable(demo: Demo) -> Iterator[None]:
    """Show how far the workers are; yields between looks so that the caller can watch its processes."""
    total = _settled(demo, everything=True)
    bar = tqdm(total=total, initial=_settled(demo), desc="Embedding", unit=" pictures", ncols=80)
    moved = time.monotonic()
    while (now := _settled(demo)) < total:
        if now > bar.n:
            moved = time.monotonic()
        elif time.monotonic() - moved > STALLED_SECONDS:
            break
        bar.update(now - bar.n)
        yield
        time.sleep(0.25)
    bar.update(_settled(demo) - bar.n)
    bar.close()


def _settled(demo: Demo, everything: bool = False) -> int:
    """Pictures that are searchable or refused; or all of them."""
    images = Image.objects.filter(collection__team=demo.team)
    if everything:
        return images.count()
    done = Embedding.objects.filter(image__in=images, state=EmbeddingState.DONE).count()
    return done + images.filter(state=ImageState.REJECTED).count()
