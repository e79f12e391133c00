"""A decoding child that misbehaves on request: `SandboxPool(module="tests.images.hostile_decoder")`.

What it does is named by the bytes that it is given; anything else is decoded as usual.
"""

from __future__ import annotations

import ctypes
import os
import sys
import time
from pathlib import Path

from images import pixels
from images.outcome import Limits, Outcome
from images.sandbox import serve


class Forged:
    """An outcome as a decoder would send it after an attacker took it over."""

    def to_wire(self):
        return {"content_type": "text/html", "width": -1}, (b"<script>", b"<script>")


def spin() -> None:
    while True:
        pass


def chatter() -> None:
    os.write(1, b"libfoo: warning: this is not part of any protocol\n")


def misbehave(what: bytes) -> object:
    deeds = {
        b"hang": lambda: time.sleep(600),
        b"spin": spin,
        b"hog": lambda: [bytearray(100 << 20) for _ in range(100)],
        b"segfault": lambda: ctypes.string_at(0),
        b"quit": lambda: os._exit(7),
        b"bug": lambda: {}["missing"],
        b"forge": Forged,
        b"write": lambda: Path("/tmp/loupe-sandbox-write-test").write_text("x"),
        b"secret": lambda: sys.exit(9) if "LOUPE_TEST_SECRET" in os.environ else None,
        b"django": lambda: sys.exit(9) if "django" in sys.modules else None,
    }
    return deeds[what]() if what in deeds else None


def process(source: bytes | str, limits: Limits) -> Outcome:
    chatter()
    done = misbehave(source) if isinstance(source, bytes) else None
    return done if isinstance(done, Forged) else pixels.process(source, limits)


if __name__ == "__main__":
    serve(process)
