"""Files that crash, fill or hang the decoder among good ones, with a real worker."""

from __future__ import annotations

from typing import Any

from images.models import Image, ImageState
from tests.faults.conftest import searchable, size
from tests.faults.house import House
from tests.faults.pictures import picture

KINDS = (b"poison:crash", b"poison:memory", b"poison:hang")


def test_poison_cannot_stop_the_queue(house: House, collection: Any, send: Any, ledger: Any) -> None:
    """a poison file cannot stop the queue"""
    good, each = size(12, 200), size(1, 5)
    worker = house.worker(FAULTS_DECODER="hostile")
    pid = worker.pid
    poison = {send(0, picture(1000 + n, kind + b" %d" % n)) for kind in KINDS for n in range(each)}
    for number in range(good):
        send(number)
    refused = Image.objects.filter(sha256__in=poison, state=ImageState.REJECTED)
    house.until(lambda: searchable(collection) == good, 90, "the good ones")
    house.until(lambda: refused.count() == len(poison), 90, "the poison to be quarantined")
    ledger.runs, ledger.lost = len(poison), good - searchable(collection)
    assert worker.alive() and worker.pid == pid
    assert all(image.attempts == 3 and image.reason and image.error for image in refused)
