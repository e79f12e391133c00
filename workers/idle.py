"""Every worker looks for work of its own accord every few seconds, so a silent broker costs seconds, not work.

The loop lives where tasks run: in the worker itself under solo and threads, in each child under prefork, whose parent
must never use FAISS or torch (a child forked after that hangs).
"""

from __future__ import annotations

import random
import threading
from typing import Any

import structlog
from billiard.process import current_process
from celery import current_app
from celery.signals import (
    worker_process_init,
    worker_process_shutdown,
    worker_ready,
    worker_shutdown,
    worker_shutting_down,
)
from django.db import connections

from images.processing import close_pool
from workers import lanes
from workers.schedules import BESIDE, IDLE_SECONDS, LANES

log = structlog.get_logger(__name__)
JOIN_SECONDS = 30.0
_stop = threading.Event()
_threads: list[threading.Thread] = []


@worker_ready.connect
def start(sender: Any = None, **kwargs: Any) -> None:
    if not _is_prefork(sender):
        _start()


@worker_process_init.connect
def start_in_child(**kwargs: Any) -> None:
    if current_process().name != "MainProcess":
        _stop.clear()
        _threads.clear()  # what a fork copied of the parent's is not running here
        _start()


@worker_shutting_down.connect
def stop(**kwargs: Any) -> None:
    """No new batch; the one in hand is finished."""
    _stop.set()


@worker_shutdown.connect
@worker_process_shutdown.connect
def finish(**kwargs: Any) -> None:
    """Wait for the batch in hand, then end the decoding children."""
    _stop.set()
    for thread in _threads:
        thread.join(JOIN_SECONDS)
    close_pool()


def _is_prefork(consumer: Any) -> bool:
    return "prefork" in type(getattr(consumer, "pool", None)).__module__


def _start() -> None:
    queues = list(current_app.amqp.queues.consume_from)
    names = list(dict.fromkeys(lane for queue in queues for lane in LANES.get(queue, ())))
    groups = [[name for name in names if name not in BESIDE], *([name] for name in names if name in BESIDE)]
    for group in filter(None, groups):
        thread = threading.Thread(target=loop, args=(group, _stop), name=f"idle-{group[0]}", daemon=True)
        _threads.append(thread)
        thread.start()


def loop(names: list[str], stopped: threading.Event) -> None:
    """Work through every lane until nothing is left, wait, again."""
    try:
        while not stopped.wait(IDLE_SECONDS * random.uniform(0.8, 1.2)):  # noqa: S311  (spreads the workers' polls)
            for name in names:
                _drain(name, stopped)
    finally:
        connections.close_all()


def _drain(name: str, stopped: threading.Event) -> None:
    try:
        while not stopped.is_set() and lanes.idle_step(name):
            pass
    except Exception:  # a lane that fails is logged and looked at again in five seconds; the thread lives on
        log.exception("idle_step_failed", lane=name)
