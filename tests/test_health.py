"""What load balancers and Prometheus see."""

from typing import Any

import pytest
from django.core.cache import cache

from config import warmup

pytestmark = pytest.mark.django_db


def test_live_needs_nothing(client: Any) -> None:
    assert client.get("/livez").content == b"ok"


def test_ready_only_when_warm(client: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(warmup, "done", lambda: False)
    answer = client.get("/readyz")
    assert answer.status_code == 503 and answer.json() == {"database": True, "cache": True, "model": False}
    monkeypatch.setattr(warmup, "done", lambda: True)
    assert client.get("/readyz").status_code == 200


def test_a_cache_that_is_away_is_not_ready(client: Any, monkeypatch: Any) -> None:
    def away(*args: Any, **kwargs: Any) -> None:
        raise ConnectionError("redis")

    monkeypatch.setattr(warmup, "done", lambda: True)
    monkeypatch.setattr(cache, "set", away)
    assert client.get("/readyz").status_code == 503


def test_metrics_tell_the_queues(client: Any, make_image: Any) -> None:
    make_image(state="stored")
    text = client.get("/metrics").content.decode()
    assert 'loupe_queue_depth{queue="process"} 1.0' in text and 'quantile="0.95"' in text


def test_every_answer_carries_a_request_id(client: Any) -> None:
    assert client.get("/livez", headers={"X-Request-Id": "abcd-1234"})["X-Request-Id"] == "abcd-1234"
    assert client.get("/livez", headers={"X-Request-Id": "a\nb"})["X-Request-Id"] != "a\nb"
