"""How long a person looks at nothing: from Enter in the search box to the first results, in a real browser.

    python -m benchmarks.first_results [--questions 40]

Starts a server with the whole sample gallery (or asks the running one that LOUPE_LIVE names), signs in and asks
questions that nobody asked before, one after the other, then the same ones again. Told are the median and the 95th
percentile of two moments after the key went down: the first tile of the new answer is painted; its picture is loaded.
"""

from __future__ import annotations

import argparse
import os

import numpy as np
from playwright.sync_api import Page, sync_playwright

from tests.browser.live import launch, serving, visit

THINGS = ("dog", "cat", "boat", "car", "house", "horse", "kite", "train", "cup", "bird")
PLACES = ("at night", "in the snow", "on the beach", "in the rain", "at sunset", "in the city")
# Starts the clock at Enter; tells when a tile of another answer was painted and when its picture was there.
WATCH = """
addEventListener("keydown", (event) => {
  if (event.key !== "Enter") return;
  const began = performance.now();
  const before = document.querySelector("#results");
  window.measured = null;
  const look = () => {
    const now = document.querySelector("#results");
    const tile = now && now !== before && now.querySelector(".tile");
    if (!tile) return requestAnimationFrame(look);
    requestAnimationFrame(() => setTimeout(() => {
      const painted = performance.now() - began;
      const done = () => { window.measured = [painted, performance.now() - began]; };
      const image = tile.querySelector("img");
      image.decode().then(done, done);
    }));
  };
  look();
}, true);
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=int, default=40)
    asked = [f"{thing} {place}" for place in PLACES for thing in THINGS][: parser.parse_args().questions]
    with serving(samples=None) as base, sync_playwright() as playwright:
        browser = launch(playwright)
        visitor = visit(browser, base)
        visitor.context.add_init_script(WATCH)
        page = visitor.sign_in()
        ask(page, "a picture")
        for said, questions in (("new questions", asked), ("asked before", asked)):
            report(said, np.array([ask(page, one) for one in questions]))
        browser.close()


def ask(page: Page, question: str) -> list[float]:
    """Milliseconds from Enter until the first tile was painted, and until its picture was there."""
    page.goto(page.url.split("?")[0], wait_until="networkidle")
    page.fill("#words-input", question)
    page.keyboard.press("Enter")
    measured: list[float] = page.wait_for_function("() => window.measured", polling=20).json_value()
    return measured


def report(said: str, times: np.ndarray) -> None:
    for name, column in (("first tile painted", 0), ("its picture loaded", 1)):
        half, most = np.percentile(times[:, column], [50, 95])
        print(f"{said:14} {name:20} p50 {half:6.0f} ms   p95 {most:6.0f} ms   n {len(times)}")
    print(f"{'':14} load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
