"""Load the model after the fork, in the background, so that the first search of a process is as quick as the next.

Torch must not be used before gunicorn forks (a forked child of a process that used it hangs), hence a thread that
the server's `post_fork` hook starts.
"""

import gc
import threading
import time

import structlog
from django.db import connection
from django.utils.module_loading import import_string

RETRY_SECONDS = 15

log = structlog.get_logger(__name__)
_finished = threading.Event()
_started = threading.Lock()


def start() -> None:
    """Warm this process once; `done()` tells when."""
    if _started.acquire(blocking=False):
        threading.Thread(target=_warm, name="warmup", daemon=True).start()


def done() -> bool:
    """True once warm. A process that was never asked to warm (tests, runserver) starts to on the first question."""
    start()
    return _finished.is_set()


def _warm() -> None:
    """Until it succeeds: a model that is copied into place later makes the process ready without a restart."""
    while not _finished.is_set():
        try:
            import_string("search.engine.warm")()
            # The model and the modules stay: the collector need not walk through them again and again.
            gc.collect()
            gc.freeze()
            _finished.set()
        except Exception:
            log.exception("warmup_failed", again_in=RETRY_SECONDS)
            time.sleep(RETRY_SECONDS)
        finally:
            connection.close()
