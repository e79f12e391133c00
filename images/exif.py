"""Camera data from EXIF: what a person may see, the place apart, the moment in UTC.

PURE Pillow. Damaged or absurd values are left out, never an error: EXIF is decoration, the picture counts.
Tags: Exif 2.32 (CIPA DC-008). Serial numbers, maker notes and owner names are not read at all.
"""

from __future__ import annotations

import math
import re
import struct
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from PIL import Image

MAX_EXIF_BYTES = 1 << 20
MAX_TEXT = 200
EARLIEST = datetime(1826, 1, 1, tzinfo=UTC)  # the first photograph
UNREADABLE = (
    OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, AttributeError, ArithmeticError,
    RuntimeError, AssertionError, EOFError, struct.error,
)  # fmt: skip

_EXIF_IFD, _GPS_IFD, _ORIENTATION = 0x8769, 0x8825, 0x0112
_BIDI = set("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u061c\ufeff")
_Tags = Mapping[int, Any]


@dataclass(frozen=True, slots=True)
class Metadata:
    exif: dict[str, Any] = field(default_factory=dict)
    gps: dict[str, float] | None = None
    taken_at: datetime | None = None


def orientation(image: Image.Image) -> int:
    """1–8; 1 where absent or nonsense. Of an opened image (TIFF: a loaded one, Pillow turns it itself)."""
    try:
        value = _main(image).get(_ORIENTATION, 1)
    except UNREADABLE:
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def read(image: Image.Image) -> Metadata:
    """Everything that the product keeps of a picture's EXIF."""
    try:
        main = _main(image)
        camera, place = dict(main.get_ifd(_EXIF_IFD)), dict(main.get_ifd(_GPS_IFD))
    except UNREADABLE:
        return Metadata()
    exif = _described({**dict(main), **camera})
    taken_at, zone = _moment(main, camera, place)
    if taken_at:
        exif["taken_at_zone"] = zone
    return Metadata(exif, _place(place), taken_at)


def _main(image: Image.Image) -> Image.Exif:
    if len(image.info.get("exif") or b"") > MAX_EXIF_BYTES:
        return Image.Exif()
    return image.getexif()


def _described(tags: _Tags) -> dict[str, Any]:
    found = {name: _kept(tags.get(tag), read_as) for name, (tag, read_as) in _FIELDS.items()}
    return {name: value for name, value in found.items() if value is not None}


def _kept(value: Any, read_as: Callable[[Any], Any]) -> Any:
    if isinstance(value, tuple) and value:
        value = value[0]
    try:
        return None if value is None else read_as(value)
    except UNREADABLE:
        return None


def text(value: object) -> str | None:
    """Printable, NFC, at most `MAX_TEXT` characters; None where nothing is left."""
    if isinstance(value, str):
        value = value.encode("latin-1") if _is_latin(value) else value.encode()
    if not isinstance(value, bytes):
        return None
    line = unicodedata.normalize("NFC", _decoded(value[: 8 * MAX_TEXT].split(b"\0")[0]))
    kept = (" " if char.isspace() else char for char in line if _is_printable(char))
    return " ".join("".join(kept).split())[:MAX_TEXT] or None


def _is_printable(char: str) -> bool:
    return char.isspace() or not (char in _BIDI or unicodedata.category(char) in {"Cc", "Cs", "Co", "Cn"})


def _is_latin(value: str) -> bool:
    return all(ord(char) < 256 for char in value)


