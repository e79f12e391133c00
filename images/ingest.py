"""The one door for bytes: page, API and commands all come through here.

limits → SHA-256 of what arrived → the copy that is already there? → storage → row + doorbell in one transaction.
Nothing is decoded here (only the first bytes are looked at), and the object is stored before its row: a crash between
the two leaves a stray object, which `manage.py reconcile` names, never a row without bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import IO
from uuid import UUID

import structlog
from django.conf import settings
from django.core.cache import cache
from django.db import IntegrityError, transaction
from django.db.models import Sum
from django.utils.translation import gettext as _

from images import leases, storage
from images.faults import faultpoint
from images.formats import sniff
from images.models import (
    Collection,
    Image,
    ImageState,
    Membership,
    Moderation,
    ModerationPolicy,
    Tag,
    Team,
    Trust,
    User,
)
from images.signals import images_changed

log = structlog.get_logger(__name__)
HEAD_BYTES = 4096
CHUNK_BYTES = 128 * 1024  # stays in the processor cache between reading, hashing and writing
MAX_TAGS = 30
MAX_HASHES = 1000
USAGE_SECONDS = 30


class UploadRefused(Exception):
    """The upload was not accepted and nothing of it was kept. `pointer` names the field, `status` the HTTP status."""

    def __init__(self, code: str, message: str, status: int = 400, pointer: str = "/file") -> None:
        super().__init__(message)
        self.code, self.message, self.status, self.pointer = code, message, status, pointer


@dataclass(frozen=True)
class Ingested:
    image: Image
    duplicate: bool


def ingest(
    collection: Collection,
    uploader: User,
    file: IO[bytes],
    *,
    file_name: str,
    sha256: str | None = None,
    title: str = "",
    caption: str = "",
    alt_text: str = "",
    tags: Sequence[str] = (),
    taken_at: datetime | None = None,
    bulk: bool = False,
) -> Ingested:
    """Accept one file into `collection`; the caller has checked that `uploader` may.

    `sha256` (hex) is what the sender says it sent: another sum refuses the upload. The same bytes again answer with
    the picture that is there. A picture that was refused is checked again.
    Raises UploadRefused, or storage.StorageUnavailable (try again).
    """
    tag_names = clean_tags(tags)
    digest, byte_size = _measure(file)
    _refuse_unless_sent(sha256, digest)
    content_type = _kind(file)
    existing = _existing(collection, digest)
    if existing and existing.state != ImageState.REJECTED:
        return Ingested(existing, duplicate=True)
    refuse_over_quota(collection.team, byte_size)

    key = storage.new_key("originals")
    storage.put(key, file, content_type)
    faultpoint("after_put")
    if existing:
        return _renew(existing, key)
    image = Image(
        collection=collection,
        uploader=uploader,
        file_name=clean_file_name(file_name),
        title=title,
        caption=caption,
        alt_text=alt_text,
        taken_at=taken_at,
        sha256=digest,
        byte_size=byte_size,
        content_type=content_type,
        original_key=key,
        moderation=first_moderation(collection, uploader),
        bulk=bulk,
    )
    return _commit(image, tag_names)


def _renew(image: Image, key: str) -> Ingested:
    """A refused picture sent again is checked again, over the bytes that arrived now: what is stored may be damaged."""
    with transaction.atomic():
        refused = Image.objects.filter(pk=image.pk)
        renewed = refused.filter(state=ImageState.REJECTED).update(original_key=key, reason="")
        if renewed:
            leases.retry(refused)
            images_changed.send(Image, bulk=image.bulk)
    storage.delete(image.original_key if renewed else key)
    image.refresh_from_db()
    return Ingested(image, duplicate=True)


def _commit(image: Image, tag_names: Sequence[str]) -> Ingested:
    try:
        with transaction.atomic():
            image.save()
            if tag_names:
                set_tags(image, tag_names)
            images_changed.send(Image, bulk=image.bulk)
            faultpoint("before_commit")
    except IntegrityError:
        # Someone else committed the same bytes since we looked.
        storage.delete(image.original_key)
        existing = _existing(image.collection, image.sha256)
        if existing is None:
            raise
        return Ingested(existing, duplicate=True)
    faultpoint("after_commit")
    return Ingested(image, duplicate=False)


def known(collection: Collection, hashes: Iterable[str]) -> dict[str, UUID]:
    """Which of these SHA-256 sums (hex, at most 1,000) are in the collection, and as which image."""
    asked = [h.lower() for h in hashes][:MAX_HASHES]
    rows = Image.objects.filter(collection=collection, sha256__in=asked, trashed_at__isnull=True)
    return dict(rows.values_list("sha256", "uid"))


def first_moderation(collection: Collection, uploader: User) -> Moderation:
    """Whether a new picture of `uploader` waits for a moderator in this collection."""
    if collection.moderation == ModerationPolicy.OFF:
        return Moderation.APPROVED
    if collection.moderation == ModerationPolicy.NEW and _trusted(collection.team, uploader):
        return Moderation.APPROVED
    return Moderation.PENDING


def _trusted(team: Team, uploader: User) -> bool:
    return Membership.objects.filter(team=team, user=uploader, trust=Trust.TRUSTED).exists()


def _existing(collection: Collection, digest: str) -> Image | None:
    return Image.objects.filter(collection=collection, sha256=digest, trashed_at__isnull=True).first()


def _measure(file: IO[bytes]) -> tuple[str, int]:
    """SHA-256 and size of all that can be read; refuses empty and over-long files without reading further."""
    digest, size = hashlib.sha256(), 0
    file.seek(0)
    while chunk := file.read(CHUNK_BYTES):
        size += len(chunk)
        if size > settings.MAX_UPLOAD_BYTES:
            limit = settings.MAX_UPLOAD_BYTES // 1024**2
            raise UploadRefused("too_large", _("The file is larger than %d MB.") % limit, status=413)
        digest.update(chunk)
    if not size:
        raise UploadRefused("empty", _("The file is empty."))
    return digest.hexdigest(), size


def _refuse_unless_sent(declared: str | None, digest: str) -> None:
    if declared and declared.lower() != digest:
        message = _(
            "The file that arrived is not the file that was sent (its SHA-256 differs). Please send it again."
        )
        raise UploadRefused("checksum_mismatch", message, status=422, pointer="/sha256")


def _kind(file: IO[bytes]) -> str:
    """The content type by the first bytes. Files that are no picture at all are refused before they are stored."""
    file.seek(0)
    content_type = sniff(file.read(HEAD_BYTES))
    if content_type is None:
        raise UploadRefused(
            "unsupported_format", _("This is not a picture in a format that Loupe reads."), status=415
        )
    return content_type


def refuse_over_quota(team: Team, more: int) -> None:
    try:
        used = cache.get_or_set(f"usage:{team.pk}", lambda: _usage(team), USAGE_SECONDS) or 0
    except Exception as error:  # noqa: BLE001  (a cache that is away must not refuse uploads)
        log.warning("usage_not_cached", error=str(error))
        used = _usage(team)
    if used + more > team.quota_bytes:
        raise UploadRefused(
            "quota", _("The team's storage is full (%d MB).") % (team.quota_bytes // 1024**2), 413
        )


def _usage(team: Team) -> int:
    return Image.objects.filter(collection__team=team).aggregate(n=Sum("byte_size"))["n"] or 0


def clean_file_name(name: str) -> str:
    """The last path component without control characters: shown to people, never used as a path."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    shown = "".join(c for c in last if c.isprintable()).strip()
    return shown[-255:] or _("untitled")


def clean_tags(tags: Iterable[str]) -> list[str]:
    """Lower-case, trimmed, unique, in order. Raises UploadRefused naming the field where there are too many."""
    names = [" ".join("".join(c for c in t if c.isprintable()).split()).lower() for t in tags]
    unique = list(dict.fromkeys(name for name in names if name))
    if len(unique) > MAX_TAGS:
        raise UploadRefused("too_many_tags", _("At most %d tags per picture.") % MAX_TAGS, pointer="/tags")
    if long := next((name for name in unique if len(name) > 60), None):
        raise UploadRefused(
            "tag_too_long", _("A tag has at most 60 characters: “%s…”") % long[:20], pointer="/tags"
        )
    return unique


def set_tags(image: Image, names: Sequence[str]) -> None:
    """Give `image` exactly these (clean) tags of its team, creating those that are new."""
    team = image.collection.team_id
    Tag.objects.bulk_create([Tag(team_id=team, name=name) for name in names], ignore_conflicts=True)
    image.tags.set(Tag.objects.filter(team_id=team, name__in=names))
