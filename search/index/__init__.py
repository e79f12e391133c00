"""Finding the nearest vectors: the public face of the index. What lies behind it may be exchanged.

    hand_out_seq   a place in the collection's order, inside the transaction that finishes an embedding
    search         candidates from every collection asked, fresh pictures included; the caller's SQL gate decides
    build_due      merge, rebuild, verify and publish what is due (a worker's loop)
    replay_samples the recall of live queries, where that is switched on (a worker's loop)

The index proposes, the database decides: a hit may be gone, hidden or out of reach, so callers filter what comes back.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np
from django.conf import settings

from search.index import rows, sampling, tuning
from search.index.builder import ProbeSource, build_due, build_next
from search.index.catalog import (
    IndexStatus,
    adopt,
    adopt_strays,
    collect_garbage,
    ensure_index,
    hand_out_seq,
    merge_due,
    request_rebuild,
    roll_back,
    status,
    withdraw,
)
from search.index.errors import (
    BadParameters,
    BuildCancelled,
    BuildFailed,
    DamagedSegment,
    ForeignManifest,
    IndexFault,
    NotFinite,
    NothingToRollBackTo,
    UnorderedIds,
    WrongDimension,
)
from search.index.finder import Finder, Hits
from search.index.view import Filter
from search.models import CollectionIndex, Space

__all__ = [
    "BadParameters",
    "BuildCancelled",
    "BuildFailed",
    "DamagedSegment",
    "ForeignManifest",
    "Hits",
    "IndexFault",
    "IndexStatus",
    "NotFinite",
    "NothingToRollBackTo",
    "ProbeSource",
    "UnorderedIds",
    "WrongDimension",
    "adopt",
    "adopt_strays",
    "build_due",
    "build_next",
    "collect_garbage",
    "ensure_index",
    "hand_out_seq",
    "merge_due",
    "replay_samples",
    "request_rebuild",
    "reset",
    "roll_back",
    "search",
    "settle",
    "status",
    "vectors",
    "withdraw",
]

CHUNK = 5000


@lru_cache(maxsize=1)
def _finder() -> Finder:
    """One per process, made at the first query (after a fork)."""
    return Finder()


def search(
    collections: Sequence[int],
    space: Space | int,
    vectors: np.ndarray,
    k: int,
    *,
    allowed: np.ndarray | Sequence[int] | None = None,
    denied: np.ndarray | Sequence[int] | None = None,
    exact: bool = False,
) -> Hits:
    """The `k` best rows of `collections` for each of `vectors` (unit norm, float [q, d] or [d]) by cosine.

    `allowed`: image row ids that may answer (None: all; empty: nothing), `denied`: those that may not; unknown ids
    are ignored. `exact` skips every approximation. Collections without an index are empty. Never filters after the
    fact: with a filter, too, the best k come back. Raises WrongDimension, NotFinite, BadParameters.
    """
    chosen = Filter(_ids(allowed), _ids(denied))
    known = space if isinstance(space, Space) else _space(space)
    hits = _finder().search(collections, known, vectors, k, chosen, exact)
    if hits.approximate and sampling.chosen():
        sampling.keep(hits.approximate, known.pk, np.atleast_2d(vectors)[0])
    return hits


def replay_samples(limit: int = sampling.BATCH) -> int:
    """Ask sampled live queries again, exactly and as usual, and keep each collection's live recall (a worker's loop).
    Returns how many samples were taken."""
    if settings.INDEX_LIVE_RECALL <= 0:
        return 0

    def ask(row: CollectionIndex, vector: np.ndarray, exact: bool) -> np.ndarray:
        finder, nothing = _finder(), Filter(None, None)
        return finder.search([row.collection_id], row.space, vector, tuning.DEPTH, nothing, exact).ids

    return sampling.replay(ask, limit)


@lru_cache(maxsize=64)
def _space(pk: int) -> Space:
    """A space never changes once it is made, apart from its calibration, which the index does not use."""
    return Space.objects.get(pk=pk)


def _ids(given: np.ndarray | Sequence[int] | None) -> np.ndarray | None:
    """The same object where it will do: bitmaps of arrays that cannot change are kept by identity."""
    ids = None if given is None else np.asarray(given, dtype=np.int64)
    return ids if ids is None or ids.ndim == 1 else ids.reshape(-1)


def vectors(image_ids: Iterable[int], space: Space) -> dict[int, np.ndarray]:
    """The stored vectors, float32 [d] by image id; ids without one in this space are absent."""
    wanted = list(image_ids)
    found: dict[int, np.ndarray] = {}
    for start in range(0, len(wanted), CHUNK):
        ids, stored = rows.stored(wanted[start : start + CHUNK], space)
        found.update(zip(ids.tolist(), stored.astype(np.float32), strict=True))
    return found


def settle(timeout: float = 30.0) -> None:
    """Wait until generations that are being opened are open; the next query uses them."""
    _finder().reader.settle(timeout)


def reset() -> None:
    """Forget everything that this process has open (for tests, whose databases begin anew)."""
    _finder.cache_clear()
    _space.cache_clear()
