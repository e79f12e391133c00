"""A collection, or some of its pictures, as one zip: the files, what is known of them, and their vectors.

    images/…        the originals under safe and unique names
    metadata.jsonl  a line per picture
    vectors.npy     float16 [n, d], rows in the order of the manifest's ids (where the search app has them)
    manifest.json   format, counts, checksums, the space of the vectors

Every picture is read through the gate of whoever asked, a page at a time, so rights that end meanwhile end the export.
Where a picture was taken is told to its uploader and to managers; others get a copy of it without metadata instead of
an original that tells.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
import unicodedata
import zipfile
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import IO, Any
from uuid import UUID

from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from images import storage
from images.access import Action, Principal, allowed
from images.companions import VECTORS, companion
from images.endpoint import moment
from images.importing import FORMAT, MANIFEST, MAX_ERRORS, SUFFIXES, VERSION
from images.models import Collection, Image

PAGE = 200
CHUNK_BYTES = 1024**2
SPOOL_BYTES = 8 * 1024**2
METADATA = "metadata.jsonl"
UNSAFE = re.compile(r'[<>:"/\\|?*]')
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
NAME_BYTES = 120


class Damaged(Exception):
    """The stored file is not what was uploaded."""


@dataclass
class Exported:
    """What an export holds. `ids` are row ids; `errors` names pictures whose file is gone or damaged."""

    ids: array[int] = field(default_factory=lambda: array("q"))
    uids: list[UUID] = field(default_factory=list)
    originals: int = 0
    copies: int = 0
    missing: int = 0
    errors: list[dict[str, str]] = field(default_factory=list)

    @property
    def counts(self) -> dict[str, int]:
        counts = {name: getattr(self, name) for name in ("originals", "copies", "missing")}
        return {"images": len(self.ids), **counts}


def chosen(
    collection: Collection, principal: Principal, only: Sequence[int] | None = None
) -> QuerySet[Image]:
    """What an export holds: what this principal may see of what a search may show. `only`: row ids to choose from."""
    images = Image.objects.visible_to(principal).filter(collection=collection).searchable()  # type: ignore[attr-defined]
    return images if only is None else images.filter(pk__in=only)


class Export:
    """Writes one archive. `rights` tells the principal anew for every page."""

    def __init__(
        self, collection: Collection, rights: Callable[[], Principal], *, originals: bool = True,
        only: Sequence[int] | None = None,
    ) -> None:  # fmt: skip
        self.collection, self.rights, self.originals, self.only = collection, rights, originals, only
        self.done = Exported()
        self._names: set[str] = set()
        self._sums: dict[str, dict[str, Any]] = {}

    def write(self, target: IO[bytes], tick: Callable[[int], None]) -> Exported:
        """`tick(pictures done)` after every picture may raise to stop. Raises storage.StorageUnavailable."""
        with (
            zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive,
            tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES) as lines,
        ):
            after = 0
            while page := self._page(after):
                principal, after = self.rights(), page[-1].pk
                for image in page:
                    self._add(archive, image, principal, lines)
                    tick(len(self.done.ids) + self.done.missing)
            self._member(archive, METADATA, lines, zipfile.ZIP_DEFLATED)
            self._manifest(archive, self._vectors(archive))
        return self.done

    def _page(self, after: int) -> list[Image]:
        rows = chosen(self.collection, self.rights(), self.only).filter(pk__gt=after)
        related = rows.select_related("uploader", "collection__team").prefetch_related("tags")
        return list(related.order_by("pk")[:PAGE])

    def _add(self, archive: zipfile.ZipFile, image: Image, principal: Principal, lines: IO[bytes]) -> None:
        try:
            file = (
                self._file(archive, image, principal) if self.originals else {"file": None, "original": False}
            )
        except (storage.ObjectMissing, Damaged):
            self.done.missing += 1
            if len(self.done.errors) < MAX_ERRORS:
                message = _("The stored file is gone or damaged.")
                self.done.errors.append({"file": image.file_name, "reason": message})
            return
        row = {**_row(image), **file}
        if image.gps and may_know_place(image, principal):
            row["gps"] = image.gps
        lines.write(json.dumps(row, ensure_ascii=False).encode("utf-8", "replace") + b"\n")
        self.done.ids.append(image.pk)
        self.done.uids.append(image.uid)

    def _file(self, archive: zipfile.ZipFile, image: Image, principal: Principal) -> dict[str, Any]:
        """Put the original into the archive, or a copy without metadata where the original tells too much."""
        original = not image.holds_place or may_know_place(image, principal)
        key = image.original_key if original else image.preview_key
        kind = image.content_type if original else image.rendition_type
        if not key:
            raise Damaged
        with storage.open(key) as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
            if original and digest != image.sha256:
                raise Damaged
            name = self._unique(safe_name(image.file_name, kind))
            _copy(archive, f"images/{name}", file, zipfile.ZIP_STORED, image.taken_at or image.uploaded_at)
        self.done.originals += original
        self.done.copies += not original
        return {"file": f"images/{name}", "original": original, "sha256": digest}

    def _unique(self, name: str) -> str:
        """Unique on systems that do not tell capitals or ways to compose letters apart, too."""
        stem, dot, suffix = name.rpartition(".")
        number, wanted = 1, name
        while _folded(wanted) in self._names:
            number += 1
            wanted = f"{stem}-{number}{dot}{suffix}"
        self._names.add(_folded(wanted))
        return wanted

    def _vectors(self, archive: zipfile.ZipFile) -> dict[str, Any] | None:
        search = companion()
        if search is None or not self.done.ids:
            return None
        with tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES) as file:
            pairs = list(zip(self.done.ids, self.done.uids, strict=True))
            described = search.write(self.collection, pairs, file)
            if described is not None:
                described["sha256"] = self._member(archive, VECTORS, file, zipfile.ZIP_STORED)
        return described

    def _member(self, archive: zipfile.ZipFile, name: str, file: IO[bytes], method: int) -> str:
        file.seek(0)
        digest = hashlib.sha256()
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
        self._sums[name] = {"sha256": digest.hexdigest(), "byte_size": file.tell()}
        _copy(archive, name, file, method, timezone.now())
        return digest.hexdigest()

    def _manifest(self, archive: zipfile.ZipFile, vectors: dict[str, Any] | None) -> None:
        manifest = {
            "format": FORMAT,
            "version": VERSION,
            "created_at": moment(timezone.now()),
            "collection": {"id": str(self.collection.uid), "name": self.collection.name},
            "counts": self.done.counts,
            "files": self._sums,
            "vectors": vectors,
        }
        content = json.dumps(manifest, ensure_ascii=False, indent=1).encode("utf-8", "replace")
        with tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES) as file:
            file.write(content)
            _copy(archive, MANIFEST, file, zipfile.ZIP_DEFLATED, timezone.now())


def may_know_place(image: Image, principal: Principal) -> bool:
    """Where a picture was taken is for whoever uploaded it and for those who manage the collection."""
    mine = principal.user_id is not None and image.uploader_id == principal.user_id
    return mine or allowed(principal, Action.MANAGE, image.collection)


def safe_name(name: str, content_type: str) -> str:
    """A file name that every system takes, with a suffix that tells the truth about the content."""
    clean = UNSAFE.sub("_", "".join(c for c in name if c.isprintable())).strip(" .") or "picture"
    suffixes = SUFFIXES.get(content_type, (".bin",))
    stem, suffix = next(
        ((clean[: -len(s)], s) for s in suffixes if clean.lower().endswith(s)), (clean, suffixes[0])
    )
    stem = stem.encode("utf-8", "ignore")[:NAME_BYTES].decode("utf-8", "ignore").strip(" .") or "picture"
    return f"_{stem}{suffix}" if RESERVED.fullmatch(stem) else f"{stem}{suffix}"


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _row(image: Image) -> dict[str, Any]:
    return {
        "id": str(image.uid),
        "file_name": image.file_name,
        "title": image.title,
        "caption": image.caption,
        "alt_text": image.alt_text,
        "tags": [tag.name for tag in image.tags.all()],
        "taken_at": moment(image.taken_at),
        "uploaded_at": moment(image.uploaded_at),
        "uploader": image.uploader.name if image.uploader else None,
        "sha256": image.sha256,
        "byte_size": image.byte_size,
        "content_type": image.content_type,
        "width": image.width,
        "height": image.height,
    }


def _copy(archive: zipfile.ZipFile, name: str, file: IO[bytes], method: int, when: datetime) -> None:
    at = when.timetuple()[:6] if 1980 <= when.year <= 2107 else (1980, 1, 1, 0, 0, 0)
    info = zipfile.ZipInfo(name, at)
    info.compress_type = method
    info.external_attr = 0o644 << 16
    info.file_size = file.seek(0, 2)
    file.seek(0)
    with archive.open(info, "w") as member:
        shutil.copyfileobj(file, member, CHUNK_BYTES)
