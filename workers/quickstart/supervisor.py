"""Run the server's processes as one tree: what dies is started again, and nothing outlives its parent."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

PR_SET_PDEATHSIG = 1
STOP_SECONDS = 20
MIN_UPTIME = 5.0


class ChildKeepsDying(Exception):
    """A process ended again right after its start; its log says why."""


@dataclass
class Child:
    name: str
    command: list[str]
    log: Path
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    quick_deaths: int = 0
    _sink: IO[bytes] | None = field(default=None, repr=False)

    def start(self) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if self._sink is None:
            self._sink = self.log.open("ab")
        self.started = time.monotonic()
        self.process = subprocess.Popen(  # noqa: S603  (our own command lines)
            self.command,
            stdin=subprocess.DEVNULL,
            stdout=self._sink,
            stderr=self._sink,
            preexec_fn=_die_with_parent,
        )

    def revive(self) -> None:
        """Start again where it ended; raises ChildKeepsDying after three quick deaths in a row."""
        if self.process is None or self.process.poll() is None:
            return
        quick = time.monotonic() - self.started < MIN_UPTIME
        self.quick_deaths = self.quick_deaths + 1 if quick else 0
        if self.quick_deaths >= 3:
            raise ChildKeepsDying(f"{self.name} ends right after its start; see {self.log}")
        self.start()

    def stop(self, deadline: float) -> None:
        if self.process is None:
            return
        try:
            self.process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@dataclass
class Supervisor:
    children: list[Child]

    def start(self) -> None:
        for child in self.children:
            child.start()

    def check(self) -> None:
        for child in self.children:
            child.revive()

    def stop(self) -> None:
        """Ask all to end at once, wait, kill what is left."""
        deadline = time.monotonic() + STOP_SECONDS
        for child in self.children:
            if child.process is not None:
                with contextlib.suppress(ProcessLookupError):
                    child.process.send_signal(signal.SIGTERM)
        for child in self.children:
            child.stop(deadline)


def children(port: int, logs: Path, data: Path) -> list[Child]:
    """The web server, the embedding worker and the index worker (which also keeps the clock)."""
    python = sys.executable
    celery = [python, "-m", "celery", "-A", "config", "worker", "--loglevel", "warning", "--without-mingle",
              "--without-gossip", "--without-heartbeat"]  # fmt: skip
    web = [python, "-m", "gunicorn", "config.wsgi", "-c", "config/gunicorn.py", "--bind", f"127.0.0.1:{port}"]
    embed = [*celery, "-n", "embed@%h", "-Q", "interactive,bulk", "--pool", "threads", "--concurrency", "2"]
    clock = ["--beat", "--schedule", str(data / "celerybeat-schedule")]
    index = [
        *celery,
        "-n",
        "index@%h",
        "-Q",
        "index,maintenance",
        "--pool",
        "prefork",
        "--concurrency",
        "1",
        *clock,
    ]
    return [
        Child("web", web, logs / "web.log"),
        Child("embed", embed, logs / "embed.log"),
        Child("index", index, logs / "index.log"),
    ]


def _die_with_parent() -> None:
    """On Linux a child gets SIGTERM when the supervisor is gone, however it went."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() == 1:
            os._exit(1)
