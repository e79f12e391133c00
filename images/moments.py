"""Dates the way a reader's language writes them, short enough for tables and tiles."""

from __future__ import annotations

from datetime import date, datetime

from django.utils.formats import date_format
from django.utils.timezone import localtime
from django.utils.translation import pgettext


def day(when: date | datetime | None) -> str:
    """21 Nov 2026."""
    # Translators: Django's letters for dates; "j. M Y" in German.
    return date_format(_local(when), pgettext("date format", "j M Y")) if when else ""


def month(when: date | datetime | None) -> str:
    """Nov 2026."""
    return date_format(_local(when), pgettext("date format", "M Y")) if when else ""


def moment(when: datetime | None) -> str:
    """21 Nov 2026, 14:05."""
    return date_format(_local(when), pgettext("date format", "j M Y, H:i")) if when else ""


def _local(when: date | datetime) -> date | datetime:
    return localtime(when) if isinstance(when, datetime) else when
