"""One query over many collections of one space: large ones by their own views, many small ones from one block.

A thousand searches of a hundred rows each would cost a thousand times the overhead of one. So where more than a few
small collections are asked, their rows lie together in one block in this process, and a bitmap says which of them
are asked. The few whose rows changed since the block was packed are masked out of it and searched by themselves.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from django.db.models import Count, Max, QuerySet, Sum

from search.index.errors import BadParameters
from search.index.planner import Plan
from search.index.reader import Reader, states_of
from search.index.segment import Segment, checked_queries
from search.index.view import Filter, Found, View, merged, search_exactly
from search.models import CollectionIndex, Space

FEW = 16
SMALL_ROWS = 5000
MOST_PACKED = 300_000
REPACK = 32
SCOPES = 64
CHUNK = 10_000
MAX_K = 50_000


@dataclass(frozen=True)
class Hits:
    """Candidates, best first: `ids` int64 [q, k'] and `scores` f32 [q, k'], k' ≤ k, padded with id -1.

    `exact` says that nothing better exists; else `estimated_recall` is what was measured at build for this plan.
    `generations` names the generation of each collection that answered (0: none built yet), `approximate` those whose
    generation was not searched exactly.
    """

    ids: np.ndarray
    scores: np.ndarray
    plan: str
    exact: bool
    estimated_recall: float
    generations: Mapping[int, int]
    approximate: tuple[int, ...] = ()


@dataclass(frozen=True)
class Pack:
    """Rows of many small collections in one block. `owners` holds each row's place in `seqs`, which says up to where
    each collection is packed."""

    segment: Segment
    owners: np.ndarray
    seqs: Mapping[int, int]

    def members(self, collections: set[int]) -> np.ndarray | None:
        """bool [n]: rows of these collections; None for all."""
        if collections >= self.seqs.keys():
            return None
        wanted = np.fromiter((pk in collections for pk in self.seqs), bool, len(self.seqs))
        return wanted[self.owners]


@dataclass(frozen=True)
class Scope:
    """What one set of collections is searched with, valid while their index rows sum up to `fingerprint`, and so
    at least while all index rows sum up to `everywhere`."""

    everywhere: tuple[Any, ...]
    fingerprint: tuple[Any, ...]
    single: tuple[View, ...]
    pack: Pack | None
    members: np.ndarray | None
    generations: Mapping[int, int]


class Finder:
    """The search side of one process."""

    def __init__(self) -> None:
        self.reader = Reader()
        self._packs: dict[int, Pack] = {}
        self._scopes: OrderedDict[tuple[Any, ...], Scope] = OrderedDict()
        self._guard = threading.Lock()

    def search(
        self,
        collections: Sequence[int],
        space: Space,
        vectors: np.ndarray,
        k: int,
        chosen: Filter,
        exact: bool,
    ) -> Hits:
        """Raises WrongDimension, NotFinite, BadParameters."""
        if not 1 <= k <= MAX_K:
            raise BadParameters(f"k must be from 1 to {MAX_K}, not {k}")
        queries = checked_queries(vectors, space.dimension)
        scope = self._scope(tuple(sorted(set(collections))), space)
        found, approximate = [], []
        for view in scope.single:
            parts = view.search(queries, k, chosen, exact)
            found += parts
            if not all(part.plan.exact for part in parts):
                approximate.append(view.collection_id)
        if scope.pack:
            found.append(_search_pack(scope.pack, scope.members, queries, k, chosen))
        return _hits(found, k, len(queries), scope.generations, tuple(approximate))

    def _scope(self, collections: tuple[int, ...], space: Space) -> Scope:
        if len(collections) <= FEW:
            views = self.reader.views(states_of(collections), space)
            return Scope((), (), tuple(views), None, None, _generations(views))
        # Read before the rows: what changes in between is then noticed by the next query, never missed.
        everywhere, key = _sums(CollectionIndex.objects.all()), (space.pk, collections)
        known = self._scopes.get(key)
        if known is not None and known.everywhere == everywhere:
            return known
        fingerprint = _fingerprint(collections)
        if known is not None and known.fingerprint == fingerprint:
            scope, settled = replace(known, everywhere=everywhere), True
        else:
            scope, settled = self._compile(collections, space, everywhere, fingerprint)
        if settled:
            self._remember(key, scope)
        return scope

    def _compile(
        self,
        collections: tuple[int, ...],
        space: Space,
        everywhere: tuple[Any, ...],
        fingerprint: tuple[Any, ...],
    ) -> tuple[Scope, bool]:
        """(scope, whether every new generation is open already, so that the scope may be kept)."""
        states = [
            state
            for start in range(0, len(collections), CHUNK)
            for state in states_of(collections[start : start + CHUNK])
        ]
        views = self.reader.views(states, space)
        small = _packable(views)
        pack = self._pack(small, space) if len(small) > FEW else None
        packed = {
            view.collection_id for view in small if pack and pack.seqs.get(view.collection_id) == view.seq
        }
        single = tuple(view for view in views if view.rows and view.collection_id not in packed)
        members = pack.members(packed) if pack else None
        scope = Scope(everywhere, fingerprint, single, pack, members, _generations(views))
        live = {collection: live_id for collection, live_id, _seq in states}
        return scope, all(view.live_id == live[view.collection_id] for view in views)

    def _pack(self, small: Sequence[View], space: Space) -> Pack:
        """The packed block of a space, made anew where too much of what is asked is not in it as it is now."""
        with self._guard:
            pack = self._packs.get(space.pk)
            known = pack.seqs if pack else {}
            stale = sum(known.get(view.collection_id) != view.seq for view in small)
            if pack is None or stale > max(REPACK, len(small) // 10):
                pack = self._packs[space.pk] = packed(small)
            return pack

    def _remember(self, key: tuple[Any, ...], scope: Scope) -> None:
        with self._guard:
            self._scopes[key] = scope
            self._scopes.move_to_end(key)
            while len(self._scopes) > SCOPES:
                self._scopes.popitem(last=False)


def packed(views: Sequence[View]) -> Pack:
    """The rows of `views` in one block; a picture that is on the move between two of them stays in both."""
    parts = [(place, segment) for place, view in enumerate(views) for segment in view.segments()]
    ids = np.concatenate([segment.ids for _place, segment in parts] or [np.empty(0, np.int64)])
    owners = np.concatenate(
        [np.full(part.count, place, np.int32) for place, part in parts] or [np.empty(0, np.int32)]
    )
    vectors = np.concatenate([_rows(segment) for _place, segment in parts])
    keep = np.concatenate([_valid(view) for view in views])
    order = np.flatnonzero(keep)[np.argsort(ids[keep], kind="stable")]
    segment = Segment.in_memory(ids[order], vectors[order])
    return Pack(segment, owners[order], {view.collection_id: view.seq for view in views})


def _rows(segment: Segment) -> np.ndarray:
    return segment.vectors(np.arange(segment.count)).astype(np.float16)


def _valid(view: View) -> np.ndarray:
    """bool over the rows of the view's segments: all but those of the base that were replaced."""
    mask = np.ones(view.rows, dtype=bool)
    if view.base is not None and view.replaced is not None:
        mask[: view.base.segment.count] = ~view.replaced
    return mask


