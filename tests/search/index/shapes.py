"""Vectors shaped like CLIP's: pictures in a clustered cone, text in a cone of its own beside it."""

import numpy as np

PICTURE_MODALITY, PICTURE_CONCEPT, PICTURE_REST = 0.75, 0.45, 0.48
TEXT_MODALITY, TEXT_CONCEPT, TEXT_REST = 0.8, 0.5, 0.3


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def world(count: int, queries: int, dimension: int = 512, seed: int = 7, concepts: int = 2000):
    """(pictures [count, d], text queries [queries, d]), float32 unit vectors.

    Concepts have a decaying spectrum and uneven popularity. Cosines come out like real ones: picture with picture
    .36-.70 (median .58), text with its best picture about .44, with the 50th .37, with any .15.
    """
    random = np.random.default_rng(seed)
    spectrum = (1 + np.arange(dimension)) ** -0.6
    spectrum /= np.sqrt((spectrum**2).sum())
    picture, text = unit(random.standard_normal((2, dimension)))
    text = unit((0.25 * picture + 0.97 * (text - (text @ picture) * picture))[None])[0]
    centres = random.standard_normal((concepts, dimension)).astype(np.float32) * spectrum
    weight = 1 / (1 + np.arange(concepts)) ** 0.6
    shown = random.choice(concepts, count, p=weight / weight.sum())
    pictures = np.empty((count, dimension), np.float32)
    for start in range(0, count, 50_000):
        part = shown[start : start + 50_000]
        rest = random.standard_normal((len(part), dimension)) * spectrum
        mixed = PICTURE_MODALITY * picture + PICTURE_CONCEPT * centres[part] + PICTURE_REST * rest
        pictures[start : start + 50_000] = unit(mixed)
    first, second = random.choice(concepts, (2, queries))
    share = random.uniform(0, 0.3, (queries, 1))
    meaning = (1 - share) * centres[first] + share * centres[second]
    rest = random.standard_normal((queries, dimension)) * spectrum
    return pictures, unit(TEXT_MODALITY * text + TEXT_CONCEPT * meaning + TEXT_REST * rest).astype(np.float32)
