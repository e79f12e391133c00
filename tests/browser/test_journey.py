"""What people come for, start to end, in a real browser against a real server and worker."""

from __future__ import annotations

import io
import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect

from search.demo.gallery import GALLERY
from tests.browser.live import CONTRIBUTOR, WIDTHS, Visitor

pytestmark = pytest.mark.browser
Visit = Callable[..., Visitor]


@pytest.fixture(params=WIDTHS)
def visit(request: pytest.FixtureRequest, visit: Visit) -> Visit:
    return lambda **options: visit(request.param, **options)


def new_picture(folder: Path, name: str = "my sailing boat.jpg") -> Path:
    """A picture that nobody uploaded before: one of the gallery, turned a little."""
    from PIL import Image

    files = sorted(path for path in GALLERY.iterdir() if path.suffix in (".webp", ".jpg", ".jpeg"))
    with Image.open(files[7]) as picture:
        turned = picture.convert("RGB").rotate(random.uniform(0.5, 3))
    file = io.BytesIO()
    turned.save(file, "JPEG")
    (folder / name).write_bytes(file.getvalue())
    return folder / name


def test_search_open_more_like_this_upload_and_find_it(visit: Visit, tmp_path: Path) -> None:
    visitor = visit()
    page = visitor.sign_in()
    page.fill("#words-input", "dog on the beach")
    page.keyboard.press("Enter")
    expect(page.locator("[data-part]")).to_have_count(1)
    expect(page).to_have_url(re.compile(r"\?q=dog\+on\+the\+beach$"))
    page.locator("#results .tile-link").first.click()
    expect(page.locator("#picture-large")).to_be_visible()
    expect(page.locator(".strip .tile").first).to_be_visible()
    page.locator(".side [data-like]").click()
    expect(page.locator('[data-part][data-kind="like"]')).to_have_count(1)
    expect(page.locator("#results .tile").first).to_be_visible()

    visitor.go("/upload/")
    page.set_input_files("#files", new_picture(tmp_path))
    row = page.locator(".upload-row")
    expect(row).to_have_attribute("data-state", "searchable", timeout=30_000)
    shown = row.locator("a").get_attribute("href")
    page.click("#search-these")
    expect(page.locator(f'.tile-link[href="{shown}"]')).to_be_visible()
    page.set_input_files("#picture", new_picture(tmp_path, "a second look.jpg"))
    expect(page.locator('[data-part][data-kind="upload"]')).to_have_count(1)
    expect(page.locator(f'.tile-link[href="{shown}"]')).to_be_visible()


def test_results_appear_while_typing_and_the_chips_wait_for_enter(visit: Visit) -> None:
    page = visit().sign_in()
    page.locator("#words-input").press_sequentially("snow", delay=30)
    expect(page).to_have_url(re.compile(r"\?q=snow$"))
    expect(page.locator("#results-line")).to_be_visible()
    assert page.locator("[data-part]").count() == 0
    page.keyboard.press("Enter")
    expect(page.locator("[data-part]")).to_have_count(1)
    expect(page.locator("#words-input")).to_be_focused()


def test_a_negative_word_and_a_weight_travel_in_the_address(visit: Visit) -> None:
    page = visit().sign_in()
    page.fill("#words-input", "dog -snow")
    page.keyboard.press("Enter")
    expect(page.locator("[data-part][data-negative]")).to_have_count(1)
    page.locator("[data-part] summary").first.click()
    expect(page.locator("[data-weight-input]").first).to_be_in_viewport(ratio=1)
    page.locator("[data-weight-input]").first.fill("0.5")
    expect(page).to_have_url(re.compile(r"dog%3A0\.5\+-snow"))
    page.reload()
    expect(page.locator("[data-part] .weight").first).to_have_text("×0.5")


def test_a_filter_narrows_and_its_menu_stays_open(visit: Visit) -> None:
    page = visit().sign_in()
    page.fill("#words-input", "dog")
    page.keyboard.press("Enter")
    expect(page.locator("[data-part]")).to_have_count(1)
    page.click("#pill-orientation")
    page.get_by_label("Portrait").check()
    expect(page).to_have_url(re.compile("orientation=portrait"))
    expect(page.locator("#pill-orientation")).to_have_text("Portrait")
    assert page.locator("details.menu[open]").count() == 1
    page.locator("#clear-filters a").dispatch_event("click")
    expect(page).to_have_url(re.compile(r"\?q=dog$"))


def test_scrolling_loads_more_and_a_reload_keeps_them(visit: Visit) -> None:
    page = visit().sign_in()
    page.fill("#words-input", "a picture")
    page.keyboard.press("Enter")
    expect(page.locator("[data-part]")).to_have_count(1)
    tiles = page.locator("#results .tile")
    expect(tiles).to_have_count(50)
    for _ in range(100):
        if page.locator("#results .the-end").count():
            break
        page.mouse.wheel(0, 20_000)
        page.wait_for_timeout(150)
    expect(page.locator("#results .the-end")).to_have_count(1)
    count = tiles.count()
    assert count > 50
    assert len({tile.get_attribute("data-uid") for tile in tiles.all()}) == count
    page.reload()
    expect(tiles).to_have_count(count)


