"""Named places where a test may make the process die or fail; inert unless LOUPE_FAULT asks.

LOUPE_FAULT="after_put:kill" kills the process there, "after_put:raise" raises, "after_put:kill:0.05" does so in
one of twenty passes.
"""

import os
import random
import signal

POINTS = (
    "after_put",  # the object is stored, its row is not
    "before_commit",  # the row is written, not committed
    "before_bell",  # committed, not announced
    "after_commit",
    "after_claim",  # rows are leased, nothing is done
    "after_renditions",  # renditions are stored, no row names them
    "before_ready_commit",
    "after_encode",
    "before_vectors_commit",
    "after_segment_build",
    "after_segment_put",
    "before_publish",
)
FAULT = os.environ.get("LOUPE_FAULT", "")


class InjectedFault(Exception):
    """Raised at a fault point by a test."""


def faultpoint(name: str) -> None:
    if not FAULT:
        return
    place, _, rest = FAULT.partition(":")
    kind, _, chance = rest.partition(":")
    if place != name or random.random() > float(chance or 1):  # noqa: S311
        return
    if kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    raise InjectedFault(name)
