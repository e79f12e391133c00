"""From checked pictures to vectors: claimed rows → batches → unit vectors with a place in the collection's order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from io import BytesIO

import numpy as np
import structlog
from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Exists, F, OuterRef, QuerySet
from django.utils import timezone
from PIL import Image as Picture

from images import leases, storage
from images.faults import faultpoint
from images.models import Collection, Image, ImageState
from search import index
from search.encoders import Encoder, EncoderError, get_encoder
from search.models import CollectionIndex, Embedding, EmbeddingState, Space
from search.signals import vectors_changed

log = structlog.get_logger(__name__)
RECENT = timedelta(days=1)
FETCHED_AT_ONCE = 4  # object storage takes its time for each


def enlist(image: Image) -> None:
    """Order the vectors of a picture that became ready; called inside the transaction that makes it so."""
    try:
        row = index.ensure_index(image.collection)
    except EncoderError as error:
        # The picture is ready all the same; `enlist_missing` orders its vector once the model is there.
        log.error("model_unavailable", error=str(error))
        return
    spaces = [pk for pk in (row.space_id, row.next_space_id) if pk]
    Embedding.objects.bulk_create(
        [
            Embedding(image=image, collection_id=image.collection_id, space_id=pk, bulk=image.bulk)
            for pk in spaces
        ],
        ignore_conflicts=True,
    )
    leases.retry(Embedding.objects.filter(image=image))  # what failed before has new renditions now
    vectors_changed.send(Embedding, kind="embed", bulk=image.bulk)


def enlist_missing(limit: int = 2000, *, uploaded_after: datetime | None = None) -> int:
    """Order vectors that nobody ordered: the safety net, and how a new space is filled. Returns how many.

    With `uploaded_after`, older pictures are looked at only in collections that change their space.
    """
    try:
        for collection in _without_index():
            index.ensure_index(collection)
    except EncoderError as error:
        log.error("model_unavailable", error=str(error))
    count = 0
    for row in CollectionIndex.objects.all().iterator():
        for space_id in filter(None, (row.space_id, row.next_space_id)):
            since = None if row.next_space_id else uploaded_after
            count += _enlist_missing(row, space_id, limit - count, since)
            if count >= limit:
                return count
    return count


def recently() -> datetime:
    """What the frequent sweep of `enlist_missing` looks at; the rare one looks at everything."""
    return timezone.now() - RECENT


def _without_index() -> QuerySet[Collection]:
    return Collection.objects.filter(index__isnull=True, images__state=ImageState.READY).distinct()[:100]


def _enlist_missing(row: CollectionIndex, space_id: int, limit: int, since: datetime | None) -> int:
    ordered = Embedding.objects.filter(image=OuterRef("pk"), space=space_id)
    missing = Image.objects.present().filter(
        ~Exists(ordered), collection=row.collection_id, state=ImageState.READY
    )
    if since:
        missing = missing.filter(uploaded_at__gt=since)
    orders = [
        Embedding(image_id=pk, collection_id=row.collection_id, space_id=space_id, bulk=True)
        for pk in missing.values_list("pk", flat=True)[:limit]
    ]
    Embedding.objects.bulk_create(orders, ignore_conflicts=True)
    return len(orders)


def embed_pending(limit: int | None = None) -> int:
    """Claim waiting rows and embed them in batches of `limit` (the configured batch size); returns how many were
    claimed, 0 when the queue is empty."""
    fresh, tried = leases.claim_batch(
        _embeddable(),
        limit or settings.LOUPE_BATCH_SIZE,
        "collection__team",
        exhausted="The model process ended on this picture repeatedly.",
    )
    with leases.kept([*fresh, *tried]):
        for space, rows in _by_space(fresh).items():
            _embed_batch(space, rows)
        for row in tried:
            _embed_batch(row.space, [row])
    return len(fresh) + len(tried)


def _embeddable() -> QuerySet[Embedding]:
    present = Embedding.objects.filter(image__trashed_at__isnull=True, image__state=ImageState.READY)
    return present.select_related("image", "space")


def _by_space(rows: Iterable[Embedding]) -> dict[Space, list[Embedding]]:
    grouped: dict[Space, list[Embedding]] = defaultdict(list)
    for row in rows:
        grouped[row.space].append(row)
    return grouped


def _embed_batch(space: Space, rows: Sequence[Embedding]) -> None:
    try:
        encoder = _encoder(space)
    except Exception as error:  # whatever is wrong with the installation, it is not these pictures' fault
        for row in rows:
            leases.postpone(row, str(error))
        log.exception("model_unavailable", space=space.name)
        return
    if loaded := _load(rows, encoder.geometry.decode_edge):
        _encode(encoder, loaded)


def _encoder(space: Space) -> Encoder:
    """The model of exactly this space. Raises EncoderError where this machine has another, or none."""
    encoder = get_encoder(space.name)
    if encoder.sha256 != space.sha256:
        raise EncoderError(f"The model {space.name} on this machine is not the one of this space.")
    return encoder


def _encode(encoder: Encoder, loaded: Sequence[tuple[Embedding, Picture.Image]]) -> None:
    """Encode together; where that fails, one by one, so that one bad picture costs only itself."""
    try:
        vectors = encoder.encode_images([picture for _row, picture in loaded])
    except Exception as error:
        if len(loaded) == 1:
            log.exception("embedding_failed", embedding=loaded[0][0].pk)
            leases.fail(loaded[0][0], f"{type(error).__name__}: {error}")
            return
        for one in loaded:
            _encode(encoder, [one])
        return
    faultpoint("after_encode")
    _finish([row for row, _picture in loaded], vectors)


def _load(rows: Sequence[Embedding], edge: int) -> list[tuple[Embedding, Picture.Image]]:
    """The rows whose previews can be read, with them; on the others is written why not."""
    with ThreadPoolExecutor(FETCHED_AT_ONCE) as threads:
        previews = [(row, threads.submit(_preview, row.image.preview_key, edge)) for row in rows]
    loaded = []
    for row, preview in previews:
        try:
            loaded.append((row, preview.result()))
        except storage.StorageUnavailable as error:
            leases.postpone(row, str(error))
        except (storage.StorageError, OSError, ValueError) as error:
            leases.fail(row, f"The preview cannot be read: {error}")
    return loaded


def _preview(key: str, edge: int) -> Picture.Image:
    """The preview that processing made, its short side decoded to at least `edge` px where there are so many: our own
    re-encoded file, so it is safe to decode here."""
    picture = Picture.open(BytesIO(storage.read(key)), formats=["JPEG", "WEBP", "PNG"])
    picture.draft("RGB", (edge, edge))
    picture.load()
    return picture


def _finish(rows: Sequence[Embedding], vectors: np.ndarray) -> None:
    """Write the vectors; every collection's rows get their places in its order in one transaction."""
    by_collection: dict[int, list[tuple[Embedding, np.ndarray]]] = defaultdict(list)
    for row, vector in zip(rows, vectors, strict=True):
        by_collection[row.collection_id].append((row, vector))
    for collection_id, finished in by_collection.items():
        try:
            _place(collection_id, finished)
        except (index.IndexFault, IntegrityError) as error:  # the collection was deleted meanwhile
            log.warning("vectors_dropped", collection=collection_id, error=str(error))
    vectors_changed.send(Embedding, kind="index", bulk=True)


