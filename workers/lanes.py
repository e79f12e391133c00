"""One lane per kind of work and process: a task and the idle loop never do the same work side by side here.

Other processes are kept apart by the leases; this only bounds what one process takes on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from django.db import close_old_connections

from images.processing import process_pending
from images.transfer import run_due
from images.webhooks import deliver_due
from search.embedding import embed_pending
from search.index import build_due, replay_samples

STEPS: dict[str, Callable[[], int]] = {
    "process": process_pending,
    "embed": embed_pending,
    "build_indexes": build_due,
    "transfer": run_due,
    "webhooks": deliver_due,
    "live_recall": replay_samples,
}


@dataclass
class Lane:
    busy: threading.Lock = field(default_factory=threading.Lock)
    asked: threading.Event = field(default_factory=threading.Event)


_lanes = {name: Lane() for name in STEPS}


def step(name: str) -> int:
    """Do one batch of `name` unless this process is already at it; returns how many rows were taken.

    Who finds the lane busy leaves word, and whoever is busy looks once more: a row committed while the lane was
    finding its queue empty does not wait for the idle loop. Hence 1 where nothing was taken but somebody asked.
    """
    lane = _lanes[name]
    lane.asked.set()
    if not lane.busy.acquire(blocking=False):
        return 0
    try:
        lane.asked.clear()
        count = STEPS[name]()
    finally:
        lane.busy.release()
    return count or int(lane.asked.is_set())  # read after the release: who came before it has left word


def idle_step(name: str) -> int:
    """`step` for a thread of its own, which no request or task cleans up after."""
    close_old_connections()
    try:
        return step(name)
    finally:
        close_old_connections()
