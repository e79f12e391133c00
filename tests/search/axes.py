"""A small encoder that follows the protocol exactly: every known word is an axis, so the right answers are known."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import pytest

from search import encoders, index, retrieval
from search.encoders import DEMO

WORDS = ("dog", "cat", "car", "boat", "tree", "apple", "snow", "beach", "night", "city")
DIMENSION = 48
NAME, SHA256 = "test/axes", "a" * 64


def vector(*words: str, noise: float = 0.0, seed: int = 0) -> np.ndarray:
    """The unit vector of a picture or a text that shows these words."""
    mixed = np.random.default_rng(seed).normal(size=DIMENSION) * noise / np.sqrt(DIMENSION)
    for word in words:
        mixed[WORDS.index(word)] += 1.0
    mixed[-1] += 0.3  # what all vectors of a model share
    return (mixed / np.linalg.norm(mixed)).astype(np.float32)


class AxesEncoder:
    spec, dimension, sha256, revision = DEMO, DIMENSION, SHA256, "1"

    def __init__(self) -> None:
        self.read: list[str] = []

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        self.read += texts
        return np.stack([self._text(text) for text in texts])

    def encode_images(self, images: Sequence[object]) -> np.ndarray:
        """A picture's word is named by the red of its first pixel."""
        return np.stack([vector(WORDS[image.getpixel((0, 0))[0]]) for image in images])

    @staticmethod
    def _text(text: str) -> np.ndarray:
        known = [word for word in text.split() if word in WORDS]
        return vector(*known, noise=0.0 if known else 1.0, seed=zlib.crc32(text.encode()))


class ColourEncoder(AxesEncoder):
    """The red of a picture names its word, in steps that survive a JPEG."""

    def encode_images(self, images: Sequence[object]) -> np.ndarray:
        return np.stack([vector(WORDS[round(image.getpixel((0, 0))[0] / 20)]) for image in images])


def installed(monkeypatch: pytest.MonkeyPatch, encoder: AxesEncoder) -> AxesEncoder:
    """The encoder, for one test the model NAME of this process, which has just started."""
    monkeypatch.setitem(encoders.REGISTRY, NAME, encoders.replace(DEMO, name=NAME))
    monkeypatch.setitem(encoders._encoders, NAME, encoder)
    retrieval.forget()
    index.reset()
    return encoder
