"""One collection as a process sees it: the mapped generation, and beside it the delta, searched exactly.

Views are immutable, so a search never meets one that is half changed; catching up makes a new view around the same
segment. The delta is a few blocks of falling size, so that a fresh picture costs the copy of a small block, not of all.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from search.index.manifest import Manifest
from search.index.masks import Bitmap, Masks, mask_of, occurs
from search.index.planner import Plan, Searchable, plan
from search.index.segment import Segment

_masks = Masks()


@dataclass(frozen=True)
class Filter:
    """Row ids that may answer (None: all) and that may not; both int64 arrays in any order."""

    allowed: np.ndarray | None = None
    denied: np.ndarray | None = None

    @property
    def empty(self) -> bool:
        return self.allowed is None and self.denied is None

    def mask(self, ids: np.ndarray) -> np.ndarray | None:
        """bool [n] over the rising `ids`; None where everything may answer."""
        mask = None if self.allowed is None else _masks.of(ids, self.allowed)
        if self.denied is None:
            return mask
        kept = ~mask_of(ids, self.denied)
        return kept if mask is None else mask & kept


@dataclass(frozen=True)
class Found:
    """Candidates of one part, [q, k] each, best first and padded with id -1."""

    ids: np.ndarray
    scores: np.ndarray
    plan: Plan


@dataclass(frozen=True)
class Base:
    """A generation that is open here. `id` is its row, `upto_seq` where the delta begins."""

    id: int
    number: int
    segment: Segment
    manifest: Manifest

    @property
    def searchable(self) -> Searchable:
        about = self.manifest
        return Searchable(about.count, about.kind, about.effort, self.segment.nlist, about.curve)


@dataclass(frozen=True)
class View:
    """Everything of one collection in one space up to `seq`; `live_id`: the live generation it was made for."""

    collection_id: int
    live_id: int | None
    seq: int
    base: Base | None
    blocks: tuple[Segment, ...] = ()
    # Positions of the base that a later row of the same picture has replaced; None where there are none.
    replaced: np.ndarray | None = field(default=None, repr=False)

    @property
    def rows(self) -> int:
        return (self.base.segment.count if self.base else 0) + self.delta

    @property
    def delta(self) -> int:
        return sum(block.count for block in self.blocks)

    @property
    def mapped(self) -> int:
        """Files that this view maps: one or none."""
        return int(self.base is not None and self.base.segment.mapped)

    @property
    def held(self) -> int:
        """Rows in this process' own memory."""
        return self.delta if self.mapped else self.rows

    def segments(self) -> list[Segment]:
        return ([self.base.segment] if self.base else []) + list(self.blocks)

    def extended(self, seq: int, ids: np.ndarray, vectors: np.ndarray) -> View:
        """With the rows placed since: `ids` int64 [n], `vectors` fp16 [n, d], in the order of their places."""
        if not len(ids):
            return replace(self, seq=seq)
        block = _block(ids, vectors)
        blocks = _stacked(_without(self.blocks, block.ids), block)
        return replace(self, seq=seq, blocks=blocks, replaced=self._replaced(block))

    def _replaced(self, block: Segment) -> np.ndarray | None:
        if self.base is None:
            return None
        if not occurs(self.base.segment.ids, block.ids):
            return self.replaced  # as nearly always: nothing here may depend on the size of the generation
        mask = self.base.segment.mask(block.ids)
        return mask if self.replaced is None else mask | self.replaced

    def search(self, queries: np.ndarray, k: int, chosen: Filter, exact: bool) -> list[Found]:
        """Candidates of the generation and of each block of the delta."""
        found = [] if self.base is None else [self._search_base(self.base, queries, k, chosen, exact)]
        return found + [search_exactly(block, queries, k, chosen.mask(block.ids)) for block in self.blocks]

    def _search_base(self, base: Base, queries: np.ndarray, k: int, chosen: Filter, exact: bool) -> Found:
        mask = chosen.mask(base.segment.ids)
        if self.replaced is not None:
            mask = ~self.replaced if mask is None else mask & ~self.replaced
        if exact:
            return search_exactly(base.segment, queries, k, mask)
        bitmap = None if mask is None else Bitmap.from_mask(mask)
        chosen_plan = plan(base.searchable, k, None if bitmap is None else bitmap.count)
        ids, scores = base.segment.search(queries, k, effort=chosen_plan.effort, allowed=bitmap)
        reachable = min(k, base.segment.count if bitmap is None else bitmap.count)
        if not chosen_plan.exact and reachable and (ids[:, reachable - 1] < 0).any():
            chosen_plan = chosen_plan.fallback()
            ids, scores = base.segment.search(queries, k, allowed=bitmap)
        return Found(ids, scores, chosen_plan)


