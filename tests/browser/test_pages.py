"""Every page at both widths and in both themes: accessible, quiet, light, and nothing shifts or sticks out."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from importlib.resources import files

import pytest
from playwright.sync_api import Page, Response

from tests.browser.live import WIDTHS, Visitor
from tests.browser.pages import OPEN_PAGES, PAGES
from tests.test_languages import catalogue, po

pytestmark = pytest.mark.browser
AXE = (files("axe_playwright_python") / "axe.min.js").read_text()
# What axe found, in one line for each element.
FOUND = """async () => (await axe.run({ resultTypes: ["violations"] })).violations
  .flatMap((rule) => rule.nodes.map((node) => `${rule.id}: ${node.target.join(" ")} (${node.failureSummary})`))"""
TARGETS = """() => [...document.querySelectorAll("a, button, input, select, summary")]
  .filter((one) => one.checkVisibility() && !one.closest("p, dd, td, pre, .visually-hidden, [hidden]"))
  .map((one) => [one, (one.closest("label") ?? one).getBoundingClientRect()])
  .filter(([, box]) => box.width > 1 && (box.width < 24 || box.height < 24))
  .map(([one, box]) => `${one.outerHTML.slice(0, 90)} ${box.width}x${box.height}`)"""
# Words that reach out of what holds them, where they are neither shortened with an ellipsis nor scrolled.
CUT = """() => {
  const found = [], texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const holders = ".card, .button, .badge, .chip, .rail a, .tabs a, td";
  for (let text = texts.nextNode(); text; text = texts.nextNode()) {
    const inside = text.parentElement;
    if (!text.data.trim() || !inside.checkVisibility()) continue;
    if (inside.closest(".visually-hidden, dialog, thead, script")) continue;
    const range = document.createRange();
    range.selectNodeContents(text);
    const words = range.getBoundingClientRect();
    for (let one = inside; one !== document.body; one = one.parentElement) {
      const { overflowX, textOverflow } = getComputedStyle(one), box = one.getBoundingClientRect();
      if (words.width < 2 || textOverflow === "ellipsis" || /auto|scroll/.test(overflowX)) break;
      if (!one.matches(holders) && overflowX === "visible") continue;
      if (words.right > box.right + 1.5 || words.left < box.left - 1.5) {
        found.push(`${text.data.trim()} reaches out of ${one.outerHTML.slice(0, 90)}`);
        break;
      }
    }
  }
  return found;
}"""
# A screen of plain density needs no more than the small rendition in a tile.
TOO_LARGE = """() => [...document.querySelectorAll(".grid .tile img")]
  .filter((one) => devicePixelRatio === 1 && one.currentSrc.includes("/preview/")).map((one) => one.currentSrc)"""
# Every text and label of the page and of what it keeps for later, without code.
SAID = """() => {
  const said = new Set();
  const collect = (root) => {
    const nodes = document.createTreeWalker(root, NodeFilter.SHOW_TEXT | NodeFilter.SHOW_ELEMENT);
    for (let node = nodes.nextNode(); node; node = nodes.nextNode()) {
      if (node.nodeType === Node.TEXT_NODE) {
        if (!node.parentElement?.closest("script, style, pre, code, [lang]:not(html)")) said.add(node.data);
      } else {
        for (const { name, value } of node.attributes) {
          if (/^(aria-label|title|placeholder|alt|data-.*)$/.test(name)) said.add(value);
        }
        if (node.content instanceof Node) collect(node.content);
      }
    }
  };
  collect(document.documentElement);
  return [...said].map((text) => text.replace(/\\s+/g, " ").trim());
}"""
# People of the sample gallery, whose names are also names of roles.
PEOPLE = {"Owner", "Manager", "Editor", "Contributor", "Viewer"}
SCRIPT_BYTES = 60 * 1024
# The pages with the most to do: walked through by keyboard, and shown in the third language too.
WALKED = (
    "home",
    "search-combined",
    "picture",
    "upload",
    "collection",
    "saved",
    "members",
    "keys",
    "settings",
)


@pytest.fixture(scope="module")
def signed_in(live: str, chromium) -> dict:
    """One sign-in for all pages: its cookies."""
    from tests.browser.live import visit

    visitor = visit(chromium, live)
    visitor.sign_in()
    state = visitor.context.storage_state()
    visitor.context.close()
    return state


def english_words_for(language: str) -> set[str]:
    """The texts of the code that are no words of this language; words in small letters may be tags of pictures."""
    texts = catalogue(po(language))
    translations = {one for said in texts.values() for one in said}
    return {text for _context, text in texts if text != text.lower() or " " in text} - translations - PEOPLE


def accessible(page: Page) -> list[str]:
    page.evaluate(AXE)
    return page.evaluate(FOUND)


def shifted(page: Page) -> list[str]:
    """What moved, if the cumulative layout shift is more than 0.00 as browsers print it: on a busy machine the bar on
    top is drawn before the last of its buttons has been parsed."""
    found: list[str] = page.evaluate("window.shifted")
    return found if sum(float(one.split()[0]) for one in found) > 0.005 else []


def script_sizes(page: Page) -> dict[str, int]:
    """Address of a script → compressed bytes, filled while the page loads."""
    sizes: dict[str, int] = {}

    def weigh(response: Response) -> None:
        if response.request.resource_type == "script":
            sizes[response.url] = len(gzip.compress(response.body(), 6))

    page.on("response", weigh)
    return sizes


def holds(visitor: Visitor) -> None:
    page = visitor.page
    page.wait_for_load_state("networkidle")
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    assert shifted(page) == []
    assert page.locator("h1").count() == 1
    assert page.evaluate(TARGETS) == []
    assert page.evaluate(TOO_LARGE) == []
    assert accessible(page) == []
    page.emulate_media(color_scheme="dark")
    page.reload()
    assert accessible(page) == []


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", PAGES)
def test_the_page_holds(visit: Callable[..., Visitor], signed_in: dict, name: str, width: int) -> None:
    visitor = visit(width, storage_state=signed_in)
    sizes = script_sizes(visitor.page)
    PAGES[name](visitor)
    holds(visitor)
    assert name == "upload" or 0 < sum(sizes.values()) <= SCRIPT_BYTES, sizes


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", OPEN_PAGES)
def test_a_page_for_everybody_holds(visit: Callable[..., Visitor], name: str, width: int) -> None:
    visitor = visit(width)
    OPEN_PAGES[name](visitor)
    holds(visitor)


@pytest.mark.parametrize(
    ("name", "locale"), [*((name, "de-DE") for name in PAGES), *((name, "es-ES") for name in WALKED)]
)
def test_longer_words_fit_a_narrow_screen(
    visit: Callable[..., Visitor], signed_in: dict, name: str, locale: str
) -> None:
    """The page in another language: no English is left, nothing sticks out or is cut off, nothing shifts, every target
    can be hit."""
    visitor = visit(360, storage_state=signed_in, locale=locale)
    PAGES[name](visitor)
    page = visitor.page
    page.wait_for_load_state("networkidle")
    assert page.locator("html").get_attribute("lang") == locale[:2]
    assert english_words_for(locale[:2]) & set(page.evaluate(SAID)) == set()
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    assert shifted(page) == []
    assert page.evaluate(TARGETS) == []
    for size in WIDTHS.items():
        page.set_viewport_size(dict(zip(("width", "height"), size, strict=True)))
        assert page.evaluate(CUT) == [], size


def test_dialogs_are_accessible(visit: Callable[..., Visitor], signed_in: dict) -> None:
    visitor = visit(storage_state=signed_in)
    page = visitor.go("/?q=dog+-snow")
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    assert accessible(page) == []
    page.keyboard.press("Escape")
    for link in page.locator("a[data-sheet]").all():
        link.click()
        page.locator("#sheet[open]").wait_for()
        assert accessible(page) == []
        page.locator("#sheet .sheet-close button").click()
    page.locator("[data-part] summary").first.click()
    assert accessible(page) == []


# Marks the focused element; answers with what is wrong with its focus, or nothing at the end of the walk.
STEP = """async () => {
  await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  const one = document.activeElement;
  if (!one || one === document.body) return null;
  const seen = "walked" in one.dataset;
  one.dataset.walked = "";
  if (seen) return "walked twice: " + one.outerHTML.slice(0, 120);
  const ring = one.closest(".searchbox") ?? one.closest("label") ?? one;
  const styles = [one, ring].map((each) => getComputedStyle(each));
  const marked = styles.some((style) => style.outlineStyle !== "none" || style.boxShadow !== "none");
  const box = one.getBoundingClientRect();
  const inside = box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth;
  const places = [[0.5, 0.5], [0.1, 0.5], [0.9, 0.5], [0.5, 0.1], [0.5, 0.9]];
  const above = places.map(([x, y]) => document.elementFromPoint(box.left + box.width * x, box.top + box.height * y));
  const clear = above.some((each) => each && (one.contains(each) || each.contains(one) || ring.contains(each)));
  const wrong = [marked || "no ring", inside || "outside", clear || "covered"].filter((said) => said !== true);
  return wrong.length ? `${wrong} ${one.outerHTML.slice(0, 160)}` : "";
}"""
CONTROLS = "a[href], button, input:not([type=hidden]), select, textarea, summary"
UNREACHED = """(controls) => [...document.querySelectorAll(controls)]
  .filter((one) => one.checkVisibility() && !one.disabled && one.tabIndex >= 0 && !("walked" in one.dataset))
  .filter((one) => one.type !== "radio").map((one) => one.outerHTML.slice(0, 160))"""


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", WALKED)
def test_the_keyboard_reaches_everything(
    visit: Callable[..., Visitor], signed_in: dict, name: str, width: int
) -> None:
    """Tab alone walks every control once; each one shows its focus, inside the window, under nothing else."""
    visitor = visit(width, storage_state=signed_in)
    PAGES[name](visitor)
    page = visitor.page
    page.wait_for_load_state("networkidle")
    page.evaluate("document.activeElement?.blur()")
    page.evaluate("document.querySelectorAll('.more').forEach((one) => one.remove())")
    wrong, rounds = [], 0
    for _step in range(800):
        page.keyboard.press("Tab")
        said = page.evaluate(STEP)
        rounds += said is None  # the walk may begin in the middle, at the search box
        if rounds == 2 or (said or "").startswith("walked twice"):
            break
        wrong += [said] if said else []
    assert wrong == []
    assert page.evaluate(UNREACHED, CONTROLS) == []


def test_motion_stops_for_those_who_ask(visit: Callable[..., Visitor], signed_in: dict) -> None:
    """Nothing on the page moves for longer than a blink, not even the skeletons."""
    page = visit(storage_state=signed_in).go("/?q=dog")
    page.locator("#results").evaluate("one => one.classList.add('loading')")
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    longest = page.evaluate(
        "() => Math.max(0, ...document.getAnimations().map((one) => one.effect.getComputedTiming().endTime))"
    )
    assert longest < 50
