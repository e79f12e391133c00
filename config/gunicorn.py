"""gunicorn: threads in few processes; the model is loaded after the fork (config.warmup says why)."""

import os
import sys
from typing import Any

# Before numpy, FAISS and torch are loaded: one thread per search, or concurrent ones slow each other down.
os.environ.setdefault("OMP_NUM_THREADS", "1")

worker_class = "gthread"
# Without Redis the cache lives in the process: cursors and results need the one worker to come back to.
workers = int(os.environ.get("WEB_CONCURRENCY", "1" if not os.environ.get("REDIS_URL") else "2"))
threads = int(os.environ.get("WEB_THREADS", "8"))
timeout = 60
graceful_timeout = 10
keepalive = 5
worker_tmp_dir = "/dev/shm" if sys.platform == "linux" else None  # noqa: S108  (gunicorn's heartbeat files)
accesslog = None
control_socket_disable = True


def post_fork(server: Any, worker: Any) -> None:
    from config import warmup

    warmup.start()
