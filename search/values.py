"""Single values of a query: how they are checked, typed and printed back. Nothing here knows the query."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.utils.translation import gettext as _

# Whole numbers may be too long for a float.
FARTHEST = 10**300


class QueryError(ValueError):
    """The question cannot be asked; `pointer` names the field (RFC 6901), `message` says why."""

    status = 400

    def __init__(self, pointer: str, message: str) -> None:
        super().__init__(f"{pointer}: {message}")
        self.pointer = pointer
        self.message = message


class UnknownItem(QueryError):
    """A query names a picture or a collection that does not exist for whoever asks."""

    status = 404


def clean(text: str) -> str:
    """The text without control characters and lone surrogates, which no store and no model reads."""
    kept = (" " if unicodedata.category(char) in ("Cc", "Cs") else char for char in text)
    return "".join(kept).strip()


@dataclass(frozen=True, slots=True)
class Scalar:
    """One single-valued setting of a query: its JSON place, its word in the text form, its bounds."""

    name: str
    group: str
    word: str
    kind: str
    low: float = 0.0
    high: float = 1.0
    choices: tuple[str, ...] = ()

    @property
    def parameter(self) -> str:
        """The name of the URL parameter."""
        return f"rerank_{self.name}" if self.group == "rerank" else self.name

    @property
    def pointer(self) -> str:
        return f"/{self.group}/{self.name}" if self.group else f"/{self.name}"

    def of(self, query: Any) -> Any:
        return getattr(getattr(query, self.group) if self.group else query, self.name)


def parse_number(value: str) -> float | None:
    """The number a person typed, `nan` and infinities included; `None` where it is no number."""
    try:
        return None if "_" in value else float(value)
    except ValueError:
        return None


def show_number(value: float) -> str:
    """The shortest decimal that reads back as the same float."""
    text = repr(float(value))
    return text[:-2] if text.endswith(".0") else text


def parse_moment(value: str, pointer: str) -> datetime:
    """A year, a month, a day or an RFC 3339 moment; without an offset it is UTC."""
    padded = value if len(value) > 7 else value + "-01" * (2 - value.count("-"))
    try:
        moment = datetime.fromisoformat(padded)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise QueryError(
            pointer, _("Write a date as 2026-01-31 or a moment as 2026-01-31T12:00:00Z.")
        ) from None


def show_moment(moment: datetime) -> str:
    if moment.timetz() == datetime.min.time().replace(tzinfo=UTC):
        return moment.date().isoformat()
    return moment.isoformat().replace("+00:00", "Z")


def parse_id(value: object, pointer: str) -> UUID:
    if isinstance(value, UUID):
        return value
    try:
        return UUID(value if isinstance(value, str) else "")
    except ValueError:
        raise QueryError(pointer, _("This is not an id.")) from None


def read_number(value: object, pointer: str, low: float, high: float) -> float:
    if isinstance(value, int) and not isinstance(value, bool):
        value = float(max(min(value, FARTHEST), -FARTHEST))
    if not isinstance(value, float) or not math.isfinite(value):
        raise QueryError(pointer, _("This has to be a finite number."))
    if not low <= value <= high:
        bounds = {"low": show_number(low), "high": show_number(high)}
        raise QueryError(pointer, _("This has to lie between %(low)s and %(high)s.") % bounds)
    return float(value)


def _integer(value: object, scalar: Scalar) -> int:
    number = read_number(value, scalar.pointer, scalar.low, scalar.high)
    if number != int(number):
        raise QueryError(scalar.pointer, _("This has to be a whole number."))
    return int(number)


def read_text(value: object, pointer: str, longest: float) -> str:
    if not isinstance(value, str) or not clean(value):
        raise QueryError(pointer, _("This has to be a text that is not empty."))
    if len(value) > longest:
        raise QueryError(pointer, _("This is longer than %(longest)d characters.") % {"longest": longest})
    return clean(value)


def read_moment(value: object, pointer: str) -> datetime:
    if isinstance(value, datetime):
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
    return parse_moment(read_text(value, pointer, 40), pointer)


def _choice(value: object, scalar: Scalar) -> str:
    if isinstance(value, str) and value in scalar.choices:
        return value
    raise QueryError(scalar.pointer, _("Choose one of: %(names)s.") % {"names": ", ".join(scalar.choices)})


def _flag(value: object, pointer: str) -> bool:
    if isinstance(value, bool):
        return value
    raise QueryError(pointer, _("This is either true or false."))


_READERS: dict[str, Callable[[Any, Scalar], Any]] = {
    "number": lambda value, scalar: read_number(value, scalar.pointer, scalar.low, scalar.high),
    "integer": _integer,
    "text": lambda value, scalar: read_text(value, scalar.pointer, scalar.high),
    "moment": lambda value, scalar: read_moment(value, scalar.pointer),
    "choice": _choice,
    "flag": lambda value, scalar: _flag(value, scalar.pointer),
}
_FLAGS = {
    "on": True,
    "true": True,
    "1": True,
    "yes": True,
    "off": False,
    "false": False,
    "0": False,
    "no": False,
}


def read_value(value: object, scalar: Scalar) -> Any:
    """A checked value of the scalar from its JSON form."""
    return _READERS[scalar.kind](value, scalar)


def read_word(value: str, scalar: Scalar) -> Any:
    """A checked value of the scalar from what a person typed."""
    if scalar.kind in ("number", "integer"):
        number = parse_number(value)
        return read_value(value if number is None else number, scalar)
    if scalar.kind == "flag":
        return read_value(_FLAGS.get(value.lower(), value), scalar)
    return read_value(value.lower() if scalar.kind == "choice" else value, scalar)


def show_word(value: Any) -> str:
    """The typed form of a value, the inverse of `read_word`."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, (int, float)):
        return show_number(value)
    return show_moment(value) if isinstance(value, datetime) else str(value)
