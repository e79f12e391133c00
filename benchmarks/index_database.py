"""The part of the index benchmark that goes through the database: many small collections, and swaps under load.

Started by benchmarks/index.py, in processes of their own over an empty database; prints one JSON list a row.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

from benchmarks.measuring import K, timed  # noqa: E402

SWAPS, PER_SECOND = 50, 20
COLLECTIONS = 1000


def in_database(arguments: list[str], data: Path) -> subprocess.Popen[str]:
    environment = os.environ | {"LOUPE_DATA": str(data), "DEBUG": "true"}
    environment.pop("DATABASE_URL", None)
    return subprocess.Popen(
        [sys.executable, __file__, *arguments], env=environment, stdout=subprocess.PIPE, text=True
    )


def set_up() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    import django

    django.setup()


def fill(name: str, vectors: np.ndarray, space: Any, team: Any) -> Any:
    """A collection with finished embeddings."""
    from django.db import transaction

    from images.models import Collection, Image
    from search.models import CollectionIndex
    from tests.search.rows import finish

    with transaction.atomic():
        collection = Collection.objects.create(team=team, name=name)
        CollectionIndex.objects.create(collection=collection, space=space)
        images = Image.objects.bulk_create(
            Image(
                collection=collection,
                file_name="x",
                sha256=f"{number:064x}",
                byte_size=1,
                original_key="o/x",
                state="ready",
            )
            for number in range(len(vectors))
        )
        finish(collection, images, vectors, space)
    return collection


def database() -> None:
    """Many small collections, and swaps under load."""
    from django.core.management import call_command

    from images.models import Team
    from search.models import Space
    from tests.search.index.shapes import world

    call_command("migrate", verbosity=0)
    team = Team.objects.create(name="Bench", slug="bench")
    space = Space.objects.create(name="bench", sha256="0" * 64, dimension=512)
    for each in (20, 100):
        vectors, text = world(COLLECTIONS * each, 50)
        parts = np.split(vectors, COLLECTIONS)
        many = [fill(f"{each} {at}", part, space, team) for at, part in enumerate(parts)]
        one = fill(f"{each} in one", vectors, space, team)
        compare(many, one, space, text, each)
        if each == 20:
            swaps(one, space)


def compare(many: list[Any], one: Any, space: Any, text: np.ndarray, each: int) -> None:
    from images import leases
    from search import index
    from search.models import CollectionIndex

    index.request_rebuild(one)
    for row in leases.claim(CollectionIndex.objects.filter(collection=one), 1):
        index.build_next(row)
    total, costs = COLLECTIONS * each, {}
    for name, asked in (
        (f"1 x {total}", [one.pk]),
        (f"{COLLECTIONS} x {each}", [collection.pk for collection in many]),
    ):
        index.search(asked, space, text[:1], K)
        index.settle()
        _found, costs[name] = timed(lambda query, asked=asked: index.search(asked, space, query, K).ids, text)
        plan = index.search(asked, space, text[:1], K).plan
        print(json.dumps(["many", total, name, costs[name], plan]), flush=True)
    single, many_ = costs.values()
    print(json.dumps(["many", total, "ratio", None, f"{many_ / single:.2f}x one collection"]), flush=True)


def swaps(one: Any, space: Any) -> None:
    """Two processes ask 20 times a second while this one publishes 50 generations."""
    from images import leases
    from search import index
    from search.models import CollectionIndex

    CollectionIndex.objects.filter(collection=one).update(kind="exact")
    children = [in_database([str(one.pk), str(space.pk)], Path(os.environ["LOUPE_DATA"])) for _n in range(2)]
    for child in children:
        child.stdout.readline()  # it is warm
    for _swap in range(SWAPS):
        index.request_rebuild(one)
        for row in leases.claim(CollectionIndex.objects.filter(collection=one), 1):
            index.build_next(row)
    (Path(os.environ["LOUPE_DATA"]) / "stop").touch()
    for child in children:
        answer = json.loads(child.communicate(timeout=60)[0])
        print(json.dumps(["swaps", SWAPS, "asked while swapping", None, json.dumps(answer)]), flush=True)


def ask(collection: int, space: int) -> None:
    from search import index
    from tests.search.index.shapes import world

    text, counts, seen = world(10, 50)[1], {"asked": 0, "failed": 0, "short": 0}, set()
    index.search([collection], space, text[:1], K)
    print("warm", flush=True)
    stop, slowest = Path(os.environ["LOUPE_DATA"]) / "stop", 0.0
    while not stop.exists():
        begun = time.perf_counter()
        try:
            hits = index.search([collection], space, text[counts["asked"] % 50], K)
            counts["short"] += int((hits.ids < 0).any() or hits.ids.shape[1] < K)
            seen.add(hits.generations[collection])
        except Exception as error:  # noqa: BLE001  (every failure counts here)
            counts["failed"] += 1
            print(repr(error), file=sys.stderr)
        counts["asked"] += 1
        spent = time.perf_counter() - begun
        slowest = max(slowest, spent)
        time.sleep(max(0.0, 1 / PER_SECOND - spent))  # a steady rate of questions, not as many as fit
    print(json.dumps(counts | {"generations": len(seen), "slowest_ms": round(1e3 * slowest, 1)}))


def main() -> None:
    if "LOUPE_DATA" not in os.environ:
        raise SystemExit("only the benchmark itself starts this part, over a folder of its own")
    set_up()
    if len(sys.argv) > 1:
        ask(*map(int, sys.argv[1:3]))
    else:
        database()


if __name__ == "__main__":
    main()
