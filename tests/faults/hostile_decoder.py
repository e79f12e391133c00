"""A decoding child that a picture can crash, fill or hang: what it does is named by the comment of a JPEG."""

from __future__ import annotations

import ctypes
import time
from pathlib import Path

from images import pixels
from images.outcome import Limits, Outcome
from images.sandbox import serve

DEEDS = {
    b"poison:crash": lambda: ctypes.string_at(0),
    b"poison:memory": lambda: [bytearray(100 << 20) for _ in range(100)],
    b"poison:hang": lambda: time.sleep(600),
}


def process(source: bytes | str, limits: Limits) -> Outcome:
    content = source if isinstance(source, bytes) else Path(source).read_bytes()
    for mark, deed in DEEDS.items():
        if mark in content[:200]:
            deed()
    return pixels.process(source, limits)


if __name__ == "__main__":
    serve(process)
