"""Files and strings that nobody on this project wrote, over HTTP and through the worker's steps.

A sample of every category by default; LOUPE_FAULTS=full sends everything.
"""

from __future__ import annotations

import csv
import io
import json
import logging
import os
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import structlog
from django.core.files.uploadedfile import SimpleUploadedFile

from config import logs
from images import processing, storage, transfer
from images.ingest import clean_file_name
from images.models import Image, Job
from tests.faults.house import House, Web, form
from tests.faults.pictures import picture
from tests.images.test_hostile_files import DAMAGED
from tests.search.tiny_models import clip_model

FULL = os.environ.get("LOUPE_FAULTS") == "full"
EACH = 10_000 if FULL else 12
REFUSED = {400, 413, 415, 422}
OURS = [
    "\x00",
    "a\x00b",
    "\ud800",
    "\udfff\ud800",
    "\u202egpj.exe",
    "x" * 5000,
    "\u200b",
    "🏴" * 300,
    "</script>",
]

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]


@pytest.fixture(autouse=True)
def unlimited(settings: Any, monkeypatch: Any) -> None:
    from images.throttling import PrincipalThrottle

    monkeypatch.setattr(PrincipalThrottle, "get_rate", lambda self: "1000000/min")


@pytest.fixture
def client(key_client: Any, owner: Any) -> Any:
    return key_client(owner)


def post(client: Any, collection: Any, name: str, content: bytes) -> Any:
    file = SimpleUploadedFile("x", content, "application/octet-stream")
    file._name = name  # what the sender says, unlike what Django makes of it
    return client.post(f"/api/v1/collections/{collection.uid}/images/", {"file": file}, format="multipart")


# ── Files ───────────────────────────────────────────────────────────────────────────────────────────────────────


def sampled(folder: Path) -> list[dict[str, str]]:
    """Up to EACH rows of every category and expected outcome."""
    with (folder / "MANIFEST.tsv").open(newline="") as file:
        rows, taken = list(csv.DictReader(file, delimiter="\t")), Counter[tuple[str, str]]()
    chosen = []
    for row in rows:
        kind = (row["category"], row["expected"])
        if taken[kind] < EACH:
            chosen.append(row)
        taken[kind] += 1
    return chosen


def expected(row: dict[str, str]) -> set[str]:
    if row["expected"] == "either":
        return {"accepted", "rejected"}
    refused = row["format"] == "TIFF" or row["file"] in DAMAGED  # TIFF is off by default
    return {"rejected" if refused else row["expected"]}


@pytest.fixture
def decoders() -> Iterator[None]:
    processing.close_pool()
    yield
    processing.close_pool()


def test_every_file_comes_out_as_listed(
    client: Any, collection: Any, test_data: Path, decoders: None
) -> None:
    folder = test_data / "hostile"
    rows, sent, wrong = sampled(folder), {}, []
    for row in rows:
        answer = post(client, collection, Path(row["source_path"]).name, (folder / row["file"]).read_bytes())
        assert answer.status_code in {200, 201} | REFUSED, (row["file"], answer.status_code)
        if answer.status_code in REFUSED:
            assert answer.json()["errors"][0]["pointer"] == "/file"
            wrong += [] if "rejected" in expected(row) else [(row["file"], answer.json()["code"])]
        else:
            sent[answer.json()["id"]] = row
    while processing.process_pending():
        pass
    for image in Image.objects.filter(uid__in=sent):
        row = sent[str(image.uid)]
        assert image.state in ("ready", "rejected") and image.attempts == 1, (row["file"], image.error)
        assert image.state == "ready" or image.reason
        came = {"ready": "accepted"}.get(image.state, "rejected")
        wrong += [] if came in expected(row) else [(row["file"], came, image.reason)]
    assert wrong == [] and len(rows) > 100


def test_archives_are_no_pictures(client: Any, collection: Any, test_data: Path) -> None:
    archives = sorted((test_data / "hostile" / "files" / "archive").iterdir())[: 5 * EACH]
    answers = [post(client, collection, "holiday.jpg", path.read_bytes()) for path in archives]
    assert len(answers) > 50 and {answer.status_code for answer in answers} <= {400, 413, 415}
    assert not Image.objects.exists()


def test_archives_are_imported_without_harm(client: Any, collection: Any, test_data: Path) -> None:
    """Refused at the door, or by the worker with a reason; nothing of them is taken and nothing stays."""
    archives = sorted((test_data / "hostile" / "files" / "archive").iterdir())[: 5 * EACH]
    statuses = Counter[int]()
    for path in archives:
        file = SimpleUploadedFile("holiday.zip", path.read_bytes(), "application/zip")
        address = f"/api/v1/collections/{collection.uid}/imports/"
        statuses[client.post(address, {"file": file}, format="multipart").status_code] += 1
        transfer.run_due()
    assert set(statuses) <= REFUSED | {202} and sum(statuses.values()) > 50, statuses
    jobs = list(Job.objects.all())
    assert len(jobs) == statuses[202] and all(job.state == "failed" and job.errors for job in jobs)
    assert not Image.objects.exists() and list(storage.list("imports/")) == []


