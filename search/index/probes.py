"""Text queries to measure recall with: phrases such as people type, encoded by the collection's own model."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import structlog

from search.encoders import EncoderError, get_encoder
from search.models import Space

log = structlog.get_logger(__name__)
SUBJECTS = (
    "dog", "cat", "horse", "bird in flight", "butterfly on a flower", "child", "old man", "group of friends",
    "bride and groom", "crowd at a concert", "football player", "cyclist", "hiker", "swimmer", "dancer", "musician",
    "red car", "train at a station", "sailing boat", "aeroplane", "motorcycle", "bus", "bridge", "lighthouse",
    "castle", "church", "skyscraper", "wooden house", "market stall", "street at night", "staircase", "window",
    "kitchen table", "armchair", "bookshelf", "laptop", "telephone", "guitar", "clock", "lamp", "pair of shoes",
    "handbag", "necklace", "cup of coffee", "birthday cake", "pizza", "bowl of fruit", "loaf of bread", "salad",
    "mountain lake", "waterfall", "beach", "forest path", "field of wheat", "desert dunes", "snowy village",
    "autumn leaves", "night sky", "storm clouds", "rainbow",
)  # fmt: skip
FORMS = ("{}", "a photo of a {}", "{} at sunset", "close-up of a {}", "black and white picture of a {}")
PHRASES = tuple(form.format(subject) for subject in SUBJECTS for form in FORMS)
BATCH = 50


def text_probes(space: Space) -> np.ndarray | None:
    """Unit vectors [300, d] of `PHRASES` in the space; None where its model is not on this machine."""
    try:
        return _encoded(space.name, space.sha256)
    except EncoderError as error:
        log.warning("no_text_probes", space=space.name, error=str(error))
        return None


@lru_cache(maxsize=2)
def _encoded(name: str, sha256: str) -> np.ndarray:
    encoder = get_encoder(name)
    if encoder.sha256 != sha256:
        raise EncoderError(f"the model {name} on this machine is not the one of this space")
    parts = [encoder.encode_texts(PHRASES[at : at + BATCH]) for at in range(0, len(PHRASES), BATCH)]
    return np.concatenate(parts).astype(np.float32)
