"""The index is damaged, swapped, rebuilt under load, lost and restored: answers stay right."""

from __future__ import annotations

import io
import json
import random
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from images import moderation, storage
from images.models import Image, ImageState
from search import index
from search.models import CollectionIndex, Embedding, EmbeddingState, Generation, RecallSample
from tests.faults.conftest import fill, in_index, size
from tests.faults.house import House, database_url
from tests.faults.pictures import picture
from tests.services import program


@pytest.fixture
def vectors(house: House, collection: Any, owner: Any) -> Callable[..., np.ndarray]:
    """`vectors(300)`: so many checked pictures with random unit vectors, placed; the vectors by row."""

    def make(count: int, seed: int = 1, into: Any = collection) -> np.ndarray:
        row = index.ensure_index(into)
        unit = np.random.default_rng(seed).standard_normal((count, row.space.dimension)).astype(np.float32)
        unit /= np.linalg.norm(unit, axis=1, keepdims=True)
        images = Image.objects.bulk_create(_image(into, owner, seed, number) for number in range(count))
        first = CollectionIndex.objects.get(pk=row.pk).last_seq + 1
        Embedding.objects.bulk_create(
            Embedding(
                image=image,
                collection=into,
                space=row.space,
                state=EmbeddingState.DONE,
                vector=vector.astype("<f2").tobytes(),
                seq=seq,
                embedded_at=timezone.now(),
            )
            for seq, (image, vector) in enumerate(zip(images, unit, strict=True), start=first)
        )
        CollectionIndex.objects.filter(pk=row.pk).update(last_seq=first + count - 1)
        return unit

    return make


def _image(collection: Any, owner: Any, seed: int, number: int) -> Image:
    return Image(
        collection=collection,
        uploader=owner,
        file_name=f"{number}.jpg",
        sha256=f"{seed:08x}{number:056x}",
        byte_size=1,
        state=ImageState.READY,
    )


def rebuilt(collection: Any) -> Generation:
    index.request_rebuild(collection)
    assert index.build_due() == 1
    return Generation.objects.get(state="live", index__collection=collection)


def top(collection: Any, probes: np.ndarray, k: int = 10) -> list[list[int]]:
    space = index.ensure_index(collection).space
    return index.search([collection.pk], space, probes, k).ids.tolist()


def as_a_new_process(settings: Any) -> None:
    """Nothing open, nothing verified, nothing cached."""
    index.reset()
    shutil.rmtree(settings.INDEX_CACHE, ignore_errors=True)


# ── Damage ──────────────────────────────────────────────────────────────────────────────────────────────────────


def damaged(content: bytes, kind: str, chance: random.Random) -> bytes:
    at = chance.randrange(len(content))
    match kind:
        case "flipped":
            return content[:at] + bytes([content[at] ^ (1 << chance.randrange(8))]) + content[at + 1 :]
        case "header":
            at = chance.randrange(64)
            return content[:at] + bytes([content[at] ^ (1 << chance.randrange(8))]) + content[at + 1 :]
        case "truncated":
            return content[:at]
        case "zeroed":
            return content[:at] + bytes(min(512, len(content) - at)) + content[at + 512 :]
    return content + b"\0" * 64


def test_damaged_files(vectors: Any, collection: Any, settings: Any, ledger: Any) -> None:
    """a damaged index is never served"""
    probes, chance = vectors(200)[:5], random.Random(11)
    live = rebuilt(collection)
    right, sound = top(collection, probes), storage.read(live.key)
    kinds = ["flipped", "header", "truncated", "zeroed", "longer"]
    ledger.runs = size(40, 300)
    for number in range(ledger.runs):
        storage.put(
            live.key, io.BytesIO(damaged(sound, kinds[number % 5], chance)), "application/octet-stream"
        )
        as_a_new_process(settings)
        ledger.lost += top(collection, probes) != right
        Generation.objects.filter(pk=live.pk).update(state="live", error="")
    assert ledger.lost == 0 and CollectionIndex.objects.get().state == "wanted"


@pytest.mark.parametrize("fault", ["missing file", "wrong manifest"])
def test_damage_is_repaired_by_itself(
    vectors: Any, collection: Any, settings: Any, ledger: Any, fault: str
) -> None:
    """a damaged index is rebuilt by itself"""
    probes = vectors(200)[:5]
    live = rebuilt(collection)
    right = top(collection, probes)
    if fault == "missing file":
        storage.delete(live.key)
    else:
        live.manifest["segment"]["sha256"] = "0" * 64
        live.save()
    as_a_new_process(settings)
    ledger.runs, ledger.lost = 1, int(top(collection, probes) != right)
    assert index.build_due() == 1 and ledger.lost == 0
    as_a_new_process(settings)
    assert top(collection, probes) == right
    assert Generation.objects.get(state="live").pk != live.pk


