"""Pictures that are only searched with: decoded in the sandbox like any other, kept nowhere."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from typing import IO, Any

from django.conf import settings
from django.utils.translation import gettext as _
from PIL import Image as Picture

from images.formats import SNIFF_BYTES, refused_kind, sniff
from images.ingest import UploadRefused
from images.outcome import Rejected
from images.processing import pool
from images.sandbox import SandboxError


class UnreadablePicture(UploadRefused):
    """The picture that was sent along cannot be searched with; `pointer` names its form field."""


def read_pictures(files: Mapping[str, Any], names: Iterable[str]) -> dict[str, Picture.Image]:
    """The uploaded files that a query names, decoded. Names without a file are left out: the engine says so.

    Raises UnreadablePicture.
    """
    return {name: decode(files[name], name) for name in dict.fromkeys(names) if name in files}


def decode(file: IO[bytes], field: str = "image") -> Picture.Image:
    """The picture in an uploaded file, upright and small.

    Only the sandbox's own re-encoded preview is opened in this process, never what was sent.
    """
    pointer = f"/{field}"
    content = _content(file, pointer)
    try:
        outcome = pool().process(content)
    except Rejected as fault:
        raise UnreadablePicture(fault.code, fault.message, 422, pointer) from fault
    except SandboxError as fault:
        raise UnreadablePicture("undecodable", _("This picture could not be read."), 422, pointer) from fault
    return Picture.open(io.BytesIO(outcome.preview.data), formats=["JPEG", "WEBP", "PNG"]).convert("RGB")


def _content(file: IO[bytes], pointer: str) -> bytes:
    file.seek(0)
    content = file.read(settings.MAX_UPLOAD_BYTES + 1)
    if len(content) > settings.MAX_UPLOAD_BYTES:
        limit = settings.MAX_UPLOAD_BYTES // 1024**2
        raise UnreadablePicture("too_large", _("The file is larger than %d MB.") % limit, 413, pointer)
    head = content[:SNIFF_BYTES]
    if sniff(head) is None:
        kind = refused_kind(head)
        said = (
            _("%s files are not supported.") % kind if kind else _("This is not a picture that Loupe reads.")
        )
        raise UnreadablePicture("unsupported_format", said, 415, pointer)
    return content
