"""Direct uploads: the client PUTs the bytes to object storage itself, and Loupe takes them in when they are complete.

    begin ──▶ PUT (one piece, or parts; again after a break) ──▶ finish ──▶ images.ingest, as for any other upload
       └── not finished within 24 h: `clean` removes it

What was begun is remembered beside the bytes, in the same storage (`incoming/…`), so it survives every process. The
links write to `incoming/` alone: what is checked is a copy that no link reaches, so nobody can exchange it afterwards.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from django.conf import settings
from django.utils import timezone
from django.utils.translation import gettext as _

from images import ingest, multipart, storage
from images.ingest import Ingested, UploadRefused
from images.models import Collection, User

PREFIX = "incoming"
PART_BYTES = 8 * 1024**2
KEPT = timedelta(hours=24)
NOTE_BYTES = 4096


class NoDirectUploads(UploadRefused):
    """Files lie in a folder of the server, which no link can write to."""

    def __init__(self) -> None:
        message = _(
            "This server keeps files locally: send the picture as multipart POST to the collection's images."
        )
        super().__init__("no_direct_uploads", message, status=409, pointer="")


class Incomplete(UploadRefused):
    """The bytes are not all there yet; the upload can go on."""

    def __init__(self, message: str) -> None:
        super().__init__("incomplete", message, status=409, pointer="/parts")


@dataclass(frozen=True)
class DirectUpload:
    """What a client announced: `size` bytes with this SHA-256. `upload_id` is empty where one PUT brings them all."""

    uid: str
    collection: str
    user: int
    file_name: str
    size: int
    sha256: str
    upload_id: str
    begun: str

    @property
    def key(self) -> str:
        return _key(self.uid, "data")

    @property
    def expires_at(self) -> datetime:
        return datetime.fromisoformat(self.begun) + KEPT


@dataclass(frozen=True)
class PartState:
    """One piece: the bytes it must have, whether they are there, and where to PUT them (None once they are)."""

    number: int
    size: int
    received: bool
    url: str | None


def begin(collection: Collection, user: User, file_name: str, size: int, sha256: str) -> DirectUpload:
    """Announce a file; the caller has checked that `user` may upload. Raises UploadRefused."""
    if not multipart.available():
        raise NoDirectUploads
    if size > settings.MAX_UPLOAD_BYTES:
        limit = settings.MAX_UPLOAD_BYTES // 1024**2
        raise UploadRefused(
            "too_large", _("The file is larger than %d MB.") % limit, status=413, pointer="/size"
        )
    ingest.refuse_over_quota(collection.team, size)
    uid = uuid4().hex
    upload_id = multipart.begin(_key(uid, "data")) if size > PART_BYTES else ""
    name = ingest.clean_file_name(file_name)
    begun = timezone.now().isoformat()
    upload = DirectUpload(uid, str(collection.uid), user.pk, name, size, sha256.lower(), upload_id, begun)
    note = json.dumps(asdict(upload)).encode()
    storage.put(_key(uid, "json"), io.BytesIO(note), "application/json")
    return upload


def find(uid: UUID, user: User) -> DirectUpload | None:
    """The upload that `user` began; None where there is none, it was somebody else's, or its day is over."""
    if not multipart.available():
        return None
    try:
        with storage.open(_key(uid.hex, "json")) as file:
            upload = DirectUpload(**json.loads(file.read(NOTE_BYTES)))
    except storage.ObjectMissing:
        return None
    return upload if upload.user == user.pk and upload.expires_at > timezone.now() else None


def parts(upload: DirectUpload) -> list[PartState]:
    """Every piece, with fresh links for those that are missing."""
    if not upload.upload_id:
        there = _size(upload.key) == upload.size
        url = None if there else multipart.put_url(upload.key, upload.size)
        return [PartState(1, upload.size, there, url)]
    if _size(upload.key) == upload.size:  # put together by a `finish` that did not come to its end
        return [PartState(number, size, True, None) for number, size in _layout(upload.size)]
    received = {part.number: part.size for part in multipart.parts(upload.key, upload.upload_id)}
    return [_part(upload, number, size, received.get(number)) for number, size in _layout(upload.size)]


def finish(upload: DirectUpload, collection: Collection, user: User) -> Ingested:
    """Take the bytes in through the one door, which checks size and SHA-256. Raises UploadRefused: Incomplete while
    pieces are missing (go on), checksum_mismatch where they are not what was announced (begin again)."""
    if missing := [part.number for part in parts(upload) if not part.received]:
        raise Incomplete(_("Parts are missing: %s.") % ", ".join(map(str, missing)))
    if upload.upload_id and _size(upload.key) is None:
        multipart.complete(upload.key, upload.upload_id, multipart.parts(upload.key, upload.upload_id))
    try:
        with storage.open(upload.key) as file:
            done = ingest.ingest(collection, user, file, file_name=upload.file_name, sha256=upload.sha256)
    except UploadRefused:
        forget(upload)
        raise
    forget(upload)
    return done


def forget(upload: DirectUpload) -> None:
    """Remove everything of it: the client gave up, or it is taken in."""
    if upload.upload_id:
        multipart.abort(upload.key, upload.upload_id)
    for kind in ("data", "json"):
        storage.delete(_key(upload.uid, kind))


def clean() -> int:
    """Remove what was not finished within a day; returns how many objects and part lists went."""
    if not multipart.available():
        return 0
    before, gone = timezone.now() - KEPT, 0
    for unfinished in multipart.unfinished(f"{PREFIX}/"):
        if unfinished.begun < before:
            multipart.abort(unfinished.key, unfinished.upload_id)
            gone += 1
    for entry in storage.list(f"{PREFIX}/"):
        if entry.modified < before:
            storage.delete(entry.key)
            gone += 1
    return gone


def _key(uid: str, kind: str) -> str:
    return f"{PREFIX}/{uid[:2]}/{uid}.{kind}"


def _layout(size: int) -> Iterator[tuple[int, int]]:
    """(number, bytes) of each part."""
    for number, start in enumerate(range(0, size, PART_BYTES), start=1):
        yield number, min(PART_BYTES, size - start)


def _part(upload: DirectUpload, number: int, size: int, received: int | None) -> PartState:
    if received == size:
        return PartState(number, size, True, None)
    return PartState(number, size, False, multipart.part_url(upload.key, upload.upload_id, number, size))


def _size(key: str) -> int | None:
    try:
        return storage.size(key)
    except storage.ObjectMissing:
        return None
