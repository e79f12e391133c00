"""Whether a file may tell where it was taken: in EXIF, XMP, IPTC, or in a film behind the picture. PURE.

The place itself is read by `images.exif`; this errs on the other side. Whoever may not know the place gets a copy
instead of an original that might tell it, so in doubt the answer is yes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from PIL import Image

from .exif import MAX_EXIF_BYTES, UNREADABLE

GPS_IFD, GPS_VERSION = 0x8825, 0
# Names of XMP properties, whatever their prefix is bound to; then the place in films (MP4) of moving pictures.
XMP_NAMES = (
    "GPSLatitude", "GPSLongitude", "GPSPosition", "GPSDest", ":City", ":State", ":Province", ":Country",
    ":Location", ":Sublocation", "LocationCreated", "LocationShown", "geo:lat", "geo:long", "geo:Point",
)  # fmt: skip
FILM_NAMES = (b"\xa9xyz", b"com.apple.quicktime.location")
MARKS = (
    *(name.encode(coding) for name in XMP_NAMES for coding in ("utf-8", "utf-16-le", "utf-16-be")),
    *FILM_NAMES,
)
# IPTC-IIM datasets of record 2: content location code and name, city, sublocation, province, country code and name.
IPTC_HEAD = b"Photoshop 3.0\x00"
IPTC_MARKS = tuple(b"\x1c\x02" + bytes([dataset]) for dataset in (26, 27, 90, 92, 95, 100, 101))
IPTC_BYTES = 1 << 16
MOST_IPTC = 16


def told(data: bytes, opened: Image.Image) -> bool:
    """Of a file and the loaded picture that it holds."""
    return _in_exif(opened) or _in_texts(opened) or _marked(data) or _in_iptc(data)


def _in_exif(opened: Image.Image) -> bool:
    """Any entry of the GPS directory but its version, readable as a place or not."""
    try:
        if len(opened.info.get("exif") or b"") > MAX_EXIF_BYTES:
            return True
        return bool(set(opened.getexif().get_ifd(GPS_IFD)) - {GPS_VERSION})
    except UNREADABLE:
        return True


def _in_texts(opened: Image.Image) -> bool:
    """What a file holds compressed (PNG), as far as Pillow unpacked it; profiles in text are not looked into."""
    texts = {**opened.info, **getattr(opened, "text", {})}
    profiles = any(str(name).lower().startswith("raw profile type") for name in texts)
    return profiles or any(_marked(value) for value in _as_bytes(texts.values()))


def _as_bytes(values: Iterable[Any]) -> Iterable[bytes]:
    for value in values:
        if isinstance(value, bytes):
            yield value
        elif isinstance(value, str):
            yield value.encode("utf-8", "replace")


def _marked(data: bytes) -> bool:
    return any(mark in data for mark in MARKS)


def _in_iptc(data: bytes) -> bool:
    start, looked = data.find(IPTC_HEAD), 0
    while start >= 0:
        block = data[start : start + IPTC_BYTES]
        looked += 1
        if looked > MOST_IPTC or any(mark in block for mark in IPTC_MARKS):
            return True
        start = data.find(IPTC_HEAD, start + len(IPTC_HEAD))
    return False
