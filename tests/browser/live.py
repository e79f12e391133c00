"""A real server with a real worker and the sample gallery, and a Chromium that reports every complaint."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page, Playwright

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = os.environ.get("LOUPE_CHROMIUM", "/usr/bin/chromium")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
START_SECONDS = 240
SAMPLES = 60
OWNER, CONTRIBUTOR = "owner@loupe.example", "contributor@loupe.example"
PASSWORD = "find-by-meaning"
WIDTHS = {1280: 860, 360: 740}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(samples: int | None = SAMPLES) -> Iterator[str]:
    """The address of `manage.py quickstart` in a folder of its own, or of LOUPE_LIVE where that is set."""
    if given := os.environ.get("LOUPE_LIVE"):
        yield given.rstrip("/")
        return
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="loupe-browser-") as data:
        command = [sys.executable, "manage.py", "quickstart", "--port", str(port), "--data", data]
        command += ["--samples", str(samples)] if samples else []
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            _await_welcome(process)
            yield f"http://127.0.0.1:{port}"
        finally:
            _stop(process)


def _await_welcome(process: subprocess.Popen[str]) -> None:
    """Read the command's words until it is ready; a timer ends one that never is."""
    told: list[str] = []
    timer = threading.Timer(START_SECONDS, process.kill)
    timer.start()
    try:
        assert process.stdout is not None
        for line in process.stdout:
            told.append(line)
            if "Loupe is ready" in line:
                threading.Thread(target=process.stdout.read, daemon=True).start()
                return
    finally:
        timer.cancel()
    raise AssertionError("quickstart ended before it was ready:\n" + "".join(told[-40:]))


def _stop(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


def launch(playwright: Playwright) -> Browser:
    return playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)


@dataclass
class Visitor:
    """One person's browser window. `complaints` holds console errors, refused policies and failed answers."""

    base: str
    context: BrowserContext
    page: Page
    complaints: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)

    def go(self, path: str) -> Page:
        self.page.goto(self.base + path)
        return self.page

    def sign_in(self, email: str = OWNER) -> Page:
        self.go("/accounts/login/")
        self.page.fill("[name=login]", email)
        self.page.fill("[name=password]", PASSWORD)
        self.page.click("form button.primary")
        self.page.wait_for_url(re.compile(re.escape(self.base) + r"/(\?.*)?$"))
        return self.page

    def unexpected(self) -> list[str]:
        return [said for said in self.complaints if not any(known in said for known in self.expected)]


def visit(browser: Browser, base: str, width: int = 1280, theme: Any = "light", **options: Any) -> Visitor:
    narrow = width < 600
    context = browser.new_context(
        viewport={"width": width, "height": WIDTHS[width]},
        color_scheme=theme,
        has_touch=narrow,
        is_mobile=narrow,
        reduced_motion="reduce",
        **options,
    )
    page = context.new_page()
    visitor = Visitor(base, context, page)
    page.on("console", lambda said: visitor.complaints.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: visitor.complaints.append(str(error)))
    context.add_init_script(WATCH_LAYOUT)
    return visitor


# The sum of layout shifts that no input explains, readable as window.shifted.
WATCH_LAYOUT = """
window.shifted = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shifted += entry.value;
}).observe({ type: "layout-shift", buffered: true });
"""
