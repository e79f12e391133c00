"""Decoding in killable child processes: a hostile file can end a child, never a worker.

    pool = SandboxPool(size=2)
    outcome = pool.process(path)        # raises Rejected, Crashed or TimedOut

A child is a plain `python -m images.sandbox` with bounded memory, processor time and no right to write files.
It imports Pillow and numpy but not Django, answers many pictures, and is replaced when one of them kills it.

Messages in both directions: 4 bytes length + JSON header, then the blobs whose lengths the header names.
"""

from __future__ import annotations

import ctypes
import json
import os
import queue
import resource
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

from .outcome import DEFAULT_LIMITS, Blobs, Limits, Outcome, Rejected, gettext_noop

SECONDS = 20.0
MEMORY_BYTES = 2 << 30
PICTURES_PER_CHILD = 1000  # then a fresh one: memory that C libraries fragment comes back
MAX_HEADER, MAX_BLOB = 1 << 20, 64 << 20
KEPT_BUFFER_BYTES = 32 << 20
START_SECONDS = 60.0
ROOT = Path(__file__).resolve().parent.parent
_LATE = gettext_noop("Decoding the picture took too long.")
_FAILED = gettext_noop("The decoder failed on this picture (%(why)s).")
_NONSENSE = gettext_noop("The decoder gave an answer that makes no sense.")
_NO_START = gettext_noop("The decoder did not start.")
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38

Process = Callable[[bytes | str, Limits], Outcome]


class SandboxError(Exception):
    """Decoding did not come to an answer. It counts as an attempt; `permanent` forbids another."""

    permanent = False


class Crashed(SandboxError):
    """The decoder crashed on this picture."""


class TimedOut(SandboxError):
    """Decoding this picture took too long."""


class SandboxPool:
    """`size` children that any number of threads share; each picture has one to itself.

    Children start when first needed and stay warm. Create the pool in the process that uses it, after forks.
    """

    def __init__(
        self,
        size: int = 2,
        *,
        limits: Limits = DEFAULT_LIMITS,
        seconds: float = SECONDS,
        memory_bytes: int = MEMORY_BYTES,
        module: str = "images.sandbox",
    ) -> None:
        self.limits, self.seconds = limits, seconds
        self._command = [sys.executable, "-m", module, str(os.getpid()), str(memory_bytes)]
        self._idle: queue.LifoQueue[_Child | None] = queue.LifoQueue()
        for _ in range(size):
            self._idle.put(None)
        self._size = size
        self._closed = False
        # The kernel's parent-death signal follows the THREAD that forked: it must live as long as the pool.
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="sandbox-starter")

    def process(self, source: Path | str | bytes) -> Outcome:
        """Decode and measure one original, given by path or as bytes. Raises Rejected, Crashed or TimedOut.

        Waits for a free child; `seconds` count from then.
        """
        if isinstance(source, bytes):
            self.limits.check_bytes(len(source))
        with self._child() as child:
            header, blobs = child.ask(source, self.limits, self.seconds)
        return _outcome(header, blobs)

    def close(self) -> None:
        """End the children and wait for pictures under way. The pool is of no use afterwards."""
        if self._closed:
            return
        self._closed = True
        for _ in range(self._size):
            if child := self._idle.get():
                child.kill()
        self._starter.shutdown()

    def __enter__(self) -> SandboxPool:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def pids(self) -> list[int]:
        """Process ids of the children that wait; for health pages and tests."""
        return [child.pid for child in list(self._idle.queue) if child]

    @contextmanager
    def _child(self) -> Iterator[_Child]:
        if self._closed:
            raise RuntimeError("the sandbox pool is closed")
        child = self._idle.get()
        try:
            if child is None or not child.is_alive():
                child = self._start(child)
            yield child
        finally:
            self._idle.put(self._kept(child))

    def _start(self, dead: _Child | None) -> _Child:
        if dead:
            dead.kill()
        return self._starter.submit(_Child, self._command).result()

    @staticmethod
    def _kept(child: _Child | None) -> _Child | None:
        if child is None or child.is_usable():
            return child
        child.kill()
        return None


class _Child:
    def __init__(self, command: list[str]) -> None:
        self._process = subprocess.Popen(  # noqa: S603  (our own interpreter and module)
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=ROOT,
            env=_environment(),
        )
        self.pid = self._process.pid
        self._left = PICTURES_PER_CHILD
        self._broken = False
        try:
            with self._deadline(START_SECONDS):
                receive(self._pipe_out)
        except (OSError, EOFError, ValueError) as error:
            self.kill()
            raise Crashed(_NO_START) from error

    def ask(self, source: Path | str | bytes, limits: Limits, seconds: float) -> tuple[dict[str, Any], Blobs]:
        """One question, one answer; the child is broken after anything but an answer."""
        blobs = (source,) if isinstance(source, bytes) else ()
        path = None if isinstance(source, bytes) else os.path.abspath(source)
        question = {"path": path, "limits": asdict(limits), "seconds": seconds}
        self._left -= 1
        try:
            with self._deadline(seconds):
                send(self._pipe_in, question, blobs)
                return receive(self._pipe_out)
        except (OSError, EOFError, ValueError) as error:
            self._broken = True
            raise self._end(error) from error

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def is_usable(self) -> bool:
        return not self._broken and self._left > 0

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            try:
                if pipe:
                    pipe.close()
            except OSError:  # bytes that it never read
                continue

    @property
    def _pipe_in(self) -> BinaryIO:
        assert self._process.stdin
        return self._process.stdin  # type: ignore[return-value]

    @property
    def _pipe_out(self) -> BinaryIO:
        assert self._process.stdout
        return self._process.stdout  # type: ignore[return-value]

    @contextmanager
    def _deadline(self, seconds: float) -> Iterator[None]:
        """Killing the child is what ends a blocked read or write here."""
        timer = threading.Timer(seconds, self._overrun)
        timer.daemon = True
        self._late = False
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()  # after this the timer cannot kill a child that has gone on to its next picture
            self._broken = self._broken or self._late

    def _overrun(self) -> None:
        self._late = True
        self._process.kill()

    def _end(self, error: Exception) -> SandboxError:
        """Why the child went silent."""
        self._process.kill()
        code = self._process.wait()
        if self._late or code in (-signal.SIGXCPU, -signal.SIGALRM):
            return TimedOut(_LATE)
        if isinstance(error, ValueError):
            return Crashed(_NONSENSE)
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"code {code}"
        return Crashed(_FAILED % {"why": name})


