"""How long until an upload is found: on an idle server, and while a bulk import keeps it busy; and how fast that goes.

    python -m benchmarks.searchable [--singles 40] [--bulk 10000]

A whole Loupe (`manage.py quickstart`: web, embedding worker, index worker) with the configured model and real HTTP.
Seconds count from the upload's answer until the API calls the picture searchable. The import is a command beside the
server, and the single uploads begin when its first pictures are searchable; when they are done, what is left of the
import is not waited for.
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Picture

from tests.live import ROOT, Live

SIZE = (1600, 1200)
POLL_SECONDS = 0.02
PAUSE_SECONDS = 0.5
PATIENCE_SECONDS = 900


def picture(number: int) -> bytes:
    """A 2-megapixel JPEG of its own."""
    random = np.random.default_rng(number)
    coarse = Picture.fromarray(random.integers(0, 256, (12, 16, 3), dtype=np.uint8))
    file = io.BytesIO()
    coarse.resize(SIZE, Picture.Resampling.BICUBIC).save(file, "JPEG", quality=90)
    return file.getvalue()


def many_pictures(folder: Path, count: int) -> None:
    """`count` files of their own bytes from 32 pictures: a comment tells them apart."""
    made = [picture(100_000 + number) for number in range(32)]
    for number in range(count):
        comment = b"%06d" % number
        content = made[number % len(made)]
        marked = content[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + content[2:]
        (folder / f"{number:05}.jpg").write_bytes(marked)


def seconds_to_searchable(live: Live, collection: str, number: int) -> float:
    status, image = live.upload(collection, f"{number}.jpg", picture(number))
    assert status == 201, image
    answered = time.monotonic()
    while live.call("GET", f"/api/v1/images/{image['id']}/")[1]["state"] != "searchable":
        if time.monotonic() - answered > PATIENCE_SECONDS:
            raise AssertionError(live.logs())
        time.sleep(POLL_SECONDS)
    return time.monotonic() - answered


def print_line(title: str, seconds: list[float]) -> None:
    p50, p95 = np.quantile(seconds, [0.5, 0.95])
    print(
        f"{title:34} {len(seconds):4} uploads   p50 {p50:6.2f} s   p95 {p95:6.2f} s   max {max(seconds):6.2f} s"
    )


def bulk_import(live: Live, folder: Path) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ,
        "LOUPE_DATA": str(live.data),
        "SECRET_KEY": (live.data / "secret_key").read_text(),
        "DEBUG": "0",
        "LOG_LEVEL": "WARNING",
    }
    command = [sys.executable, "manage.py", "import_images", str(folder), "--collection", "Bulk", "--create"]
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=quiet, stderr=quiet)


def waiting(live: Live, name: str) -> tuple[int, int]:
    """(searchable, waiting) pictures of the collection called `name`."""
    page = live.call("GET", "/api/v1/collections/")[1]["data"]
    found = [row for row in page if row["name"] == name]
    if not found:
        return 0, 1
    index = live.call("GET", f"/api/v1/collections/{found[0]['id']}/index/")[1]
    return index["rows"], index["pending"]


def under_load(live: Live, collection: str, count: int, singles: int) -> tuple[list[float], float]:
    """(seconds of single uploads while `count` pictures are imported, pictures a second of the import meanwhile)."""
    with tempfile.TemporaryDirectory() as name:
        many_pictures(Path(name), count)
        importing = bulk_import(live, Path(name))
        try:
            live.until(lambda: waiting(live, "Bulk")[0] > 0, PATIENCE_SECONDS, "the import to be under way")
            started, before, seconds = time.monotonic(), waiting(live, "Bulk")[0], []
            while len(seconds) < singles and waiting(live, "Bulk")[0] < count:
                seconds.append(seconds_to_searchable(live, collection, 200_000 + len(seconds)))
                time.sleep(PAUSE_SECONDS)  # each upload for itself: two at once would wait for each other
                assert importing.poll() in (None, 0), "the import failed"
            done, left = waiting(live, "Bulk")
            print(f"The import: {done} searchable and {left} waiting at the end, {count} in all.")
            return seconds, (done - before) / (time.monotonic() - started)
        finally:
            importing.terminate()
            importing.wait(30)


def metric(live: Live) -> list[str]:
    """What /metrics says of the last hour, the import included."""
    with urllib.request.urlopen(f"{live.url}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return [line for line in lines if line.startswith("loupe_seconds_to_searchable{")]


def measure(live: Live, singles: int, bulk: int) -> None:
    collection: Any = live.call("GET", "/api/v1/collections/")[1]["data"][0]["id"]
    seconds_to_searchable(live, collection, 0)  # loads the model
    print_line("idle", [seconds_to_searchable(live, collection, 1 + number) for number in range(singles)])
    seconds, rate = under_load(live, collection, bulk, singles)
    print_line(f"during an import of {bulk}", seconds)
    print(f"{'the import beside them':34} {rate:6.1f} pictures/s of {SIZE[0]} x {SIZE[1]} px")
    print("\n".join(metric(live)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--singles", type=int, default=40)
    parser.add_argument("--bulk", type=int, default=10_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as data:
        live = Live.start(Path(data), samples=4)
        try:
            measure(live, options.singles, options.bulk)
        finally:
            live.stop()


if __name__ == "__main__":
    main()
