"""The exact way a picture becomes a model's input: pure Pillow and numpy.

The same model fed through another resize or crop gives other vectors (a box crop instead of resize + centre
crop: cosine .993), so the geometry is read from the model's configuration and is part of the space's identity.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image

# Beyond this aspect ratio only the middle is resized: the centre crop keeps nothing else, and resizing the
# shortest side of a 32 x 58128 picture to 224 would build a 224 x 406896 one (5 s and a gigabyte).
EXTREME_ASPECT = 3
LARGEST_SIDE = 2048
KNOWN_FILTERS = frozenset(int(kind) for kind in Image.Resampling)


class UnsupportedGeometry(ValueError):
    """The preprocessing file asks for something that this product does not do."""


@dataclass(frozen=True)
class Geometry:
    """Resize, centre crop, rescale, normalise; sizes are (height, width) in pixels.

    Either `shortest_edge` (keep the aspect, then `crop`) or `exact` (squash to that size) is set.
    """

    shortest_edge: int | None
    exact: tuple[int, int] | None
    crop: tuple[int, int] | None
    resample: int
    rescale: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Geometry:
        """Read a `preprocessor_config.json`, or a `processor_config.json` that holds an `image_processor`.

        Raises UnsupportedGeometry that names the field.
        """
        config = config.get("image_processor", config)
        if config.get("do_resize", True) is False or config.get("do_pad"):
            raise UnsupportedGeometry("do_resize must be true and do_pad must be false")
        cropped = bool(config.get("do_center_crop", "crop_size" in config))
        shortest, exact = _resize_rule(config.get("size", 224), cropped)
        rescale = float(config.get("rescale_factor", 1 / 255)) if config.get("do_rescale", True) else 1.0
        normalised = config.get("do_normalize", True)
        geometry = cls(
            shortest_edge=shortest,
            exact=exact,
            crop=_pair(config.get("crop_size", 224), "crop_size") if cropped else None,
            resample=_resample(config.get("resample", Image.Resampling.BICUBIC)),
            rescale=rescale,
            mean=_triple(config, "image_mean") if normalised else (0.0, 0.0, 0.0),
            std=_triple(config, "image_std") if normalised else (1.0, 1.0, 1.0),
        )
        geometry._check()
        return geometry

    def _check(self) -> None:
        if self.exact is None and self.crop is None:
            raise UnsupportedGeometry("size.shortest_edge without a centre crop gives inputs of unequal size")
        if self.crop and self.shortest_edge and max(self.crop) > self.shortest_edge:
            raise UnsupportedGeometry("crop_size is larger than the resized picture")
        if min(self.std) <= 0:
            raise UnsupportedGeometry("image_std must be above zero")

    @property
    def output(self) -> tuple[int, int]:
        """(height, width) of what the model sees."""
        size = self.crop or self.exact
        if size is None:
            raise UnsupportedGeometry("neither a crop nor an exact size is set")
        return size

    @property
    def decode_edge(self) -> int:
        """A shortest side that a JPEG may be decoded down to (`Image.draft`) with cosine ≥ .9999 kept."""
        return 2 * (self.shortest_edge or max(self.output))

    def describe(self) -> dict[str, Any]:
        """JSON form for the space's identity: everything here changes the vectors."""
        return {
            "shortest_edge": self.shortest_edge,
            "exact": list(self.exact) if self.exact else None,
            "crop": list(self.crop) if self.crop else None,
            "resample": Image.Resampling(self.resample).name.lower(),
            "rescale": self.rescale,
            "mean": list(self.mean),
            "std": list(self.std),
            "transparency": "white",
            "extreme_aspect": EXTREME_ASPECT,
        }

    def pixels(self, image: Image.Image) -> np.ndarray:
        """One picture, already upright, as float32 [3, height, width]."""
        small = self._resized(flat_rgb(self._middle(image)))
        values = np.asarray(small, dtype=np.uint8)
        levels = _levels(self.rescale, self.mean, self.std)
        return np.stack([levels[channel][values[:, :, channel]] for channel in range(3)])

    def batch(self, images: Sequence[Image.Image]) -> np.ndarray:
        """float32 [n, 3, height, width]."""
        if not images:
            return np.zeros((0, 3, *self.output), dtype=np.float32)
        return np.stack([self.pixels(image) for image in images])

    def _middle(self, image: Image.Image) -> Image.Image:
        width, height = image.size
        short, long = sorted((width, height))
        if self.shortest_edge is None or long <= EXTREME_ASPECT * short:
            return image
        keep = 2 * short
        keep += (long - keep) % 2  # the same parity keeps the centre between the same two pixels
        start = (long - keep) // 2
        box = (start, 0, start + keep, height) if width > height else (0, start, width, start + keep)
        return image.crop(box)

    def _resized(self, image: Image.Image) -> Image.Image:
        filter_ = Image.Resampling(self.resample)
        if self.exact:
            height, width = self.exact
            resized = image.resize((width, height), filter_)
        else:
            resized = image.resize(self._kept_aspect(image.size), filter_)
        return self._cropped(resized) if self.crop else resized

    def _kept_aspect(self, size: tuple[int, int]) -> tuple[int, int]:
        edge = self.shortest_edge or 0
        width, height = size
        if width <= height:
            return edge, int(edge * height / width)
        return int(edge * width / height), edge

    def _cropped(self, image: Image.Image) -> Image.Image:
        height, width = self.output
        left, top = (image.width - width) // 2, (image.height - height) // 2
        return image.crop((left, top, left + width, top + height))


