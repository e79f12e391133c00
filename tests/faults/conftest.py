"""Houses to break, and the ledger of what breaking them cost. LOUPE_FAULTS=full runs everything at full size."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from images import ingest, keys, processing, storage
from images.models import Collection, Image, ImageState, Team, User
from search import embedding, index, spaces
from search.models import Embedding, EmbeddingState
from tests.faults.house import ROOT, House
from tests.faults.pictures import picture
from workers import lanes

FULL = os.environ.get("LOUPE_FAULTS") == "full"
ASKED_TOGETHER = 40_000


def size(short: int, full: int) -> int:
    return full if FULL else short


# ── The ledger ──────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Ledger:
    """One line of the table that the run ends with."""

    promise: str
    runs: int = 0
    lost: int = 0
    doubled: int = 0
    note: str = ""
    started: float = field(default_factory=time.monotonic)

    def line(self) -> tuple[Any, ...]:
        seconds = time.monotonic() - self.started
        return self.promise, self.runs, self.lost, self.doubled, round(seconds, 1), self.note


@pytest.fixture
def ledger(request: pytest.FixtureRequest) -> Iterator[Ledger]:
    """`ledger.runs`, `.lost`, `.doubled`, `.note` of the promise that the test's docstring names."""
    ledger = Ledger((request.function.__doc__ or request.node.name).strip().splitlines()[0])
    yield ledger
    request.node.user_properties.append(("ledger", ledger.line()))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """One line for each promise; several tests may keep the same one."""
    reports = terminalreporter.stats.get("", ())  # of setup and teardown: the ledger is closed in the latter
    kept: dict[str, list[tuple[Any, ...]]] = {}
    for report in reports:
        for name, value in report.user_properties:
            if name == "ledger":
                kept.setdefault(value[0], []).append(tuple(value[1:]))
    if kept:
        terminalreporter.section("Nothing is lost" if FULL else "Nothing is lost (short runs)")
        terminalreporter.write_line(f"{'promise':70} {'runs':>6} {'lost':>5} {'doubled':>8} {'seconds':>8}")
    for promise, lines in sorted(kept.items()):
        runs, lost, doubled, seconds = (sum(line[n] for line in lines) for n in range(4))
        notes = "; ".join(sorted({line[4] for line in lines if line[4]}))
        terminalreporter.write_line(
            f"{promise[:70]:70} {runs:6} {lost:5} {doubled:8} {seconds:8.1f}  {notes}"
        )


# ── Houses ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny CLIP, made by another process so that this one stays free of torch."""
    folder = tmp_path_factory.mktemp("model")
    code = "import pathlib, sys; from tests.search.tiny_models import clip_model; clip_model(pathlib.Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", code, str(folder)], cwd=ROOT, check=True, capture_output=True)
    return folder


@pytest.fixture
def house(transactional_db: None, tmp_path: Path, model: Path, settings: Any) -> Iterator[House]:
    settings.LOUPE_MODEL, settings.LOUPE_DTYPE = str(model), "float32"
    spaces._identity.cache_clear()
    index.reset()
    if settings.S3_BUCKET:
        empty_bucket()  # of what the tests before left there
    house = House(tmp_path, model, full=FULL)
    yield house
    house.close()
    spaces._identity.cache_clear()