def test_back_leads_from_the_picture_to_the_results(visit: Visit) -> None:
    page = visit().sign_in()
    page.goto(page.url + "?q=dog")
    page.locator("#results .tile-link").nth(2).click()
    expect(page.locator("#picture-large")).to_be_visible()
    first = page.url
    page.keyboard.press("ArrowRight")
    expect(page).not_to_have_url(first)
    expect(page.locator("#picture-large")).to_be_visible()
    page.go_back()
    expect(page).to_have_url(re.compile(r"\?q=dog$"))
    expect(page.locator("#results .tile").first).to_be_visible()


def test_back_leads_to_where_the_results_were(visit: Visit) -> None:
    """The depth of the list comes back as well, after the picture's page and after a reload."""
    page = visit().sign_in()
    page.goto(page.url + "?q=dog")
    deep = page.locator("#results .tile-link").nth(30)
    deep.scroll_into_view_if_needed()
    page.wait_for_timeout(300)  # the browser notes where it stands a moment later
    depth = page.evaluate("scrollY")
    assert depth > 600
    deep.click()
    expect(page.locator("#picture-large")).to_be_visible()
    page.go_back()
    page.wait_for_function("(depth) => Math.abs(scrollY - depth) < 60", arg=depth)
    page.reload()
    page.wait_for_function("(depth) => Math.abs(scrollY - depth) < 60", arg=depth)


def test_the_keyboard_alone_finds_selects_and_opens(visit: Visit) -> None:
    page = visit().sign_in()
    page.locator("body").press("Escape")
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    expect(page.locator("#words-input")).to_be_focused()
    page.keyboard.type("cat")
    page.keyboard.press("Enter")
    expect(page.locator("[data-part]")).to_have_count(1)
    page.keyboard.press("ArrowDown")
    expect(page.locator("#results .tile-link").first).to_be_focused()
    page.keyboard.press("Space")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+Space")
    expect(page.locator("#bulkbar .n")).to_have_text("2 selected")
    page.keyboard.press("Escape")
    expect(page.locator("#bulkbar")).to_be_hidden()
    page.keyboard.press("?")
    expect(page.locator("#help")).to_be_visible()
    page.keyboard.press("Escape")
    page.locator("#results .tile-link").nth(1).focus()
    page.keyboard.press("Enter")
    expect(page.locator("#picture-large")).to_be_visible()


def test_why_this_tells_the_shares(visit: Visit) -> None:
    page = visit().sign_in()
    page.goto(page.url + "?q=dog+-snow")
    page.locator("#results .tile-link").first.focus()
    page.keyboard.press("w")
    expect(page.locator("#why")).to_contain_text("What it shows")
    expect(page.locator("#why")).to_contain_text("Raw cosine similarity")


def test_deleting_can_be_undone_at_once(visit: Visit) -> None:
    page = visit().sign_in()
    first = page.locator("#results .tile").first
    uid = first.get_attribute("data-uid")
    first.hover()
    first.locator(".tile-select input").check()
    page.click("[data-bulk=trash]")
    expect(page.locator(f'[data-uid="{uid}"]')).to_have_count(0)
    page.click("[data-undo]")
    expect(page.locator(f'[data-uid="{uid}"]')).to_have_count(1)
    page.reload()
    expect(page.locator(f'[data-uid="{uid}"]')).to_have_count(1)


def test_duplicates_and_refused_files_are_told(visit: Visit, tmp_path: Path) -> None:
    visitor = visit()
    visitor.expected = ["status of 415"]
    page = visitor.sign_in(CONTRIBUTOR)
    picture = new_picture(tmp_path)
    (tmp_path / "not a picture.png").write_text("words")
    visitor.go("/upload/")
    page.set_input_files("#files", [picture, tmp_path / "not a picture.png"])
    expect(page.locator('.upload-row[data-state="rejected"]')).to_contain_text("not a picture")
    expect(
        page.locator('.upload-row[data-state="searchable"], .upload-row[data-state="review"]')
    ).to_have_count(1, timeout=30_000)
    page.set_input_files("#files", picture)
    expect(page.locator('.upload-row[data-state="duplicate"] a')).to_have_count(1)


def test_a_new_key_is_shown_once(visit: Visit) -> None:
    visitor = visit()
    page = visitor.sign_in()
    visitor.go("/teams/")
    page.get_by_role("link", name="API keys").click()
    page.get_by_label("Name").fill("Browser test")
    page.get_by_role("button", name="Create the key").click()
    expect(page.locator("#secret")).to_have_text(re.compile(r"^lp_\w+_.{20,}$"))
    page.goto(page.url)
    expect(page.locator("#secret")).to_have_count(0)


def test_the_theme_stays_chosen(visit: Visit) -> None:
    page = visit().sign_in()
    page.locator("details.menu.end summary").click()
    page.get_by_role("button", name="Dark theme").click()
    page.reload()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(17, 18, 20)"
