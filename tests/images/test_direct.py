"""Direct uploads against a real S3 server that checks signatures; and their refusal where files are local."""

from __future__ import annotations

import hashlib
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.core.files.storage import storages
from django.utils import timezone

from images import direct, multipart, storage
from images.models import Image, ImageState
from tests import services

pytestmark = pytest.mark.django_db
PICTURE = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def sent_to(collection: Any) -> str:
    return f"/api/v1/collections/{collection.uid}/uploads/"


def announcement(content: bytes, **changes: Any) -> dict[str, Any]:
    sha256 = hashlib.sha256(content).hexdigest()
    return {"file_name": "sea.png", "size": len(content), "sha256": sha256, **changes}


def test_local_files_are_sent_by_multipart_post(api: Any, owner: Any, sent_to: str, settings: Any) -> None:
    if settings.S3_BUCKET:
        pytest.skip("this run has object storage")
    answer = api(owner).post(sent_to, announcement(PICTURE))
    assert (answer.status_code, answer.json()["code"]) == (409, "no_direct_uploads")
    assert "multipart POST" in answer.json()["detail"]


def test_without_object_storage_there_is_nothing_to_clean(settings: Any) -> None:
    assert settings.S3_BUCKET or direct.clean() == 0


# ── With object storage ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def server() -> Iterator[dict[str, str]]:
    if os.environ.get("S3_ENDPOINT_URL"):
        yield dict(os.environ)
        return
    if not (services.ROOT / ".venv-swift" / "bin" / "python").exists():
        pytest.skip(
            "needs an S3 server: run scripts/bootstrap-swift, or python -m tests.services -- pytest …"
        )
    with services.services(["s3"]) as env:
        yield env


@pytest.fixture
def s3(server: dict[str, str], settings: Any) -> Any:
    settings.S3_ENDPOINT_URL, settings.S3_BUCKET = server["S3_ENDPOINT_URL"], server["S3_BUCKET"]
    options = {
        "bucket_name": server["S3_BUCKET"],
        "endpoint_url": server["S3_ENDPOINT_URL"],
        "access_key": server["S3_ACCESS_KEY"],
        "secret_key": server["S3_SECRET_KEY"],
        "region_name": server["S3_REGION"],
    }
    settings.STORAGES = {
        **settings.STORAGES,
        "default": {"BACKEND": "storages.backends.s3.S3Storage", "OPTIONS": options},
    }
    assert storages["default"]
    for key in incoming():  # of the test before
        storage.delete(key)
    return server


def put(url: str, content: bytes) -> int:
    request = urllib.request.Request(url, data=content, method="PUT")
    request.add_header("Content-Type", "")
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


@pytest.fixture
def begin(s3: Any, api: Any, owner: Any, sent_to: str) -> Any:
    def call(content: bytes, **changes: Any) -> Any:
        answer = api(owner).post(sent_to, announcement(content, **changes))
        assert answer.status_code == 201, answer.json()
        return answer.json()

    return call


@pytest.fixture
def complete(api: Any, owner: Any) -> Any:
    return lambda upload, user=None: api(user or owner).post(f"/api/v1/uploads/{upload['id']}/complete/")


def incoming() -> list[str]:
    return [entry.key for entry in storage.list("incoming/")]


@pytest.fixture
def large(picture: Any) -> bytes:
    """A real picture of more than two parts: what follows a JPEG's end is no concern of the door."""
    return picture() + os.urandom(2 * direct.PART_BYTES + 1000)


def test_one_put_and_it_is_an_upload_like_any_other(begin: Any, complete: Any, picture: Any) -> None:
    content = picture()
    upload = begin(content)
    [part] = upload["parts"]
    assert part["received"] is False and put(part["url"], content) in (200, 201)
    answer = complete(upload)
    image = Image.objects.get()
    assert (answer.status_code, answer.json()["id"], image.state) == (201, str(image.uid), ImageState.STORED)
    assert storage.read(image.original_key) == content and image.file_name == "sea.png" and not incoming()


def test_other_bytes_than_announced_are_refused_and_forgotten(
    begin: Any, complete: Any, picture: Any
) -> None:
    content = picture()
    upload = begin(content)
    put(upload["parts"][0]["url"], content[:-1] + b"x")
    answer = complete(upload)
    assert (answer.status_code, answer.json()["code"]) == (422, "checksum_mismatch")
    assert not Image.objects.exists() and not incoming()


def test_fewer_bytes_than_announced_are_not_complete(begin: Any, complete: Any, picture: Any) -> None:
    content = picture()
    upload = begin(content)
    assert put(upload["parts"][0]["url"], content[:-1]) == 403
    answer = complete(upload)
    assert (answer.status_code, answer.json()["code"]) == (409, "incomplete")
    assert put(upload["parts"][0]["url"], content) in (200, 201) and complete(upload).status_code == 201


def test_a_large_file_goes_in_parts_and_on_after_a_break(
    begin: Any, complete: Any, api: Any, owner: Any, large: bytes
) -> None:
    upload = begin(large)
    assert [part["number"] for part in upload["parts"]] == [1, 2, 3]
    send_part(upload, large, 2)
    assert complete(upload).status_code == 409
    resumed = api(owner).get(f"/api/v1/uploads/{upload['id']}/").json()
    assert [part["received"] for part in resumed["parts"]] == [False, True, False]
    for number in (3, 1):
        send_part(resumed, large, number)
    assert complete(upload).status_code == 201
    assert Image.objects.get().sha256 == hashlib.sha256(large).hexdigest() and not incoming()


