"""Gauges read from the rows when somebody scrapes: true for all processes at once, whichever one answers."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import numpy as np
import structlog
from django.db import DatabaseError
from django.db.models import Count, F, Min, QuerySet
from django.utils import timezone
from prometheus_client import REGISTRY
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from images import leases
from images.models import Image, ImageState
from search.models import CollectionIndex, Embedding, EmbeddingState

log = structlog.get_logger(__name__)
WINDOW = timedelta(hours=1)
SAMPLE = 2000


class QueueCollector(Collector):
    """Depth and age of the queues, failures by state, and how long uploads took to become searchable."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        try:
            yield from [queue_depth(), oldest_seconds(), failures(), seconds_to_searchable()]
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
    now = timezone.now()
    for name, column in (("process", "uploaded_at"), ("embed", "created_at")):
        oldest = queues()[name].aggregate(at=Min(column))["at"]
        family.add_metric([name], (now - oldest).total_seconds() if oldest else 0)
    return family


def failures() -> GaugeMetricFamily:
    family = GaugeMetricFamily("loupe_failures", "Rows that were given up", labels=["queue"])
    family.add_metric(["process"], Image.objects.filter(state=ImageState.REJECTED).count())
    failed = Embedding.objects.filter(state=EmbeddingState.QUARANTINED).aggregate(n=Count("pk"))["n"]
    family.add_metric(["embed"], failed)
    return family


def seconds_to_searchable() -> GaugeMetricFamily:
    """Percentiles over the last hour's uploads, at most 2,000 of them."""
    family = GaugeMetricFamily(
        "loupe_seconds_to_searchable",
        "From the upload's answer to its vector, last hour",
        labels=["quantile"],
    )
    seconds = recent_seconds()
    for quantile in (0.5, 0.95):
        family.add_metric([str(quantile)], float(np.quantile(seconds, quantile)) if seconds else 0.0)
    return family


def recent_seconds() -> list[float]:
    fresh = Embedding.objects.filter(embedded_at__gt=timezone.now() - WINDOW, state=EmbeddingState.DONE)
    spans = fresh.annotate(span=F("embedded_at") - F("image__uploaded_at")).values_list("span", flat=True)
    return [span.total_seconds() for span in spans.order_by("-embedded_at")[:SAMPLE]]


def register() -> None:
    REGISTRY.register(QueueCollector())
