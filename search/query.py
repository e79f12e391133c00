"""The query algebra: what somebody asked for, without any knowledge of the database or the model.

A `Query` is built from JSON (`from_json`), from URL parameters (`from_url`) or from the text form
(`search.query_text.parse`); each form prints back to exactly what it was read from. Everything a
query holds is bounded and checked once, when it is made.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any
from uuid import UUID

import numpy as np
from django.utils.translation import gettext as _
from numpy.typing import NDArray

from search.values import (
    QueryError,
    Scalar,
    UnknownItem,
    clean,
    parse_id,
    read_moment,
    read_number,
    read_text,
    read_value,
    show_moment,
)

__all__ = [
    "BANDS", "ORIENTATIONS", "SCALARS", "SORTS", "STATES", "Filters", "Part", "Query", "QueryError", "Rerank", "Scalar",
    "StoredImagePart", "TextPart", "UnknownItem", "UploadedImagePart", "clean", "compose", "from_json", "normalised",
    "to_json",
]  # fmt: skip

MAX_PARTS = 16
MAX_TEXT = 1_000
MAX_WEIGHT = 1_000.0
MAX_LIMIT = 200
MAX_TAGS = 32
MAX_COLLECTIONS = 100
SORTS = ("relevance", "newest", "oldest", "quality")
BANDS = ("strong", "possible", "weak")
ORIENTATIONS = ("landscape", "portrait", "square")
STATES = ("approved", "pending", "rejected", "hidden")


def normalised(text: str) -> str:
    """One spelling for cache keys and for the model: NFKC, lower case, single spaces. Lower case and not case
    folding, because a model reads "ß" and "ss" as different tokens."""
    return " ".join(unicodedata.normalize("NFKC", text).lower().split())


@dataclass(frozen=True, slots=True)
class TextPart:
    text: str
    weight: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", clean(self.text))


@dataclass(frozen=True, slots=True)
class StoredImagePart:
    image_id: UUID
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class UploadedImagePart:
    """A picture sent along with the request; `name` is the name of its form field."""

    name: str = "image"
    weight: float = 1.0


Part = TextPart | StoredImagePart | UploadedImagePart


@dataclass(frozen=True, slots=True)
class Filters:
    """Conditions a picture has to meet. Moments are aware; `after` includes its moment, `before` does not."""

    taken_after: datetime | None = None
    taken_before: datetime | None = None
    uploaded_after: datetime | None = None
    uploaded_before: datetime | None = None
    tags: tuple[str, ...] = ()
    tags_none: tuple[str, ...] = ()
    uploader: str | None = None
    orientation: str | None = None
    min_quality: float | None = None
    min_width: int | None = None
    min_height: int | None = None
    state: str | None = None

    def __post_init__(self) -> None:
        for name in ("tags", "tags_none"):
            names = (clean(tag).lower() for tag in getattr(self, name))
            object.__setattr__(self, name, tuple(dict.fromkeys(names)))
        for name in ("taken_after", "taken_before", "uploaded_after", "uploaded_before"):
            if isinstance(moment := getattr(self, name), datetime):
                object.__setattr__(self, name, read_moment(moment, f"/filters/{name}"))
        if self.uploader is not None:
            object.__setattr__(self, "uploader", clean(self.uploader))


@dataclass(frozen=True, slots=True)
class Rerank:
    """Weights of the metadata; `None` leaves the choice to the collection."""

    recency: float | None = None
    quality: float | None = None
    half_life_days: float | None = None
    by: str | None = None


@dataclass(frozen=True, slots=True)
class Query:
    parts: tuple[Part, ...]
    negatives: tuple[Part, ...] = ()
    collections: tuple[UUID, ...] = ()
    filters: Filters = field(default_factory=Filters)
    rerank: Rerank = field(default_factory=Rerank)
    sort: str = "relevance"
    min_band: str | None = None
    min_match: float | None = None
    limit: int = 50
    fold: bool = False
    diversity: float = 0.0
    words: bool = True
    templates: bool = True
    subtraction: float = 0.5
    explain: bool = False
    cursor: str | None = None

    def __post_init__(self) -> None:
        if self.cursor is not None:
            object.__setattr__(self, "cursor", clean(self.cursor))
        _check(self)

    @property
    def kind(self) -> str:
        """`text`, `image` or `mixed`: which calibration the parts fall under."""
        texts = sum(isinstance(part, TextPart) for part in self.parts)
        if texts == len(self.parts):
            return "text"
        return "mixed" if texts else "image"

    def question(self) -> Query:
        """The query without what only chooses a page of it: two pages of one search share a question."""
        return replace(self, cursor=None, limit=50, explain=False)


SCALARS = (
    Scalar("taken_after", "filters", "after", "moment"),
    Scalar("taken_before", "filters", "before", "moment"),
    Scalar("uploaded_after", "filters", "uploaded-after", "moment"),
    Scalar("uploaded_before", "filters", "uploaded-before", "moment"),
    Scalar("uploader", "filters", "uploader", "text", high=200),
    Scalar("orientation", "filters", "is", "choice", choices=ORIENTATIONS),
    Scalar("state", "filters", "is", "choice", choices=STATES),
    Scalar("min_quality", "filters", "quality", "number"),
    Scalar("min_width", "filters", "width", "integer", 1, 1_000_000),
    Scalar("min_height", "filters", "height", "integer", 1, 1_000_000),
    Scalar("recency", "rerank", "recency", "number"),
    Scalar("quality", "rerank", "rank-quality", "number"),
    Scalar("half_life_days", "rerank", "half-life", "number", 0.01, 36_500),
    Scalar("by", "rerank", "recency-by", "choice", choices=("taken", "uploaded")),
    Scalar("sort", "", "sort", "choice", choices=SORTS),
    Scalar("min_band", "", "min", "choice", choices=BANDS),
    Scalar("min_match", "", "min", "number"),
    Scalar("limit", "", "limit", "integer", 1, MAX_LIMIT),
    Scalar("fold", "", "fold", "flag"),
    Scalar("diversity", "", "diversity", "number"),
    Scalar("words", "", "words", "flag"),
    Scalar("templates", "", "templates", "flag"),
    Scalar("subtraction", "", "subtract", "number"),
    Scalar("explain", "", "explain", "flag"),
    Scalar("cursor", "", "cursor", "text", high=2_000),
)
_DEFAULTS = {spec.name: spec.default for spec in fields(Query)}


def default_of(scalar: Scalar) -> Any:
    return None if scalar.group else _DEFAULTS[scalar.name]


def is_set(scalar: Scalar, query: Query) -> bool:
    return bool(scalar.of(query) != default_of(scalar))


# -- checks -------------------------------------------------------------------------------------------------


def _check(query: Query) -> None:
    if not query.parts:
        raise QueryError("/query", _("Say what to look for: a few words or a picture."))
    if len(query.parts) + len(query.negatives) > MAX_PARTS:
        raise QueryError("/query", _("A query has at most %(most)d parts.") % {"most": MAX_PARTS})
    for name, parts in (("query", query.parts), ("negative", query.negatives)):
        for place, part in enumerate(parts):
            _check_part(part, f"/{name}/{place}")
    if not any(part.weight for part in query.parts):
        raise QueryError("/query", _("At least one part needs a weight above zero."))
    for scalar in SCALARS:
        if is_set(scalar, query):
            read_value(scalar.of(query), scalar)
    _check_lists(query)


def _check_part(part: Part, pointer: str) -> None:
    read_number(part.weight, f"{pointer}/weight", 0.0, MAX_WEIGHT)
    if isinstance(part, TextPart):
        read_text(part.text, f"{pointer}/text", MAX_TEXT)
    elif isinstance(part, StoredImagePart):
        parse_id(part.image_id, f"{pointer}/image_id")
    elif not (
        part.name.isascii() and part.name.replace("-", "").replace("_", "").isalnum() and len(part.name) <= 64
    ):
        raise QueryError(f"{pointer}/upload", _("Name the form field with letters and digits."))


def _check_lists(query: Query) -> None:
    if len(query.collections) > MAX_COLLECTIONS:
        raise QueryError("/collections", _("At most %(most)d collections.") % {"most": MAX_COLLECTIONS})
    for name in ("tags", "tags_none"):
        tags = getattr(query.filters, name)
        if len(tags) > MAX_TAGS:
            raise QueryError(f"/filters/{name}", _("At most %(most)d tags.") % {"most": MAX_TAGS})
        for place, tag in enumerate(tags):
            read_text(tag, f"/filters/{name}/{place}", 100)


# -- JSON ---------------------------------------------------------------------------------------------------


def from_json(data: object) -> Query:
    """The query in the body of `POST /api/v1/search/`; a key that nobody knows is an error."""
    body = _mapping(data, "")
    scalars = {scalar.name for scalar in SCALARS if not scalar.group}
    _known(body, scalars | {"query", "negative", "collections", "filters", "rerank"}, "")
    filters = _mapping(body.get("filters"), "/filters")
    tags, none = (tuple(_texts(filters.get(name), f"/filters/{name}")) for name in ("tags", "tags_none"))
    ids = [parse_id(one, f"/collections/{place}") for place, one in enumerate(_list(body, "collections"))]
    return Query(
        parts=_parts(body, "query"),
        negatives=_parts(body, "negative"),
        collections=tuple(ids),
        filters=Filters(tags=tags, tags_none=none, **_scalars(filters, "filters", {"tags", "tags_none"})),
        rerank=Rerank(**_scalars(_mapping(body.get("rerank"), "/rerank"), "rerank", set())),
        **_scalars({name: body[name] for name in scalars if name in body}, "", set()),
    )


def to_json(query: Query) -> dict[str, Any]:
    """The JSON form, without what is left at its default."""
    body: dict[str, Any] = {"query": [_part_to_json(part) for part in query.parts]}
    if query.negatives:
        body["negative"] = [_part_to_json(part) for part in query.negatives]
    if query.collections:
        body["collections"] = [str(one) for one in query.collections]
    for name in ("tags", "tags_none"):
        if getattr(query.filters, name):
            body.setdefault("filters", {})[name] = list(getattr(query.filters, name))
    for scalar in SCALARS:
        if is_set(scalar, query):
            place = body.setdefault(scalar.group, {}) if scalar.group else body
            value = scalar.of(query)
            place[scalar.name] = show_moment(value) if isinstance(value, datetime) else value
    return body


def _part_to_json(part: Part) -> dict[str, Any]:
    if isinstance(part, TextPart):
        body: dict[str, Any] = {"text": part.text}
    elif isinstance(part, StoredImagePart):
        body = {"image_id": str(part.image_id)}
    else:
        body = {"upload": part.name}
    return body if part.weight == 1 else body | {"weight": part.weight}


def _parts(body: Mapping[str, Any], name: str) -> tuple[Part, ...]:
    listed = _list(body, name)
    if len(listed) > MAX_PARTS:
        raise QueryError(f"/{name}", _("A query has at most %(most)d parts.") % {"most": MAX_PARTS})
    return tuple(_part(one, f"/{name}/{place}") for place, one in enumerate(listed))


def _part(data: object, pointer: str) -> Part:
    body = {"text": data} if isinstance(data, str) else _mapping(data, pointer)
    _known(body, {"text", "image_id", "upload", "weight"}, pointer)
    given = [name for name in ("text", "image_id", "upload") if name in body]
    if len(given) != 1:
        raise QueryError(pointer, _("A part is one of: text, image_id, upload."))
    weight = read_number(body.get("weight", 1.0), f"{pointer}/weight", 0.0, MAX_WEIGHT)
    if given == ["text"]:
        return TextPart(read_text(body["text"], f"{pointer}/text", MAX_TEXT), weight)
    if given == ["image_id"]:
        return StoredImagePart(parse_id(body["image_id"], f"{pointer}/image_id"), weight)
    return UploadedImagePart(read_text(body["upload"], f"{pointer}/upload", 64), weight)


def _scalars(body: Mapping[str, Any], group: str, lists: set[str]) -> dict[str, Any]:
    known = {scalar.name: scalar for scalar in SCALARS if scalar.group == group}
    _known(body, set(known) | lists, f"/{group}" if group else "")
    given = {name: value for name, value in body.items() if name in known and value is not None}
    return {name: read_value(value, known[name]) for name, value in given.items()}


def _mapping(data: object, pointer: str) -> Mapping[str, Any]:
    if data is None:
        return {}
    if isinstance(data, Mapping):
        return data
    raise QueryError(pointer, _("This has to be a JSON object."))


def _list(body: Mapping[str, Any], name: str) -> Sequence[Any]:
    value = body.get(name)
    if value is None:
        return ()
    if isinstance(value, (list, tuple)):
        return value
    raise QueryError(f"/{name}", _("This has to be a list."))


def _texts(value: object, pointer: str) -> Iterable[str]:
    if value is not None and not isinstance(value, (list, tuple)):
        raise QueryError(pointer, _("This has to be a list."))
    return [read_text(one, f"{pointer}/{place}", 100) for place, one in enumerate(value or ())]


def _known(body: Mapping[str, Any], known: set[str], pointer: str) -> None:
    for name in body:
        if name not in known:
            raise QueryError(f"{pointer}/{name}", _("Nobody knows this key."))


# -- composition --------------------------------------------------------------------------------------------


def compose(
    positives: NDArray[np.float32],
    weights: Sequence[float],
    negatives: NDArray[np.float32] | None = None,
    negative_weights: Sequence[float] | None = None,
    subtraction: float = 0.5,
) -> NDArray[np.float32]:
    """One unit vector [d] of unit vectors [p, d] and [n, d]: the weighted sum less `subtraction` times the
    weighted sum of what is not wanted, each sum brought to unit length first."""
    wanted = _unit(np.asarray(weights, np.float32) @ np.asarray(positives, np.float32))
    if negatives is None or not len(negatives):
        return wanted
    shares = np.ones(len(negatives), np.float32) if negative_weights is None else np.asarray(negative_weights)
    unwanted = _unit(shares.astype(np.float32) @ np.asarray(negatives, np.float32))
    rest = wanted - np.float32(subtraction) * unwanted
    return _unit(rest) if float(np.linalg.norm(rest)) > 1e-6 else wanted


def _unit(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    length = float(np.linalg.norm(vector))
    return (vector / length if length > 1e-12 else vector).astype(np.float32)
