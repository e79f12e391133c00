"""The broker dies, forgets, repeats itself or is late: rows are the queue, so nothing happens."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connections

from images import leases, processing, storage
from images.models import Image
from search import embedding
from search.models import Embedding
from tests import services as real
from tests.faults.conftest import census, everything_searchable, size
from tests.faults.house import House
from tests.faults.pictures import picture
from tests.parts import without


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[real.Server]:
    try:
        server = real.redis(tmp_path)
    except real.ServiceFailed as error:
        without(str(error))
    with real.running(server):
        yield server


@pytest.mark.services
def test_losing_the_broker(
    house: House, collection: Any, owner_key: str, redis: real.Server, ledger: Any
) -> None:
    """losing the broker is harmless"""
    house.env |= redis.env
    web, count = house.web(), size(10, 100)
    web.key = owner_key
    contents = [picture(number) for number in range(3 * count)]
    statuses = [web.upload(collection, "queued.jpg", content)[0] for content in contents[:count]]
    redis.kill()
    statuses += [web.upload(collection, "down.jpg", content)[0] for content in contents[count : 2 * count]]
    redis.start()
    house.worker()
    drained = house.until(everything_searchable(collection), 60, "the queue that Redis forgot")
    redis.kill()
    statuses += [web.upload(collection, "again.jpg", content)[0] for content in contents[2 * count :]]
    silent = house.until(everything_searchable(collection), 60, "uploads without any broker")
    ledger.runs, ledger.note = 2, f"drained in {drained:.0f} s, without a broker {silent:.0f} s"
    ledger.lost, ledger.doubled = census(collection, {hashlib.sha256(c).hexdigest() for c in contents})
    assert set(statuses) == {201} and (ledger.lost, ledger.doubled) == (0, 0)


def test_a_message_three_times_at_once(
    house: House, collection: Any, send: Any, drain: Any, ledger: Any
) -> None:
    """a message delivered 3x does no harm"""
    sent = {send(number) for number in range(size(20, 300))}
    ledger.runs = len(sent)
    for step in (processing.process_pending, embedding.embed_pending):
        at_once(3, step)
    drain(collection)
    ledger.lost, ledger.doubled = census(collection, sent)
    assert (ledger.lost, ledger.doubled) == (0, 0)
    assert set(Image.objects.values_list("attempts", flat=True)) == {1}
    assert len(list(storage.list("renditions/"))) == 2 * len(sent)


def at_once(count: int, step: Callable[[], int]) -> None:
    """`step` until nothing is left, in several threads that start together."""
    start = threading.Barrier(count)

    def work() -> None:
        start.wait()
        try:
            while step():
                pass
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_a_worker_that_comes_too_late(
    house: House, collection: Any, send: Any, drain: Any, ledger: Any
) -> None:
    """a message delivered late does no harm"""
    sent = {send(number) for number in range(size(6, 60))}
    ledger.runs = len(sent)
    late_images = leases.claim(Image.objects.select_related("collection"), 1000, timedelta(seconds=-1))
    while processing.process_pending():
        pass
    late_vectors = leases.claim(
        Embedding.objects.select_related("image", "space"), 1000, timedelta(seconds=-1)
    )
    drain(collection)
    for image in late_images:
        processing.process(image)
    embedding._embed_batch(late_vectors[0].space, late_vectors)
    ledger.lost, ledger.doubled = census(collection, sent)
    assert (ledger.lost, ledger.doubled) == (0, 0)
    assert Embedding.objects.filter(seq__lte=len(sent)).count() == len(sent)
    assert len(list(storage.list("renditions/"))) == 2 * len(sent)


@pytest.mark.parametrize("pool", ["threads", "solo", "prefork"])
def test_work_is_done_without_any_message(
    house: House, collection: Any, send: Any, ledger: Any, pool: str
) -> None:
    """no message ever comes: every kind of worker finds its work and ends in good order"""
    worker = house.worker(pool=pool)
    sent = {send(number) for number in range(5)}
    ledger.note = f"{pool}: {house.until(everything_searchable(collection), 60, 'the work'):.0f} s"
    ledger.runs, (ledger.lost, ledger.doubled) = len(sent), census(collection, sent)
    assert worker.end() == 0 and (ledger.lost, ledger.doubled) == (0, 0)
