"""Weighing the parts of a question, keeping it, and taking it along as code."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.live import Visitor

pytestmark = pytest.mark.browser
Visit = Callable[..., Visitor]
TILES = """() => [...document.querySelectorAll("#results .tile")].map((one) => (
  { uid: one.dataset.uid, band: one.dataset.band, match: parseInt(one.querySelector(".match").textContent) }))"""
SLIDE = """(input, value) => { input.value = value; input.dispatchEvent(new Event("input", { bubbles: true })); }"""


def tiles(page: Page) -> list[dict]:
    return page.evaluate(TILES)


@pytest.mark.parametrize(
    ("question", "chip", "weight"),
    [
        ("dog beach:0.6", 0, "0.1"),
        ("dog beach:0.6", 1, "1.8"),
        ('"a boat" sunset -snow', 0, "1.8"),
        ('"a boat" sunset -snow', 2, "0.1"),
        ("house -snow:0.4", 1, "1"),  # words on the pictures: several stand at the same match
    ],
)
def test_the_page_weighs_like_the_server(visit: Visit, question: str, chip: int, weight: str) -> None:
    """The order and the numbers that the page works out while the server is silent are those of its answer."""
    page = visit().sign_in()
    page.goto(page.url + "?" + "q=" + question.replace(" ", "+").replace('"', "%22"))
    before = tiles(page)
    held: list[Route] = []
    page.route(re.compile(r"[?&]live=1"), lambda route: held.append(route))
    page.locator("[data-weight-input]").nth(chip).evaluate(SLIDE, weight)
    at_once = tiles(page)
    for _ in range(100):
        if held:
            break
        page.wait_for_timeout(50)
    assert held, "the server was not asked"
    page.locator("#results .tile").evaluate_all("(all) => all.forEach((one) => one.classList.add('before'))")
    held[-1].continue_()
    expect(page.locator("#results .tile.before")).to_have_count(0)
    expect(page.locator("#results.loading, #results.htmx-request")).to_have_count(0)
    answer = tiles(page)
    both = {one["uid"] for one in at_once} & {one["uid"] for one in answer}
    assert len(both) > 5
    assert [one["match"] for one in at_once] != [one["match"] for one in before]
    shown = {one["uid"]: one for one in answer}
    for one in at_once:
        if one["uid"] in both:
            assert abs(one["match"] - shown[one["uid"]]["match"]) <= 1
            assert one["band"] == shown[one["uid"]]["band"]
    # Pictures of the same percentage may change places: the same one uploaded twice differs by the seconds between.
    assert [shown[one["uid"]]["match"] for one in at_once if one["uid"] in both] == [
        one["match"] for one in answer if one["uid"] in both
    ]


def test_a_search_is_saved_and_opened_again(visit: Visit) -> None:
    page = visit().sign_in()
    page.goto(page.url + "?q=lighthouse+-snow")
    page.get_by_role("link", name="Save", exact=True).click()
    page.locator("#sheet").get_by_label("Name").fill("Towers by the sea")
    page.locator("#sheet").get_by_role("button", name="Save").click()
    expect(page).to_have_url(re.compile(r"q=lighthouse\+-snow&saved="))
    page.goto(page.url.split("?")[0])
    page.get_by_role("link", name="Towers by the sea").click()
    expect(page.locator("[data-part][data-negative]")).to_have_count(1)
    page.get_by_role("link", name="Towers by the sea").click()
    page.get_by_role("button", name="Delete Towers by the sea").click()
    page.locator("#confirm [value=yes]").click()
    expect(page.get_by_text("The saved search is gone")).to_be_visible()


@pytest.mark.parametrize("language", ["curl", "python"])
def test_the_code_of_a_search_finds_the_same(visit: Visit, live: str, language: str, tmp_path: Path) -> None:
    """The shown command runs as it stands, and names the picture that the page shows first."""
    visitor = visit()
    page = visitor.sign_in()
    visitor.go("/teams/")
    page.get_by_role("link", name="API keys").click()
    page.get_by_label("Name").fill(f"For {language}")
    page.get_by_role("button", name="Create the key").click()
    key = page.locator("#secret").inner_text()
    visitor.go("/?q=dog:0.8+-snow")
    first = page.locator("#results .tile").first.get_attribute("data-uid")
    page.get_by_role("link", name="Code").click()
    code = page.locator(f"#code-{language}").inner_text()
    command = ["bash", "-c", code] if language == "curl" else [sys.executable, "-c", code]
    environment = {**os.environ, "LOUPE_KEY": key}
    answer = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=60, cwd=tmp_path
    )
    assert answer.returncode == 0, answer.stderr
    if language == "curl":
        assert f'"id":"{first}"' in answer.stdout.split('"similarity"')[0].replace(": ", ":")
    else:
        assert re.match(r"\d+%  (strong|possible|weak)", answer.stdout)


GIVE = """async ([kind, selector, base64]) => {
  const blob = new Blob([Uint8Array.from(atob(base64), (one) => one.charCodeAt(0))], { type: "image/jpeg" });
  const data = new DataTransfer();
  data.items.add(new File([blob], "from somewhere.jpg", { type: blob.type }));
  const place = document.querySelector(selector);
  const options = { bubbles: true, cancelable: true };
  if (kind === "paste") place.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, ...options }));
  else for (const name of ["dragenter", "dragover", "drop"]) {
    place.dispatchEvent(new DragEvent(name, { dataTransfer: data, ...options }));
  }
}"""


@pytest.mark.parametrize("kind", ["paste", "drop"])
def test_a_picture_is_pasted_or_dropped(visit: Visit, kind: str) -> None:
    """It finds itself among the first (other tests may have uploaded the same picture), and a reload brings it back."""
    visitor = visit()
    page = visitor.sign_in()
    shown = page.locator("#results .tile").last
    uid, address = shown.get_attribute("data-uid"), shown.locator("img").get_attribute("src")
    content = page.request.get(visitor.base + (address or "")).body()
    page.evaluate(GIVE, [kind, "#words-input", b64encode(content).decode()])
    expect(page.locator('[data-part][data-kind="upload"]')).to_have_count(1)
    found = page.locator(f'#results .tile:nth-child(-n+4)[data-uid="{uid}"] .match')
    expect(found).to_be_visible()
    page.reload()
    expect(page.locator('[data-part][data-kind="upload"]')).to_have_count(1)
    expect(found).to_be_visible()


def test_the_address_of_a_picture_is_pasted(visit: Visit, live: str) -> None:
    page = visit().sign_in()
    link = page.locator("#results .tile-link").nth(1).get_attribute("href")
    page.evaluate(
        """(text) => {
          const data = new DataTransfer();
          data.setData("text/plain", text);
          const options = { clipboardData: data, bubbles: true, cancelable: true };
          document.querySelector("#words-input").dispatchEvent(new ClipboardEvent("paste", options));
        }""",
        live + (link or ""),
    )
    expect(page.locator('[data-part][data-kind="like"]')).to_have_count(1)


def test_searching_and_saving_need_no_script(visit: Visit) -> None:
    page = visit(java_script_enabled=False).sign_in()
    page.fill("#words-input", "boat -snow")
    page.locator("#search .go").click()
    expect(page.locator("#results .tile").first).to_be_visible()
    expect(page.locator("[data-part]")).to_have_count(2)
    page.get_by_role("link", name="Save", exact=True).click()
    page.get_by_label("Name").fill("Without script")
    page.get_by_role("button", name="Save").click()
    expect(page).to_have_url(re.compile("saved="))
    page.locator("#results .tile-link").first.click()
    expect(page.locator("#picture-large")).to_be_visible()
