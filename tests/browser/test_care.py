"""Looking after pictures: many at once, one by one, the review, links for others, the index."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.live import CONTRIBUTOR, WIDTHS, Visitor
from tests.browser.test_journey import new_picture

pytestmark = pytest.mark.browser
Visit = Callable[..., Visitor]


@pytest.fixture(params=WIDTHS)
def visit(request: pytest.FixtureRequest, visit: Visit) -> Visit:
    return lambda **options: visit(request.param, **options)


def open_collection(visitor: Visitor, name: str) -> Page:
    visitor.go("/collections/").get_by_role("heading", name=name).click()
    expect(visitor.page.locator("#bulkbar")).to_be_attached()
    return visitor.page


def select(page: Page, count: int) -> list[str]:
    """Selects the first tiles of the grid; their ids."""
    found = []
    for place in range(count):
        tile = page.locator("[data-grid] .tile").nth(place)
        tile.locator(".tile-select input").check(force=True)
        found.append(tile.get_attribute("data-uid") or "")
    return found


def test_moving_many_can_be_undone(visit: Visit) -> None:
    visitor = visit()
    visitor.sign_in()
    page = open_collection(visitor, "Holidays")
    moved = select(page, 2)
    for button in page.locator("#bulkbar button").all():
        expect(button).to_be_in_viewport(ratio=1)
    page.click("[data-bulk=move]")
    page.locator("#move-target").select_option(label="Landscapes")
    page.locator("[data-move-form] button.primary").click()
    expect(page.locator(".toast")).to_contain_text("2 moved")
    for uid in moved:
        expect(page.locator(f'[data-uid="{uid}"]')).to_have_count(0)
    with page.expect_navigation():
        page.click("[data-undo]")
    for uid in moved:
        expect(page.locator(f'[data-uid="{uid}"]')).to_have_count(1)


def test_many_are_downloaded_as_one_file(visit: Visit, tmp_path: Path) -> None:
    visitor = visit()
    page = visitor.sign_in()
    visitor.go("/?q=dog")
    select(page, 3)
    with page.expect_download() as started:
        page.click("[data-bulk=download]")
    started.value.save_as(tmp_path / "some.zip")
    with zipfile.ZipFile(tmp_path / "some.zip") as archive:
        assert archive.testzip() is None
        assert len(archive.namelist()) == 3
    expect(page.locator("#bulkbar")).to_be_hidden()


def test_many_get_a_tag(visit: Visit) -> None:
    visitor = visit()
    page = visitor.sign_in()
    select(page, 2)
    page.click("[data-bulk=tag]")
    page.fill("#bulk-tags", "chosen by hand")
    page.locator("[data-tag-form] button.primary").click()
    expect(page.locator(".toast")).to_contain_text("2")
    visitor.go("/?tags=chosen+by+hand")
    expect(page.locator("#results .tile")).to_have_count(2)


def test_a_picture_gets_a_title_and_remembers_it(visit: Visit) -> None:
    visitor = visit()
    page = visitor.sign_in()
    page.locator("#results .tile-link").nth(4).click()
    page.get_by_text("Edit title, text and tags").click()
    page.get_by_label("Title").fill("A title from the browser")
    page.get_by_label("Alternative text").fill("What somebody sees")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("h1")).to_have_text("A title from the browser")
    expect(page.locator("#picture-large")).to_have_attribute("alt", "What somebody sees")
    page.get_by_text("History").click()
    expect(page.locator(".history")).to_contain_text("edited")


def test_a_picture_is_swiped_and_zoomed(visit: Visit) -> None:
    page = visit().sign_in()
    page.locator("#results .tile-link").nth(2).click()
    first = page.url
    page.locator("#picture-large").click()
    expect(page.locator("#stage")).to_have_class(re.compile("zoomed"))
    page.locator("#picture-large").click()
    expect(page.locator("#stage")).not_to_have_class(re.compile("zoomed"))
    page.locator("#stage").evaluate("""(stage) => {
      const at = (x) => [new Touch({ identifier: 1, target: stage, clientX: x, clientY: 200 })];
      stage.dispatchEvent(new TouchEvent("touchstart", { touches: at(300), changedTouches: at(300), bubbles: true }));
      stage.dispatchEvent(new TouchEvent("touchend", { touches: [], changedTouches: at(80), bubbles: true }));
    }""")
    expect(page).not_to_have_url(first)
    expect(page.locator("#picture-large")).to_be_visible()


def test_the_review_goes_by_keyboard(visit: Visit) -> None:
    visitor = visit()
    page = visitor.sign_in()
    visitor.go("/review/")
    first = page.locator("#review h3").inner_text()
    source = page.locator("#review .stage img").get_attribute("src")
    page.keyboard.press("a")
    expect(page.locator("#review .stage img")).not_to_have_attribute("src", source or "")
    page.keyboard.press("z")
    expect(page.locator("#review .stage img")).to_have_attribute("src", source or "")
    page.keyboard.press("r")
    expect(page.locator("#reason")).to_be_focused()
    page.keyboard.type("Not ours")
    page.keyboard.press("Enter")
    expect(page.locator("#review .stage img")).not_to_have_attribute("src", source or "")
    page.keyboard.press("z")
    expect(page.locator("#review h3")).to_have_text(first)


def test_a_link_shows_a_collection_to_somebody_without_an_account(visit: Visit) -> None:
    visitor = visit()
    visitor.sign_in()
    page = open_collection(visitor, "Wildlife")
    page.locator(".tabs").get_by_role("link", name="Sharing").click()
    page.get_by_label("Name").fill("For a guest")
    page.get_by_role("button", name="Create the link").click()
    address = page.locator("#secret").inner_text()
    guest = visit()
    guest.page.goto(address)
    expect(guest.page.locator(".grid li img").first).to_be_visible()
    guest.page.get_by_label("Search these pictures").fill("lion")
    guest.page.keyboard.press("Enter")
    expect(guest.page).to_have_url(re.compile("q=lion"))
    expect(guest.page.locator(".grid li img").first).to_be_visible()


def test_the_index_is_rebuilt_while_somebody_looks(visit: Visit) -> None:
    visitor = visit()
    visitor.sign_in()
    page = open_collection(visitor, "Sports")
    page.locator(".tabs").get_by_role("link", name="Index").click()
    page.get_by_role("button", name="Rebuild the index").click()
    expect(page.locator("#jobs tbody tr").first).to_contain_text("Rebuild the index")
    expect(page.locator("#jobs tbody tr").first.locator(".badge.ok")).to_be_visible(timeout=40_000)
    expect(page.locator("#index .badge.ok").first).to_contain_text("Up to date")


def test_a_picture_of_a_contributor_waits_until_it_is_approved(visit: Visit, tmp_path: Path) -> None:
    visitor = visit()
    page = visitor.sign_in(CONTRIBUTOR)
    visitor.go("/upload/")
    page.locator("select").first.select_option(label="City life · Demo team")
    page.set_input_files("#files", new_picture(tmp_path))
    expect(page.locator('.upload-row[data-state="review"]')).to_have_count(1, timeout=30_000)
