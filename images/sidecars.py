"""What is known of pictures besides their bytes: `metadata.jsonl`, `metadata.csv`, or `name.jpg.json` beside a picture.

Columns and keys: file, title, caption, alt_text, tags, taken_at. Others are ignored, so that an export can say more.
"""

from __future__ import annotations

import csv
import io
import json
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO, Any

from django.utils import timezone
from django.utils.translation import gettext as _

from images.ingest import UploadRefused, clean_tags
from images.models import Image

LIST_BYTES = 64 * 1024**2
LINE_BYTES = 128 * 1024
SIDECAR_BYTES = 64 * 1024
TEXTS = ("title", "caption", "alt_text")
LONGEST: dict[str, int] = {name: getattr(Image._meta.get_field(name), "max_length", 0) for name in TEXTS}
NO_TEXT = {"Cc", "Cs"}  # control characters and halves of surrogate pairs, which no database takes


class MetadataRefused(UploadRefused):
    """A value that cannot be stored as it is; the message names the field."""


@dataclass(frozen=True)
class Metadata:
    """`file_name`, `row_id`, `sha256` and `original` come with an export: what the picture was called there, which row
    it was, and whether the file beside it is the original."""

    title: str = ""
    caption: str = ""
    alt_text: str = ""
    tags: tuple[str, ...] = ()
    taken_at: datetime | None = None
    file_name: str = ""
    row_id: str = ""
    sha256: str = ""
    original: bool = False

    def fields(self) -> dict[str, Any]:
        """What `images.ingest.ingest` takes."""
        return {name: getattr(self, name) for name in (*TEXTS, "tags", "taken_at")}


def read_row(row: Mapping[str, Any]) -> Metadata:
    """Raises MetadataRefused for a value that is too long or of the wrong kind."""
    return Metadata(
        **{name: _text(row, name, LONGEST[name]) for name in TEXTS},
        tags=_tags(row.get("tags")),
        taken_at=_moment(row.get("taken_at")),
        file_name=_text(row, "file_name", 255),
        row_id=_text(row, "id", 100),
        sha256=_text(row, "sha256", 64).lower(),
        original=row.get("original") is True,
    )


def read_sidecar(file: IO[bytes]) -> Metadata:
    """The JSON object beside one picture."""
    return read_row(_object(file.read(SIDECAR_BYTES)))


def read_list(name: str, file: IO[bytes], most: int) -> dict[str, dict[str, Any]]:
    """The rows of a metadata.jsonl or metadata.csv by the file that they name; at most `most`.

    Raises MetadataRefused with the line that cannot be read.
    """
    found: dict[str, dict[str, Any]] = {}
    rows = _csv_rows(name, file) if name.endswith(".csv") else _json_rows(name, file)
    for line, row in rows:
        if len(found) >= most:
            raise _bad(name, line, _("there are more than %d rows.") % most)
        key = row.get("file")
        if not isinstance(key, str) or not key:
            if name.endswith(".csv"):
                raise _bad(name, line, _("it names no file."))
            continue  # an export without originals: rows, but no files
        key = key.removeprefix("./")
        if key in found:
            raise _bad(name, line, _("“%s” is there twice.") % key[:120])
        found[key] = row
    return found


def _json_rows(name: str, file: IO[bytes]) -> Iterator[tuple[int, dict[str, Any]]]:
    number = 0
    while line := file.readline(LINE_BYTES + 1):
        number += 1
        if len(line) > LINE_BYTES:
            raise _bad(name, number, _("it is too long."))
        if line.strip():
            try:
                yield number, _object(line)
            except MetadataRefused as error:
                raise _bad(name, number, error.message) from error


def _csv_rows(name: str, file: IO[bytes]) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.DictReader(io.TextIOWrapper(file, "utf-8-sig", newline=""))
    try:
        for row in reader:
            yield reader.line_num, {key: value for key, value in row.items() if key}
    except (csv.Error, UnicodeError) as error:
        raise _bad(name, reader.line_num + 1, str(error)) from error


def _bad(name: str, line: int, reason: str) -> MetadataRefused:
    message = _("%(name)s, line %(line)d: %(reason)s") % {"name": name, "line": line, "reason": reason}
    return MetadataRefused("metadata", message, 422)


def _object(text: bytes) -> dict[str, Any]:
    try:
        value = json.loads(text.removeprefix(b"\xef\xbb\xbf"))
    except (ValueError, RecursionError) as error:
        raise MetadataRefused("metadata", _("this is not JSON (%s).") % str(error)[:100], 422) from error
    if not isinstance(value, dict):
        raise MetadataRefused("metadata", _("this is no JSON object."), 422)
    return value


def _text(row: Mapping[str, Any], name: str, longest: int) -> str:
    value = row.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise MetadataRefused("metadata", _("“%s” is not a text.") % name, 422, f"/{name}")
    kept = "".join(c for c in value if c in "\n\t" or unicodedata.category(c) not in NO_TEXT).strip()
    if len(kept) > longest:
        message = _("“%(name)s” has more than %(most)d characters.") % {"name": name, "most": longest}
        raise MetadataRefused("metadata", message, 422, f"/{name}")
    return kept


def _tags(value: Any) -> tuple[str, ...]:
    names = value.replace(";", ",").split(",") if isinstance(value, str) else value or []
    if not isinstance(names, list) or not all(isinstance(one, str) for one in names):
        raise MetadataRefused("metadata", _("“tags” is not a list of texts."), 422, "/tags")
    return tuple(clean_tags(names))


def _moment(value: Any) -> datetime | None:
    """An ISO 8601 moment; without an offset it is in the server's time zone."""
    if value in (None, ""):
        return None
    try:
        moment = datetime.fromisoformat(value.strip())
        return (moment if moment.tzinfo else timezone.make_aware(moment)).astimezone(UTC)
    except (ValueError, OverflowError, TypeError, AttributeError) as error:
        message = _("“taken_at” is no moment such as 2026-05-31T14:00:00Z.")
        raise MetadataRefused("metadata", message, 422, "/taken_at") from error