def test_a_full_disk_keeps_the_old_generation(
    vectors: Any, collection: Any, settings: Any, small_disk: Path, ledger: Any
) -> None:
    """a damaged index is never served: the disk is full while the next one is written"""
    probes, ballast = vectors(200)[:5], small_disk / "ballast"
    live = rebuilt(collection)
    probes = np.vstack([probes, vectors(50, seed=2)[:5]])
    right = top(collection, probes)
    fill(ballast)
    index.request_rebuild(collection)
    assert index.build_due() == 1
    as_a_new_process(settings)
    row = CollectionIndex.objects.get()
    ledger.runs, ledger.lost = 1, int(top(collection, probes) != right)
    assert (row.live_id, row.state) == (live.pk, "wanted") and "space" in row.error.lower()
    assert not Generation.objects.filter(state="building").exists()
    ballast.unlink()
    CollectionIndex.objects.update(not_before=None)
    assert index.build_due() == 1 and ledger.lost == 0
    as_a_new_process(settings)
    assert top(collection, probes) == right and CollectionIndex.objects.get().live_id != live.pk


# ── Swaps ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_swaps_without_a_gap(
    vectors: Any, collection: Any, house: House, tmp_path: Path, ledger: Any
) -> None:
    """swap without a gap: two processes search on"""
    vectors(300)
    rebuilt(collection)
    space, logs = index.ensure_index(collection).space, [tmp_path / f"search-{n}.log" for n in (1, 2)]
    for log in logs:
        arguments = [str(collection.pk), str(space.pk), "10", str(log)]
        house.run(log.stem, "-m", "tests.faults.searcher", *arguments)
    house.until(
        lambda: all(log.exists() and log.stat().st_size for log in logs), 60, "the searching processes"
    )
    swaps = size(5, 50)
    for number in range(swaps):
        vectors(20, seed=100 + number)
        rebuilt(collection)
        time.sleep(0.3)
    last = Generation.objects.get(state="live").number
    house.until(lambda: all(answers(log)[-1]["generation"] == last for log in logs), 30, "the last swap")
    given = [answer for log in logs for answer in answers(log)]
    ledger.runs, ledger.lost = swaps, sum(bool(a["error"]) or a["answers"] < 10 for a in given)
    ledger.note = f"{len(given)} searches"
    numbers = [[answer["generation"] for answer in answers(log)] for log in logs]
    assert ledger.lost == 0 and all(seen == sorted(seen) and len(set(seen)) > 2 for seen in numbers)


def answers(log: Path) -> list[dict]:
    return [json.loads(line) for line in log.read_text().splitlines(keepends=True) if line.endswith("\n")]


def test_live_queries_are_measured_by_a_worker(
    vectors: Any, collection: Any, house: House, settings: Any, ledger: Any
) -> None:
    """the recall of live queries is measured in the background"""
    probes = vectors(1500)[:5]
    index.request_rebuild(collection, kind="ivf-pq")
    assert index.build_due(probes=lambda _space: None) == 1
    settings.INDEX_LIVE_RECALL = 1.0
    for probe in probes:
        top(collection, probe)
    row = CollectionIndex.objects.get()
    assert row.live_recall is None  # nothing is asked twice in the process that answers
    house.worker("measure", queues="maintenance", LOUPE_LIVE_RECALL="1")
    house.until(
        lambda: CollectionIndex.objects.get().live_recall_count == len(probes),
        60,
        "the replay of the queries",
    )
    row.refresh_from_db()
    ledger.runs, ledger.lost = len(probes), RecallSample.objects.count()
    assert ledger.lost == 0 and 0.9 < row.live_recall <= 1


# ── A rebuild while everything changes ──────────────────────────────────────────────────────────────────────────


# Less than the pipeline takes here: more would only measure how long the queue has become.
UPLOADS_PER_SECOND = 5


