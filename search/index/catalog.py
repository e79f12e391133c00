"""The index of a collection as rows: places in its order, wanted builds, generations, roll back and clean-up.

Locks: `last_seq` moves only by an UPDATE of the collection's index row inside the transaction that finishes the
embeddings. That UPDATE holds the row (Postgres) or the database's write lock (SQLite) until the commit, so the numbers
become visible in the order in which they were handed out: a reader that knows everything up to S asks for `seq > S`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connections, router, transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from images import storage
from images.models import Collection
from images.models.image import ImageState, Moderation
from images.signals import index_swapped
from search.index import files, sampling
from search.index.errors import BadParameters, IndexFault, NothingToRollBackTo
from search.index.segment import KINDS
from search.models import (
    CollectionIndex,
    Embedding,
    EmbeddingState,
    Generation,
    GenerationState,
    IndexState,
    Space,
)
from search.spaces import default_space

PREFIX = "indexes"
MERGE_ROWS = 1000
MERGE_SHARE = 0.1
FORGET_AFTER = timedelta(days=1)
FILE_GRACE = timedelta(hours=1)
KEPT_RETIRED = 1
STRAYS = 2000


@dataclass(frozen=True)
class IndexStatus:
    """What an administrator sees of one collection's index. `pending` pictures wait for their vector, `delta`
    vectors are searched beside the generation, `vectors` are inside it, `total` is what can be found."""

    generation: int | None
    kind: str
    parameters: dict[str, object]
    vectors: int
    total: int
    pending: int
    delta: int
    recall: float | None
    live_recall: float | None
    live_recall_count: int
    built_at: datetime | None
    space: Space
    state: str
    building: bool
    error: str


def ensure_index(collection: Collection) -> CollectionIndex:
    """The collection's index row, made on first use in the space of the configured model."""
    if row := CollectionIndex.objects.filter(collection=collection).first():
        return row
    row, _made = CollectionIndex.objects.get_or_create(
        collection=collection, defaults={"space": default_space()}
    )
    return row


def hand_out_seq(collection_id: int, count: int) -> int:
    """The first of `count` places in the collection's order, for embeddings that the caller finishes in the SAME
    transaction (see the head of this module). Places of embeddings that are not finished after all stay empty."""
    if not connections[router.db_for_write(CollectionIndex)].in_atomic_block:
        raise IndexFault(
            "places in a collection's order are handed out inside the finishing transaction only"
        )
    mine = CollectionIndex.objects.filter(collection_id=collection_id)
    if not mine.update(last_seq=F("last_seq") + count):
        raise IndexFault(f"collection {collection_id} has no index row: call ensure_index first")
    return mine.values_list("last_seq", flat=True).get() - count + 1


def eligible() -> Q:
    """Embeddings whose picture may be found by somebody: not in the trash, not refused or hidden, not moved away."""
    gone = Q(image__moderation__in=[Moderation.REJECTED, Moderation.HIDDEN]) | Q(
        image__trashed_at__isnull=False
    )
    return ~gone & Q(image__state=ImageState.READY, image__collection=F("collection"))


def adopt(embeddings: QuerySet[Embedding]) -> int:
    """Give finished embeddings a new place in the order of the collection that their picture is in now, so that the
    next query of every process finds them. Returns how many."""
    count = 0
    wanted = embeddings.filter(state=EmbeddingState.DONE, vector__isnull=False)
    for collection_id, pk in wanted.values_list("image__collection_id", "pk"):
        with transaction.atomic():
            seq = hand_out_seq(collection_id, 1)
            count += Embedding.objects.filter(pk=pk, image__collection=collection_id).update(
                collection=collection_id, seq=seq
            )
    return count


def adopt_strays(limit: int = STRAYS) -> int:
    """Embeddings that a merge forgot (their picture was hidden or in the trash) and that may be found again.

    They are in no generation and in no delta, and nobody has to remember to call anything when a picture returns.
    """
    lost = Embedding.objects.filter(eligible(), state=EmbeddingState.DONE, seq__isnull=True)
    return adopt(Embedding.objects.filter(pk__in=list(lost.values_list("pk", flat=True)[:limit])))


