"""Pictures of one collection that show the same, under three labels:

identical   the same bytes: refused at the door (`ingest`), which answers with the picture that is there
same        the same picture, resized or saved again: perceptual hashes at most 31 of 256 bits apart (PDQ's threshold)
similar     another picture of the same: vectors that the collection's model calls the same (`meaning.alike`)

Nothing is deleted here: people look, keep or trash.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations
from typing import NamedTuple

import numpy as np
from django.db import transaction
from django.db.models import QuerySet
from django.utils.translation import gettext as _
from numpy.typing import NDArray

from images import audit, meaning
from images.access import Principal
from images.models import Collection, Image, ImageState, KeptPair, User
from images.moderation import Conflict

HASH_BYTES = 32
MOST_DIFFERENT_BITS = 31
MOST_COMPARED = 10_000
MOST_BY_MEANING = 5_000
MOST_PAIRS = 20_000
MOST_IN_GROUP = 20
MOST_KEPT = 100_000
BLOCK = 512

Link = tuple[int, int, float]


class Label(StrEnum):
    SAME = "same"
    SIMILAR = "similar"


@dataclass(frozen=True)
class Group:
    """Pictures of one label, the best first. Between two that are linked directly, `distance` is the greatest number
    of differing bits (same), `similarity` the least cosine (similar); the other is None."""

    label: Label
    images: tuple[Image, ...]
    distance: int | None = None
    similarity: float | None = None


@dataclass(frozen=True)
class Found:
    """Some of `total` groups; `compared` pictures were looked at, `complete` is False where there is more."""

    groups: tuple[Group, ...]
    total: int
    compared: int
    complete: bool


class Cluster(NamedTuple):
    """Row ids that are linked, and the weakest link among them."""

    label: Label
    ids: list[int]
    weakest: float


def find(
    collection: Collection, principal: Principal, start: int = 0, limit: int = 50, label: Label | None = None
) -> Found:
    """The groups of look-alikes among what `principal` may see: first the same, then the similar, the largest first.
    The newest 10,000 are compared by what they look like, the newest 5,000 by what they mean."""
    visible = Image.objects.visible_to(principal).filter(collection=collection, state=ImageState.READY)  # type: ignore[attr-defined]
    rows = list(visible.order_by("-pk").values_list("pk", "phash")[: MOST_COMPARED + 1])
    kept = _kept(collection)
    known = [(pk, bytes(phash)) for pk, phash in rows[:MOST_COMPARED] if phash and len(phash) == HASH_BYTES]
    near = pairs([phash for _pk, phash in known])
    linked = [(known[a][0], known[b][0], float(bits)) for a, b, bits in near]
    clusters = _clusters(Label.SAME, _unsettled(linked, kept))
    if label != Label.SAME:
        clusters += _similar(collection, [pk for pk, _phash in rows[:MOST_BY_MEANING]], linked, kept)
    chosen = [one for one in clusters if label in (None, one.label)]
    complete = len(rows) <= MOST_COMPARED and len(near) < MOST_PAIRS
    groups = _groups(visible, chosen[start : start + limit])
    return Found(groups, len(chosen), len(rows[:MOST_COMPARED]), complete)


def _similar(
    collection: Collection, ids: list[int], linked: Sequence[Link], kept: set[tuple[int, int]]
) -> list[Cluster]:
    """Groups by meaning of what does not look the same anyway. The link that counts is 1 - cosine, as bits do."""
    root = _Roots()
    for a, b, _bits in linked:
        root.join(a, b)
    alike = meaning.alike(collection, ids, MOST_PAIRS)
    others = [(a, b, 1.0 - cosine) for a, b, cosine in alike if root.of(a) != root.of(b)]
    return _clusters(Label.SIMILAR, _unsettled(others, kept))


def _groups(visible: QuerySet[Image], clusters: Sequence[Cluster]) -> tuple[Group, ...]:
    images = visible.select_related("collection__team", "uploader").prefetch_related("tags")
    by_id = images.in_bulk([pk for one in clusters for pk in one.ids])
    made = []
    for one in clusters:
        shown = tuple(best(by_id[pk] for pk in one.ids if pk in by_id))
        same = one.label == Label.SAME
        distance = int(one.weakest) if same else None
        similarity = None if same else round(1.0 - one.weakest, 4)
        made += [Group(one.label, shown, distance, similarity)] if len(shown) > 1 else []
    return tuple(made)


def pairs(hashes: Sequence[bytes]) -> list[tuple[int, int, int]]:
    """(place, later place, differing bits) of all that are near, at most 20,000; 32 bytes each."""
    words = np.frombuffer(b"".join(hashes), dtype="<u8").reshape(-1, HASH_BYTES // 8)
    found: list[tuple[int, int, int]] = []
    for start in range(0, len(words), BLOCK):
        rows, columns, bits = _near(words[start : start + BLOCK], words[start:])
        later = columns > rows
        found += zip(
            (rows[later] + start).tolist(),
            (columns[later] + start).tolist(),
            bits[later].tolist(),
            strict=True,
        )
        if len(found) >= MOST_PAIRS:
            break
    return found[:MOST_PAIRS]


def _near(block: NDArray[np.uint64], rest: NDArray[np.uint64]) -> tuple[NDArray, NDArray, NDArray]:
    """Places in `block` [b, 4] and `rest` [n, 4] whose hashes are near, and by how many bits."""
    bits = np.zeros((len(block), len(rest)), np.uint16)
    for word in range(block.shape[1]):
        bits += np.bitwise_count(block[:, word, None] ^ rest[None, :, word])
    rows, columns = np.nonzero(bits <= MOST_DIFFERENT_BITS)
    return rows, columns, bits[rows, columns]


def keep(images: Sequence[Image], actor: User) -> None:
    """Remember that all of these (of one collection) stay, so that they are not shown as duplicates again."""
    ids = sorted({image.pk for image in images})
    if not 2 <= len(ids) <= MOST_IN_GROUP:
        raise Conflict(_("Choose between 2 and %d pictures.") % MOST_IN_GROUP)
    if len({image.collection_id for image in images}) > 1:
        raise Conflict(_("Choose pictures of one collection."))
    rows = [KeptPair(first_id=a, second_id=b, by=actor) for a, b in combinations(ids, 2)]
    collection = images[0].collection
    with transaction.atomic():
        KeptPair.objects.bulk_create(rows, ignore_conflicts=True)
        after = {"images": [str(image.uid) for image in images]}
        audit.record("duplicates.kept", collection, team=collection.team, actor=actor, after=after)


def best(images: Iterable[Image]) -> list[Image]:
    """In the order in which one would keep them: more pixels, better quality, earlier upload."""
    return sorted(
        images, key=lambda one: (-(one.width or 0) * (one.height or 0), -(one.quality or 0), one.pk)
    )


def _kept(collection: Collection) -> set[tuple[int, int]]:
    return set(
        KeptPair.objects.filter(first__collection=collection).values_list("first", "second")[:MOST_KEPT]
    )


def _unsettled(linked: Iterable[Link], kept: set[tuple[int, int]]) -> list[Link]:
    return [(a, b, distance) for a, b, distance in linked if (min(a, b), max(a, b)) not in kept]


def side_by_side(images: Sequence[Image]) -> list[Image]:
    """The same pictures in their order, but each one that means the same as an earlier one stands right behind it."""
    roots = _Roots()
    for collection in {image.collection for image in images}:
        ids = [image.pk for image in images if image.collection == collection]
        for pair in meaning.alike(collection, ids, MOST_PAIRS):
            roots.join(pair.first, pair.second)
    places: dict[int, int] = {}
    for image in images:
        places.setdefault(roots.of(image.pk), len(places))
    return sorted(images, key=lambda image: places[roots.of(image.pk)])


class _Roots:
    """Which ids are connected (union by path halving)."""

    def __init__(self) -> None:
        self.parents: dict[int, int] = {}

    def of(self, one: int) -> int:
        while self.parents.setdefault(one, one) != one:
            self.parents[one] = self.parents[self.parents[one]]
            one = self.parents[one]
        return one

    def join(self, a: int, b: int) -> None:
        self.parents[self.of(a)] = self.of(b)


def _clusters(label: Label, linked: Sequence[Link]) -> list[Cluster]:
    """Connected ids with the greatest distance of a link, largest first, at most 20 ids of each."""
    roots = _Roots()
    for a, b, _distance in linked:
        roots.join(a, b)
    members: dict[int, set[int]] = {}
    spread: dict[int, float] = {}
    for a, b, distance in linked:
        members.setdefault(roots.of(a), set()).update((a, b))
        spread[roots.of(a)] = max(spread.get(roots.of(a), 0.0), distance)
    order = sorted(members, key=lambda one: (-len(members[one]), -max(members[one])))
    return [Cluster(label, sorted(members[one])[:MOST_IN_GROUP], spread[one]) for one in order]


def copies_of(image: Image, principal: Principal, most: int = 12) -> list[Image]:
    """The nearest look-alikes of one picture in its collection, among the newest 10,000 that `principal` may see."""
    if not image.phash or len(image.phash) != HASH_BYTES:
        return []
    visible = Image.objects.visible_to(principal).filter(  # type: ignore[attr-defined]
        collection=image.collection_id, state=ImageState.READY, phash__isnull=False
    )
    rows = visible.exclude(pk=image.pk).order_by("-pk").values_list("pk", "phash")[:MOST_COMPARED]
    known = [(pk, bytes(phash)) for pk, phash in rows if phash and len(phash) == HASH_BYTES]
    if not known:
        return []
    words = np.frombuffer(b"".join([bytes(image.phash), *(phash for _pk, phash in known)]), np.uint64)
    table = words.reshape(-1, HASH_BYTES // 8)
    bits = np.bitwise_count(table[1:] ^ table[0]).sum(axis=1)
    near = [
        int(place) for place in np.argsort(bits, kind="stable")[:most] if bits[place] <= MOST_DIFFERENT_BITS
    ]
    found = visible.select_related("collection").in_bulk([known[place][0] for place in near])
    return [found[known[place][0]] for place in near if known[place][0] in found]