def send_part(upload: Any, content: bytes, number: int) -> None:
    start = (number - 1) * direct.PART_BYTES
    assert put(upload["parts"][number - 1]["url"], content[start : start + direct.PART_BYTES]) in (200, 201)


def test_a_completion_that_broke_off_can_be_repeated(
    begin: Any, complete: Any, large: bytes, monkeypatch: Any
) -> None:
    upload = begin(large)
    for number in (1, 2, 3):
        send_part(upload, large, number)
    with monkeypatch.context() as broken:
        broken.setattr(direct.ingest, "ingest", lambda *args, **kwargs: 1 / 0)
        assert complete(upload).status_code == 500
    assert complete(upload).status_code == 201


def test_the_same_bytes_again_are_the_same_picture(begin: Any, complete: Any, picture: Any) -> None:
    content = picture()
    for status in (201, 200):
        upload = begin(content)
        put(upload["parts"][0]["url"], content)
        assert complete(upload).status_code == status
    assert Image.objects.count() == 1


def test_what_is_no_picture_is_refused(begin: Any, complete: Any) -> None:
    content = b"#!/bin/sh\necho no picture\n"
    upload = begin(content)
    put(upload["parts"][0]["url"], content)
    assert complete(upload).status_code == 415 and not incoming()


def test_too_large_and_over_quota_are_refused_before_any_byte(
    s3: Any, api: Any, owner: Any, team: Any, sent_to: str, settings: Any
) -> None:
    answer = api(owner).post(sent_to, announcement(b"x", size=settings.MAX_UPLOAD_BYTES + 1))
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (413, "/size")
    type(team).objects.update(quota_bytes=10)
    assert api(owner).post(sent_to, announcement(b"x", size=11)).json()["code"] == "quota"


def test_nobody_else_may_see_go_on_or_complete(
    begin: Any, complete: Any, api: Any, teammate: Any, outsider: Any, picture: Any
) -> None:
    upload = begin(picture())
    for user in (teammate, outsider):
        assert complete(upload, user).status_code == 404
        assert api(user).get(f"/api/v1/uploads/{upload['id']}/").status_code == 404
        assert api(user).delete(f"/api/v1/uploads/{upload['id']}/").status_code == 404


def test_who_may_not_upload_may_not_begin(
    s3: Any, api: Any, viewer: Any, outsider: Any, sent_to: str
) -> None:
    statuses = [api(user).post(sent_to, announcement(PICTURE)).status_code for user in (viewer, outsider)]
    assert statuses == [403, 404]


def test_rights_lost_meanwhile_are_lost(begin: Any, complete: Any, owner: Any, picture: Any) -> None:
    content = picture()
    upload = begin(content)
    put(upload["parts"][0]["url"], content)
    owner.memberships.update(role="viewer")
    assert complete(upload).status_code == 403 and not Image.objects.exists()


def test_giving_up_removes_everything(begin: Any, api: Any, owner: Any, large: bytes) -> None:
    upload = begin(large)
    send_part(upload, large, 1)
    assert api(owner).delete(f"/api/v1/uploads/{upload['id']}/").status_code == 204
    assert not incoming() and not list(multipart.unfinished("incoming/"))


def test_links_write_to_incoming_alone_and_are_signed(begin: Any, picture: Any) -> None:
    url = begin(picture())["parts"][0]["url"]
    assert "/incoming/" in url and put(url.replace("incoming", "originals"), b"x") == 403


def test_a_link_takes_exactly_the_bytes_that_were_announced(begin: Any, picture: Any, large: bytes) -> None:
    content = picture()
    whole, part = begin(content)["parts"][0], begin(large)["parts"][2]
    for link, size in ((whole["url"], len(content)), (part["url"], part["size"])):
        assert {put(link, b"x" * (size + 1)), put(link, b"x" * (size * 100)), put(link, b"x")} == {403}
    assert all(key.endswith(".json") for key in incoming())


def test_what_is_abandoned_goes_after_a_day(begin: Any, large: bytes, picture: Any, monkeypatch: Any) -> None:
    send_part(begin(large), large, 1)
    put(begin(content := picture())["parts"][0]["url"], content)
    assert direct.clean() == 0 and len(incoming()) >= 3
    tomorrow = timezone.now() + timedelta(hours=25)
    monkeypatch.setattr(direct.timezone, "now", lambda: tomorrow)
    assert direct.clean() >= 4
    assert not incoming() and not list(multipart.unfinished("incoming/"))


def test_after_a_day_it_cannot_be_completed(
    begin: Any, complete: Any, picture: Any, monkeypatch: Any
) -> None:
    upload = begin(picture())
    monkeypatch.setattr(direct, "KEPT", timedelta(0))
    assert complete(upload).status_code == 404


def test_storage_that_is_away_is_a_503(s3: Any, api: Any, owner: Any, sent_to: str, settings: Any) -> None:
    settings.S3_ENDPOINT_URL = "http://127.0.0.1:9"
    answer = api(owner).post(sent_to, announcement(PICTURE))
    assert answer.status_code == 503 and answer.headers["Retry-After"]
