"""Where a search looks: the collections it may read, the space each answers in, and a sample of what is there."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar
from uuid import UUID

import numpy as np
from django.db.models import F, QuerySet
from django.utils.translation import gettext as _
from numpy.typing import NDArray

from images.access import Principal
from images.models import Collection, Image
from search import index
from search.frozen import digest
from search.models import Embedding, Space
from search.query import UnknownItem

SAMPLE = 2_000
# Above this many pictures only every second, third … id is looked at.
MOST_LISTED = 200_000
T = TypeVar("T")


class Recent(Generic[T]):
    """A few values that cost much to make, kept in this process for some seconds."""

    def __init__(self, most: int, seconds: float) -> None:
        self.most, self.seconds = most, seconds
        self._kept: OrderedDict[Hashable, tuple[float, T]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        with self._lock:
            made_at, value = self._kept.get(key, (float("-inf"), None))
        if time.monotonic() - made_at < self.seconds:
            return value  # type: ignore[return-value]
        fresh = make()
        with self._lock:
            self._kept[key] = (time.monotonic(), fresh)
            self._kept.move_to_end(key)
            while len(self._kept) > self.most:
                self._kept.popitem(last=False)
        return fresh

    def clear(self) -> None:
        with self._lock:
            self._kept.clear()


class Place(NamedTuple):
    """What a search needs of one readable collection."""

    pk: int
    uid: UUID
    epoch: int
    recency: float
    quality: float
    space_id: int
    generation: int
    last_seq: int
    sha256: str
    team_id: int
    name: str
    visibility: str

    def collection(self) -> Collection:
        """As read with the scope; its other fields are read when somebody asks for them."""
        known = {"id": self.pk, "uid": self.uid, "team_id": self.team_id, "name": self.name,
                 "visibility": self.visibility, "permission_epoch": self.epoch}  # fmt: skip
        return Collection.from_db(None, list(known), list(known.values()))


@dataclass(frozen=True)
class Scope:
    """The readable collections of one search. `stamp` changes with rights, generations, new vectors and spaces, so
    it belongs into every cache key; `size` is an upper bound of the vectors there are; `named`: the query chose the
    collections itself."""

    places: dict[int, Place] = field(default_factory=dict)
    spaces: dict[Space, list[int]] = field(default_factory=dict)
    stamp: str = ""
    size: int = 0
    named: bool = False


COLUMNS = (
    "pk", "uid", "permission_epoch", "rerank_recency", "rerank_quality",
    "index__space_id", "index__live__number", "index__last_seq", "index__space__sha256",
    "team_id", "name", "visibility",
)  # fmt: skip


def scope_of(wanted: Sequence[UUID], principal: Principal) -> Scope:
    """The scope of a search over the collections `wanted`, or over everything readable where none is named. Raises
    `UnknownItem` for a collection that does not exist for this principal."""
    readable = _readable.get(principal.rights_key, lambda: _statement(principal))
    rows = list(readable.filter(uid__in=wanted) if wanted else readable.all())
    known = {row[1] for row in rows}
    for number, uid in enumerate(wanted):
        if uid not in known:
            raise UnknownItem(f"/collections/{number}", _("There is no such collection."))
    # A collection without index row has no picture yet that could be found.
    indexed = [Place._make((*row[:6], row[6] or 0, *row[7:])) for row in rows if row[5] is not None]
    return _compile(indexed, bool(wanted))


# Put together once for the same rights, and asked anew every time.
_readable: Recent[QuerySet[Collection, Any]] = Recent(most=256, seconds=600)


def _statement(principal: Principal) -> QuerySet[Collection, Any]:
    return Collection.objects.visible_to(principal).order_by("pk").values_list(*COLUMNS)


def _compile(places: Sequence[Place], named: bool) -> Scope:
    spaces: dict[Space, list[int]] = {}
    for place in places:
        spaces.setdefault(_space(place.space_id, place.sha256), []).append(place.pk)
    moving = [(place.pk, place.epoch, place.generation, place.last_seq, place.space_id) for place in places]
    measures = [(space.sha256, space.calibration) for space in spaces]
    return Scope(
        {place.pk: place for place in places},
        spaces,
        digest(moving, measures),
        sum(place.last_seq for place in places),
        named,
    )


# A space never changes but for its calibration, which may take these seconds to be heeded.
_spaces: Recent[Space] = Recent(most=64, seconds=10)


def _space(pk: int, sha256: str) -> Space:
    return _spaces.get((pk, sha256), lambda: Space.objects.get(pk=pk))


_samples: Recent[NDArray[np.float32]] = Recent(most=16, seconds=600)


def sample(space: Space, scope: Scope) -> NDArray[np.float32]:
    """Vectors [n, d], n ≤ `SAMPLE`, against which a query's similarities are placed.

    Only of pictures that every reader of the collections may see, chosen by their ids alone: pictures that are
    hidden from somebody must not move what that person is shown, not even a percentage.
    """
    collections = tuple(scope.spaces[space])
    growth = sum(scope.places[pk].last_seq for pk in collections).bit_length()
    return _samples.get((space.pk, collections, growth), lambda: _draw(space, collections))


def _draw(space: Space, collections: Sequence[int]) -> NDArray[np.float32]:
    """The pictures whose scrambled ids are least: adding others changes the sample only where they enter it."""
    placed = Embedding.objects.filter(space=space, collection__in=collections, seq__isnull=False)
    shown = Image.objects.searchable().filter(pk__in=placed.values("image_id"))
    stride = -(-shown.count() // MOST_LISTED) or 1
    listed = shown if stride == 1 else shown.annotate(rest=F("pk") % stride).filter(rest=0)
    ids = np.fromiter(listed.order_by().values_list("pk", flat=True).iterator(), np.uint64)
    scrambled = (ids * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(24)
    chosen = ids[np.argsort(scrambled, kind="stable")[:SAMPLE]]
    return matrix([int(one) for one in chosen], space)[1]


def matrix(ids: Sequence[int], space: Space) -> tuple[list[int], NDArray[np.float32]]:
    """The ids that have a vector in the space, and their vectors [n, d] in the same order."""
    found = index.vectors(ids, space)
    known = [one for one in ids if one in found]
    if not known:
        return [], np.empty((0, space.dimension), np.float32)
    return known, np.stack([found[one] for one in known]).astype(np.float32)


def forget_samples() -> None:
    _samples.clear()
    _spaces.clear()
