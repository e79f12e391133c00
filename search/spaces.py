"""Which space serves: the row that stands for the configured model in its exact form."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from search.encoders import SpaceIdentity, default_model_name, identify
from search.models import Space

CALIBRATIONS = Path(__file__).parent / "calibrations"


def default_space() -> Space:
    """The space of the configured model, created on first use with its shipped calibration. Reads no weights into
    memory; raises search.encoders.EncoderError where the model is unknown or not on this machine."""
    identity = _identity(default_model_name())
    space, _created = Space.objects.get_or_create(
        sha256=identity.sha256,
        defaults={
            "name": identity.name,
            "revision": identity.revision,
            "dimension": identity.dimension,
            "preprocessing": identity.preprocessing,
            "languages": list(identity.languages),
            "calibration": shipped_calibration(identity.name),
        },
    )
    return space


@lru_cache(maxsize=4)
def _identity(name: str) -> SpaceIdentity:
    return identify(name)


def shipped_calibration(name: str) -> dict[str, Any]:
    """What was measured for this model on labelled pictures; empty where nothing was."""
    path = CALIBRATIONS / f"{name.replace('/', '--')}.json"
    return json.loads(path.read_text()) if path.is_file() else {}
