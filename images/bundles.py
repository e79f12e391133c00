"""Some files of storage as one zip, made while it is sent: nothing is kept, memory holds one chunk."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import IO

from django.utils.translation import gettext as _

from images import storage
from images.exporting import safe_name

CHUNK_BYTES = 256 * 1024
MISSING = "missing.txt"


@dataclass(frozen=True, slots=True)
class File:
    key: str
    name: str
    content_type: str
    when: datetime


class _Pipe(io.RawIOBase):
    """What the zip writer takes for an unseekable file; `take` empties it."""

    def __init__(self) -> None:
        super().__init__()
        self._held = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self._held += data
        return len(data)

    def take(self) -> bytes:
        held, self._held = bytes(self._held), bytearray()
        return held


def stream(files: Sequence[File]) -> Iterator[bytes]:
    """The bytes of the archive. A file that is gone or cannot be had is named in `missing.txt` instead."""
    pipe, taken, missing = _Pipe(), {MISSING}, []
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_STORED) as archive:  # type: ignore[type-var, arg-type]
        for one in files:
            try:
                source = storage.open(one.key)
            except storage.StorageError:
                missing.append(one.name)
                continue
            name = unique(safe_name(one.name, one.content_type), taken)
            with source:
                yield from _member(archive, pipe, name, one.when, source)
        if missing:
            said = _("These files are gone or cannot be read at the moment:")
            archive.writestr(MISSING, "\n".join([said, *missing, ""]))
    yield pipe.take()


def _member(
    archive: zipfile.ZipFile, pipe: _Pipe, name: str, when: datetime, source: IO[bytes]
) -> Iterator[bytes]:
    at = when.timetuple()[:6] if 1980 <= when.year <= 2107 else (1980, 1, 1, 0, 0, 0)
    info = zipfile.ZipInfo(name, at)
    info.external_attr = 0o644 << 16
    with archive.open(info, "w") as member:
        while chunk := source.read(CHUNK_BYTES):
            member.write(chunk)
            yield pipe.take()


def unique(name: str, taken: set[str]) -> str:
    """`name`, or `name-2` and so on; `taken` learns it. Capitals do not make a difference on every system."""
    stem, dot, suffix = name.rpartition(".")
    number, wanted = 1, name
    while wanted.casefold() in taken:
        number += 1
        wanted = f"{stem}-{number}{dot}{suffix}"
    taken.add(wanted.casefold())
    return wanted
