"""Pictures of every page at both widths and in both themes.

    python -m tests.browser.screenshots [page …]      writes var/screenshots/PAGE-WIDTH-THEME.png

Starts a server with the whole sample gallery, or looks at the running one that LOUPE_LIVE names.
"""

from __future__ import annotations

import sys
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from tests.browser.live import WIDTHS, launch, serving, visit
from tests.browser.pages import PAGES
from tests.live import ROOT

FOLDER = ROOT / "var" / "screenshots"
THEMES = ("light", "dark")


def main(names: list[str]) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    with serving(samples=None) as base, sync_playwright() as playwright:
        browser = launch(playwright)
        take(browser, base, names or [*PAGES, "sign-in"])
        browser.close()


def take(browser: Browser, base: str, names: list[str]) -> None:
    first = visit(browser, base)
    first.sign_in()
    state = first.context.storage_state()
    first.context.close()
    for width in WIDTHS:
        for theme in THEMES:
            for name in names:
                path = FOLDER / f"{name}-{width}-{theme}.png"
                shoot(browser, base, name, width, theme, state, path)
                print(path.relative_to(ROOT))


def shoot(browser: Browser, base: str, name: str, width: int, theme: str, state: dict, path: Path) -> None:
    signed_out = name == "sign-in"
    visitor = visit(browser, base, width, theme, storage_state=None if signed_out else state)
    if signed_out:
        visitor.go("/accounts/login/")
    else:
        PAGES[name](visitor)
    visitor.page.wait_for_load_state("networkidle")
    visitor.page.screenshot(path=path)
    visitor.context.close()


if __name__ == "__main__":
    main(sys.argv[1:])
