"""A server process that does nothing but search: `python -m tests.faults.searcher COLLECTION SPACE RATE LOG`.

Searches RATE times a second until it is killed; one JSON line for each: generation, answers, error.
"""

# ruff: noqa: E402
from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import django

django.setup()

import numpy as np

from search import index
from search.models import Space

K = 10


def main() -> None:
    collection, space, rate, path = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), Path(sys.argv[4])
    row, random = Space.objects.get(pk=space), np.random.default_rng(5)
    with path.open("w", buffering=1) as log:
        while True:
            probe = random.standard_normal(row.dimension).astype(np.float32)
            began = time.monotonic()
            log.write(json.dumps(answer(collection, row, probe / np.linalg.norm(probe))) + "\n")
            time.sleep(max(0.0, 1 / rate - (time.monotonic() - began)))


def answer(collection: int, space: Space, probe: np.ndarray) -> dict:
    try:
        hits = index.search([collection], space, probe, K)
    except Exception as error:  # noqa: BLE001  (what a user would see as a failed search)
        return {"error": repr(error), "answers": 0, "generation": -1}
    ids = [pk for pk in hits.ids[0].tolist() if pk >= 0]
    return {"error": "", "answers": len(set(ids)), "generation": hits.generations[collection]}


if __name__ == "__main__":
    main()
