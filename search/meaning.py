"""What the search app tells the images app of meaning: hints for moderators, and pictures that mean the same."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import structlog
from numpy.typing import NDArray

from images import meaning
from images.access import Principal
from images.meaning import Hint, Pair
from images.models import Collection, Image, ModerationPrompt
from search import ranking
from search.encoders import EncoderError, get_encoder
from search.models import CollectionIndex, Space
from search.query import compose, normalised
from search.ranking import Background, Calibration, Curve
from search.retrieval import prompts as templated
from search.retrieval import text_vectors
from search.scope import matrix, sample, scope_of

log = structlog.get_logger(__name__)
BLOCK = 1024

Matrix = NDArray[np.float32]


class Vectors:
    """Answers from the vectors of the space that serves a collection."""

    def hints(
        self, images: Sequence[Image], prompts: Sequence[ModerationPrompt], principal: Principal
    ) -> dict[int, list[Hint]]:
        place = images[0].collection
        space = _space(place)
        if space is None:
            return {}
        known, pictures = matrix([image.pk for image in images], space)
        if not known:
            return {}
        try:
            texts = _texts(space, [normalised(one.text) for one in prompts])
        except EncoderError as error:
            log.warning("no_hints", error=str(error))
            return {}
        calibration = _calibration(space)
        drawn = sample(space, scope_of([place.uid], principal))
        matches = _matches(pictures, texts, drawn, calibration.of("text"))
        found = {
            pk: _reached(row, prompts, calibration.possible) for pk, row in zip(known, matches, strict=True)
        }
        return {pk: hints for pk, hints in found.items() if hints}

    def alike(self, collection: Collection, ids: Sequence[int], most: int) -> list[Pair]:
        space = _space(collection)
        if space is None:
            return []
        known, vectors = matrix(ids, space)
        found: list[Pair] = []
        least = _calibration(space).same
        for start in range(0, len(known), BLOCK):
            close = vectors[start : start + BLOCK] @ vectors[start:].T
            rows, columns = np.nonzero(np.triu(close >= least, k=1))
            places = zip(rows.tolist(), columns.tolist(), close[rows, columns].tolist(), strict=True)
            found += [Pair(known[start + a], known[start + b], float(cosine)) for a, b, cosine in places]
        return sorted(found, key=lambda pair: -pair.similarity)[:most]


def _space(collection: Collection) -> Space | None:
    row = CollectionIndex.objects.filter(collection=collection).select_related("space").first()
    return row.space if row else None


def _calibration(space: Space) -> Calibration:
    try:
        return Calibration.from_json(space.calibration)
    except (ValueError, TypeError) as error:
        log.warning("calibration_unreadable", space=space.name, error=str(error))
        return Calibration()


def _texts(space: Space, texts: list[str]) -> Matrix:
    """Unit vectors [n, d], as a search for these words would have them. Raises EncoderError."""

    def encode(missing: list[str]) -> Matrix:
        encoder = get_encoder(space.name)
        if encoder.sha256 != space.sha256:
            raise EncoderError(f"The model {space.name} on this machine is not the one of this space.")
        asked = [templated(text, encoder) for text in missing]
        vectors = iter(encoder.encode_texts([prompt for some in asked for prompt in some]))
        groups = [np.stack([next(vectors) for _prompt in some]) for some in asked]
        return np.stack([compose(group, [1.0] * len(group)) for group in groups])

    return text_vectors.get(space.sha256, texts, encode, "templates")[0]


def _matches(pictures: Matrix, texts: Matrix, drawn: Matrix, curve: Curve) -> NDArray[np.floating]:
    """Calibrated P(shows) [pictures, texts], against the background of every text over the collection's sample."""
    said = [ranking.match(pictures @ text, Background.of(drawn @ text), curve) for text in texts]
    return np.stack(said, axis=1)


def _reached(row: NDArray[np.floating], prompts: Sequence[ModerationPrompt], possible: float) -> list[Hint]:
    said = [Hint(prompt, round(float(match), 4)) for prompt, match in zip(prompts, row, strict=True)]
    floors = {one.pk: possible if one.cutoff is None else one.cutoff for one in prompts}
    return sorted(
        (hint for hint in said if hint.match >= floors[hint.prompt.pk]), key=lambda hint: -hint.match
    )


def connect() -> None:
    meaning.tell(Vectors())