# ── Strings ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def strings(test_data: Path) -> list[str]:
    folder = test_data / "hostile" / "strings"
    naughty = json.loads((folder / "naughty.json").read_text())
    names = [line for path in folder.glob("*.txt") for line in path.read_text(errors="replace").splitlines()]
    return [*OURS, *(naughty + names)[:: 1 if FULL else 4]]


def refused_by_name(answer: Any, *fields: str) -> bool:
    """A 400 whose every error names one of the fields."""
    pointers = [error["pointer"] for error in answer.json().get("errors", ())]
    return answer.status_code == 400 and bool(pointers) and all(p.split("/")[1] in fields for p in pointers)


def raw(value: Any) -> bytes:
    """JSON that keeps lone surrogates as escapes."""
    return json.dumps(value, ensure_ascii=True).encode()


def test_titles_and_captions_are_kept_as_sent_or_refused_by_name(
    client: Any, make_image: Any, owner: Any, strings: list[str]
) -> None:
    image, fields = make_image(uploader=owner), ("title", "caption", "alt_text")
    kept = 0
    for text in strings:
        body = raw(dict.fromkeys(fields, text))
        answer = client.patch(f"/api/v1/images/{image.uid}/", body, content_type="application/json")
        if answer.status_code != 200:
            assert refused_by_name(answer, *fields), (text, answer.status_code, answer.content)
            continue
        image.refresh_from_db()
        assert {image.title, image.caption, image.alt_text} == {text.strip()}, text
        kept += 1
    assert kept > len(strings) // 2


def test_tags_are_cleaned_or_refused_by_name(
    client: Any, make_image: Any, owner: Any, strings: list[str]
) -> None:
    image = make_image(uploader=owner)
    for text in strings:
        body = raw({"tags": [text]})
        answer = client.patch(f"/api/v1/images/{image.uid}/", body, content_type="application/json")
        assert answer.status_code == 200 or refused_by_name(answer, "tags"), (text, answer.status_code)
        assert all(
            tag == tag.lower() and tag.isprintable() for tag in image.tags.values_list("name", flat=True)
        )


def test_file_names_are_shown_and_never_used(client: Any, collection: Any, strings: list[str]) -> None:
    for number, text in enumerate(strings):
        name = text.encode("utf-8", "replace").decode()
        answer = post(client, collection, name or "empty", picture(number))
        assert answer.status_code in {201} | REFUSED, (text, answer.status_code)
        if answer.status_code == 201:
            image = Image.objects.get(uid=answer.json()["id"])
            assert image.file_name and image.file_name == clean_file_name(image.file_name)
            assert not set(image.original_key) - set("abcdefghijklmnopqrstuvwxyz0123456789/")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clip_model(tmp_path_factory.mktemp("clip"))


def test_any_text_can_be_searched_for(
    client: Any, collection: Any, strings: list[str], settings: Any, model: Path
) -> None:
    from search import index, spaces

    settings.LOUPE_MODEL, settings.LOUPE_DTYPE = str(model), "float32"
    spaces._identity.cache_clear()
    index.ensure_index(collection)
    for text in strings:
        body = raw({"query": [{"text": text}]})
        typed = client.post("/api/v1/search/", body, content_type="application/json")
        linked = client.get("/api/v1/search/", {"q": text.encode("utf-8", "replace").decode()})
        for answer in (typed, linked):
            assert answer.status_code == 200 or refused_by_name(answer, "query", "q"), (text, answer.content)
    spaces._identity.cache_clear()


@pytest.fixture
def lines(monkeypatch: Any) -> Iterator[Callable[[bool], io.StringIO]]:
    """`lines(as_json)`: from now on the log goes there instead of to stderr, in the product's own format."""
    handlers, level = logging.root.handlers, logging.getLevelName(logging.root.level)

    def catch(as_json: bool) -> io.StringIO:
        written = io.StringIO()
        monkeypatch.setattr(sys, "stderr", written)
        logs.configure("INFO", as_json)
        return written

    yield catch
    monkeypatch.undo()
    logs.configure(level, as_json=False)
    logging.root.handlers = handlers


