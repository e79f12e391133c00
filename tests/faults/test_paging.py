"""Pages are cut while another process uploads, deletes, hides and merges: nothing repeats, nothing is skipped."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from images.access import Principal, principal_for_user
from images.models import Image
from search import engine, index
from search.models import CollectionIndex, Space
from search.query_text import parse
from tests.faults import changing
from tests.faults.conftest import size
from tests.faults.house import House
from tests.search import axes
from tests.search.axes import DIMENSION, NAME, SHA256, WORDS

READERS = 24


class Reader:
    """Somebody who turns the pages of one search to its end. `repeats` and `gaps` are counted as they happen."""

    def __init__(self, typed: str) -> None:
        self.typed, self.cursor, self.seen = typed, "", []
        self.before = present()

    def turn(self, principal: Principal, limit: int) -> tuple[int, int, bool]:
        """(repeats, gaps, at the end). A gap is a picture that was there from before the first page until now, and
        was on no page."""
        ask = f"{self.typed} words:off limit:{limit}" + (f" cursor:{self.cursor}" if self.cursor else "")
        page = engine.find(parse(ask), principal)
        shown = [result.image.pk for result in page.results]
        repeats = len(shown) - len(set(shown) - set(self.seen))
        self.seen += shown
        self.cursor = page.next_cursor or ""
        gaps = 0 if self.cursor else len((self.before & present()) - set(self.seen))
        return repeats, gaps, not self.cursor


def present() -> set[int]:
    return set(Image.objects.searchable().values_list("pk", flat=True))  # type: ignore[attr-defined]


@pytest.fixture
def place(house: House, collection: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A collection of 200 pictures in a space whose encoder needs no model."""
    axes.installed(monkeypatch, axes.AxesEncoder())
    space = Space.objects.create(name=NAME, sha256=SHA256, dimension=DIMENSION, languages=["en"])
    CollectionIndex.objects.update_or_create(collection=collection, defaults={"space": space})
    changing.upload(collection, space, list(WORDS) * 20)
    return collection


def test_paging_while_everything_changes(house: House, place: Any, teammate: Any, ledger: Any) -> None:
    """pages neither repeat nor skip"""
    log: Path = house.folder / "changes.log"
    writer = house.run("changing", "-m", "tests.faults.changing", str(place.pk), str(log))
    house.until(lambda: log.exists() and "merge" in log.read_text(), 60, "the first merge")
    noise, me = np.random.default_rng(5), principal_for_user(teammate)
    readers: dict[int, Reader] = {}
    walks = 0
    steps = size(300, 10_000)
    for _step in range(steps):
        number = int(noise.integers(READERS))
        reader = readers.setdefault(
            number, Reader(" ".join(noise.choice(WORDS, 1 + number % 2, replace=False)))
        )
        repeats, gaps, ended = reader.turn(me, int(noise.integers(3, 60)))
        ledger.doubled, ledger.lost = ledger.doubled + repeats, ledger.lost + gaps
        if ended:
            walks += 1
            del readers[number]
    assert writer.alive(), writer.tail()
    changes = Counter(log.read_text().split())
    index.settle()
    ledger.runs = steps
    ledger.note = f"{walks} lists read to the end, meanwhile " + ", ".join(
        f"{count} × {what}" for what, count in sorted(changes.items())
    )
    assert walks > steps / 40
    assert min(changes[what] for what in ("upload", "trash", "hide", "merge")) > 0
    assert (ledger.doubled, ledger.lost) == (0, 0)