def _place(collection_id: int, finished: Sequence[tuple[Embedding, np.ndarray]]) -> None:
    with transaction.atomic():
        first = index.hand_out_seq(collection_id, len(finished))
        for seq, (row, vector) in enumerate(finished, start=first):
            _finish_one(row, vector, seq)
        faultpoint("before_vectors_commit")


def _finish_one(row: Embedding, vector: np.ndarray, seq: int) -> None:
    values = vector.astype("<f2").tobytes()
    try:
        leases.finish(row, state=EmbeddingState.DONE, vector=values, seq=seq, embedded_at=timezone.now())
    except leases.LostLease:
        log.info("lease_lost", embedding=row.pk)


def moved(image: Image) -> None:
    """Give a moved picture's vectors their place in the new collection's order (inside the moving transaction).

    A worker that is embedding it at this moment loses its lease: it holds the old collection's place. Where the new
    collection has another space, its vector there is ordered.
    """
    if Image.objects.filter(pk=image.pk, state=ImageState.READY).exists():
        enlist(image)
    rows = Embedding.objects.filter(image=image)
    rows.exclude(state=EmbeddingState.DONE).update(
        collection=image.collection_id, fence=F("fence") + 1, lease_until=None
    )
    for row in rows.filter(state=EmbeddingState.DONE):
        index.ensure_index(image.collection)  # a picture that is checked again was not enlisted above
        seq = index.hand_out_seq(image.collection_id, 1)
        Embedding.objects.filter(pk=row.pk).update(collection=image.collection_id, seq=seq)


def searchable_ids(image_ids: Iterable[int]) -> set[int]:
    """Which of these images have a finished vector in the space that serves their collection."""
    done = Embedding.objects.filter(image__in=list(image_ids), state=EmbeddingState.DONE)
    return set(done.filter(space=F("collection__index__space")).values_list("image_id", flat=True))


def waiting() -> QuerySet[Embedding]:
    return leases.due(Embedding.objects.all())
