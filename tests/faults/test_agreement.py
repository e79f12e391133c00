"""Storage holds what the database says, and what was sent; nothing else."""

from __future__ import annotations

import hashlib
import io
import os
import random
import socket
from datetime import timedelta
from typing import Any

from django.core.management import call_command

from images import storage
from images.management.commands import reconcile
from images.models import Image, ImageState
from tests.faults.conftest import size
from tests.faults.house import House, Web, form
from tests.faults.pictures import picture


def findings(*options: str) -> list[str]:
    out = io.StringIO()
    call_command("reconcile", *options, stdout=out)
    return out.getvalue().splitlines()


def test_kills_between_storage_and_database(
    house: House, collection: Any, owner: Any, ledger: Any, monkeypatch: Any
) -> None:
    """storage and database agree after kills between PUT and commit"""
    each = size(3, 25)
    for point in ("after_put", "before_commit"):
        ledger.runs += house.crash(point, each, "upload", collection.pk, owner.pk, 0)
    assert ledger.runs == 2 * each and not Image.objects.exists()
    assert findings() == ["0 findings"], "an upload on its way is no stray"
    monkeypatch.setattr(reconcile, "GRACE", timedelta(seconds=-5))  # object storage rounds times up
    named = findings("--repair")
    assert len(named) == 2 * each + 1 and all(line.startswith("stray") for line in named[:-1])
    assert findings() == ["0 findings"] and not list(storage.list("originals/"))


def test_every_difference_is_named(
    house: House, collection: Any, send: Any, drain: Any, ledger: Any, monkeypatch: Any
) -> None:
    """storage and database agree: 5 deleted, 5 flipped, 20 strays"""
    for number in range(size(12, 100)):
        send(number)
    drain(collection)
    images = list(Image.objects.order_by("id"))
    for image in images[:5]:
        storage.delete(image.original_key)
    for image in images[5:10]:
        storage.put(image.original_key, io.BytesIO(flipped(storage.read(image.original_key))), "image/jpeg")
    for _ in range(20):
        storage.put(storage.new_key("originals"), io.BytesIO(b"stray"), "image/jpeg")
    assert len(findings("--verify")) == 10 + 1, "young strays are left alone"
    monkeypatch.setattr(reconcile, "GRACE", timedelta(seconds=-5))  # object storage rounds times up
    named = findings("--verify")
    ledger.runs, ledger.lost = 30, 30 - (len(named) - 1)
    assert ledger.lost == 0 and findings("--verify", "--repair")[:-1] == named[:-1]
    assert findings("--verify") == ["0 findings"]
    assert Image.objects.filter(state=ImageState.REJECTED).count() == 10


def flipped(content: bytes, at: int = 100) -> bytes:
    return content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :]


def test_stored_bytes_are_sent_bytes(house: House, collection: Any, owner_key: str, ledger: Any) -> None:
    """stored bytes = sent bytes: truncated, flipped and dropped uploads"""
    web, each, chance = house.web(), size(4, 60), random.Random(3)
    web.key = owner_key
    statuses = []
    for number in range(each):
        content = picture(number)
        sha256 = hashlib.sha256(content).hexdigest()
        cut = content[: chance.randrange(100, len(content) - 100)]
        statuses.append(web.upload(collection, "cut.jpg", cut, sha256=sha256)[0])
        wrong = flipped(content, chance.randrange(100, len(content)))
        statuses.append(web.upload(collection, "flipped.jpg", wrong, sha256=sha256)[0])
        dropped(web, collection, content, chance)
    ledger.runs, ledger.lost = 3 * each, Image.objects.count()
    assert set(statuses) <= {400, 409, 422} and not Image.objects.exists()
    assert web.upload(collection, "whole.jpg", content, sha256=sha256)[0] == 201


def dropped(web: Web, collection: Any, content: bytes, chance: random.Random) -> None:
    """Announce the whole body, send a part of it, hang up."""
    boundary = os.urandom(8).hex()
    body = form(boundary, "dropped.jpg", content, {})
    head = (
        f"POST /api/v1/collections/{collection.uid}/images/ HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Authorization: Bearer {web.key}\r\nContent-Length: {len(body)}\r\n"
        f"Content-Type: multipart/form-data; boundary={boundary}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", web.port), timeout=10) as connection:
        connection.sendall(head.encode() + body[: chance.randrange(len(body) - len(content) // 2)])


def test_cut_pictures_without_a_checksum_are_never_ready(
    house: House, collection: Any, send: Any, drain: Any, ledger: Any
) -> None:
    """stored bytes = sent bytes: half a picture is never ready"""
    chance, count = random.Random(4), size(10, 200)
    for number in range(count):
        content = picture(number)
        send(number, content[: chance.randrange(100, len(content) - 2)])
    send(9999)
    house.until(lambda: not Image.objects.filter(state="stored").exists(), 90, "checks", lambda: drain_step())
    ledger.runs, ledger.lost = count, Image.objects.filter(state="ready").count() - 1
    assert ledger.lost == 0 and all(image.reason for image in Image.objects.filter(state="rejected"))


def drain_step() -> None:
    from images.processing import process_pending

    process_pending()