def _environment() -> dict[str, str]:
    """Nothing of the worker's secrets; one thread a child."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LD_LIBRARY_PATH") if name in os.environ}
    return {
        **kept,
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        # glibc: keep a picture's buffers for the next one. Else every picture pays 2,800 page faults, 5 ms of 39.
        "MALLOC_MMAP_THRESHOLD_": str(KEPT_BUFFER_BYTES),
        "MALLOC_TRIM_THRESHOLD_": str(2 * KEPT_BUFFER_BYTES),
    }


def _outcome(header: dict[str, Any], blobs: Blobs) -> Outcome:
    try:
        if header["kind"] == "rejected":
            raise Rejected(str(header["code"]), **{str(k): v for k, v in header["params"].items()})
        if header["kind"] == "outcome":
            return Outcome.from_wire(header["outcome"], blobs)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Crashed(_NONSENSE) from error
    raise Crashed(_FAILED % {"why": str(header.get("error"))[:300]})


def send(pipe: BinaryIO, header: dict[str, Any], blobs: Blobs = ()) -> None:
    text = json.dumps({**header, "blobs": [len(blob) for blob in blobs]}).encode()
    pipe.write(struct.pack("<I", len(text)) + text)
    for blob in blobs:
        pipe.write(blob)
    pipe.flush()


def receive(pipe: BinaryIO) -> tuple[dict[str, Any], Blobs]:
    """EOFError where the other side is gone, ValueError where it talks nonsense."""
    (length,) = struct.unpack("<I", _exactly(pipe, 4))
    if length > MAX_HEADER:
        raise ValueError("header too long")
    header = json.loads(_exactly(pipe, length))
    lengths = header.pop("blobs", None) if isinstance(header, dict) else None
    if not isinstance(lengths, list) or len(lengths) > 2 or not all(_is_length(n) for n in lengths):
        raise ValueError("header out of shape")
    return header, tuple(_exactly(pipe, n) for n in lengths)


def _is_length(value: object) -> bool:
    return isinstance(value, int) and 0 <= value <= MAX_BLOB


def _exactly(pipe: BinaryIO, count: int) -> bytes:
    data = pipe.read(count)
    if len(data) < count:
        raise EOFError
    return data


# --- the child ----------------------------------------------------------------------------------------------


def serve(process: Process) -> None:
    """Answer questions on stdin until it closes. `sys.argv`: parent's pid, bytes of address space."""
    parent, memory_bytes = int(sys.argv[1]), int(sys.argv[2])
    confine(parent, memory_bytes)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # C libraries that print must not speak into the protocol
    send(answers, {"kind": "ready"})
    while True:
        try:
            question, blobs = receive(sys.stdin.buffer)
        except EOFError:
            return
        _allow(question["seconds"])
        send(answers, *_answer(process, question, blobs))
        signal.setitimer(signal.ITIMER_REAL, 0)


def confine(parent: int, memory_bytes: int) -> None:
    """Give up memory, files and privileges; die with the parent."""
    if sys.platform == "linux":
        prctl = ctypes.CDLL(None, use_errno=True).prctl
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.getppid() != parent:  # it died before the line above
        os._exit(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the group: the parent decides
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))


def _allow(seconds: float) -> None:
    """The kernel's own deadlines: they hold even where the parent is gone and Python never runs again."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime + seconds) + 1, hard))
    signal.setitimer(signal.ITIMER_REAL, seconds + 2)


def _answer(process: Process, question: dict[str, Any], blobs: Blobs) -> tuple[dict[str, Any], Blobs]:
    try:
        outcome = process(blobs[0] if blobs else question["path"], Limits(**question["limits"]))
    except Rejected as rejected:
        return {"kind": "rejected", "code": rejected.code, "params": rejected.params}, ()
    except MemoryError:
        return {"kind": "failed", "error": "out of memory"}, ()
    except Exception as error:  # noqa: BLE001  (a bug in a decoder plugin: the parent reports it)
        return {"kind": "failed", "error": f"{type(error).__name__}: {error}"[:300]}, ()
    fields, data = outcome.to_wire()
    return {"kind": "outcome", "outcome": fields}, data


def main() -> None:
    from .pixels import process  # here alone: the worker that imports this module never loads a decoder

    serve(process)


if __name__ == "__main__":
    main()
