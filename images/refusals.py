"""Why a picture was refused: kept in English in its row, told in the language of whoever asks."""

from __future__ import annotations

import re
from functools import lru_cache

from django.utils.translation import gettext, gettext_noop

from images.outcome import REASONS

FAILED = gettext_noop("Checking this file failed repeatedly.")
DAMAGED = gettext_noop("The stored file is damaged; please upload it again.")
GONE = gettext_noop("The stored file is gone; please upload it again.")
FIELD = re.compile(r"%\\\((\w+)\\\)s|%\((\w+)\)s")


def told(reason: str) -> str:
    """`reason` as it was stored → the same in the active language; what nobody here wrote stays as it is."""
    for pattern, template in _patterns():
        if found := pattern.fullmatch(reason):
            return gettext(template) % found.groupdict()
    return reason


@lru_cache(maxsize=1)
def _patterns() -> list[tuple[re.Pattern[str], str]]:
    """The messages with their values as groups; `%(limit)s` matches what was put in its place."""
    templates = [*REASONS.values(), FAILED, DAMAGED, GONE]
    return [(re.compile(FIELD.sub(_group, re.escape(template))), template) for template in templates]


def _group(field: re.Match[str]) -> str:
    return f"(?P<{field[1] or field[2]}>.+)"
