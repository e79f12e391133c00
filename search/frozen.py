"""What searches remember: the vectors of texts, and the frozen result list that pages are cut from.

Everything that goes into the shared cache is text (base64 of raw arrays), never a serialised object. Keys begin with
a version: a release that changes a layout changes it, and old entries die of age.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import orjson
from django.core import signing
from django.core.cache import cache
from django.utils.translation import gettext as _
from numpy.typing import NDArray
from prometheus_client import Counter

from search.query import QueryError

VERSION = 2
FROZEN_SECONDS = 30 * 60
# How long the same question is answered from the same list; changes of tags, titles and approvals show after it.
REUSED_SECONDS = 30
VECTOR_SECONDS = 7 * 24 * 3600
VECTORS_IN_PROCESS = 2048
SALT = "search.cursor"

lookups = Counter("loupe_search_cache", "Look-ups in the caches of the search", ["cache", "outcome"])


class CursorExpired(QueryError):
    """The list behind a cursor is gone, or the rights it was made under changed: start again from the first page."""

    status = 410


def digest(*parts: object) -> str:
    """A key of JSON-able values, bytes included."""
    plain = [base64.b64encode(part).decode() if isinstance(part, bytes) else part for part in parts]
    return hashlib.sha256(orjson.dumps(plain, option=orjson.OPT_SORT_KEYS, default=str)).hexdigest()[:40]


# -- vectors of texts ---------------------------------------------------------------------------------------


class TextVectors:
    """Unit vectors of normalised texts, in this process first and in the shared cache behind it."""

    def __init__(self) -> None:
        self._near: OrderedDict[str, NDArray[np.float32]] = OrderedDict()
        self._lock = threading.Lock()

    def get(
        self,
        space: str,
        texts: Sequence[str],
        encode: Callable[[list[str]], NDArray[np.float32]],
        variant: str = "",
    ) -> tuple[NDArray[np.float32], bool]:
        """Vectors [n, d] of the texts in the space with checksum `space`, and whether all of them were known.
        `encode` is called once with the texts that were not."""
        keys = [f"loupe:text:{VERSION}:{digest(space, variant, text)}" for text in texts]
        known = self._known(keys)
        missing = [place for place, key in enumerate(keys) if key not in known]
        lookups.labels("vector", "hit").inc(len(keys) - len(missing))
        lookups.labels("vector", "miss").inc(len(missing))
        if missing:
            fresh = np.asarray(encode([texts[place] for place in missing]), np.float32)
            made = {keys[place]: vector for place, vector in zip(missing, fresh, strict=True)}
            cache.set_many({key: _pack(vector) for key, vector in made.items()}, VECTOR_SECONDS)
            self._keep(made)
            known |= made
        return np.stack([known[key] for key in keys]), not missing

    def clear(self) -> None:
        with self._lock:
            self._near.clear()

    def _known(self, keys: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        with self._lock:
            found = {key: self._near[key] for key in keys if key in self._near}
            for key in found:
                self._near.move_to_end(key)
        if len(found) < len(set(keys)):
            far = cache.get_many([key for key in keys if key not in found])
            shared = {key: np.frombuffer(_unpack(text), np.float32) for key, text in far.items()}
            self._keep(shared)
            found |= shared
        return found

    def _keep(self, vectors: dict[str, NDArray[np.float32]]) -> None:
        with self._lock:
            self._near.update(vectors)
            while len(self._near) > VECTORS_IN_PROCESS:
                self._near.popitem(last=False)


def _pack(array: NDArray[Any]) -> str:
    return base64.b64encode(zlib.compress(np.ascontiguousarray(array).tobytes(), 1)).decode()


def _unpack(text: str) -> bytes:
    return zlib.decompress(base64.b64decode(text))


# -- frozen lists -------------------------------------------------------------------------------------------

ROW = np.dtype(
    [
        ("id", "<i8"),
        ("similarity", "<f4"),
        ("match", "<f4"),
        ("score", "<f4"),
        ("recency", "<f4"),
        ("quality", "<f4"),
        ("negative", "<f4"),
        ("words", "<f4"),
        ("lift", "<f4"),
        ("judged", "<f4"),
        ("space", "u1"),
        ("band", "u1"),
        ("fields", "u1"),
        ("group", "<i4"),
    ]
)


class Row(NamedTuple):
    """A row of `ROW` as plain numbers."""

    id: int
    similarity: float
    match: float
    score: float
    recency: float
    quality: float
    negative: float
    words: float
    lift: float
    judged: float
    space: int
    band: int
    fields: int
    group: int


@dataclass(frozen=True)
class Frozen:
    """A ranked list: rows of `ROW` [n] in their final order, the similarity of every part [n, p], and what is said
    about the whole list. Rows of one `group` are one tile; `judged` is NaN where no reranker looked."""

    rows: NDArray[Any]
    parts: NDArray[np.float32]
    about: dict[str, Any]
    name: str = ""

    PREFIX: ClassVar[str] = f"loupe:found:{VERSION}:"

    def dumps(self) -> str:
        body = [_pack(self.rows), _pack(self.parts.astype("<f4")), self.parts.shape[1], self.about]
        return orjson.dumps(body).decode()

    @classmethod
    def loads(cls, text: str, name: str) -> Frozen:
        rows, parts, width, about = orjson.loads(text)
        table = np.frombuffer(_unpack(rows), ROW)
        return cls(table, np.frombuffer(_unpack(parts), "<f4").reshape(len(table), width), about, name)

    def row(self, place: int) -> Row:
        return Row._make(self.rows[place].item())

    @property
    def tiles(self) -> int:
        return len(np.unique(self.rows["group"]))


def empty(about: dict[str, Any], parts: int) -> Frozen:
    return Frozen(np.empty(0, ROW), np.empty((0, parts), np.float32), about)


def freeze(question: str, made: Frozen) -> Frozen:
    """Keep a list under a name of its own, and as the latest answer to `question`."""
    named = Frozen(made.rows, made.parts, made.about, secrets.token_urlsafe(16))
    cache.set(Frozen.PREFIX + named.name, named.dumps(), FROZEN_SECONDS)
    cache.set(Frozen.PREFIX + question, named.name, REUSED_SECONDS)
    return named


def latest(question: str) -> Frozen | None:
    """The list that answered `question` moments ago."""
    name = cache.get(Frozen.PREFIX + question)
    found = _load(name) if isinstance(name, str) else None
    lookups.labels("results", "hit" if found else "miss").inc()
    return found


def _load(name: str) -> Frozen | None:
    text = cache.get(Frozen.PREFIX + name)
    if not isinstance(text, str):
        return None
    cache.touch(Frozen.PREFIX + name, FROZEN_SECONDS)
    return Frozen.loads(text, name)


def make_cursor(name: str, place: int, asked: str, rights: str) -> str:
    """An opaque, signed place in a frozen list, for one question and one set of rights."""
    return signing.dumps([name, place, asked, rights], salt=SALT, compress=True)


def follow(cursor: str, asked: str, rights: str) -> tuple[Frozen, int]:
    """The list and the place of a cursor. Raises `QueryError` for a cursor that is not ours or belongs to another
    question, `CursorExpired` where the list is gone or the rights changed."""
    try:
        name, place, question, holder = signing.loads(cursor, salt=SALT)
    except (signing.BadSignature, ValueError, TypeError):
        raise QueryError("/cursor", _("This is not a cursor of ours.")) from None
    if question != asked:
        raise QueryError("/cursor", _("This cursor belongs to another search.")) from None
    found = _load(name) if holder == rights else None
    if found is None:
        raise CursorExpired("/cursor", _("These results have expired. Start again from the first page."))
    return found, int(place)


def fields_mask(fields: Iterable[str], names: Sequence[str]) -> int:
    return sum(1 << names.index(name) for name in fields)


def masked(mask: int, names: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for place, name in enumerate(names) if mask >> place & 1)