def _decoded(value: bytes) -> str:
    """Cameras write UTF-8 where the standard says ASCII; Pillow hands both over as Latin-1."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _number(low: float, high: float) -> Callable[[Any], float | None]:
    def read_as(value: Any) -> float | None:
        number = float(value)
        return round(number, 4) if math.isfinite(number) and low <= number <= high else None

    return read_as


def _whole(low: int, high: int) -> Callable[[Any], int | None]:
    return lambda value: int(value) if low <= int(value) <= high else None


def _exposure(value: Any) -> str | None:
    """Seconds the way photographers write them: "1/250", "2.5"."""
    seconds = float(value)
    if not (math.isfinite(seconds) and 1e-6 <= seconds <= 86_400):
        return None
    return f"1/{round(1 / seconds)}" if seconds < 0.4 else f"{seconds:g}"


_FIELDS: dict[str, tuple[int, Callable[[Any], Any]]] = {
    "camera_make": (0x010F, text),
    "camera_model": (0x0110, text),
    "lens_make": (0xA433, text),
    "lens_model": (0xA434, text),
    "exposure_time": (0x829A, _exposure),
    "f_number": (0x829D, _number(0.1, 1000)),
    "iso": (0x8827, _whole(1, 100_000_000)),
    "focal_length": (0x920A, _number(0.1, 100_000)),
    "focal_length_35mm": (0xA405, _whole(1, 100_000)),
    "exposure_bias": (0x9204, _number(-20, 20)),
    "flash": (0x9209, lambda value: bool(int(value) & 1)),
    "software": (0x0131, text),
    "artist": (0x013B, text),
    "copyright": (0x8298, text),
    "description": (0x010E, text),
}


def _place(tags: _Tags) -> dict[str, float] | None:
    latitude = _degrees(tags.get(2), tags.get(1), "S", 90)
    longitude = _degrees(tags.get(4), tags.get(3), "W", 180)
    if latitude is None or longitude is None or (latitude, longitude) == (0, 0):
        return None  # receivers without a fix write 0, 0
    return {"latitude": latitude, "longitude": longitude}


def _degrees(parts: Any, reference: Any, negative: str, limit: int) -> float | None:
    try:
        degrees, minutes, seconds = (float(part) for part in (*parts, 0, 0)[:3])
    except UNREADABLE:
        return None
    value = degrees + minutes / 60 + seconds / 3600
    if not (math.isfinite(value) and 0 <= value <= limit):
        return None
    return round(-value if (text(reference) or "").upper() == negative else value, 7)


def _moment(main: _Tags, camera: _Tags, place: _Tags) -> tuple[datetime | None, str]:
    """When the shutter opened, in UTC, and how the zone is known: "offset", "gps" or "assumed" (UTC)."""
    satellite = _gps_time(place)
    for local_tag, offset_tag in ((0x9003, 0x9011), (0x9004, 0x9012), (0x0132, 0x9010)):
        source = main if local_tag == 0x0132 else camera
        local = _local(source.get(local_tag))
        if local is None:
            continue
        zone = _offset(camera.get(offset_tag))
        if zone:
            return _possible(local, zone), "offset"
        # A clock and a satellite that differ by more than any zone: the satellite time is stale.
        if satellite and abs(local.replace(tzinfo=UTC) - satellite) <= timedelta(hours=15):
            return satellite, "gps"
        return _possible(local, UTC), "assumed"
    return satellite, "gps"


def _local(value: Any) -> datetime | None:
    digits = re.match(r"(\d{4})[:\-/](\d\d)[:\-/](\d\d)[ T](\d\d):(\d\d):(\d\d)", text(value) or "")
    try:
        return datetime(*map(int, digits.groups())) if digits else None  # type: ignore[arg-type]
    except ValueError:
        return None


def _offset(value: Any) -> timezone | None:
    found = re.fullmatch(r"([+-])(\d\d):?(\d\d)|Z", text(value) or "")
    if not found:
        return None
    if found[0] == "Z":
        return UTC
    shift = timedelta(hours=int(found[2]), minutes=int(found[3]))
    return timezone(shift if found[1] == "+" else -shift) if shift <= timedelta(hours=14) else None


def _possible(local: datetime, zone: timezone) -> datetime | None:
    try:
        moment = local.replace(tzinfo=zone).astimezone(UTC)
    except OverflowError:
        return None
    return moment if EARLIEST <= moment <= datetime.now(UTC) + timedelta(days=2) else None


def _gps_time(tags: _Tags) -> datetime | None:
    clock = tags.get(7)
    try:
        hours, minutes, seconds = (int(float(part)) for part in clock or ())
    except UNREADABLE:
        return None
    local = _local(f"{text(tags.get(29))} {hours:02}:{minutes:02}:{seconds:02}")
    return _possible(local, UTC) if local else None