@pytest.fixture
def small_disk(tmp_path: Path, settings: Any) -> Iterator[Path]:
    """The media folder, on a disk of 1 MiB; files are there even where the other tests keep them in object storage."""
    folder = tmp_path / "media"
    folder.mkdir(exist_ok=True)
    files = {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": str(folder)}}
    settings.STORAGES = {**settings.STORAGES, "default": files}
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=777", "none", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("may not mount a small disk here (needs root)")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        for block in (1 << 14, 1 << 10, 1):
            try:
                while True:
                    file.write(b"x" * block)
            except OSError:
                continue


def empty_bucket() -> None:
    prefixes = ("originals/", "renditions/", "indexes/", "incoming/")
    keys = [entry.key for prefix in prefixes for entry in storage.list(prefix)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(storage.delete, keys))


@pytest.fixture
def drain(house: House, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., float]]:
    """`drain(collection)`: do in this process what waits, leases of the dead included; the seconds that it took."""
    from tests.faults.worker import pixel_encoder

    monkeypatch.setattr(embedding, "get_encoder", pixel_encoder)

    def work(collection: Collection, seconds: float = 60) -> float:
        return house.until(
            everything_searchable(collection), seconds, "everything to be searchable", step_all
        )

    yield work
    processing.close_pool()


def step_all() -> None:
    for lane in lanes.STEPS:
        lanes.step(lane)


@pytest.fixture
def send(collection: Collection, owner: User) -> Callable[..., str]:
    """`send(7)`: upload picture number 7 here; its SHA-256."""

    def upload(number: int, content: bytes = b"", into: Collection = collection) -> str:
        file = io.BytesIO(content or picture(number))
        return ingest.ingest(into, owner, file, file_name=f"{number}.jpg").image.sha256

    return upload


@pytest.fixture
def owner_key(owner: User, team: Team) -> str:
    scopes = ["search:read", "images:read", "images:write", "collections:admin"]
    return keys.issue(team, owner, "Faults", scopes)[1]


# ── What must be true ───────────────────────────────────────────────────────────────────────────────────────────


def searchable(collection: Collection) -> int:
    done = Embedding.objects.filter(collection=collection, state=EmbeddingState.DONE, seq__isnull=False)
    return done.filter(image__state=ImageState.READY).count()


def everything_searchable(collection: Collection) -> Callable[[], bool]:
    return lambda: searchable(collection) == Image.objects.filter(collection=collection).count()


def census(collection: Collection, sent: set[str]) -> tuple[int, int]:
    """(lost, doubled) of the accepted pictures with these SHA-256 sums, in rows, vectors and index alike."""
    rows = list(Image.objects.filter(collection=collection).values_list("sha256", "pk"))
    lost = len(sent - {sha256 for sha256, _pk in rows})
    doubled = len(rows) - len(dict(rows))
    vectors = list(Embedding.objects.filter(collection=collection).values_list("image_id", flat=True))
    doubled += len(vectors) - len(set(vectors))
    found = in_index(collection)
    present = {pk for _sha256, pk in rows}
    lost += len(present - set(found))
    return lost, doubled + len(found) - len(present & set(found))  # twice there, or of no picture


def in_index(collection: Collection) -> list[int]:
    """The row ids that searches over everything answer with, in this process; a search gives at most 50,000."""
    row = index.ensure_index(collection)
    probe = np.ones(row.space.dimension, np.float32) / np.sqrt(row.space.dimension)
    index.reset()
    last = Image.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
    found: list[int] = []
    for first in range(1, last + ASKED_TOGETHER, ASKED_TOGETHER):
        some = np.arange(first, first + ASKED_TOGETHER)
        hits = index.search([collection.pk], row.space, probe, ASKED_TOGETHER, allowed=some, exact=True)
        found += [pk for pk in hits.ids[0].tolist() if pk >= 0]
    return found


def differing(collection: Collection, encoder: Any) -> int:
    """How many stored vectors are not those of the pictures' previews (cosine below 0.9999)."""
    rows = Embedding.objects.filter(collection=collection).select_related("image").order_by("id")
    wrong = 0
    for row in rows.iterator(100):
        picture = Pillow.open(io.BytesIO(storage.read(row.image.preview_key))).convert("RGB")
        stored = np.frombuffer(bytes(row.vector), "<f2").astype(np.float32)
        cosine = (
            stored @ encoder.encode_images([picture])[0] / np.linalg.norm(stored)
        )  # fp16 is not quite of length 1
        wrong += float(cosine) < 0.9999
    return wrong
