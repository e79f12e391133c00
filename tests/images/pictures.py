"""Pictures for the decoding tests, made at run time."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image


def scene(width: int = 640, height: int = 480, seed: int = 1) -> Image.Image:
    """Large coloured shapes with hard edges and fine texture, different for every seed."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(30, 226, (6, 8, 3), dtype=np.uint8))
    shapes = np.asarray(coarse.resize((width, height), Image.Resampling.NEAREST), np.int16)
    texture = rng.normal(0, 8, (height, width, 1)).astype(np.int16)
    return Image.fromarray((shapes + texture).clip(0, 255).astype(np.uint8))


def saved(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def mean_colour(image: Image.Image) -> np.ndarray:
    """Of the centre square, 0–255."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.convert("RGB").crop((left, top, left + side, top + side))
    return np.asarray(square.resize((224, 224), Image.Resampling.BICUBIC), float).mean((0, 1))