def search_exactly(segment: Segment, queries: np.ndarray, k: int, mask: np.ndarray | None) -> Found:
    name = "exact" if mask is None else "filtered-exact"
    bitmap = None if mask is None else Bitmap.from_mask(mask)
    return Found(*segment.search(queries, k, allowed=bitmap), Plan(name, None, True, 1.0))


def _block(ids: np.ndarray, vectors: np.ndarray) -> Segment:
    """Of several rows of one picture the last one counts."""
    _unique, last = np.unique(ids[::-1], return_index=True)
    at = len(ids) - 1 - last
    return Segment.in_memory(ids[at], vectors[at])


def _without(blocks: tuple[Segment, ...], ids: np.ndarray) -> tuple[Segment, ...]:
    """The blocks less the rows `ids`, which a newer block holds."""
    kept = []
    for block in blocks:
        mask = block.mask(ids)
        if mask.any():
            at = np.flatnonzero(~mask)
            block = Segment.in_memory(block.ids[at], block.vectors(at))
        if block.count:
            kept.append(block)
    return tuple(kept)


def _stacked(blocks: tuple[Segment, ...], block: Segment) -> tuple[Segment, ...]:
    """Joined with the blocks that are not at least twice as large, so there are at most log2(n) of them."""
    rest = list(blocks)
    while rest and rest[-1].count < 2 * block.count:
        block = joined([rest.pop(), block])
    return (*rest, block)


def joined(segments: list[Segment]) -> Segment:
    """One segment in memory of several; of a row that occurs twice the last one counts."""
    ids = np.concatenate([segment.ids for segment in segments])
    vectors = np.concatenate(
        [segment.vectors(np.arange(segment.count)).astype(np.float16) for segment in segments]
    )
    return _block(ids, vectors)


def merged(found: list[Found], k: int, queries: int) -> tuple[np.ndarray, np.ndarray]:
    """The best `k` of several parts: (ids, scores) [q, k'], k' ≤ k, padded with -1 where a query found fewer.

    Equal scores are ordered by id; an id that two parts know (a picture on the move) counts once.
    """
    if not found:
        return np.empty((queries, 0), np.int64), np.empty((queries, 0), np.float32)
    ids = np.concatenate([part.ids for part in found], axis=1)
    scores = np.concatenate([part.scores for part in found], axis=1)
    width = min(k, ids.shape[1])
    if len(found) == 1:  # ids of one part differ, and what it lacks comes last
        order = np.lexsort((ids, -scores), axis=1)[:, :width]
        return np.take_along_axis(ids, order, axis=1), np.take_along_axis(scores, order, axis=1)
    best = [_best(*pair, width) for pair in zip(ids, scores, strict=True)]
    return np.array([one for one, _score in best]), np.array([score for _one, score in best])


def _best(ids: np.ndarray, scores: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    order = np.lexsort((ids, -scores))
    order = order[ids[order] >= 0]
    _unique, first = np.unique(ids[order], return_index=True)
    order = order[np.sort(first)][:width]
    missing = (0, width - len(order))
    return (
        np.pad(ids[order], missing, constant_values=-1),
        np.pad(scores[order], missing, constant_values=-np.inf),
    )
