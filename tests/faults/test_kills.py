"""Processes that die, at named places and at any moment."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import time
from typing import Any

import pytest

from images import faults, storage
from images.models import Image
from search import encoders, index
from search.models import CollectionIndex, Generation
from tests.faults.conftest import FULL, census, differing, everything_searchable, searchable, size
from tests.faults.house import House, Process, Web
from tests.faults.pictures import picture

ON_THE_WAY_IN = ("after_put", "before_commit", "before_bell", "after_commit")
LANES = {
    "after_claim": "process",
    "after_renditions": "process",
    "before_ready_commit": "process",
    "after_encode": "embed",
    "before_vectors_commit": "embed",
    "after_segment_build": "build_indexes",
    "after_segment_put": "build_indexes",
    "before_publish": "build_indexes",
}


def test_random_kills(house: House, collection: Any, owner_key: str, ledger: Any) -> None:
    """an accepted upload is never lost or doubled (random kills)"""
    uploads, kills, chance = size(40, 1000), size(4, 50), random.Random(7)
    patience = size(90, 600)  # a worker that is killed every few seconds spends them importing torch
    if FULL:
        house.env |= {"FAULTS_ENCODER": "model", "FAULTS_WAITS": "short"}  # else 50 kills take half an hour
    web = house.web()
    web.key = owner_key
    processes = [web.process, house.worker("one"), house.worker("two")]
    sent = set()
    for kill in range(kills):
        before = searchable(collection)
        for number in range(kill * uploads // kills, (kill + 1) * uploads // kills):
            sent.add(upload(house, web, collection, picture(number)))
        house.until(lambda seen=before: searchable(collection) > seen, patience, "work to be under way")
        time.sleep(chance.uniform(0, 0.2))
        strike(processes, kill, chance)
        for process in processes:
            process.revive()
        house.until(web.answers, 60, "the web server")
    took = house.until(everything_searchable(collection), patience, "everything to be searchable")
    ledger.runs, (ledger.lost, ledger.doubled) = kills, census(collection, sent)
    wrong = differing(collection, encoder(house))
    ledger.note = f"{uploads} uploads, {wrong} vectors wrong; drained in {took:.0f} s"
    assert (len(sent), ledger.lost, ledger.doubled, wrong) == (uploads, 0, 0, 0)


def encoder(house: House) -> Any:
    """What the workers of this house embed with."""
    if FULL:
        return encoders.get_encoder(str(house.model))
    from tests.faults.worker import pixel_encoder

    return pixel_encoder(str(house.model))


def upload(house: House, web: Web, collection: Any, content: bytes) -> str:
    """As a client does it: again until there is an answer. Returns the SHA-256."""
    answers: list[int] = []

    def accepted() -> bool:
        try:
            answers.append(web.upload(collection, "a.jpg", content)[0])
        except OSError:
            return False
        return answers[-1] in (200, 201)

    house.until(accepted, 60, "an upload to be accepted", web.process.revive)
    assert set(answers) <= {200, 201, 503}
    return hashlib.sha256(content).hexdigest()


def strike(processes: list[Process], kill: int, chance: random.Random) -> None:
    """A worker, a child of one (its decoder), or the web server's child, in turn; kill -9."""
    web, *workers = processes
    victim = chance.choice(workers)
    kinds = ["worker", "decoder", "web"]
    match kinds[kill % 3]:
        case "worker":
            os.kill(victim.pid, signal.SIGKILL)
            victim.popen.wait()  # type: ignore[union-attr]
        case "decoder":
            for pid in victim.children()[:1]:
                os.kill(pid, signal.SIGKILL)
        case "web":
            for pid in web.children()[:1]:
                os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("point", ON_THE_WAY_IN)
def test_uploads_that_die(
    house: House, collection: Any, owner: Any, drain: Any, ledger: Any, point: str
) -> None:
    """commit and doorbell cannot diverge; a crash on the way in"""
    count = size(5, 200)
    ledger.runs = house.crash(point, count, "upload", collection.pk, owner.pk, 0)
    rows = Image.objects.count()
    ledger.note = f"{drain(collection):.1f} s to searchable"
    sent = {hashlib.sha256(picture(number)).hexdigest() for number in range(count)} if rows else set()
    ledger.lost, ledger.doubled = census(collection, sent)
    assert ledger.runs == count and rows in (0, count) and (ledger.lost, ledger.doubled) == (0, 0)
    assert (rows == count) == (point in ("before_bell", "after_commit"))


@pytest.mark.parametrize("point", LANES)
def test_work_that_dies(
    house: House, collection: Any, send: Any, drain: Any, ledger: Any, point: str
) -> None:
    """a crash at any named point of the work loses and doubles nothing"""
    count, deaths = size(6, 60), 3
    sent = {send(number) for number in range(count)}
    if LANES[point] == "embed":
        drain_process()
    if LANES[point] == "build_indexes":
        drain(collection)
        send(1000)
        drain(collection)
        index.request_rebuild(collection)
    ledger.runs = house.crash(point, deaths, LANES[point])
    if LANES[point] == "build_indexes":
        CollectionIndex.objects.update(lease_until=None)
        index.request_rebuild(collection)
        assert index.build_due() == 1
    drain(collection)
    ledger.lost, ledger.doubled = census(collection, sent)
    assert ledger.runs >= 1 and (ledger.lost, ledger.doubled) == (0, 0)
    assert Generation.objects.filter(state="live").count() <= 1


def drain_process() -> None:
    from images.processing import process_pending

    while process_pending():
        pass


def test_every_point_is_tried() -> None:
    assert {*ON_THE_WAY_IN, *LANES} == set(faults.POINTS)


def test_renditions_of_the_dead_are_strays_that_reconcile_names(
    house: House, collection: Any, send: Any, drain: Any, ledger: Any, monkeypatch: Any
) -> None:
    """a dead worker's renditions are named and removed"""
    from datetime import timedelta

    from images.management.commands import reconcile

    send(1)
    ledger.runs = house.crash("after_renditions", 1, "process")
    drain(collection)
    image = Image.objects.get()
    stored = {entry.key for entry in storage.list("renditions/")}
    monkeypatch.setattr(reconcile, "GRACE", timedelta(seconds=-5))  # object storage rounds times up
    named = {key for _kind, key, _row in reconcile.strays()}
    assert named and named == stored - {image.preview_key, image.thumbnail_key}
