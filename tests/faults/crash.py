"""Work that dies on the way, many times over.

    python -m tests.faults.crash POINT COUNT upload COLLECTION USER SEED
    python -m tests.faults.crash POINT COUNT process|embed|build_indexes

Django is loaded once; every upload, or step of a lane, runs in a fork that kills itself at the named fault point.
Prints how many died.
"""

# ruff: noqa: I001
from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Callable
from functools import partial

from tests.faults import worker  # first: it sets up Django, the short waits and the encoder

from django.db import connections

from images import faults, ingest
from images.models import Collection, User
from tests.faults.pictures import picture
from workers import lanes

assert worker.app


def upload(collection: int, user: int, number: int) -> None:
    row, person = Collection.objects.get(pk=collection), User.objects.get(pk=user)
    ingest.ingest(row, person, io.BytesIO(picture(number)), file_name=f"{number}.jpg")


def died(point: str, work: Callable[[], object]) -> bool:
    """Whether `work` in a fork was killed; it may also have found nothing to do."""
    child = os.fork()
    if not child:
        try:
            faults.FAULT = f"{point}:kill"
            work()
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def main() -> None:
    point, count, what, *numbers = sys.argv[1], int(sys.argv[2]), *sys.argv[3:]
    assert point in faults.POINTS
    connections.close_all()
    deaths = 0
    for number in range(count):
        if what == "upload":
            collection, user, seed = map(int, numbers)
            work: Callable[[], object] = partial(upload, collection, user, seed + number)
        else:
            work = partial(lanes.step, what)
        deaths += died(point, work)
    print(deaths)


if __name__ == "__main__":
    main()