def _packable(views: Sequence[View]) -> list[View]:
    """The small views, as many as the block may hold."""
    small, room = [], MOST_PACKED
    for view in views:
        if 0 < view.rows <= min(SMALL_ROWS, room):
            small.append(view)
            room -= view.rows
    return small


def _search_pack(
    pack: Pack, members: np.ndarray | None, queries: np.ndarray, k: int, chosen: Filter
) -> Found:
    mask = chosen.mask(pack.segment.ids)
    if members is not None:
        mask = members if mask is None else mask & members
    return search_exactly(pack.segment, queries, k, mask)


def _hits(
    found: list[Found], k: int, queries: int, generations: Mapping[int, int], approximate: tuple[int, ...]
) -> Hits:
    ids, scores = merged(found, k, queries)
    plans: list[Plan] = [part.plan for part in found]
    return Hits(
        ids=ids,
        scores=scores,
        plan="+".join(sorted({plan.name for plan in plans})) or "empty",
        exact=all(plan.exact for plan in plans),
        estimated_recall=min((plan.estimated_recall for plan in plans), default=1.0),
        generations=generations,
        approximate=approximate,
    )


def _generations(views: Sequence[View]) -> dict[int, int]:
    return {view.collection_id: view.base.number if view.base else 0 for view in views}


def _fingerprint(collections: tuple[int, ...]) -> tuple[Any, ...]:
    """One statement instead of a thousand rows."""
    sums: list[Any] = []
    for start in range(0, len(collections), CHUNK):
        rows = CollectionIndex.objects.filter(collection_id__in=collections[start : start + CHUNK])
        sums += _sums(rows)
    return tuple(sums)


def _sums(rows: QuerySet[CollectionIndex]) -> tuple[Any, ...]:
    """Changes with every change of these index rows: places and live generations only rise, so equal sums over the
    same rows mean that nothing moved."""
    sums = {"keys": Sum("pk"), "places": Sum("last_seq"), "live": Sum("live_id")}
    return tuple(rows.aggregate(rows=Count("pk"), last=Max("pk"), **sums).values())