def forget(row: CollectionIndex) -> int:
    """Take what nobody may find any more out of the order; `adopt_strays` brings it back where it returns.

    Called before a build reads its rows, so a picture that returns meanwhile is found in the delta.
    """
    placed = Embedding.objects.filter(collection=row.collection_id, seq__isnull=False)
    # Not "outside of the eligible": Postgres may compare every row with every other then, for hours.
    gone = placed.filter(~eligible())
    return gone.update(seq=None)


def request_rebuild(
    collection: Collection, *, kind: str | None = None, space: Space | None = None
) -> CollectionIndex:
    """Want a new generation; `kind` "" lets the size choose, `space` starts a change of model.

    The new space answers once every picture has its vector there and the generation is published.
    """
    if kind and kind not in KINDS:
        raise BadParameters(_("The index kind must be one of %(kinds)s.") % {"kinds": ", ".join(KINDS)})
    row = ensure_index(collection)
    values: dict[str, object] = {"state": IndexState.WANTED, "attempts": 0, "not_before": None}
    if kind is not None:
        values["kind"] = kind
    if space is not None:
        values["next_space"] = None if space.pk == row.space_id else space
    CollectionIndex.objects.filter(pk=row.pk).update(**values)
    row.refresh_from_db()
    return row


def withdraw(collection: Collection) -> bool:
    """No longer want a rebuild that nobody works on yet; False where there is none. What size, damage or a change of
    model asks for stays wanted, or is so again with the next look."""
    free = Q(lease_until__isnull=True) | Q(lease_until__lt=timezone.now())
    wanted = CollectionIndex.objects.filter(
        free, collection=collection, state=IndexState.WANTED, next_space=None
    )
    return bool(wanted.update(state=IndexState.IDLE, attempts=0, not_before=None))


def merge_due(row: CollectionIndex) -> bool:
    """Whether the live generation is damaged, or its delta has outgrown it (bounded from above by the difference of
    the orders)."""
    if row.live is None:
        return row.last_seq > 0
    if row.live.state == GenerationState.FAILED:
        return True
    return row.last_seq - row.live.upto_seq > max(MERGE_ROWS, MERGE_SHARE * row.live.count)


def want_due() -> int:
    """Want a build for every index that `merge_due` is true of; returns how many."""
    outgrown = (
        Q(live__isnull=True, last_seq__gt=0)
        | Q(last_seq__gt=F("live__upto_seq") + MERGE_ROWS, live__isnull=False)
        | Q(live__state=GenerationState.FAILED)
    )
    idle = CollectionIndex.objects.filter(outgrown, state=IndexState.IDLE).select_related("live")
    due = [row.pk for row in idle.iterator() if merge_due(row)]
    return CollectionIndex.objects.filter(pk__in=due, state=IndexState.IDLE).update(
        state=IndexState.WANTED, attempts=0, not_before=None
    )


def status(collection: Collection) -> IndexStatus:
    row = ensure_index(collection)
    live, rows = row.live, Embedding.objects.filter(collection=collection, space=row.space_id)
    placed = rows.filter(seq__isnull=False)
    building = row.lease_until is not None and row.lease_until > timezone.now()
    return IndexStatus(
        generation=live.number if live else None,
        kind=live.kind if live else "",
        parameters=dict(live.parameters) if live else {},
        vectors=live.count if live else 0,
        total=placed.count(),
        pending=rows.filter(state=EmbeddingState.WAITING, image__trashed_at__isnull=True).count(),
        delta=placed.filter(seq__gt=live.upto_seq if live else 0).count(),
        recall=live.recall if live else None,
        live_recall=row.live_recall,
        live_recall_count=row.live_recall_count,
        built_at=live.built_at if live else None,
        space=row.space,
        state=row.state,
        building=building,
        error=row.error or (live.error if live else ""),
    )


# ── Going back ───────────────────────────────────────────────────────────────────────────────────────────────────


