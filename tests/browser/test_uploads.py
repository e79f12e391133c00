"""The upload page when things break: files are sent again, and large ones go on where they were."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, Request, Route, expect

from tests import services
from tests.browser import live as machinery
from tests.browser.live import Visitor
from tests.parts import without

pytestmark = pytest.mark.browser
Visit = Callable[..., Visitor]
BROKEN = ["ERR_FAILED", "ERR_INTERNET_DISCONNECTED", "ERR_CONNECTION"]
SEARCHABLE = re.compile("searchable|review")


def picture(folder: Path, name: str, seed: int, side: int = 300) -> Path:
    """A picture that no other test sends; as BMP it takes 3 bytes for each pixel."""
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(coarse).resize((side, side), Image.Resampling.NEAREST).save(path)
    return path


def row(page: Page, name: str) -> object:
    return page.locator(".upload-row", has_text=name)


def becomes(page: Page, name: str, state: str | re.Pattern[str], seconds: int = 40) -> None:
    expect(row(page, name)).to_have_attribute("data-state", state, timeout=seconds * 1000)


class Line:
    """The connection for addresses that contain `part`: it breaks for the requests whose numbers (from 1) are named."""

    def __init__(self, page: Page, part: str, method: str, broken: set[int] | None = None) -> None:
        self.page, self.part, self.method, self.broken = page, part, method, broken or set()
        self.all_broken, self.tried, self.passed = False, 0, []
        page.route(lambda address: part in address, self._decide)

    def _decide(self, route: Route, request: Request) -> None:
        if request.method != self.method:
            return route.fallback()
        self.tried += 1
        if self.all_broken or self.tried in self.broken:
            return route.abort()
        self.passed.append(request.url)
        return route.fallback()


@pytest.fixture(scope="module")
def live() -> Iterator[str]:
    """The address of a Loupe that keeps its files in folders, whatever the environment says: no direct uploads."""
    if not Path(machinery.CHROMIUM).exists():
        without("no Chromium: install Debian's `chromium` or set LOUPE_CHROMIUM")
    with machinery.serving(4, **machinery.EMBEDDED) as address:
        yield address


# ── One POST for each file ──────────────────────────────────────────────────────────────────────────────────────


def test_a_broken_connection_is_tried_again_by_itself(visit: Visit, tmp_path: Path) -> None:
    visitor = visit()
    visitor.expected = BROKEN
    page = visitor.sign_in()
    visitor.go("/upload/")
    line = Line(page, "/images/", "POST", broken={2})  # the first one asks which files are known
    page.set_input_files("#files", picture(tmp_path, "again.png", 1))
    expect(row(page, "again.png").locator(".said")).to_have_text(re.compile("Trying again"))
    becomes(page, "again.png", SEARCHABLE)
    assert line.tried == 3


def test_an_answer_that_was_lost_makes_no_duplicate(visit: Visit, tmp_path: Path) -> None:
    visitor = visit()
    visitor.expected = BROKEN
    page = visitor.sign_in()
    visitor.go("/upload/")
    network, lost = page.context.new_cdp_session(page), []

    def lose_the_first_answer(paused: dict[str, Any]) -> None:
        """The server has taken the file when this is called."""
        known = {"requestId": paused["requestId"]}
        if paused["request"]["method"] != "POST" or lost:
            network.send("Fetch.continueRequest", known)
            return
        lost.append(paused["responseStatusCode"])
        network.send("Fetch.failRequest", {**known, "errorReason": "ConnectionReset"})

    network.on("Fetch.requestPaused", lose_the_first_answer)
    network.send("Fetch.enable", {"patterns": [{"urlPattern": "*/images/", "requestStage": "Response"}]})
    page.set_input_files("#files", picture(tmp_path, "lost.png", 2))
    becomes(page, "lost.png", SEARCHABLE)
    assert lost == [201]


def test_all_that_failed_can_be_sent_again(visit: Visit, tmp_path: Path) -> None:
    visitor = visit()
    visitor.expected = [*BROKEN, "status of 500"]
    page = visitor.sign_in()
    page.add_init_script(
        "window.setTimeout = ((real) => (run, ms, ...rest) => real(run, ms / 20, ...rest))(setTimeout)"
    )
    visitor.go("/upload/")
    address = re.compile(r"/collections/[^/]+/images/$")
    page.route(address, lambda route: route.fulfill(status=500, json={"detail": "Out of order."}))
    page.set_input_files("#files", [picture(tmp_path, f"{n}.png", 10 + n) for n in range(2)])
    for name in ("0.png", "1.png"):
        becomes(page, name, "failed")
    expect(page.locator("#total-line")).to_contain_text("2 with problems")
    page.unroute(address)
    page.click("#retry")
    for name in ("0.png", "1.png"):
        becomes(page, name, SEARCHABLE)


def test_folders_are_taken_whole_and_known_files_are_not_sent(visit: Visit, tmp_path: Path) -> None:
    page = visit().sign_in()
    page.goto(page.url.split("?")[0] + "upload/")
    for number in range(3):
        picture(tmp_path / "holiday", f"day {number // 2}/{number}.png", 20 + number)
    (tmp_path / "holiday" / ".hidden").write_text("not shown")
    page.set_input_files("#folder", tmp_path / "holiday")
    expect(page.locator(".upload-row")).to_have_count(3)
    for number in range(3):
        becomes(page, f"{number}.png", SEARCHABLE)
    line = Line(page, "/images/", "POST")
    page.set_input_files("#folder", tmp_path / "holiday")
    expect(page.locator('.upload-row[data-state="duplicate"] a')).to_have_count(3)
    assert [url for url in line.passed if not url.endswith("/check/")] == []
    expect(page.locator("#search-these")).to_be_visible()


def test_states_are_asked_together_and_not_for_ever(visit: Visit, tmp_path: Path) -> None:
    page = visit().sign_in()
    page.goto(page.url.split("?")[0] + "upload/")
    looks = Line(page, "/uploads/states/", "GET")
    page.set_input_files("#files", [picture(tmp_path, f"{n}.png", 30 + n) for n in range(6)])
    for number in range(6):
        becomes(page, f"{number}.png", SEARCHABLE)
    assert max(url.count("uid=") for url in looks.passed) > 1
    page.wait_for_timeout(2000)
    looks.passed.clear()
    page.wait_for_timeout(4000)
    assert looks.passed == [], "nothing is under way"


def test_leaving_while_files_are_sent_is_asked_about(visit: Visit, tmp_path: Path) -> None:
    visitor = visit()
    visitor.expected = BROKEN
    page = visitor.sign_in()
    visitor.go("/upload/")
    page.locator("h1").click()
    line = Line(page, "/images/", "POST")
    line.all_broken = True
    page.set_input_files("#files", picture(tmp_path, "unsent.png", 40))
    becomes(page, "unsent.png", "sending")
    asked = []
    page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.accept()))
    page.goto(visitor.base + "/jobs/")
    assert asked == ["beforeunload"]


# ── Straight to object storage ──────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def on_storage() -> Iterator[str]:
    """The address of a Loupe whose files lie in a real S3 server."""
    if not Path(machinery.CHROMIUM).exists():
        without("no Chromium: install Debian's `chromium` or set LOUPE_CHROMIUM")
    try:
        with (
            services.scratch_folder("loupe-uploads-") as folder,
            services.running(services.s3(folder)) as server,
        ):
            services.create_bucket(server.env)
            with machinery.serving(4, **server.env) as address:
                yield address
    except services.ServiceFailed as error:
        without(str(error))


@pytest.fixture
def uploader(on_storage: str, chromium: Browser) -> Iterator[Visitor]:
    visitor = machinery.visit(chromium, on_storage)
    visitor.expected = BROKEN
    visitor.sign_in()
    visitor.go("/upload/")
    yield visitor
    complaints = visitor.unexpected()
    visitor.context.close()
    assert complaints == []


PARTS = "partNumber="
LARGE = 2700  # as BMP: 21.9 MB, three parts


def part_numbers(line: Line) -> list[int]:
    return [int(re.search(r"partNumber=(\d+)", url)[1]) for url in line.passed]  # type: ignore[index]


@pytest.mark.services
def test_small_files_go_to_storage_in_one_piece(uploader: Visitor, tmp_path: Path) -> None:
    page = uploader.page
    line = Line(page, "/incoming/", "PUT")
    page.set_input_files("#files", picture(tmp_path, "small.png", 50))
    becomes(page, "small.png", SEARCHABLE)
    assert len(line.passed) == 1 and not line.passed[0].startswith(uploader.base)
    page.set_input_files("#files", tmp_path / "small.png")
    expect(page.locator('.upload-row[data-state="duplicate"] a')).to_have_count(1)


@pytest.mark.services
def test_a_broken_part_is_sent_again_and_no_other(uploader: Visitor, tmp_path: Path) -> None:
    page = uploader.page
    line = Line(page, PARTS, "PUT", broken={2})
    page.set_input_files("#files", picture(tmp_path, "large.bmp", 51, LARGE))
    becomes(page, "large.bmp", SEARCHABLE, 90)
    assert part_numbers(line) == [1, 2, 3]


@pytest.mark.services
def test_an_interrupted_upload_goes_on_after_a_reload(uploader: Visitor, tmp_path: Path) -> None:
    page, path = uploader.page, picture(tmp_path, "resumed.bmp", 52, LARGE)
    page.on("dialog", lambda dialog: dialog.accept())
    before = Line(page, PARTS, "PUT", broken=set(range(2, 100)))
    page.set_input_files("#files", path)
    expect(row(page, "resumed.bmp").locator(".said")).to_have_text(re.compile("Trying again"), timeout=30_000)
    assert part_numbers(before) == [1]
    page.unroute_all()
    page.reload()
    expect(page.locator("#interrupted li")).to_have_text("resumed.bmp")
    after = Line(page, PARTS, "PUT")
    page.set_input_files("#files", path)
    becomes(page, "resumed.bmp", SEARCHABLE, 90)
    assert part_numbers(after) == [2, 3]
    page.reload()
    expect(page.locator("#interrupted")).to_be_hidden()


@pytest.mark.services
def test_where_storage_is_out_of_reach_the_server_takes_the_file(uploader: Visitor, tmp_path: Path) -> None:
    page = uploader.page
    storage = Line(page, "/incoming/", "PUT")
    storage.all_broken = True
    whole = Line(page, "/images/", "POST")
    page.set_input_files("#files", picture(tmp_path, "round about.png", 53))
    becomes(page, "round about.png", SEARCHABLE)
    assert storage.passed == [] and len([url for url in whole.passed if not url.endswith("/check/")]) == 1


@pytest.mark.services
def test_a_completion_whose_answer_was_lost_is_recognised(uploader: Visitor, tmp_path: Path) -> None:
    page, statuses = uploader.page, []

    def lose(route: Route) -> None:
        statuses.append(route.fetch().status)
        route.abort()

    page.route("**/complete/", lose)
    line = Line(page, "/incoming/", "PUT")
    page.set_input_files("#files", picture(tmp_path, "complete.png", 54))
    becomes(page, "complete.png", SEARCHABLE)
    assert statuses == [201] and len(line.passed) == 1
