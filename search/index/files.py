"""The segment files of this machine: mapped in place where storage is a folder, downloaded once where it is not.

A checksum of 100 MB takes longer than everything else about opening it. So the first process that has compared a file
leaves a note beside the cache (size, inode, times, checksum), and the next ones open the file at once while the note
still describes it; any write changes the times and brings the full comparison back.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Collection as Many
from pathlib import Path

from django.conf import settings

from images import storage
from search.index.errors import DamagedSegment
from search.index.manifest import File
from search.index.segment import Segment, digest, open_segment

# A file younger than this could still change without its time changing (coarse clocks of file systems).
SETTLED_SECONDS = 2.0
COPY_BYTES = 1 << 20
GRACE_SECONDS = 3600.0
ABANDONED_SECONDS = 86_400.0
BUILD_PREFIX = "build-"


def fetch(key: str, file: File) -> Segment:
    """The segment stored under `key`. Raises DamagedSegment, or images.storage.StorageError where it cannot be had.

    A damaged copy is fetched anew once; what is damaged in storage itself stays refused.
    """
    if local := storage.local_path(key):
        return _open(local, file)
    path = folder() / f"{file.sha256}.segment"
    if path.exists():
        try:
            return _open(path, file)
        except DamagedSegment:
            path.unlink(missing_ok=True)
    _download(key, path)
    try:
        return _open(path, file)
    except DamagedSegment:
        path.unlink(missing_ok=True)
        raise


def folder() -> Path:
    """The cache folder, made on first use."""
    path = Path(settings.INDEX_CACHE)
    path.mkdir(parents=True, exist_ok=True)
    return path


def _open(path: Path, file: File) -> Segment:
    note, identity = folder() / f"{file.sha256}.verified", _identity(path)
    if identity["size"] != file.byte_size:
        raise DamagedSegment(f"{path.name}: {identity['size']} bytes instead of {file.byte_size}")
    known = _read(note) == identity
    if not known and digest(path) != file.sha256:
        raise DamagedSegment(f"{path.name}: the checksum differs from the manifest's")
    segment = open_segment(path, file.sha256, verified=True)
    if not known and _settled(identity) and _identity(path) == identity:
        _replace(note, json.dumps(identity).encode())
    return segment


def _identity(path: Path) -> dict[str, int]:
    try:
        found = path.stat()
    except OSError as error:
        raise DamagedSegment(f"{path.name}: {error.strerror}") from error
    return {
        "size": found.st_size,
        "inode": found.st_ino,
        "device": found.st_dev,
        "modified": found.st_mtime_ns,
        "changed": found.st_ctime_ns,
    }


def _settled(identity: dict[str, int]) -> bool:
    return time.time() - max(identity["modified"], identity["changed"]) / 1e9 > SETTLED_SECONDS


def _read(note: Path) -> object:
    try:
        return json.loads(note.read_bytes())
    except (OSError, ValueError):
        return None


def _replace(path: Path, content: bytes) -> None:
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_bytes(content)
    partial.replace(path)


def _download(key: str, path: Path) -> None:
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with storage.open(key) as source, partial.open("wb") as target:
            while chunk := source.read(COPY_BYTES):
                target.write(chunk)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def clean(keep: Many[str]) -> int:
    """Delete cached files of segments other than those with the checksums `keep`, once they are an hour old.

    A process that still maps one keeps its pages until it lets go. Returns how many were deleted.
    """
    gone = 0
    for path in folder().iterdir():
        if path.is_dir() and path.name.startswith(BUILD_PREFIX) and _age(path) > ABANDONED_SECONDS:
            shutil.rmtree(path, ignore_errors=True)  # its builder was killed
        if path.is_file() and path.name.split(".")[0] not in keep and _age(path) > GRACE_SECONDS:
            path.unlink(missing_ok=True)
            gone += 1
    return gone


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return 0.0
