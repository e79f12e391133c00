"""What pictures mean to each other and to words: the search app tells, because this app does not know vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from images.access import Principal
from images.models import Collection, Image, ModerationPrompt


class Hint(NamedTuple):
    """A picture might show what a prompt says; `match` is the calibrated probability, 0–1."""

    prompt: ModerationPrompt
    match: float


class Pair(NamedTuple):
    """Row ids of two pictures, and their cosine."""

    first: int
    second: int
    similarity: float


class Meaning(Protocol):
    def hints(
        self, images: Sequence[Image], prompts: Sequence[ModerationPrompt], principal: Principal
    ) -> dict[int, list[Hint]]:
        """By row id, the prompts of which a picture reaches the cut-off, most likely first; nothing where the model is
        away or a picture has no vector yet. All images are of one collection."""

    def alike(self, collection: Collection, ids: Sequence[int], most: int) -> list[Pair]:
        """Up to `most` pairs among these pictures that mean the same to the collection's model, closest first."""


_meanings: list[Meaning] = []


def tell(meaning: Meaning) -> None:
    """Register what answers."""
    _meanings[:] = [meaning]


def hints(
    images: Sequence[Image], prompts: Sequence[ModerationPrompt], principal: Principal
) -> dict[int, list[Hint]]:
    return _meanings[0].hints(images, prompts, principal) if _meanings and images and prompts else {}


def alike(collection: Collection, ids: Sequence[int], most: int) -> list[Pair]:
    return _meanings[0].alike(collection, ids, most) if _meanings and len(ids) > 1 else []
