"""What the index benchmarks share: rows of the table, CPU of one query, recall, and what a process holds in memory."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

K = 50
FIELDS = ("part", "vectors", "method", "recall", "cpu_ms", "build_s", "mb", "note")


class Table:
    """Rows that are printed as they come and written at the end."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        print(f"{'part':9}{'vectors':>9} {'method':42}{'recall':>8}{'cpu ms':>9}{'build s':>9}{'MB':>9}")

    def add(self, part: str, vectors: int, method: str, **values: Any) -> None:
        row = dict.fromkeys(FIELDS, "") | {"part": part, "vectors": vectors, "method": method} | values
        self.rows.append(row)
        shown = [f"{row[name]:.4g}" if isinstance(row[name], float) else str(row[name]) for name in FIELDS]
        shown[3] = f"{row['recall']:.4f}" if row["recall"] != "" else ""
        widths = (9, -9, 43, -8, -9, -9, -9)
        cells = [
            one.rjust(-wide) if wide < 0 else one.ljust(wide)
            for one, wide in zip(shown, widths, strict=False)
        ]
        print(
            cells[0] + cells[1] + " " + "".join(cells[2:]).rstrip(),
            *filter(None, shown[7:]),
            sep="  ",
            flush=True,
        )

    def of(self, part: str, vectors: int, method: str) -> dict[str, Any]:
        """The first row of that part whose method begins like this; empty where it was not measured."""
        key = (part, vectors)
        rows = (row for row in self.rows if (row["part"], row["vectors"]) == key)
        return next((row for row in rows if row["method"].startswith(method)), {})

    def write(self, path: Path) -> None:
        path.parent.mkdir(exist_ok=True)
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, FIELDS)
            writer.writeheader()
            writer.writerows(self.rows)


def timed(
    ask: Callable[[np.ndarray], np.ndarray],
    queries: np.ndarray,
    clock: Callable[[], float] = time.process_time,
) -> tuple[np.ndarray, float]:
    """(ids [q, k], median CPU milliseconds of one query), after a few questions to warm up."""
    found, spent = [], []
    for query in queries[:5, None]:
        ask(query)
    for query in queries[:, None]:
        begun = clock()
        found.append(ask(query)[0])
        spent.append(clock() - begun)
    return np.array(found), 1e3 * float(np.median(spent))


def paired(
    first: Callable[[np.ndarray], Any],
    second: Callable[[np.ndarray], Any],
    queries: np.ndarray,
    rounds: int = 9,
) -> float:
    """CPU(first) / CPU(second): each query's least time of `rounds` passes, the medians of those. The passes take
    turns, so that what else the machine does meets both; within a pass each has the processor's caches to itself."""
    least = np.full((2, len(queries)), np.inf)
    for _round in range(rounds):
        for row, ask in enumerate((first, second)):
            for at, query in enumerate(queries[:, None]):
                begun = time.process_time()
                ask(query)
                least[row, at] = min(least[row, at], time.process_time() - begun)
    return float(np.median(least[0]) / np.median(least[1]))


def wall(work: Callable[[], Any]) -> tuple[Any, float]:
    """(result, seconds)."""
    begun = time.perf_counter()
    return work(), time.perf_counter() - begun


def recall(found: np.ndarray, truth: np.ndarray) -> float:
    hits = sum(len(np.intersect1d(a, b[b >= 0])) for a, b in zip(found, truth, strict=True))
    return hits / max(1, int((truth >= 0).sum()))


def held() -> dict[str, float]:
    """MB of this process' own memory and of the file pages that it has touched (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    found = {
        name: int(value.split()[0]) / 1e3
        for name, value in (line.split(":", 1) for line in lines if "kB" in line)
    }
    return {"own": found["RssAnon"], "file": found["RssFile"]}


def median_ms(seconds: Iterable[float]) -> float:
    return 1e3 * float(np.median(list(seconds)))