def test_rebuild_while_uploads_and_deletes_go_on(
    vectors: Any, house: House, collection: Any, make_collection: Any, owner: Any, owner_key: str, ledger: Any
) -> None:
    """rebuild while uploads, deletes and moves go on"""
    rows, uploads, deletes, moves = size(1500, 50_000), size(20, 1000), size(10, 500), size(6, 200)
    vectors(rows)
    elsewhere, chance = make_collection("Elsewhere"), random.Random(2)
    index.ensure_index(elsewhere)
    house.worker("work", queues="interactive,bulk")
    house.worker("build", queues="index")
    web = house.web()
    web.key = owner_key
    assert web.upload(collection, "10000.jpg", picture(10_000))[0] == 201
    house.until(
        lambda: Embedding.objects.filter(image__byte_size__gt=1, seq__gt=0).exists(), 60, "the workers"
    )
    old = list(Image.objects.filter(collection=collection).order_by("?")[: deletes + moves])
    index.request_rebuild(collection)
    began = time.monotonic()
    for number in range(uploads):
        time.sleep(max(0.0, began + number / UPLOADS_PER_SECOND - time.monotonic()))  # keeps the pace
        assert web.upload(collection, f"{number}.jpg", picture(number))[0] == 201
        for image in old[number * deletes // uploads : (number + 1) * deletes // uploads]:
            moderation.trash(image, owner)
        for image in old[deletes + number * moves // uploads : deletes + (number + 1) * moves // uploads]:
            moderation.move(image, elsewhere, owner)
        if chance.random() < 0.1:
            index.request_rebuild(collection)
    fresh = Embedding.objects.filter(image__byte_size__gt=1).exclude(image__file_name="10000.jpg")
    done = fresh.filter(state=EmbeddingState.DONE)
    house.until(lambda: done.count() == uploads, 90, "every upload to be searchable")
    house.until(lambda: not CollectionIndex.objects.filter(state="wanted").exists(), 90, "the rebuild")
    waits = sorted(
        (row.embedded_at - row.image.uploaded_at).total_seconds() for row in done.select_related("image")
    )
    ledger.runs, ledger.note = (
        uploads + deletes + moves,
        f"at {UPLOADS_PER_SECOND} uploads/s searchable: p50 {waits[len(waits) // 2]:.1f} s, max {waits[-1]:.1f} s",
    )
    for place in (collection, elsewhere):
        expected = set(Image.objects.searchable().filter(collection=place).values_list("pk", flat=True))  # type: ignore[attr-defined]
        found = in_index(place)
        present = set(
            Image.objects.present().filter(pk__in=found, collection=place).values_list("pk", flat=True)
        )  # type: ignore[attr-defined]
        ledger.lost += len(expected - present)
        ledger.doubled += len(found) - len(set(found))
    assert (ledger.lost, ledger.doubled) == (0, 0)
    assert waits[int(len(waits) * 0.95)] < size(30, 10)


# ── Restore ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_restore(vectors: Any, collection: Any, settings: Any, tmp_path: Path, ledger: Any) -> None:
    """restore: database and bucket come back, every index is rebuilt, same top 10"""
    probes = vectors(size(400, 5000))
    ledger.runs = size(50, 200)
    probes = np.roll(probes[: ledger.runs], 1, axis=1)
    live = rebuilt(collection)
    before = top(collection, probes)
    restore = dump(tmp_path)
    call_command("flush", interactive=False, inhibit_post_migrate=True)
    for entry in list(storage.list("indexes/")):
        storage.delete(entry.key)
    as_a_new_process(settings)
    restore()
    ledger.lost = sum(a != b for a, b in zip(before, top(collection, probes), strict=True))
    assert index.build_due() == 1
    as_a_new_process(settings)
    ledger.lost += sum(a != b for a, b in zip(before, top(collection, probes), strict=True))
    assert ledger.lost == 0 and Generation.objects.get(state="live").number > live.number


def dump(folder: Path) -> Callable[[], None]:
    """Dump the database; returns what restores it into the emptied one."""
    if connection.vendor == "sqlite":
        copy = folder / "dump.sqlite3"
        with connection.cursor() as cursor:
            cursor.execute("VACUUM INTO %s", [str(copy)])
        return lambda: restore_sqlite(copy)
    path = folder / "dump"
    command = [program("pg_dump"), "--format=custom", "--data-only", "--exclude-table=django_migrations"]
    subprocess.run([*command, f"--file={path}", database_url()], check=True)
    into = [
        program("pg_restore"),
        "--data-only",
        "--disable-triggers",
        f"--dbname={database_url()}",
        str(path),
    ]
    return lambda: [subprocess.run(into, check=True), None][1]


def restore_sqlite(copy: Path) -> None:
    """The dump's file takes the database's place."""
    connection.close()
    database = Path(connection.settings_dict["NAME"])
    for suffix in ("-wal", "-shm"):
        database.with_name(database.name + suffix).unlink(missing_ok=True)
    shutil.copy(copy, database)
