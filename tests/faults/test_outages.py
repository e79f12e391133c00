"""The disk is full, storage or the database is away: nothing is wrongly ready, and all recovers by itself."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.files.storage import storages
from django.core.files.uploadedfile import SimpleUploadedFile

from images import processing, storage
from images.models import Image, ImageState
from tests import services as real
from tests.faults.conftest import census, fill, size
from tests.faults.house import ROOT, House
from tests.faults.pictures import picture
from tests.parts import without

SETUP = """
from images import keys
from images.models import Collection, Team, User
from tests.parts import without
team = Team.objects.create(name="Faults", slug="faults")
user = User.objects.create_user("owner@example.org")
user.memberships.create(team=team, role="owner")
collection = Collection.objects.create(team=team, name="Faults")
print("::", collection.uid, keys.issue(team, user, "Faults", ["images:read", "images:write"])[1])
"""


def upload(client: Any, collection: Any, number: int) -> Any:
    file = SimpleUploadedFile(f"{number}.jpg", picture(number), "image/jpeg")
    return client.post(f"/api/v1/collections/{collection.uid}/images/", {"file": file}, format="multipart")


# ── Disk full ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_full_disk(
    house: House, collection: Any, owner: Any, key_client: Any, small_disk: Path, drain: Any, ledger: Any
) -> None:
    """outages: disk full"""
    client, sent = key_client(owner), set()
    sent.add(upload(client, collection, 1).json()["sha256"])
    ballast = small_disk / "ballast"
    fill(ballast)
    refused = upload(client, collection, 2)
    assert refused.status_code == 503 and refused.headers["Retry-After"]
    processing.process_pending()
    waiting = Image.objects.get()
    assert (waiting.state, waiting.attempts, waiting.preview_key) == (ImageState.STORED, 0, "")
    ballast.unlink()
    sent.add(upload(client, collection, 2).json()["sha256"])
    Image.objects.update(not_before=None)
    ledger.note = f"recovered in {drain(collection):.1f} s"
    ledger.runs, (ledger.lost, ledger.doubled) = 1, census(collection, sent)
    assert (len(sent), ledger.lost, ledger.doubled) == (2, 0, 0)


# ── Storage away ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def s3(settings: Any) -> Iterator[real.Server]:
    try:
        with real.scratch_folder("loupe-faults-") as folder, real.running(real.s3(folder)) as server:
            real.create_bucket(server.env)
            env = server.env
            settings.S3_ENDPOINT_URL, settings.S3_BUCKET = env["S3_ENDPOINT_URL"], env["S3_BUCKET"]
            options = {
                "bucket_name": env["S3_BUCKET"],
                "endpoint_url": env["S3_ENDPOINT_URL"],
                "access_key": env["S3_ACCESS_KEY"],
                "secret_key": env["S3_SECRET_KEY"],
                "region_name": env["S3_REGION"],
            }
            files = {"BACKEND": "storages.backends.s3.S3Storage", "OPTIONS": options}
            settings.STORAGES = {**settings.STORAGES, "default": files}
            assert storages["default"]
            yield server
    except real.ServiceFailed as error:
        without(str(error))


@pytest.mark.services
def test_storage_is_away(
    house: House, collection: Any, owner: Any, key_client: Any, s3: real.Server, drain: Any, ledger: Any
) -> None:
    """outages: object storage away"""
    client, count = key_client(owner), size(3, 50)
    sent = {upload(client, collection, number).json()["sha256"] for number in range(count)}
    s3.kill()
    away = time.monotonic()
    refused = upload(client, collection, 1000)
    processing.process_pending()
    assert refused.status_code == 503 and refused.headers["Retry-After"]
    assert set(Image.objects.values_list("state", "attempts")) == {(ImageState.STORED, 0)}
    time.sleep(max(0.0, size(1, 60) - (time.monotonic() - away)))
    s3.start()
    sent.add(upload(client, collection, 1000).json()["sha256"])
    ledger.note = f"recovered in {drain(collection):.1f} s"
    ledger.runs, (ledger.lost, ledger.doubled) = 1, census(collection, sent)
    assert (len(sent), ledger.lost, ledger.doubled) == (count + 1, 0, 0)
    assert all(storage.exists(image.thumbnail_key) for image in Image.objects.all())


# ── Database away ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def postgres() -> Iterator[real.Server]:
    try:
        with real.scratch_folder("loupe-faults-") as folder, real.running(real.postgres(folder)) as server:
            yield server
    except real.ServiceFailed as error:
        without(str(error))


@pytest.mark.services
def test_the_database_restarts(house: House, postgres: real.Server, ledger: Any) -> None:
    """outages: Postgres restarts under load"""
    house.env |= postgres.env
    manage(house, "migrate", "--verbosity", "0")
    uid, key = manage(house, "shell", "--no-imports", "-c", SETUP).rpartition("::")[2].split()
    web, worker = house.web(), house.worker()
    web.key = key
    count, sent, statuses = size(12, 200), {}, []
    for number in range(count):
        content = picture(number)
        if number == count // 2:
            postgres.stop()
            statuses.append(web.upload(uid, "a.jpg", content)[0])
            postgres.start()
        house.until(
            lambda c=content: web.upload(uid, "a.jpg", c)[0] in (200, 201), 60, "an upload to be accepted"
        )
        sent[hashlib.sha256(content).hexdigest()] = number
    url = postgres.env["DATABASE_URL"]
    took = house.until(lambda: done(url)[0] == count, 60, "everything to be searchable")
    ready, rows, twice = done(url)
    ledger.runs, ledger.lost, ledger.doubled = 1, len(sent) - ready, twice
    ledger.note = f"recovered in {took:.0f} s"
    assert statuses == [503] and worker.alive() and (rows, twice, ledger.lost) == (count, 0, 0)


def done(url: str) -> tuple[int, int, int]:
    """(searchable pictures, pictures, doubled rows)."""
    with psycopg.connect(url) as database:
        query = """select (select count(distinct image_id) from search_embedding where state = 'done'),
                   count(*), count(*) - count(distinct sha256) from images_image"""
        return database.execute(query).fetchone()  # type: ignore[return-value]


def manage(house: House, *command: str) -> str:
    done = subprocess.run(
        [sys.executable, "manage.py", *command],
        cwd=ROOT,
        env=house.env,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout
