"""The people, places and pictures that tests share. Files go to a temporary folder, bells ring nowhere."""

from __future__ import annotations

import hashlib
import io
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.core.cache import cache
from django.db import connection
from django.test import Client
from PIL import Image as Pillow
from rest_framework.test import APIClient

from config.celery import app as celery_app
from images import audit_guard
from search import index

SCOPES = (
    "search:read",
    "images:read",
    "images:write",
    "collections:admin",
    "index:admin",
    "moderation:write",
    "webhooks:write",
)
# Whole processes, every route × role, every hostile file, real models, trained lists: apart from the unit tests, which
# should answer in a minute.
SLOW = (
    "tests/faults/",
    "tests/images/test_direct.py",
    "tests/images/test_hostile_files.py",
    "tests/images/test_processing.py",
    "tests/images/test_sandbox.py",
    "tests/search/demo/test_model.py",
    "tests/search/engine/test_multilingual.py",
    "tests/search/index/test_contract.py",
    "tests/search/index/test_merge.py",
    "tests/search/index/test_sampling.py",
    "tests/search/test_clip.py",
    "tests/search/test_embedding.py",
    "tests/search/test_encoders.py",
    "tests/search/test_evaluation.py",
    "tests/security/",
    "tests/test_flow.py",
    "tests/test_schema.py",
    "tests/workers/test_folder_broker.py",
)
_colours = itertools.count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.nodeid.startswith(SLOW):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix: None) -> None:
    """Between some tests Django empties SQLite's tables row by row, which the audit log would refuse."""
    if connection.vendor == "sqlite":
        audit_guard.disconnect(apps.get_app_config("images"))


