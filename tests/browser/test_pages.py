"""Every page at both widths and in both themes: no complaint, nothing that shifts or sticks out."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.browser.live import Visitor
from tests.browser.pages import PAGES

pytestmark = pytest.mark.browser
TARGETS = """() => [...document.querySelectorAll("a, button, input, select, summary")]
  .filter((one) => one.checkVisibility() && !one.closest("p, dd, td, pre, .visually-hidden, [hidden]"))
  .map((one) => [one, (one.closest("label") ?? one).getBoundingClientRect()])
  .filter(([, box]) => box.width > 1 && (box.width < 24 || box.height < 24))
  .map(([one, box]) => `${one.outerHTML.slice(0, 90)} ${box.width}x${box.height}`)"""
UNNAMED = """() => [...document.querySelectorAll("img:not([alt]), button, a[href], input:not([type=hidden]), select")]
  .filter((one) => one.checkVisibility())
  .filter((one) => one.tagName === "IMG" || !(one.ariaLabel || one.labels?.length || one.textContent.trim()
    || one.querySelector("[aria-label], .visually-hidden, img[alt]")))
  .map((one) => one.outerHTML.slice(0, 120))"""


@pytest.fixture(scope="module")
def signed_in(live: str, chromium) -> dict:
    """One sign-in for all pages: its cookies."""
    from tests.browser.live import visit

    visitor = visit(chromium, live)
    visitor.sign_in()
    state = visitor.context.storage_state()
    visitor.context.close()
    return state


@pytest.mark.parametrize("width", [1280, 360])
@pytest.mark.parametrize("name", PAGES)
def test_the_page_holds(visit: Callable[..., Visitor], signed_in: dict, name: str, width: int) -> None:
    visitor = visit(width, storage_state=signed_in)
    PAGES[name](visitor)
    page = visitor.page
    page.wait_for_load_state("networkidle")
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    assert page.evaluate("window.shifted") < 0.01
    assert page.locator("h1").count() == 1
    assert page.evaluate(TARGETS) == []
    assert page.evaluate(UNNAMED) == []
