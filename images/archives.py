"""Zip archives from strangers: bounded and checked before anything is unpacked, counted while it is.

A sound archive holds plain files with relative names, stored or deflated, none of them linked, encrypted, overlapping
or twice there. What breaks one of these rules is refused whole; a single damaged member is refused alone.
Nothing is ever written under a name from the archive, and no archive inside an archive is opened.
"""

from __future__ import annotations

import hashlib
import re
import stat
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Any, Self

from django.utils.translation import gettext as _

from images.formats import SNIFF_BYTES, refused_kind
from images.ingest import UploadRefused

GIB = 1024**3
MAX_RATIO = 200
MAX_NAME = 1000
SPOOL_BYTES = 8 * 1024**2
CHUNK_BYTES = 1024**2
# What a member may take in the directory on average: its name, extra fields and comment.
ENTRY_RECORD_BYTES = 1200
LOCAL_HEADER_BYTES = 30  # less its name and extra field
METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
ENCRYPTED = 0x1 | 0x40 | 0x2000  # traditional and AES, strong, masked headers (APPNOTE 4.4.4)
UTF8 = 0x800
DRIVE = re.compile(r"[A-Za-z]:")
JUNK = {"thumbs.db", "desktop.ini"}
NESTED = {"ZIP", "RAR", "7z", "gzip", "bzip2", "xz", "Zstandard"}


class ArchiveRefused(UploadRefused):
    """The archive is not one that is unpacked here; nothing of it was."""


class EntryRefused(UploadRefused):
    """One file of an archive or folder cannot be had; the others can."""


@dataclass(frozen=True)
class Limits:
    """`entries` counts everything in the archive, `total_bytes` what it unpacks to."""

    entries: int
    total_bytes: int


BROWSER = Limits(entries=1000, total_bytes=2 * GIB)
COMMAND = Limits(entries=200_000, total_bytes=1024 * GIB)


