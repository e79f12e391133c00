"""How good a picture is, technically: five parts of 0–1 and their weighted geometric mean.

PURE numpy on a picture of at most 512 px. The formula and what it does not see: docs/decoding.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

WEIGHTS = {"sharpness": 0.35, "exposure": 0.25, "contrast": 0.15, "resolution": 0.15, "compression": 0.10}
FLOOR = 0.02  # a part of 0 would hide every other difference
TILE = 32
# Annex K.1 of ITU-T T.81, the table that libjpeg scales by its quality setting; mean of its 64 entries.
_STANDARD_LUMINANCE_MEAN = 57.625
_LOSSY_BITS = {"image/webp": 1.2, "image/avif": 0.8}  # bits a pixel above which no damage shows

Pixels = NDArray[np.uint8]


def assess(
    pixels: Pixels, original_size: tuple[int, int], compression: float
) -> tuple[float, dict[str, float]]:
    """Score and parts. `pixels`: H×W×3 sRGB, at most 512 px; `compression`: see `compression_part`."""
    luma = luminance(pixels)
    parts = {
        "sharpness": sharpness_part(luma),
        "exposure": exposure_part(luma),
        "contrast": contrast_part(luma),
        "resolution": resolution_part(*original_size),
        "compression": compression,
    }
    score = float(np.prod([max(parts[name], FLOOR) ** weight for name, weight in WEIGHTS.items()]))
    return round(score, 4), {name: round(value, 4) for name, value in parts.items()}


def luminance(pixels: Pixels) -> NDArray[np.float32]:
    """H×W, 0–1, Rec. 601 weights."""
    weights = np.array([0.299, 0.587, 0.114], np.float32) / 255
    return (pixels @ weights).astype(np.float32, copy=False)


def sharpness_part(luma: NDArray[np.float32]) -> float:
    """Laplacian deviation in the sharpest tenth of 32-px tiles: a soft background is no fault."""
    if min(luma.shape) < 3:
        return 0.0
    centre = luma[1:-1, 1:-1]
    edges = 4 * centre - luma[:-2, 1:-1] - luma[2:, 1:-1] - luma[1:-1, :-2] - luma[1:-1, 2:]
    deviation = float(np.quantile(_tile_deviations(edges), 0.9))
    return _between(np.log10(max(deviation, 1e-6)), np.log10(0.005), np.log10(0.6))


def _tile_deviations(edges: NDArray[np.float32]) -> NDArray[np.float32]:
    height, width = edges.shape
    rows, columns = max(height // TILE, 1), max(width // TILE, 1)
    high, wide = height // rows, width // columns
    tiles = edges[: rows * high, : columns * wide].reshape(rows, high, columns, wide)
    return np.sqrt(np.einsum("rhcw,rhcw->rc", tiles, tiles) / (high * wide))


def exposure_part(luma: NDArray[np.float32]) -> float:
    """1 for a mean of .25–.75, falling to 0 at black and white; halved where half of the pixels clip."""
    mean = float(luma.mean())
    level = min(_between(mean, 0.02, 0.25), _between(1 - mean, 0.02, 0.25))
    clipped = float(np.count_nonzero((luma < 0.01) | (luma > 0.99))) / luma.size
    return level * (1 - clipped)


def contrast_part(luma: NDArray[np.float32]) -> float:
    """Distance between the 5th and 95th percentile of luminance, full at .6."""
    low, high = np.quantile(luma[::2, ::2], (0.05, 0.95))
    return _between(float(high - low), 0.0, 0.6)


def resolution_part(width: int, height: int) -> float:
    """0 at 10,000 pixels, 1 from 8 megapixels, logarithmic between."""
    return _between(np.log10(width * height), 4.0, np.log10(8e6))


def compression_part(
    content_type: str, tables: Mapping[int, Sequence[int]] | None, byte_size: int, pixel_count: int
) -> float:
    """1: no visible damage. JPEG: from its quantisation table; WebP, AVIF: bits a pixel; others: 1."""
    if tables and 0 in tables:
        return _between(jpeg_quality(tables[0]), 0, 90)
    enough = _LOSSY_BITS.get(content_type)
    return _between(8 * byte_size / pixel_count, 0, enough) if enough else 1.0


def jpeg_quality(luminance_table: Sequence[int]) -> float:
    """libjpeg's 1–100 setting, inverted from the mean of the luminance table."""
    scale = 100 * float(np.mean(luminance_table)) / _STANDARD_LUMINANCE_MEAN
    return float(np.clip((200 - scale) / 2 if scale <= 100 else 5000 / scale, 1, 100))


def _between(value: float, low: float, high: float) -> float:
    return float(min(max((value - low) / (high - low), 0.0), 1.0))


def dominant_colours(image: Image.Image, at_most: int = 5) -> list[dict[str, Any]]:
    """The largest colours of a small RGB picture: median cut, near ones merged, shares of at least 3 %."""
    reduced = image.quantize(8, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    palette = np.array(reduced.getpalette("RGB"), np.float32).reshape(-1, 3)
    counts = np.bincount(np.asarray(reduced).ravel())
    counted = sorted(((int(count), index) for index, count in enumerate(counts) if count), reverse=True)
    merged: list[list[Any]] = []
    for count, index in counted:
        near = next((kept for kept in merged if np.linalg.norm(kept[1] - palette[index]) < 40), None)
        if near:
            near[0] += count
        else:
            merged.append([count, palette[index]])
    total = sum(count for count, _ in counted)
    shares = sorted(((count / total, colour) for count, colour in merged), key=lambda pair: -pair[0])
    return [
        {"hex": "#{:02x}{:02x}{:02x}".format(*colour.astype(int)), "share": round(share, 3)}
        for share, colour in shares[:at_most]
        if share >= 0.03
    ]
