"""A whole Loupe as a user runs it: `manage.py quickstart` in its own process tree and data folder.

With DATABASE_URL, REDIS_URL and S3_… in the environment (python -m tests.services) it runs on those.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 240
ANSWER_SECONDS = 30


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class Live:
    port: int
    data: Path
    process: subprocess.Popen[str]

    @classmethod
    def start(cls, data: Path, samples: int | None = None, **environment: str) -> Live:
        """Start and wait until it says that it is ready. `samples`: how many pictures; None: the whole gallery."""
        port = free_port()
        command = [sys.executable, "manage.py", "quickstart", "--port", str(port), "--data", str(data)]
        command += [] if samples is None else ["--samples", str(samples)]
        log = (data / "quickstart.log").open("w")
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **environment},
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
        )
        live = cls(port, data, process)
        try:
            live.until(lambda: "Loupe is ready" in live.output(), START_SECONDS, "the server to be ready")
        except BaseException:
            live.stop()
            raise
        return live

    def output(self) -> str:
        return (self.data / "quickstart.log").read_text()

    def logs(self) -> str:
        tails = [f"── {p.name}\n{p.read_text()[-3000:]}" for p in sorted((self.data / "logs").glob("*.log"))]
        return "\n".join([self.output()[-3000:], *tails])

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(60)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def key(self) -> str:
        return (self.data / "demo_api_key").read_text().strip()

    def until(self, done: Callable[[], Any], seconds: float, what: str) -> Any:
        """Poll `done` until it is true; fails with the server's logs."""
        deadline = time.monotonic() + seconds
        while not (found := done()):
            ended = self.process.poll() is not None
            if ended or time.monotonic() > deadline:
                raise AssertionError(f"waited {seconds} s for {what}\n{self.logs()}")
            time.sleep(0.1)
        return found

    # ── The API, as a script of ten lines would use it ──

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        data = None if body is None else json.dumps(body).encode()
        return self._send(method, path, data, "application/json")

    def upload(self, collection: str, name: str, content: bytes, **fields: str) -> tuple[int, Any]:
        boundary = uuid.uuid4().hex
        parts = [
            f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"\r\n\r\n{value}\r\n'.encode()
            for field, value in fields.items()
        ]
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
        body = b"".join([*parts, head.encode(), content, f"\r\n--{boundary}--\r\n".encode()])
        path = f"/api/v1/collections/{collection}/images/"
        return self._send("POST", path, body, f"multipart/form-data; boundary={boundary}")

    def _send(self, method: str, path: str, data: bytes | None, content_type: str) -> tuple[int, Any]:
        request = urllib.request.Request(self.url + path, data=data, method=method)
        request.add_header("Authorization", f"Bearer {self.key}")
        request.add_header("Content-Type", content_type)
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as answer:
                return answer.status, _json(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, _json(error.read())


def _json(body: bytes) -> Any:
    return json.loads(body) if body else None