def roll_back(collection: Collection) -> Generation:
    """Let the previous generation answer again, as a new generation over the same file; what came since is its delta.

    A build that runs meanwhile is discarded. Raises NothingToRollBackTo.
    """
    with transaction.atomic():
        row = CollectionIndex.objects.select_for_update().get(pk=ensure_index(collection).pk)
        before = previous(row).first()
        if before is None:
            raise NothingToRollBackTo(
                _("No earlier generation of “%(name)s” is kept.") % {"name": collection}
            )
        again = _copy(before)
        retire(row, again)
        CollectionIndex.objects.filter(pk=row.pk).update(
            live=again, space=again.space_id, fence=F("fence") + 1, lease_until=None, **sampling.forgotten()
        )
        index_swapped.send(Generation, collection=collection, generation=again.number, count=again.count)
    return again


def previous(row: CollectionIndex) -> QuerySet[Generation]:
    """Retired generations that still have their file, the one that answered last first."""
    kept = row.generations.filter(state=GenerationState.RETIRED).exclude(key="")
    if row.live:
        kept = kept.exclude(key=row.live.key)
    return kept.order_by("-retired_at", "-number")


def _copy(old: Generation) -> Generation:
    fields = (
        "index_id",
        "space_id",
        "kind",
        "parameters",
        "count",
        "upto_seq",
        "manifest",
        "key",
        "byte_size",
    )
    values = {name: getattr(old, name) for name in fields}
    return Generation.objects.create(
        **values,
        recall=old.recall,
        built_at=old.built_at,
        number=next_number(old.index_id),
        state=GenerationState.LIVE,
        published_at=timezone.now(),
    )


def next_number(index_id: int) -> int:
    numbers = Generation.objects.filter(index=index_id).order_by("-number").values_list("number", flat=True)
    return (numbers.first() or 0) + 1


def retire(row: CollectionIndex, successor: Generation) -> None:
    """Everything of this index that was live, except `successor`, now waits for a roll back or the clean-up."""
    live = row.generations.filter(state=GenerationState.LIVE).exclude(pk=successor.pk)
    live.update(state=GenerationState.RETIRED, retired_at=timezone.now())


# ── Clean-up ─────────────────────────────────────────────────────────────────────────────────────────────────────


def collect_garbage() -> int:
    """Delete index files that nothing uses, and want a build where deleted pictures still lie in a generation after a
    day; drop samples of queries that nobody replays. Returns how many files were deleted. Safe to run at any time and
    on every host."""
    keep, checksums = set(), set()
    for row in CollectionIndex.objects.select_related("live").iterator():
        for generation in _in_use(row):
            keep.add(generation.key)
            checksums.add(generation.manifest.get("segment", {}).get("sha256", ""))
        _want_forgetting(row)
    gone = 0
    for entry in storage.list(f"{PREFIX}/"):
        if entry.key not in keep and timezone.now() - entry.modified > FILE_GRACE:
            Generation.objects.filter(key=entry.key).exclude(state=GenerationState.LIVE).update(key="")
            storage.delete(entry.key)
            gone += 1
    sampling.drop_old()
    return gone + files.clean(checksums)


def _in_use(row: CollectionIndex) -> list[Generation]:
    """The live generation, builds that run, the one to roll back to, and what a slow reader may still be loading."""
    kept = list(previous(row)[:KEPT_RETIRED])
    recent = Q(state=GenerationState.BUILDING) | Q(
        state=GenerationState.RETIRED, retired_at__gt=timezone.now() - FILE_GRACE
    )
    return kept + list(row.generations.filter(recent)) + ([row.live] if row.live else [])


def _want_forgetting(row: CollectionIndex) -> None:
    if row.live is None or row.state != IndexState.IDLE or row.live.built_at > timezone.now() - FORGET_AFTER:
        return
    placed = Embedding.objects.filter(
        eligible(), collection=row.collection_id, space=row.live.space_id, seq__lte=row.live.upto_seq
    )
    if placed.count() < row.live.count:
        CollectionIndex.objects.filter(pk=row.pk, state=IndexState.IDLE).update(
            state=IndexState.WANTED, attempts=0
        )
