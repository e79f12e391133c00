"""Archives for the transfer tests, sound and unsound, made at run time."""

from __future__ import annotations

import io
import stat
import zipfile
from typing import IO


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> IO[bytes]:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, method)
    file.seek(0)
    return file


def linked(name: str = "link.jpg", target: str = "/etc/passwd") -> IO[bytes]:
    file = io.BytesIO()
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(info, target)
    file.seek(0)
    return file


def patched(file: IO[bytes], old: bytes, new: bytes) -> IO[bytes]:
    """The same archive with bytes of a header exchanged."""
    content = file.read()
    assert old in content and len(old) == len(new)
    return io.BytesIO(content.replace(old, new))
