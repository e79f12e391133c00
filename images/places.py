"""Whether a file may tell where it was taken: in EXIF, XMP, IPTC, or in a film behind the picture. PURE.

The place itself is read by `images.exif`; this errs on the other side. Whoever may not know the place gets a copy
instead of an original that might tell it, so in doubt the answer is yes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
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
MARKS = (*(name.encode() for name in XMP_NAMES), *FILM_NAMES)
# IPTC-IIM datasets of record 2: content location code and name, city, sublocation, province, country code and name.
IPTC_HEAD = b"Photoshop 3.0\x00"
IPTC_MARKS = tuple(b"\x1c\x02" + bytes([dataset]) for dataset in (26, 27, 90, 92, 95, 100, 101))
IPTC_BYTES = 1 << 16
MOST_IPTC = 16
# What is no marker inside the pixels of a JPEG file: a stuffed zero, a restart, a fill byte.
JPEG_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
SOI, EOI, TEM = 0xD8, 0xD9, 0x01
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
MOST_PIECES = 10_000


def told(data: bytes, opened: Image.Image) -> bool:
    """Of a file and the loaded picture that it holds."""
    beside = beside_pixels(data)
    return _in_exif(opened) or _in_texts(opened) or _marked(beside) or _in_iptc(beside)


def beside_pixels(data: bytes) -> bytes:
    """The file without its compressed pixels, which make up most of it and hold no names; all of it where the format
    is another or the file is strange."""
    if data.startswith(b"\xff\xd8"):
        return b"".join(_jpeg_pieces(data))
    if data.startswith(PNG_SIGNATURE):
        return b"".join(_png_pieces(data))
    return data


def _jpeg_pieces(data: bytes) -> Iterator[bytes]:
    """Every segment, also between scans, and what follows the end of the picture."""
    at = 0
    for _piece in range(MOST_PIECES):
        found = JPEG_MARKER.search(data, at)
        if not found:
            return
        marker, at = data[found.end() - 1], found.end()
        if marker == EOI:
            break
        if marker not in (SOI, TEM):
            end = at + max(int.from_bytes(data[at : at + 2], "big"), 2)
            yield data[at:end]
            at = end
    yield data[at:]


def _png_pieces(data: bytes) -> Iterator[bytes]:
    """Every chunk but those of pixels, and what follows the last."""
    at = len(PNG_SIGNATURE)
    for _piece in range(MOST_PIECES):
        kind, end = data[at + 4 : at + 8], at + 12 + int.from_bytes(data[at : at + 4], "big")
        if kind == b"IEND" or end > len(data):
            break
        if kind != b"IDAT":
            yield data[at:end]
        at = end
    yield data[at:]


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
    """Without its zeros a text in UTF-16 reads as in UTF-8."""
    plain = data.replace(b"\0", b"")
    return any(mark in plain for mark in MARKS)


def _in_iptc(data: bytes) -> bool:
    start, looked = data.find(IPTC_HEAD), 0
    while start >= 0:
        block = data[start : start + IPTC_BYTES]
        looked += 1
        if looked > MOST_IPTC or any(mark in block for mark in IPTC_MARKS):
            return True
        start = data.find(IPTC_HEAD, start + len(IPTC_HEAD))
    return False
