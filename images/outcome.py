"""What decoding a picture gives: the values that cross from the decoding child to the worker.

Plain data without Pillow or Django, so that the worker can hold outcomes and never load a decoder.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from .formats import DECODERS

Blobs = tuple[bytes, ...]


def gettext_noop(message: str) -> str:
    """Mark for translation; the caller translates `Rejected.template`, this module knows no language."""
    return message


REASONS = {
    "empty": gettext_noop("The file is empty."),
    "too_large": gettext_noop("The file is larger than %(limit)s MB."),
    "not_an_image": gettext_noop("The file is not a picture that we recognise."),
    "unsupported_format": gettext_noop("%(kind)s files are not supported."),
    "too_many_pixels": gettext_noop("The picture has more than %(limit)s megapixels."),
    "truncated": gettext_noop("The file ends early: part of the picture is missing. Please upload it again."),
    "corrupt": gettext_noop("The file is damaged and cannot be read as a picture."),
}


class Rejected(Exception):
    """The picture itself is at fault; trying again gives the same answer."""

    permanent = True

    def __init__(self, code: str, **params: str | int) -> None:
        self.code, self.template, self.params = code, REASONS[code], params
        super().__init__(self.template % params)

    @property
    def message(self) -> str:
        return str(self)


@dataclass(frozen=True, slots=True)
class Limits:
    max_bytes: int = 50 * 1024 * 1024
    max_pixels: int = 89_478_485  # width × height as the header claims it
    allow_tiff: bool = False

    def allows(self, content_type: str) -> bool:
        return content_type in DECODERS and (self.allow_tiff or content_type != "image/tiff")

    def check_bytes(self, count: int) -> None:
        """Raises `Rejected` for an empty file and for one that is too large."""
        if not count:
            raise Rejected("empty")
        if count > self.max_bytes:
            raise Rejected("too_large", limit=self.max_bytes // (1024 * 1024))


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Rendition:
    """A derived picture: freshly encoded sRGB, no metadata."""

    data: bytes = field(repr=False)
    width: int
    height: int
    content_type: str = "image/jpeg"


@dataclass(frozen=True, slots=True)
class Outcome:
    content_type: str  # of the original, by content
    width: int  # upright, of the whole original
    height: int
    preview: Rendition
    thumbnail: Rendition
    exif: dict[str, Any]  # camera, lens, exposure …; no place, no serial numbers
    gps: dict[str, float] | None  # {"latitude", "longitude"} in degrees; private
    holds_place: bool  # whether the original may tell where it was taken, in whatever part of it
    taken_at: datetime | None  # UTC; exif["taken_at_zone"] says how sure the zone is
    quality: float  # 0–1
    quality_parts: dict[str, float]  # sharpness, exposure, contrast, resolution, compression
    phash: bytes  # PDQ, 32 bytes
    phash_quality: int  # 0–100; below 50 the hash says little (flat pictures)
    colours: list[dict[str, Any]]  # [{"hex": "#rrggbb", "share": 0.4}], largest first, at most 5

    def to_wire(self) -> tuple[dict[str, Any], Blobs]:
        """A JSON-ready header and the bytes that follow it."""
        fields = {name: getattr(self, name) for name in _PLAIN}
        fields["taken_at"] = self.taken_at.isoformat() if self.taken_at else None
        fields["phash"] = self.phash.hex()
        for name in ("preview", "thumbnail"):
            described = asdict(getattr(self, name))
            described.pop("data")
            fields[name] = described
        return fields, (self.preview.data, self.thumbnail.data)

    @classmethod
    def from_wire(cls, header: dict[str, Any], blobs: Blobs) -> Outcome:
        """The inverse of `to_wire`; ValueError, KeyError or TypeError for an answer out of shape.

        The child may have been taken over by the file that it read, so nothing is believed unchecked.
        """
        plain = {name: header[name] for name in _PLAIN}
        _check(plain)
        preview, thumbnail = map(_rendition, (header["preview"], header["thumbnail"]), blobs)
        taken_at = datetime.fromisoformat(header["taken_at"]) if header["taken_at"] else None
        phash = bytes.fromhex(header["phash"])
        if len(phash) != 32 or (taken_at and taken_at.utcoffset() is None):
            raise ValueError("phash or taken_at out of shape")
        return cls(preview=preview, thumbnail=thumbnail, taken_at=taken_at, phash=phash, **plain)


_PLAIN = (
    "content_type", "width", "height", "exif", "gps", "holds_place", "quality", "quality_parts", "phash_quality",
    "colours",
)  # fmt: skip
_MAX_SIDE = 1 << 20


def _check(plain: dict[str, Any]) -> None:
    exif, gps = plain["exif"], plain["gps"]
    numbers = [plain["quality"], *plain["quality_parts"].values(), *(c["share"] for c in plain["colours"])]
    sound = (
        plain["content_type"] in DECODERS
        and _is_side(plain["width"])
        and _is_side(plain["height"])
        and all(isinstance(n, float | int) and 0 <= n <= 1 for n in numbers)
        and len(plain["quality_parts"]) <= 8
        and len(plain["colours"]) <= 5
        and all(len(c["hex"]) == 7 and int(c["hex"][1:], 16) >= 0 for c in plain["colours"])
        and len(exif) <= 40
        and all(_is_value(value) for value in exif.values())
        and (gps is None or (abs(gps["latitude"]) <= 90 and abs(gps["longitude"]) <= 180))
        and isinstance(plain["holds_place"], bool)
        and (plain["holds_place"] or gps is None)
        and 0 <= plain["phash_quality"] <= 100
    )
    if not sound:
        raise ValueError("a value of the decoded picture is out of range")


def _rendition(described: dict[str, Any], data: bytes) -> Rendition:
    width, height = described["width"], described["height"]
    if described["content_type"] != "image/jpeg" or not data.startswith(b"\xff\xd8\xff"):
        raise ValueError("a rendition is not a JPEG")
    if not (_is_side(width) and _is_side(height)):
        raise ValueError("a rendition has no size")
    return Rendition(data, width, height)


def _is_side(value: object) -> bool:
    return isinstance(value, int) and 0 < value < _MAX_SIDE


def _is_value(value: object) -> bool:
    if isinstance(value, str):
        return len(value) <= 500
    return isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value))
