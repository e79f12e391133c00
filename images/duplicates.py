"""Pictures of one collection that show the same: perceptual hashes at most 31 of 256 bits apart (PDQ's threshold).

The same bytes twice are refused at the door (`ingest`); pictures that merely resemble each other are a matter of the
search. Nothing is deleted here: people look, keep or trash.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from django.db import transaction
from django.utils.translation import gettext as _
from numpy.typing import NDArray

from images import audit
from images.access import Principal
from images.models import Collection, Image, ImageState, KeptPair, User
from images.moderation import Conflict

HASH_BYTES = 32
MOST_DIFFERENT_BITS = 31
MOST_COMPARED = 10_000
MOST_PAIRS = 20_000
MOST_IN_GROUP = 20
MOST_KEPT = 100_000
BLOCK = 512


@dataclass(frozen=True)
class Group:
    """Pictures that look the same, the best first; `distance` is the greatest number of bits between two that are
    linked directly."""

    images: tuple[Image, ...]
    distance: int


@dataclass(frozen=True)
class Found:
    """Some of `total` groups; `compared` pictures were looked at, `complete` is False where there is more."""

    groups: tuple[Group, ...]
    total: int
    compared: int
    complete: bool


def find(collection: Collection, principal: Principal, start: int = 0, limit: int = 50) -> Found:
    """The groups of look-alikes among what `principal` may see, largest first; the newest 10,000 are compared."""
    visible = Image.objects.visible_to(principal).filter(  # type: ignore[attr-defined]
        collection=collection, state=ImageState.READY, phash__isnull=False
    )
    rows = list(visible.order_by("-pk").values_list("pk", "phash")[: MOST_COMPARED + 1])
    hashes = ((pk, bytes(phash or b"")) for pk, phash in rows[:MOST_COMPARED])
    known = [(pk, phash) for pk, phash in hashes if len(phash) == HASH_BYTES]
    near = pairs([phash for _pk, phash in known])
    linked = [(known[a][0], known[b][0], distance) for a, b, distance in near]
    clusters = _clusters(_without_kept(linked, collection))
    complete = len(rows) <= MOST_COMPARED and len(near) < MOST_PAIRS
    shown = clusters[start : start + limit]
    images = visible.select_related("collection__team", "uploader").prefetch_related("tags")
    by_id = images.in_bulk([pk for ids, _distance in shown for pk in ids])
    groups = (Group(tuple(best(by_id[pk] for pk in ids if pk in by_id)), distance) for ids, distance in shown)
    return Found(tuple(one for one in groups if len(one.images) > 1), len(clusters), len(known), complete)


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


def _without_kept(linked: list[tuple[int, int, int]], collection: Collection) -> list[tuple[int, int, int]]:
    kept = KeptPair.objects.filter(first__collection=collection).values_list("first", "second")
    together = set(kept[:MOST_KEPT]) if linked else set()
    return [(a, b, distance) for a, b, distance in linked if (min(a, b), max(a, b)) not in together]


def _clusters(linked: list[tuple[int, int, int]]) -> list[tuple[list[int], int]]:
    """Connected ids with the greatest distance of a link, largest first, at most 20 ids of each."""
    parents: dict[int, int] = {}

    def root(one: int) -> int:
        while parents.setdefault(one, one) != one:
            parents[one] = parents[parents[one]]
            one = parents[one]
        return one

    for a, b, _distance in linked:
        parents[root(a)] = root(b)
    members: dict[int, set[int]] = {}
    spread: dict[int, int] = {}
    for a, b, distance in linked:
        members.setdefault(root(a), set()).update((a, b))
        spread[root(a)] = max(spread.get(root(a), 0), distance)
    order = sorted(members, key=lambda one: (-len(members[one]), -max(members[one])))
    return [(sorted(members[one])[:MOST_IN_GROUP], spread[one]) for one in order]
