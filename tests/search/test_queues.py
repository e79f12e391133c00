"""How the pipeline stands: the same figures on /metrics and on the first page of the administration."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.urls import reverse
from django.utils import timezone

from search import metrics
from search.models import CollectionIndex, Embedding, EmbeddingState, Space

pytestmark = pytest.mark.django_db


@pytest.fixture
def pipeline(collection: Any, make_image: Any) -> None:
    """One picture waits since an hour, one was refused, one vector was given up, ten took 1 to 10 s."""
    space = Space.objects.create(name="tiny", sha256="a" * 64, dimension=4)
    CollectionIndex.objects.create(collection=collection, space=space)
    now = timezone.now()
    make_image(state="stored", uploaded_at=now - timedelta(hours=1))
    make_image(state="rejected", reason="The file is empty.")
    for seconds in range(1, 11):
        image = make_image(uploaded_at=now - timedelta(seconds=seconds))
        vector = {"vector": b"\0" * 8, "seq": seconds, "embedded_at": now, "state": EmbeddingState.DONE}
        Embedding.objects.create(image=image, collection=collection, space=space, **vector)
    given_up = {"state": EmbeddingState.QUARANTINED}
    Embedding.objects.create(image=make_image(), collection=collection, space=space, **given_up)


def test_the_metrics_are_those_of_the_rows(pipeline: None) -> None:
    told = {
        (sample.name, *sample.labels.values()): sample.value
        for family in metrics.QueueCollector().collect()
        for sample in family.samples
    }
    assert told["loupe_queue_depth", "process"] == 1
    assert 3600 <= told["loupe_queue_oldest_seconds", "process"] < 3700
    assert (told["loupe_failures", "process"], told["loupe_failures", "embed"]) == (1, 1)
    assert told["loupe_seconds_to_searchable", "0.5"] == pytest.approx(5.5)
    assert told["loupe_seconds_to_searchable", "0.95"] == pytest.approx(9.55)


def test_the_administration_shows_them(pipeline: None, page: Any, admin: Any) -> None:
    client = page(admin)
    shown = client.get(reverse("admin:index")).content.decode()
    assert "half of the pictures within 5.50, 95 % within 9.55" in shown
    for name in ("images_image", "search_embedding"):
        state = {"images_image": "rejected", "search_embedding": "quarantined"}[name]
        address = reverse(f"admin:{name}_changelist") + f"?state__exact={state}"
        assert address in shown and client.get(address).status_code == 200


def test_others_see_nothing_of_it(pipeline: None, page: Any, owner: Any) -> None:
    assert b"half of the pictures" not in page(owner).get(reverse("admin:index"), follow=True).content
