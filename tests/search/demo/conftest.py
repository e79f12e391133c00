"""Skips what needs the colour font where it is not installed."""

import pytest

from search.demo.painting import FONT
from tests.parts import without


@pytest.fixture(scope="session")
def font() -> None:
    if not FONT.exists():
        without("drawing pictograms needs Debian's package fonts-noto-color-emoji")
