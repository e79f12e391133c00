"""The process' views of the collections, kept up to date by one cheap statement per query. Thread-safe.

A query compares what it knows with the index rows (live generation, highest place). Fresh rows are fetched at once.
A new generation is opened and verified by a thread while the old one goes on answering; where it cannot be
used the old one stays, the fault is written to its row and a build is wanted. A process that has nothing open yet falls
back to the generation before, and at last to the vectors in the database: search never goes dark.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import structlog
from django.db import transaction

from images.storage import StorageError
from search.index import catalog, files, manifest, rows
from search.index.errors import DamagedSegment, ForeignManifest, IndexFault
from search.index.view import Base, View
from search.models import CollectionIndex, Generation, GenerationState, IndexState, Space

log = structlog.get_logger(__name__)
# Rows that views hold in this process' own memory; beyond it the least recently asked are closed.
MOST_ROWS = 1_000_000
# Files that may be mapped at once: each holds a descriptor, and a process usually has 1,024.
MOST_MAPPED = 400
OUTAGE_SECONDS = 5.0
# Stands for the live generation where a view has none open: it differs from every one, so opening is tried again.
NOTHING_OPEN = 0

Key = tuple[int, int]
# (collection, live generation, highest place)
State = tuple[int, int | None, int]


class Reader:
    """All views of this process. `space_id` and collections are row ids."""

    def __init__(self) -> None:
        self._views: OrderedDict[Key, View] = OrderedDict()
        self._held = self._mapped = 0
        self._locks: defaultdict[Key, threading.Lock] = defaultdict(threading.Lock)
        self._loading: dict[int, Future[Base]] = {}
        self._refused: dict[int, float] = {}
        self._guard = threading.Lock()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="index-load")

    def views(self, states: Iterable[State], space: Space) -> list[View]:
        """Up-to-date views for index rows that were just read."""
        return [self._view(state, space) for state in states]

    def _view(self, state: State, space: Space) -> View:
        key = (state[0], space.pk)
        view = self._views.get(key)
        if view is None or not _current(view, state):
            with self._lock(key):
                view = self._views.get(key)
                if view is None or not _current(view, state):
                    view = self._caught_up(view, state, space)
                    self._keep(key, view)
        return view

    def _lock(self, key: Key) -> threading.Lock:
        with self._guard:
            return self._locks[key]

    def _keep(self, key: Key, view: View) -> None:
        """Remember the view; close the least recently changed ones where too many rows or files are held."""
        with self._guard:
            before = self._views.pop(key, None)
            self._views[key] = view
            self._held += view.held - (before.held if before else 0)
            self._mapped += view.mapped - (before.mapped if before else 0)
            while len(self._views) > 1 and (self._held > MOST_ROWS or self._mapped > MOST_MAPPED):
                dropped, gone = self._views.popitem(last=False)
                self._held, self._mapped = self._held - gone.held, self._mapped - gone.mapped
                self._locks.pop(dropped, None)

    def _caught_up(self, view: View | None, state: State, space: Space) -> View:
        if view is not None and _behind(view, state):
            # Another thread read the index row after this one did; or a database was restored from its past.
            state = next(iter(states_of([state[0]])), state)
            view = None if _behind(view, state) else view
        if view is None:
            return self._opened(state, space)
        if state[1] != view.live_id:
            view = self._newer(view, state, space)
        ids, vectors = rows.everything(state[0], space, view.seq, state[2])
        return view.extended(max(state[2], view.seq), ids, vectors)

    def _newer(self, view: View, state: State, space: Space) -> View:
        """The view over the new live generation once it is loaded, until then the old one."""
        live_id = state[1]
        if live_id is None:
            return replace(view, live_id=None)
        if self._resting(live_id):
            return view
        future = self._loading.get(live_id)
        if future is None:
            row = _generation(live_id, space)
            if row is None:  # of another space: not what is asked here
                return replace(view, live_id=live_id)
            future = self._loading[live_id] = self._pool.submit(prepared, row)
        if not future.done():
            return view
        self._loading.pop(live_id, None)
        base = self._outcome(live_id, future)
        return view if base is None else _over(base, state, space)

    def _outcome(self, generation_id: int, future: Future[Base]) -> Base | None:
        try:
            return future.result()
        except (IndexFault, StorageError) as error:
            self._refuse(generation_id, error)
            return None

    def _opened(self, state: State, space: Space) -> View:
        """The first view of a collection in this process: over the live generation, or the best that can be had."""
        collection_id, live_id, seq = state
        for row in _candidates(collection_id, live_id, space):
            if self._resting(row.pk):
                continue
            try:
                return _over(opened(row), state, space)
            except (IndexFault, StorageError) as error:
                self._refuse(row.pk, error)
        ids, vectors = rows.everything(collection_id, space, 0, seq)
        return View(collection_id, live_id and NOTHING_OPEN, 0, None).extended(seq, ids, vectors)

    def _resting(self, generation_id: int) -> bool:
        """Whether this generation was refused: for good where it is damaged, for a while where storage was down."""
        return self._refused.get(generation_id, 0.0) > time.monotonic()

    def _refuse(self, generation_id: int, error: Exception) -> None:
        log.error("generation_refused", generation=generation_id, error=str(error))
        permanent = isinstance(error, IndexFault) or getattr(error, "permanent", False)
        self._refused[generation_id] = time.monotonic() + (float("inf") if permanent else OUTAGE_SECONDS)
        if permanent:
            report(generation_id, str(error))

    def settle(self, timeout: float = 30.0) -> None:
        """Wait until what is being loaded is loaded; the next query uses it."""
        for future in list(self._loading.values()):
            future.exception(timeout)


def _current(view: View, state: State) -> bool:
    return view.live_id == state[1] and view.seq == state[2]


def _behind(view: View, state: State) -> bool:
    """Live generations and places only ever rise, so a lower one was read earlier."""
    return state[2] < view.seq or (state[1] or 0) < (view.live_id or 0)


def states_of(collections: Sequence[int]) -> list[State]:
    """The index rows of `collections`, as they are now."""
    found = CollectionIndex.objects.filter(collection_id__in=collections)
    return list(found.values_list("collection_id", "live_id", "last_seq"))


def opened(row: Generation) -> Base:
    """Open a generation: manifest, checksum, then the file. No database access: also runs in the loading thread."""
    about = manifest.parse(row.manifest)
    if about.space != row.space.sha256 or about.dimension != row.space.dimension:
        raise ForeignManifest(f"generation {row.number}: the manifest names another space than its row")
    segment = files.fetch(row.key, about.segment)
    if (segment.count, segment.dimension, segment.kind) != (about.count, about.dimension, about.kind):
        raise DamagedSegment(
            f"generation {row.number}: the segment is not the one that the manifest describes"
        )
    return Base(row.pk, row.number, segment, about)


def prepared(row: Generation) -> Base:
    """Open a generation and read its approximate part, so that no query waits for it after the swap."""
    base = opened(row)
    base.segment.prepare()
    return base


def _over(base: Base, state: State, space: Space) -> View:
    start = View(state[0], base.id, base.manifest.upto_seq, base)
    ids, vectors = rows.everything(state[0], space, start.seq, state[2])
    return start.extended(max(state[2], start.seq), ids, vectors)


def _generation(pk: int, space: Space) -> Generation | None:
    return Generation.objects.select_related("space").filter(pk=pk, space=space).exclude(key="").first()


def _candidates(collection_id: int, live_id: int | None, space: Space) -> list[Generation]:
    """The live generation, then the kept ones before it."""
    kept = Generation.objects.select_related("space").filter(index__collection=collection_id, space=space)
    kept = kept.exclude(key="")
    live = [] if live_id is None else list(kept.filter(pk=live_id))
    before = kept.filter(state=GenerationState.RETIRED)
    return live + list(before.order_by("-retired_at", "-number")[: catalog.KEPT_RETIRED])


def report(generation_id: int, error: str) -> None:
    """Mark a generation that cannot be used and want a build of its collection."""
    with transaction.atomic():
        Generation.objects.filter(pk=generation_id).update(state=GenerationState.FAILED, error=error[:2000])
        CollectionIndex.objects.filter(live=generation_id, state=IndexState.IDLE).update(
            state=IndexState.WANTED, attempts=0, not_before=None
        )
