"""Stored vectors of one collection and space, a page at a time in the order of their places."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from search.models import Embedding, Space

PAGE = 5000


@dataclass(frozen=True)
class Page:
    """`ids` int64 [n] and `vectors` fp16 [n, d]; `damaged`: ids whose vector is cut short or not finite."""

    ids: np.ndarray
    vectors: np.ndarray
    damaged: list[int]


def pages(collection_id: int, space: Space, after: int, upto: int, size: int = PAGE) -> Iterator[Page]:
    """Everything placed after `after` and up to `upto`. No transaction stays open between pages."""
    rows = Embedding.objects.filter(
        collection=collection_id, space=space, seq__lte=upto, vector__isnull=False
    )
    while after < upto:
        listed = rows.filter(seq__gt=after).order_by("seq").values_list("seq", "image_id", "vector")[:size]
        found: list[Any] = list(listed)
        if found:
            yield _page(found, space.dimension)
        after = found[-1][0] if len(found) == size else upto


def everything(collection_id: int, space: Space, after: int, upto: int) -> tuple[np.ndarray, np.ndarray]:
    """(ids int64 [n], vectors fp16 [n, d]) of all pages; damaged vectors are left to the next build to report."""
    found = list(pages(collection_id, space, after, upto))
    ids = np.concatenate([page.ids for page in found] + [np.empty(0, np.int64)])
    return ids, np.concatenate(
        [page.vectors for page in found] + [np.empty((0, space.dimension), np.float16)]
    )


def stored(image_ids: list[int], space: Space) -> tuple[np.ndarray, np.ndarray]:
    """(ids, vectors fp16) of those of `image_ids` that have a sound vector in the space."""
    rows = Embedding.objects.filter(image_id__in=image_ids, space=space, vector__isnull=False)
    page = _page(list(rows.values_list("seq", "image_id", "vector")), space.dimension)
    return page.ids, page.vectors


def _page(rows: list[Any], dimension: int) -> Page:
    ids = np.array([row[1] for row in rows], np.int64)
    whole = np.array([len(row[2]) == 2 * dimension for row in rows], dtype=bool)
    joined = b"".join(bytes(row[2]) for row, kept in zip(rows, whole, strict=True) if kept)
    vectors = np.frombuffer(joined, "<f2").reshape(-1, dimension)
    finite = np.isfinite(vectors).all(axis=1)
    whole[np.flatnonzero(whole)[~finite]] = False
    return Page(ids[whole], vectors[finite], ids[~whole].tolist())
