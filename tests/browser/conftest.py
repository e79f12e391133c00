from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.browser import live as machinery
from tests.parts import without

# Playwright keeps an event loop in this thread, which Django would take for an async view.
os.environ.setdefault("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
# How long to wait for what must come: a busy machine is slow, and only a fault ever waits that long.
expect.set_options(timeout=20_000)


@pytest.fixture(scope="session")
def live() -> Iterator[str]:
    """The address of a running Loupe with its sample gallery."""
    if not Path(machinery.CHROMIUM).exists():
        without("no Chromium: install Debian's `chromium` or set LOUPE_CHROMIUM")
    with machinery.serving() as address:
        yield address


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = machinery.launch(playwright)
        yield browser
        browser.close()


@pytest.fixture
def visit(live: str, chromium: Browser) -> Iterator[Callable[..., machinery.Visitor]]:
    """`visit()`: a fresh window. Whatever the console or the content policy complained of fails the test."""
    visitors: list[machinery.Visitor] = []

    def make(*args: Any, **options: Any) -> machinery.Visitor:
        visitors.append(machinery.visit(chromium, live, *args, **options))
        return visitors[-1]

    yield make
    complaints = [said for visitor in visitors for said in visitor.unexpected()]
    for visitor in visitors:
        visitor.context.close()
    assert complaints == []
