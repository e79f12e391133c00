"""The main job on a real server with real workers: upload → found → more like this → deleted → gone.

Runs on the embedded default, and again on Postgres + Redis + S3 under `python -m tests.services`.
"""

from __future__ import annotations

import io
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image as Pillow
from PIL import ImageOps

from tests.live import Live
from workers.quickstart import demo

pytestmark = pytest.mark.flow
SAMPLES = 40
SEARCHABLE_SECONDS = 30


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    server = Live.start(tmp_path_factory.mktemp("live"), SAMPLES)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def collection(live: Live) -> str:
    status, page = live.call("GET", "/api/v1/collections/")
    assert status == 200
    return page["data"][0]["id"]


def unseen(place: int) -> dict[str, Any]:
    """A titled row of the gallery that the server has not uploaded."""
    return [row for row in demo.rows()[SAMPLES:] if row["title"]][place]


def mirrored(row: dict[str, Any]) -> bytes:
    """A gallery picture that the server has not seen: other bytes, same meaning."""
    file = io.BytesIO()
    ImageOps.mirror(Pillow.open(demo.GALLERY / row["file"]).convert("RGB")).save(file, "PNG")
    return file.getvalue()


def found(live: Live, question: str) -> list[str]:
    status, page = live.call("POST", "/api/v1/search/", {"query": [{"text": question}], "limit": 100})
    assert status == 200, page
    return [result["image"]["id"] for result in page["results"]]


def searchable(live: Live, uid: str) -> Any:
    status, image = live.call("GET", f"/api/v1/images/{uid}/")
    assert status == 200 and image["state"] != "rejected", image
    return image if image["state"] == "searchable" else None


def test_the_samples_are_found_by_meaning(live: Live) -> None:
    row = next(row for row in demo.rows() if row["title"])
    status, page = live.call("POST", "/api/v1/search/", {"query": [{"text": row["title"]}]})
    assert status == 200 and page["results"] and page["meta"]["exact"] is True


def test_upload_find_delete(live: Live, collection: str) -> None:
    row = unseen(0)
    status, image = live.upload(collection, "mine.png", mirrored(row), title="Mine")
    assert status == 201 and image["state"] == "stored"
    live.until(lambda: searchable(live, image["id"]), SEARCHABLE_SECONDS, "the upload to be searchable")
    assert image["id"] in found(live, row["title"])

    status, page = live.call("GET", f"/api/v1/images/{image['id']}/similar/")
    assert status == 200 and image["id"] not in [r["image"]["id"] for r in page["results"]]

    assert live.call("DELETE", f"/api/v1/images/{image['id']}/")[0] == 204
    assert image["id"] not in found(live, row["title"])
    assert live.call("GET", f"/api/v1/images/{image['id']}/")[0] == 404


def test_the_same_bytes_again_are_the_same_picture(live: Live, collection: str) -> None:
    content = mirrored(unseen(1))
    first = live.upload(collection, "a.png", content)
    second = live.upload(collection, "b.png", content)
    assert (first[0], second[0]) == (201, 200)
    assert second[1]["duplicate"] is True and second[1]["id"] == first[1]["id"]


def test_a_refused_file_says_why(live: Live, collection: str) -> None:
    content = mirrored(unseen(2))
    status, image = live.upload(collection, "cut.png", content[: len(content) // 2])
    assert status == 201

    def refused() -> Any:
        state = live.call("GET", f"/api/v1/images/{image['id']}/")[1]
        return state if state["state"] == "rejected" else None

    assert live.until(refused, SEARCHABLE_SECONDS, "the file to be refused")["reason"]


def test_reindex_is_a_job_that_ends(live: Live, collection: str) -> None:
    status, job = live.call("POST", f"/api/v1/collections/{collection}/reindex/")
    assert status == 202

    def over() -> Any:
        state = live.call("GET", f"/api/v1/jobs/{job['id']}/")[1]
        return state if state["state"] in ("done", "failed") else None

    assert live.until(over, SEARCHABLE_SECONDS, "the rebuild to end")["state"] == "done"
    status, index = live.call("GET", f"/api/v1/collections/{collection}/index/")
    assert status == 200 and index["generation"] >= 1 and index["vectors"] > 0


def test_a_killed_worker_is_replaced_and_nothing_is_lost(live: Live, collection: str) -> None:
    row = unseen(3)
    os.kill(worker_pid(live, "embed@"), signal.SIGKILL)
    status, image = live.upload(collection, "after.png", mirrored(row))
    assert status == 201
    live.until(lambda: searchable(live, image["id"]), 60, "the upload after the kill to be searchable")


def worker_pid(live: Live, mark: str) -> int:
    """The process of this server's tree whose command line holds `mark`."""
    with open(f"/proc/{live.process.pid}/task/{live.process.pid}/children") as file:
        children = [int(pid) for pid in file.read().split()]
    for pid in children:
        with open(f"/proc/{pid}/cmdline") as file:
            if mark in file.read():
                return pid
    raise AssertionError(f"no child of the server runs {mark}")
