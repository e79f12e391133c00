"""Parts that a test needs and a machine may lack: a browser, a server program."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def without(reason: str) -> NoReturn:
    """Skip where a part is not installed. Under `make test`, which installs all of them, it is a failure: a suite must
    not pass because its browser is gone."""
    if os.environ.get("LOUPE_ALL_PARTS"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