@pytest.fixture(autouse=True)
def quiet_server(settings: Any, tmp_path: Path) -> Iterator[None]:
    """Storage under `tmp_path`, an empty cache, cheap passwords, and a broker that is this process' memory."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    settings.INDEX_CACHE = tmp_path / "index-cache"
    settings.STATIC_ROOT = tmp_path
    if not settings.S3_BUCKET:
        files = {
            "BACKEND": "django.core.files.storage.FileSystemStorage",
            "OPTIONS": {"location": str(tmp_path / "media")},
        }
        settings.MEDIA_ROOT = tmp_path / "media"
        settings.STORAGES = {**settings.STORAGES, "default": files}
    celery_app.conf.broker_url = "memory://"
    cache.clear()
    index.reset()  # test databases hand out the same row ids again
    yield
    cache.clear()


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of shared test data; skips where there is none."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("LOUPE_TEST_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no test data at {folder}: set LOUPE_TEST_DATA")
    return folder


# ── People ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def make_user(db: None) -> Callable[..., Any]:
    from images.models import User

    def make(name: str, **fields: Any) -> Any:
        return User.objects.create_user(f"{name}@example.org", "a good pass phrase", name=name, **fields)

    return make


@pytest.fixture
def team(db: None) -> Any:
    from images.models import Team

    return Team.objects.create(name="Harbour", slug="harbour")


@pytest.fixture
def member(team: Any, make_user: Callable[..., Any]) -> Callable[..., Any]:
    """`member("editor")`: a new user of that name with that role (or `role=`) in `team` (or `in_team=`)."""

    def make(name: str, role: str = "", in_team: Any = None, **fields: Any) -> Any:
        user = make_user(name)
        user.memberships.create(team=in_team or team, role=role or name, **fields)
        return user

    return make


@pytest.fixture
def owner(member: Callable[..., Any]) -> Any:
    return member("owner", trust="trusted")


@pytest.fixture
def teammate(member: Callable[..., Any]) -> Any:
    """May upload, and edit what is theirs."""
    return member("teammate", "contributor")


@pytest.fixture
def viewer(member: Callable[..., Any]) -> Any:
    return member("viewer")


@pytest.fixture
def admin(make_user: Callable[..., Any]) -> Any:
    return make_user("admin", is_staff=True, is_superuser=True)


@pytest.fixture
def other_team(db: None) -> Any:
    from images.models import Team

    return Team.objects.create(name="Elsewhere", slug="elsewhere")


@pytest.fixture
def outsider(member: Callable[..., Any], other_team: Any) -> Any:
    """Owns another team, belongs to no other."""
    return member("outsider", "owner", in_team=other_team)


# ── Collections and pictures ────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def make_collection(team: Any) -> Callable[..., Any]:
    from images.models import Collection

    def make(name: str = "Shore", **fields: Any) -> Any:
        return Collection.objects.create(name=name, **{"team": team, **fields})

    return make


@pytest.fixture
def collection(make_collection: Callable[..., Any]) -> Any:
    return make_collection()


@pytest.fixture
def picture() -> Callable[..., bytes]:
    """The bytes of a real picture; every call without a colour gives another one."""

    def make(
        colour: tuple[int, int, int] | None = None, size: tuple[int, int] = (48, 32), kind: str = "JPEG"
    ) -> bytes:
        number = next(_colours)
        file = io.BytesIO()
        Pillow.new("RGB", size, colour or (number % 256, number // 256 % 256, 90)).save(
            file, kind, comment=b"%d" % number
        )
        return file.getvalue()

    return make


def put_quickly(key: str, content: bytes) -> None:
    """As `storage.put`, without waiting for the disk."""
    from images import storage

    if path := storage.local_path(key):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    else:
        storage.put(key, io.BytesIO(content), "image/jpeg")


@pytest.fixture
def make_image(collection: Any, picture: Callable[..., bytes]) -> Callable[..., Any]:
    """A checked and approved image with its files in storage. `tags=` are names; any field may be given."""
    from images import storage
    from images.models import Image, Tag

    def make(
        in_collection: Any = None, uploader: Any = None, *, tags: tuple[str, ...] = (), **fields: Any
    ) -> Any:
        place, content = in_collection or collection, picture()
        keys = {kind: storage.new_key(kind, ".jpg") for kind in ("originals", "thumbnails", "previews")}
        for key in keys.values():
            put_quickly(key, content)
        known = {
            "file_name": "picture.jpg",
            "sha256": hashlib.sha256(content + str(place.pk).encode()).hexdigest(),
            "byte_size": len(content),
            "content_type": "image/jpeg",
            "rendition_type": "image/jpeg",
            "original_key": keys["originals"],
            "thumbnail_key": keys["thumbnails"],
            "preview_key": keys["previews"],
            "state": "ready",
            "quality": 0.7,
            "holds_place": bool(fields.get("gps")),
            **{f"{part}width": 48 for part in ("", "thumbnail_", "preview_")},
            **{f"{part}height": 32 for part in ("", "thumbnail_", "preview_")},
        }
        image = Image.objects.create(collection=place, uploader=uploader, **{**known, **fields})
        image.tags.set([Tag.objects.get_or_create(team=place.team, name=name)[0] for name in tags])
        return image

    return make


# ── Clients ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def page(db: None) -> Callable[..., Client]:
    """A browser's client, signed in as `user` where one is given."""

    def make(user: Any = None) -> Client:
        client = Client()
        if user is not None:
            client.force_login(user, "allauth.account.auth_backends.AuthenticationBackend")
        return client

    return make


@pytest.fixture
def api(db: None) -> Callable[..., APIClient]:
    """An API client, signed in by session as `user` where one is given."""

    def make(user: Any = None) -> APIClient:
        client = APIClient(raise_request_exception=False)
        if user is not None:
            client.force_login(user, "allauth.account.auth_backends.AuthenticationBackend")
        return client

    return make


@pytest.fixture
def key_client(team: Any) -> Callable[..., APIClient]:
    """An API client that sends a key of `user` with `scopes` (all of them where left out)."""
    from images import keys

    def make(user: Any, *scopes: str, **options: Any) -> APIClient:
        key, text = keys.issue(options.pop("in_team", team), user, "Test key", scopes or SCOPES, **options)
        client = APIClient(raise_request_exception=False)
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {text}")
        client.key = key  # type: ignore[attr-defined]
        return client

    return make
