"""Gauges read from the rows when somebody scrapes: true for all processes at once, whichever one answers."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import numpy as np
import structlog
from django.db import DatabaseError
from django.db.models import F, Min, QuerySet
from django.utils import timezone
from prometheus_client import REGISTRY
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from images import leases
from images.models import Image, ImageState
from search.models import CollectionIndex, Embedding, EmbeddingState, IndexState

log = structlog.get_logger(__name__)
WINDOW = timedelta(hours=1)
SAMPLE = 2000
MOST_COLLECTIONS = 200
QUANTILES = (0.5, 0.95)
AGED = {"process": "uploaded_at", "embed": "created_at"}  # queue → since when its rows wait


class QueueCollector(Collector):
    """Depth and age of the queues, failures by state, and how long uploads took to become searchable."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        try:
            yield from [queue_depth(), oldest_seconds(), failures(), seconds_to_searchable(), live_recall()]
        except DatabaseError as error:
            log.warning("metrics_unavailable", error=str(error))

    def describe(self) -> list[GaugeMetricFamily]:
        return []  # Nothing is queried at registration.


def queues() -> dict[str, QuerySet]:
    return {
        "process": leases.due(Image.objects.present()),  # type: ignore[attr-defined]
        "embed": leases.due(Embedding.objects.all()),
        "index": leases.due(CollectionIndex.objects.all()),
    }


def queue_depth() -> GaugeMetricFamily:
    family = GaugeMetricFamily("loupe_queue_depth", "Rows that wait for work", labels=["queue"])
    for name, rows in queues().items():
        family.add_metric([name], rows.count())
    return family


def oldest_seconds() -> GaugeMetricFamily:
    family = GaugeMetricFamily(
        "loupe_queue_oldest_seconds", "Age of the oldest waiting row", labels=["queue"]
    )
    for name in AGED:
        family.add_metric([name], oldest_age(name))
    return family


def oldest_age(name: str) -> float:
    """Seconds that the oldest row of a queue has waited; 0 where none waits."""
    oldest = queues()[name].aggregate(at=Min(AGED[name]))["at"]
    return (timezone.now() - oldest).total_seconds() if oldest else 0.0


def failures() -> GaugeMetricFamily:
    family = GaugeMetricFamily("loupe_failures", "Rows that were given up", labels=["queue"])
    for name, rows in given_up().items():
        family.add_metric([name], rows.count())
    return family


def given_up() -> dict[str, QuerySet]:
    return {
        "process": Image.objects.present().filter(state=ImageState.REJECTED),  # type: ignore[attr-defined]
        "embed": Embedding.objects.filter(state=EmbeddingState.QUARANTINED),
        "index": CollectionIndex.objects.filter(state=IndexState.FAILED),
    }


def live_recall() -> GaugeMetricFamily:
    """Of the collections whose live queries are sampled, the 200 with the lowest figures."""
    family = GaugeMetricFamily(
        "loupe_index_live_recall", "Recall@50 of replayed live queries", labels=["collection"]
    )
    measured = CollectionIndex.objects.filter(live_recall__isnull=False).order_by("live_recall")
    for uid, recall in measured.values_list("collection__uid", "live_recall")[:MOST_COLLECTIONS]:
        family.add_metric([str(uid)], recall or 0.0)
    return family


def seconds_to_searchable() -> GaugeMetricFamily:
    """Percentiles over the last hour's uploads, at most 2,000 of them."""
    family = GaugeMetricFamily(
        "loupe_seconds_to_searchable",
        "From the upload's answer to its vector, last hour",
        labels=["quantile"],
    )
    for quantile, seconds in searchable_quantiles().items():
        family.add_metric([str(quantile)], seconds)
    return family


def searchable_quantiles() -> dict[float, float]:
    """Quantile → seconds; zeros where nothing became searchable in the last hour."""
    seconds = recent_seconds()
    return {quantile: float(np.quantile(seconds, quantile)) if seconds else 0.0 for quantile in QUANTILES}


def recent_seconds() -> list[float]:
    fresh = Embedding.objects.filter(embedded_at__gt=timezone.now() - WINDOW, state=EmbeddingState.DONE)
    spans = fresh.annotate(span=F("embedded_at") - F("image__uploaded_at")).values_list("span", flat=True)
    return [span.total_seconds() for span in spans.order_by("-embedded_at")[:SAMPLE]]


def register() -> None:
    REGISTRY.register(QueueCollector())
