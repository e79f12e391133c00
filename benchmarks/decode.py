"""What decoding one 12-megapixel JPEG costs, part by part, beside the usual way of doing it.

    python -m benchmarks.decode [--repeat 9]

The picture is made at run time. Processor milliseconds of one thread, medians; the rows of one table come from one
run, interleaved, so that a noisy machine is noisy for all of them.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import pdqhash
from PIL import Image

from images import exif, pixels, quality
from images.sandbox import SandboxPool

Part = tuple[str, Callable[[], object]]


def photograph(width: int = 4000, height: int = 3000) -> bytes:
    """Smooth shapes under sensor noise: about 4 MB at quality 90, like a camera's file."""
    rng = np.random.default_rng(1)
    shapes = Image.fromarray(rng.integers(0, 256, (height // 32, width // 32, 3), dtype=np.uint8))
    smooth = np.asarray(shapes.resize((width, height), Image.Resampling.BICUBIC), np.int16)
    noise = rng.normal(0, 6, (height, width, 1)).astype(np.int16)
    return encoded(Image.fromarray((smooth + noise).clip(0, 255).astype(np.uint8)), format="JPEG", quality=90)


def encoded(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, **options)
    return buffer.getvalue()


def naive(data: bytes) -> bytes:
    """Decode in full, then both thumbnails from the full picture; returns the two files end to end."""
    whole = Image.open(io.BytesIO(data)).convert("RGB")
    results = []
    for side in (1024, 256):
        image = whole.copy()
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
        results.append(encoded(image, format="JPEG", quality=82))
    return b"".join(results)


def parts(data: bytes) -> list[Part]:
    decoded = pixels.decode(data)
    small = pixels.fitted(decoded.image, pixels.ANALYSIS_SIDE)
    array = np.asarray(small)
    return [
        ("naive: full decode, two thumbnails", partial(naive, data)),
        ("Loupe: process, everything", partial(pixels.process, data)),
        ("  decode to preview size, upright sRGB", partial(pixels.decode, data)),
        ("  EXIF", lambda: exif.read(Image.open(io.BytesIO(data)))),
        ("  shrink to 512 px", partial(pixels.fitted, decoded.image, pixels.ANALYSIS_SIDE)),
        ("  quality", partial(quality.assess, array, decoded.size, 1.0)),
        ("  perceptual hash", partial(pdqhash.compute, array)),
        ("  colours", lambda: quality.dominant_colours(pixels.fitted(small, 64))),
        ("  preview file", partial(pixels.encode, decoded.image)),
        ("  thumbnail file", lambda: pixels.encode(pixels.thumbnail(small))),
    ]


def rendition_formats(data: bytes) -> list[Part]:
    preview = pixels.decode(data).image
    options = {
        "JPEG 82": {"format": "JPEG", "quality": 82},
        "JPEG 82 progressive": {"format": "JPEG", "quality": 82, "progressive": True},
        "WebP 80, method 0": {"format": "WEBP", "quality": 80, "method": 0},
        "WebP 80, method 2": {"format": "WEBP", "quality": 80, "method": 2},
        "WebP 80, method 4": {"format": "WEBP", "quality": 80, "method": 4},
        "AVIF 60, speed 10": {"format": "AVIF", "quality": 60, "speed": 10, "max_threads": 1},
    }
    return [(f"  {name}", partial(encoded, preview, **chosen)) for name, chosen in options.items()]


def medians(measured: list[Part], repeat: int) -> list[float]:
    taken: list[list[float]] = [[] for _ in measured]
    for _ in range(repeat):
        for times, (_, call) in zip(taken, measured, strict=True):
            started = time.process_time()
            call()
            times.append((time.process_time() - started) * 1000)
    return [statistics.median(times) for times in taken]


def sandbox_overhead(data: bytes, repeat: int) -> tuple[float, float]:
    """Wall milliseconds of one picture: in this process, and through a warm child."""
    with SandboxPool(1) as pool:
        pool.process(data)
        taken = [
            (wall(partial(pixels.process, data)), wall(partial(pool.process, data))) for _ in range(repeat)
        ]
    here, there = zip(*taken, strict=True)
    return statistics.median(here), statistics.median(there)


def wall(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return (time.perf_counter() - started) * 1000


def table(title: str, measured: list[Part], repeat: int) -> None:
    print(f"{title:<42}{'CPU ms':>8}{'kB':>8}")
    for (name, call), median in zip(measured, medians(measured, repeat), strict=True):
        result = call()
        size = f"{len(result) / 1000:8.1f}" if isinstance(result, bytes) else ""
        print(f"{name:<42}{median:8.1f}{size}")
    print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=9)
    repeat = parser.parse_args().repeat
    data = photograph()
    print(f"4000 × 3000 JPEG, {len(data) / 1e6:.1f} MB, sha256 {hashlib.sha256(data).hexdigest()[:12]}\n")
    table("one picture", parts(data), repeat)
    table("preview of 1000 px as", rendition_formats(data), repeat)
    here, there = sandbox_overhead(data, repeat)
    print(f"wall ms of one picture: in process {here:.1f}, through a warm child {there:.1f}")


if __name__ == "__main__":
    main()