@lru_cache(maxsize=16)
def _levels(rescale: float, mean: tuple[float, ...], std: tuple[float, ...]) -> np.ndarray:
    """float32 [3, 256]: what each 8-bit level becomes. In float64 up to the last step, as the reference processor
    rounds it."""
    levels = np.arange(256)[:, None] * rescale
    return np.ascontiguousarray(((levels - np.asarray(mean)) / np.asarray(std)).T, dtype=np.float32)


def flat_rgb(image: Image.Image) -> Image.Image:
    """RGB over white, as a browser shows it; 16-bit greys are scaled instead of clipped."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _eight_bit(image).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    rgba = image.convert("RGBA")
    white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, rgba).convert("RGB")


def _eight_bit(image: Image.Image) -> Image.Image:
    values = np.nan_to_num(np.asarray(image, dtype=np.float64), nan=0.0, posinf=65535.0, neginf=0.0)
    if image.mode.startswith("I;16") or values.max(initial=0.0) > 255:
        values = values / 257
    return Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))


def _resize_rule(size: Any, cropped: bool) -> tuple[int | None, tuple[int, int] | None]:
    """Files from before 2022 hold a bare number: the shortest side when a crop follows, else a square."""
    if isinstance(size, int):
        return (_side(size, "size"), None) if cropped else (None, _pair(size, "size"))
    if not isinstance(size, Mapping):
        raise UnsupportedGeometry("size must be a number or a mapping")
    if size.get("longest_edge") or size.get("max_height"):
        raise UnsupportedGeometry("size.longest_edge and size.max_height are not supported")
    if size.get("shortest_edge"):
        return _side(size["shortest_edge"], "size.shortest_edge"), None
    return None, _pair(size, "size")


def _pair(value: Any, field: str) -> tuple[int, int]:
    if isinstance(value, Mapping):
        return _side(value.get("height"), f"{field}.height"), _side(value.get("width"), f"{field}.width")
    side = _side(value, field)
    return side, side


def _side(value: Any, field: str) -> int:
    if not isinstance(value, int) or not 1 <= value <= LARGEST_SIDE:
        raise UnsupportedGeometry(f"{field} must be a whole number from 1 to {LARGEST_SIDE}, not {value!r}")
    return value


def _triple(config: Mapping[str, Any], field: str) -> tuple[float, float, float]:
    values = config.get(field)
    if not isinstance(values, Sequence) or len(values) != 3:
        raise UnsupportedGeometry(f"{field} must hold three numbers")
    red, green, blue = (float(value) for value in values)
    return red, green, blue


def _resample(value: Any) -> int:
    if not isinstance(value, int) or int(value) not in KNOWN_FILTERS:
        raise UnsupportedGeometry(f"resample must be one of Pillow's filter numbers, not {value!r}")
    return int(value)
