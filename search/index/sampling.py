"""The recall of live queries: a share of them is asked again in the background, exactly and as usual.

Only the query's vector waits in a row, never its text nor who asked, and it is deleted when it is replayed, after a day
at the latest. A filter is not kept: what is measured is the collection as a whole. A search that cannot leave its
sample behind answers all the same.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from datetime import timedelta

import numpy as np
import structlog
from django.conf import settings
from django.db import DatabaseError
from django.utils import timezone

from search.index.tuning import recalls
from search.models import CollectionIndex, RecallSample

log = structlog.get_logger(__name__)
MOST_WAITING = 2000
MOST_COLLECTIONS = 4
BATCH = 50
KEPT = timedelta(days=1)
# The figure is a mean that forgets: of about this many replays.
WINDOW = 500

# (collection, vector [1, d], exact) → ids [1, k]
Ask = Callable[[CollectionIndex, np.ndarray, bool], np.ndarray]


def chosen() -> bool:
    """Whether the query that just ran belongs to the sample (a share of `INDEX_LIVE_RECALL`)."""
    share = settings.INDEX_LIVE_RECALL
    return share > 0 and random.random() < share  # noqa: S311  (a sample, not a secret)


def keep(collections: Sequence[int], space_id: int, vector: np.ndarray) -> None:
    """Leave `vector` [d] to be replayed in some of the `collections`, which answered approximately."""
    some = random.sample(list(collections), min(len(collections), MOST_COLLECTIONS))
    try:
        if RecallSample.objects.count() >= MOST_WAITING:
            return
        rows = CollectionIndex.objects.filter(collection__in=some, space=space_id).values_list(
            "pk", flat=True
        )
        content = np.asarray(vector, "<f2").tobytes()
        RecallSample.objects.bulk_create(
            RecallSample(index_id=pk, space_id=space_id, vector=content) for pk in rows
        )
    except DatabaseError as error:
        log.warning("recall_sample_lost", error=str(error))


def replay(ask: Ask, limit: int = BATCH) -> int:
    """Replay waiting samples, oldest first; returns how many were taken. Each one is deleted before it is replayed:
    two workers never count one twice, and a crash loses it."""
    waiting = list(RecallSample.objects.select_related("index__space").order_by("pk")[:limit])
    for sample in waiting:
        if not RecallSample.objects.filter(pk=sample.pk).delete()[0]:
            continue
        if sample.space_id == sample.index.space_id:  # else the collection's model was changed meanwhile
            _count(sample.index, _recall(sample, ask))
    return len(waiting)


def drop_old() -> None:
    """Samples that no worker replays (it was switched off meanwhile): nobody's question is kept for longer."""
    RecallSample.objects.filter(created_at__lt=timezone.now() - KEPT).delete()


def _recall(sample: RecallSample, ask: Ask) -> float:
    vector = np.frombuffer(bytes(sample.vector), "<f2").astype(np.float32)[None]
    return float(recalls(ask(sample.index, vector, False), ask(sample.index, vector, True))[0])


def _count(row: CollectionIndex, recall: float) -> None:
    now = CollectionIndex.objects.get(pk=row.pk)
    count, before = now.live_recall_count, now.live_recall or 0.0
    mean = before + (recall - before) / min(count + 1, WINDOW)
    # Where another worker was quicker, or a generation was published, this one replay is dropped.
    CollectionIndex.objects.filter(pk=row.pk, live_recall_count=count, live_id=now.live_id).update(
        live_recall=mean, live_recall_count=count + 1, live_recall_at=timezone.now()
    )


def forgotten() -> dict[str, object]:
    """Values of an index row whose generation changes: what was measured says nothing about the next one."""
    return {"live_recall": None, "live_recall_count": 0, "live_recall_at": None}
