"""A real server with a real worker and the sample gallery, and a Chromium that reports every complaint."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page, Playwright

from tests.live import Live

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
SAMPLES = 60
OWNER, CONTRIBUTOR = "owner@loupe.example", "contributor@loupe.example"
PASSWORD = "find-by-meaning"
WIDTHS = {1280: 860, 360: 740}


EMBEDDED = dict.fromkeys(["DATABASE_URL", "REDIS_URL", "S3_ENDPOINT_URL", "S3_BUCKET"], "")


@contextmanager
def serving(samples: int | None = SAMPLES, **environment: str) -> Iterator[str]:
    """The address of `manage.py quickstart` in a folder of its own, or of LOUPE_LIVE where that is set.

    It runs on the services of the environment. One that is asked for with an `environment` of its own has nothing but
    that, on the embedded default: two servers on one database would take each other's work.
    """
    given = os.environ.get("LOUPE_LIVE")
    if given and not environment:
        yield given.rstrip("/")
        return
    with tempfile.TemporaryDirectory(prefix="loupe-browser-") as data:
        live = Live.start(Path(data), samples, **(EMBEDDED | environment if environment else {}))
        try:
            yield live.url
        finally:
            live.stop()


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


# Every layout shift that no input explains, with what moved, readable as window.shifted.
WATCH_LAYOUT = """
window.shifted = [];
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) {
    const moved = entry.sources.map((one) => one.node?.outerHTML?.slice(0, 120) ?? one.node?.nodeName);
    window.shifted.push(`${entry.value} ${moved}`);
  }
}).observe({ type: "layout-shift", buffered: true });
"""
