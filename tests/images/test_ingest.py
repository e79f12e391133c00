"""The one door for bytes."""

import hashlib
import io
from typing import Any

import pytest

from images import ingest, storage
from images.ingest import UploadRefused
from images.models import Image, ImageState, Moderation

pytestmark = pytest.mark.django_db


@pytest.fixture
def send(collection: Any, owner: Any, picture: Any) -> Any:
    def call(content: bytes | None = None, uploader: Any = None, **options: Any) -> ingest.Ingested:
        file = io.BytesIO(picture() if content is None else content)
        known = {"file_name": "holiday.jpg", **options}
        return ingest.ingest(collection, uploader or owner, file, **known)

    return call


def test_an_upload_is_a_row_and_an_object(send: Any, picture: Any) -> None:
    content = picture()
    image = send(content, title="Sea").image
    assert image.state == ImageState.STORED and image.sha256 == hashlib.sha256(content).hexdigest()
    assert storage.read(image.original_key) == content


def test_the_same_bytes_answer_with_the_picture_that_is_there(send: Any, picture: Any) -> None:
    content = picture()
    first, second = send(content), send(content)
    assert second.duplicate and second.image.pk == first.image.pk
    assert len(list(storage.list("originals/"))) == 1


def test_the_same_bytes_go_into_another_collection(
    send: Any, picture: Any, make_collection: Any, owner: Any
) -> None:
    content = picture()
    send(content)
    other = ingest.ingest(make_collection("Other"), owner, io.BytesIO(content), file_name="a.jpg")
    assert not other.duplicate and Image.objects.count() == 2


def test_another_sum_than_declared_is_refused(send: Any) -> None:
    with pytest.raises(UploadRefused) as refused:
        send(sha256="0" * 64)
    assert (refused.value.code, refused.value.status, refused.value.pointer) == (
        "checksum_mismatch",
        422,
        "/sha256",
    )
    assert not Image.objects.exists() and not list(storage.list("originals/"))


@pytest.mark.parametrize(
    ("content", "code"),
    [(b"", "empty"), (b"#!/bin/sh\n" * 50, "unsupported_format"), (b"PK\x03\x04" * 9, "unsupported_format")],
)
def test_what_is_no_picture_is_refused_and_not_kept(content: bytes, code: str, send: Any) -> None:
    with pytest.raises(UploadRefused) as refused:
        send(content)
    assert refused.value.code == code and not list(storage.list("originals/"))


def test_a_file_over_the_limit_is_refused(send: Any, settings: Any, picture: Any) -> None:
    settings.MAX_UPLOAD_BYTES = 100
    with pytest.raises(UploadRefused) as refused:
        send()
    assert refused.value.status == 413


def test_a_full_team_is_told_so(send: Any, team: Any) -> None:
    team.quota_bytes = 10
    team.save()
    with pytest.raises(UploadRefused, match="full"):
        send()


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\a\\b.jpg", "b.jpg"),
        ("a\x00b\u202e.jpg", "ab.jpg"),
        ("", "untitled"),
    ],
)
def test_file_names_are_for_people_only(given: str, shown: str, send: Any) -> None:
    image = send(file_name=given).image
    assert image.file_name == shown and shown not in image.original_key


def test_tags_are_tidied_and_shared_by_the_team(send: Any, team: Any) -> None:
    send(tags=["  Blue  Sea ", "blue sea", "BOAT"])
    image = send(tags=["boat"]).image
    assert list(image.tags.values_list("name", flat=True)) == ["boat"] and team.tags.count() == 2


def test_too_many_tags_name_the_field(send: Any) -> None:
    with pytest.raises(UploadRefused) as refused:
        send(tags=[f"t{n}" for n in range(31)])
    assert refused.value.pointer == "/tags"


@pytest.mark.parametrize(
    ("policy", "trust", "expected"),
    [
        ("off", "check", Moderation.APPROVED),
        ("new", "check", Moderation.PENDING),
        ("new", "trusted", Moderation.APPROVED),
        ("everyone", "trusted", Moderation.PENDING),
    ],
)
def test_the_policy_decides_what_waits(
    policy: str, trust: str, expected: str, send: Any, collection: Any, member: Any
) -> None:
    collection.moderation = policy
    uploader = member("someone", "contributor", trust=trust)
    assert send(uploader=uploader).image.moderation == expected


def test_known_tells_a_client_what_not_to_send(send: Any, collection: Any) -> None:
    image = send().image
    assert ingest.known(collection, [image.sha256.upper(), "f" * 64]) == {image.sha256: image.uid}


def test_a_lost_race_keeps_one_row_and_one_object(send: Any, picture: Any, monkeypatch: Any) -> None:
    content = picture()
    first = send(content).image
    looks = iter([None, first])
    monkeypatch.setattr(ingest, "_existing", lambda *a: next(looks))
    assert send(content).duplicate
    assert Image.objects.count() == 1 and len(list(storage.list("originals/"))) == 1


def test_a_refused_picture_sent_again_is_checked_again(send: Any, picture: Any) -> None:
    content = picture()
    first = send(content).image
    Image.objects.update(state=ImageState.REJECTED, reason="The stored file is gone.", attempts=3)
    storage.delete(first.original_key)
    again = send(content)
    image = Image.objects.get()
    assert again.duplicate and (image.state, image.reason, image.attempts) == (ImageState.STORED, "", 0)
    assert storage.read(image.original_key) == content


def test_a_cache_that_is_away_does_not_refuse_uploads(send: Any, monkeypatch: Any) -> None:
    def away(*args: Any, **kwargs: Any) -> None:
        raise ConnectionError("redis")

    monkeypatch.setattr(ingest.cache, "get_or_set", away)
    assert not send().duplicate
