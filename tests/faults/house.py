"""A Loupe of real processes (web, workers) over the test's own database and files; any of them may be killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.db import connection

from tests.services import end_with_parent, free_port

ROOT = Path(__file__).resolve().parents[2]
STOP_SECONDS = 20
ANSWER_SECONDS = 30


def database_url() -> str:
    """Where other processes find the database of this test."""
    found = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{found['NAME']}"
    return "postgres://{USER}:{PASSWORD}@{HOST}:{PORT}/{NAME}".format(**found)


class Process:
    """A child of the test in a session of its own, with its log; killed for good when the test ends."""

    def __init__(self, name: str, command: list[str], log: Path, env: dict[str, str]) -> None:
        self.name, self.command, self.log, self.env = name, command, log, env
        self.popen: subprocess.Popen[bytes] | None = None

    def start(self) -> Process:
        with self.log.open("ab") as log:
            self.popen = subprocess.Popen(
                self.command,
                cwd=ROOT,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=lambda: end_with_parent(signal.SIGKILL),
            )
        return self

    @property
    def pid(self) -> int:
        assert self.popen
        return self.popen.pid

    def alive(self) -> bool:
        return self.popen is not None and self.popen.poll() is None

    def kill(self) -> None:
        self.end(signal.SIGKILL)

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Signal it and wait; the exit status."""
        if self.popen is None:
            return 0
        if self.popen.poll() is None:
            self.popen.send_signal(how)
        try:
            return self.popen.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            return self.popen.wait()

    def revive(self) -> bool:
        """Start again where it ended; whether it had."""
        if self.alive():
            return False
        self.start()
        return True

    def children(self) -> list[int]:
        """Process ids of its living children."""
        found: list[int] = []
        for task in Path(f"/proc/{self.pid}/task").glob("*/children"):
            try:
                found += map(int, task.read_text().split())
            except OSError:
                continue
        return found

    def tail(self) -> str:
        return f"── {self.name}\n{self.log.read_text(errors='replace')[-3000:]}" if self.log.exists() else ""


class House:
    def __init__(self, folder: Path, model: Path, *, full: bool) -> None:
        self.folder, self.model, self.full = folder, model, full
        self.processes: list[Process] = []
        self.env = {
            **os.environ,
            "DATABASE_URL": database_url(),
            "LOUPE_DATA": str(folder),
            "LOUPE_MODEL": str(model),
            "LOUPE_DTYPE": "float32",
            "OMP_NUM_THREADS": "1",
            "LOG_LEVEL": "WARNING",
            "LOUPE_API_RATE": "100000/min",
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "FAULTS_ENCODER": "pixels",
            "FAULTS_WAITS": "" if full else "short",
        }

    def close(self) -> None:
        for process in self.processes:
            process.kill()

    # ── Processes ───────────────────────────────────────────────────────────────────────────────────────────────

    def run(self, name: str, *command: str, **env: str) -> Process:
        process = Process(name, [sys.executable, *command], self.folder / f"{name}.log", {**self.env, **env})
        self.processes.append(process)
        return process.start()

    def worker(
        self,
        name: str = "worker",
        queues: str = "interactive,bulk,index",
        pool: str = "threads",
        **env: str,
    ) -> Process:
        """Celery as in production: threads by default, so that one process does every lane."""
        celery = ["-m", "celery", "-A", "tests.faults.worker", "worker", "--loglevel", "warning"]
        quiet = ["--without-mingle", "--without-gossip", "--without-heartbeat"]
        size = "1" if pool == "prefork" else "3"
        work = ["--pool", pool, "--concurrency", size, "-n", f"{name}@%h", "-Q", queues]
        return self.run(name, *celery, *quiet, *work, **env)

    def web(self, **env: str) -> Web:
        port = free_port()
        gunicorn = ["-m", "gunicorn", "config.wsgi", "--bind", f"127.0.0.1:{port}", "-k", "gthread"]
        process = self.run(
            "web", *gunicorn, "--workers", "1", "--threads", "4", "--log-level", "warning", **env
        )
        web = Web(process, port)
        self.until(web.answers, 60, "the web server")
        return web

    def crash(self, point: str, count: int, what: str, *numbers: int) -> int:
        """Uploads, or steps of a lane, of which each dies at `point`; how many did."""
        command = [sys.executable, "-m", "tests.faults.crash", point, str(count), what, *map(str, numbers)]
        done = subprocess.run(
            command, cwd=ROOT, env=self.env, check=True, stdout=subprocess.PIPE, timeout=600
        )
        return int(done.stdout.split()[-1])

    # ── Waiting ─────────────────────────────────────────────────────────────────────────────────────────────────

    def until(
        self, done: Callable[[], Any], seconds: float, what: str, each: Callable[[], Any] | None = None
    ) -> float:
        """Poll `done`; returns the seconds that it took, fails with the processes' logs."""
        started = time.monotonic()
        while not done():
            if time.monotonic() - started > seconds:
                raise AssertionError(
                    f"waited {seconds} s for {what}\n" + "\n".join(p.tail() for p in self.processes)
                )
            if each:
                each()
            time.sleep(0.05)
        return time.monotonic() - started


class Web:
    """The API over real HTTP."""

    def __init__(self, process: Process, port: int) -> None:
        self.process, self.port, self.key = process, port, ""

    def answers(self) -> bool:
        try:
            return self.send("GET", "/livez")[0] == 200
        except OSError:
            return False

    def send(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, Any]:
        """(status, JSON); OSError where no whole answer came."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data=body, method=method)
        request.add_header("Authorization", f"Bearer {self.key}")
        for name, value in headers.items():
            request.add_header(name.replace("_", "-"), value)
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as answer:
                return answer.status, _json(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, _json(error.read()) | {"retry_after": error.headers.get("Retry-After")}

    def upload(self, collection: Any, name: str, content: bytes, **fields: str) -> tuple[int, Any]:
        boundary = uuid.uuid4().hex
        path = f"/api/v1/collections/{getattr(collection, 'uid', collection)}/images/"
        body = form(boundary, name, content, fields)
        return self.send("POST", path, body, Content_Type=f"multipart/form-data; boundary={boundary}")


def form(boundary: str, name: str, content: bytes, fields: dict[str, str]) -> bytes:
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"\r\n\r\n{value}\r\n'.encode()
        for field, value in fields.items()
    ]
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
    return b"".join([*parts, head.encode(), content, f"\r\n--{boundary}--\r\n".encode()])


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return {}