@pytest.mark.parametrize("as_json", [True, False])
def test_no_text_leaves_its_log_line(strings: list[str], lines: Any, as_json: bool) -> None:
    written = lines(as_json)
    for text in strings:
        structlog.get_logger("tests").warning("refused", file_name=text)
        logging.getLogger("tests").warning("Not Found: %s", text)
    found = written.getvalue().splitlines()
    assert len(found) == 2 * len(strings)
    assert all(line.isprintable() and len(line) < 10_000 for line in found)
    if as_json:
        assert all(json.loads(line)["level"] == "warning" for line in found)


def test_a_path_from_the_outside_stays_in_its_log_line(page: Any, strings: list[str], lines: Any) -> None:
    written = lines(False)
    for text in strings:
        path = "/" + quote(text.encode("utf-8", "replace"), safe="")
        assert page().get(path).status_code in {200, 302, 404, 400}
    found = written.getvalue().splitlines()
    assert found and all(line.isprintable() for line in found)
    assert all(line[:4].isdigit() for line in found), "every line begins with its time"


# ── Uploads over a real server ──────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def web(client: Any, tmp_path: Path) -> Iterator[Web]:
    house = House(tmp_path, tmp_path / "no-model", full=FULL)
    web = house.web()
    web.key = client._credentials["HTTP_AUTHORIZATION"].split()[1]
    yield web
    house.close()


def head(web: Web, collection: Any, *headers: str) -> bytes:
    lines = [
        f"POST /api/v1/collections/{collection.uid}/images/ HTTP/1.1",
        f"Host: 127.0.0.1:{web.port}",
        f"Authorization: Bearer {web.key}",
        "Content-Type: multipart/form-data; boundary=b",
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def status(connection: socket.socket) -> int:
    return int(connection.recv(65536).split(b" ", 2)[1])


def test_a_huge_upload_is_refused_before_it_is_read(web: Web, collection: Any) -> None:
    with socket.create_connection(("127.0.0.1", web.port), timeout=10) as connection:
        connection.sendall(head(web, collection, "Content-Length: 10000000000"))
        assert status(connection) == 413


@pytest.mark.parametrize(
    "content", [b"<html><script>alert(1)</script>", b"MZ\x90" * 400, b"GIF8" + b"\0" * 500]
)
def test_an_upload_that_lies_about_its_kind_is_refused(web: Web, collection: Any, content: bytes) -> None:
    answer, told = web.upload(collection, "holiday.jpg", content)
    assert answer == 415 and told["errors"][0]["pointer"] == "/file" and not Image.objects.exists()


def test_an_upload_shorter_than_it_said_is_not_kept(web: Web, collection: Any) -> None:
    """The length covers more than is sent, then the sender is silent and hangs up."""
    body = form("b", "a.jpg", picture(1), {})
    with socket.create_connection(("127.0.0.1", web.port), timeout=10) as connection:
        connection.sendall(head(web, collection, f"Content-Length: {len(body) + 1000}") + body)
    assert web.upload(collection, "b.jpg", picture(2))[0] == 201
    assert Image.objects.count() <= 2 and all(image.byte_size in sizes() for image in Image.objects.all())


def sizes() -> set[int]:
    """Bytes of the whole files that the test above sends."""
    return {len(picture(1)), len(picture(2))}


def test_an_upload_longer_than_it_said_ends_where_it_said(web: Web, collection: Any) -> None:
    body = form("b", "a.jpg", picture(1), {})
    with socket.create_connection(("127.0.0.1", web.port), timeout=10) as connection:
        connection.sendall(head(web, collection, f"Content-Length: {len(body) // 2}") + body)
        assert status(connection) in REFUSED
    assert not Image.objects.exists()


def test_an_upload_of_no_declared_length_is_refused(web: Web, collection: Any) -> None:
    with socket.create_connection(("127.0.0.1", web.port), timeout=10) as connection:
        connection.sendall(head(web, collection, "Transfer-Encoding: chunked") + b"5\r\n--b\r\n\r\n0\r\n\r\n")
        assert 400 <= status(connection) < 500
    assert not Image.objects.exists()


def test_slow_uploads_keep_nobody_else_waiting(web: Web, collection: Any) -> None:
    """Three of four threads are fed a byte at a time."""
    with ExitStack() as stack:
        slow = [
            stack.enter_context(socket.create_connection(("127.0.0.1", web.port), timeout=10))
            for _ in range(3)
        ]
        for connection in slow:
            connection.sendall(head(web, collection, "Content-Length: 100000") + b"--b\r\n")
        for _ in range(5):
            for connection in slow:
                connection.sendall(b"x")
            began = time.monotonic()
            assert web.send("GET", "/livez")[0] == 200 and time.monotonic() - began < 5
    assert web.upload(collection, "a.jpg", picture(1))[0] == 201
    assert Image.objects.count() == 1