class Archive:
    """A zip that passed every check; use it as a context manager. `names` are sorted, folders and junk left out."""

    def __init__(self, file: IO[bytes], limits: Limits) -> None:
        self._zip = _opened(file, limits)
        self._members = _checked(self._zip.infolist(), limits)
        self.names = sorted(self._members)
        self.links: list[str] = []  # an archive with links is refused

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._zip.close()

    def digest(self, name: str, limit: int) -> str:
        """SHA-256 (hex) of a member. Raises EntryRefused."""
        found = hashlib.sha256()
        for chunk in self._chunks(name, limit):
            found.update(chunk)
        return found.hexdigest()

    def open(self, name: str, limit: int) -> IO[bytes]:
        """A member unpacked and verified, as a seekable file to close. Raises EntryRefused."""
        spool: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES)  # noqa: SIM115  (the caller closes it)
        try:
            for chunk in self._chunks(name, limit):
                spool.write(chunk)
        except BaseException:
            spool.close()
            raise
        spool.seek(0)
        return spool

    def _chunks(self, name: str, limit: int) -> Iterator[bytes]:
        """The bytes of a member, counted: what its header says is a promise, not a fact."""
        info = self._members[name]
        if info.file_size > limit:
            raise EntryRefused("too_large", _("The file is larger than %d MB.") % (limit // 1024**2), 413)
        read = 0
        try:
            with self._zip.open(info) as member:
                while chunk := member.read(CHUNK_BYTES):
                    read += len(chunk)
                    if read > info.file_size:
                        raise zipfile.BadZipFile("longer than its header says")
                    if read == len(chunk):
                        _refuse_nested(chunk[:SNIFF_BYTES])
                    yield chunk
        except EntryRefused:
            raise
        except Exception as error:
            raise EntryRefused("damaged", _("The file is damaged inside the archive."), 422) from error
        if read != info.file_size:
            raise EntryRefused("damaged", _("The file is damaged inside the archive."), 422)


class _Counted:
    """The file as zipfile sees it while it reads the directory, which it takes into memory whole."""

    def __init__(self, file: IO[bytes], most: int) -> None:
        self._file, self._left = file, most
        self.counting = True

    def read(self, size: int = -1) -> bytes:
        if self.counting:
            if size > self._left:
                raise ArchiveRefused("archive_too_many", _("The archive's list of files is too long."), 413)
            data = self._file.read(size)
            self._left -= len(data)
            return data
        return self._file.read(size)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _opened(file: IO[bytes], limits: Limits) -> zipfile.ZipFile:
    # The end record is looked for in the last 65,557 bytes, and twice in a damaged file.
    counted = _Counted(file, limits.entries * ENTRY_RECORD_BYTES + 4 * 65_557)
    try:
        found = zipfile.ZipFile(counted)  # type: ignore[call-overload]
    except ArchiveRefused:
        raise
    except Exception as error:
        raise ArchiveRefused(
            "archive_corrupt", _("This is no zip archive, or it is damaged."), 422
        ) from error
    counted.counting = False
    return found


def _checked(infos: list[zipfile.ZipInfo], limits: Limits) -> dict[str, zipfile.ZipInfo]:
    """The members to read by name. Raises ArchiveRefused at the first that breaks a rule."""
    if len(infos) > limits.entries:
        message = _("The archive holds more than %d files. Send it in parts.") % limits.entries
        raise ArchiveRefused("archive_too_many", message, 413)
    if sum(info.file_size for info in infos) > limits.total_bytes:
        message = _("The archive unpacks to more than %d GB. Send it in parts.") % (limits.total_bytes // GIB)
        raise ArchiveRefused("archive_bomb_total", message, 413)
    members: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        name = _name(info)
        _check(info, name)
        if name in members:
            raise _refused("archive_duplicate_name", _("“%s” is in the archive twice."), name)
        members[name] = info
    _refuse_overlaps(infos)
    return {name: info for name, info in members.items() if not info.is_dir() and not is_junk(name)}


def _refuse_overlaps(infos: list[zipfile.ZipInfo]) -> None:
    """Members that share bytes unpack the same data again and again (D. Fifield, "A better zip bomb", 2019)."""
    end = 0
    for info in sorted(infos, key=lambda one: one.header_offset):
        if info.header_offset < end:
            raise _refused("archive_overlap", _("“%s” overlaps another file in the archive."), info.filename)
        end = info.header_offset + LOCAL_HEADER_BYTES + info.compress_size


def _check(info: zipfile.ZipInfo, name: str) -> None:
    if not is_safe(info.orig_filename) or not is_safe(name):
        raise _refused("archive_bad_path", _("“%s” is no name for a file in an archive."), name)
    if info.flag_bits & ENCRYPTED:
        raise _refused("archive_encrypted", _("“%s” is encrypted."), name)
    if not _is_plain(info):
        raise _refused("archive_link", _("“%s” is a link or a device, not a file."), name)
    if info.compress_type not in METHODS:
        raise _refused("archive_method", _("“%s” is packed by a method other than deflate."), name)
    stored = info.compress_type == zipfile.ZIP_STORED
    if stored and info.file_size != info.compress_size:
        raise _refused("archive_corrupt", _("The sizes of “%s” contradict each other."), name)
    if info.file_size > MAX_RATIO * info.compress_size:
        raise _refused("archive_bomb_ratio", _("“%s” unpacks to more than 200 times its size."), name)


def _refused(code: str, message: str, name: str) -> ArchiveRefused:
    return ArchiveRefused(code, message % shown(name), 422)


def _name(info: zipfile.ZipInfo) -> str:
    """Names without the UTF-8 mark are read as code page 437, but many programs write UTF-8 all the same."""
    if info.flag_bits & UTF8:
        return info.filename
    try:
        return info.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return info.filename


def _is_plain(info: zipfile.ZipInfo) -> bool:
    """A file or folder by the Unix mode in the upper half of the attributes; 0 where there is none."""
    kind = stat.S_IFMT(info.external_attr >> 16)
    return kind in (0, stat.S_IFREG, stat.S_IFDIR)


def is_safe(name: str) -> bool:
    """A relative path that stays below where it starts, on every system."""
    if not name or len(name) > MAX_NAME or "\0" in name or "\\" in name:
        return False
    return not name.startswith("/") and not DRIVE.match(name) and ".." not in name.split("/")


def is_junk(name: str) -> bool:
    """What systems leave in folders unasked."""
    parts = name.split("/")
    return "__MACOSX" in parts or any(part.startswith(".") for part in parts) or parts[-1].lower() in JUNK


def shown(name: str) -> str:
    """A name from outside as a message may carry it: printable, and not longer than a line."""
    text = "".join(c if c.isprintable() else "�" for c in name)
    return text if len(text) <= 120 else f"…{text[-119:]}"


def _refuse_nested(head: bytes) -> None:
    kind = refused_kind(head)
    if kind in NESTED:
        raise EntryRefused("nested", _("Archives inside archives are not opened (%s).") % kind, 415)
