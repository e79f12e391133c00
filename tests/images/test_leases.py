"""Leases, shown on images: they are the first rows that wait."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from images import leases
from images.models import Image, ImageState

pytestmark = pytest.mark.django_db


@pytest.fixture
def waiting(make_image: Any) -> Any:
    def make(count: int = 1, **fields: Any) -> list[Image]:
        return [make_image(state=ImageState.STORED, **fields) for _ in range(count)]

    return make


def everything() -> Any:
    return Image.objects.order_by("id")


def test_a_claim_counts_before_the_work(waiting: Any) -> None:
    waiting()
    [row] = leases.claim(everything(), 5)
    stored = Image.objects.get()
    assert (stored.attempts, stored.fence) == (1, 1) == (row.attempts, row.fence)
    assert stored.lease_until > timezone.now()


def test_a_leased_row_is_not_claimed_again(waiting: Any) -> None:
    waiting()
    assert len(leases.claim(everything(), 5)) == 1
    assert leases.claim(everything(), 5) == []


def test_an_expired_lease_is_claimed_again(waiting: Any) -> None:
    waiting()
    leases.claim(everything(), 5, timedelta(seconds=-1))
    [row] = leases.claim(everything(), 5)
    assert row.attempts == 2


def test_only_the_newest_holder_can_finish(waiting: Any) -> None:
    waiting()
    [late] = leases.claim(everything(), 1, timedelta(seconds=-1))
    [mine] = leases.claim(everything(), 1)
    with pytest.raises(leases.LostLease):
        leases.finish(late, state=ImageState.READY)
    leases.finish(mine, state=ImageState.READY)
    assert Image.objects.get().state == ImageState.READY


def test_a_transient_failure_waits_and_comes_back(waiting: Any) -> None:
    waiting()
    [row] = leases.claim(everything(), 1)
    assert leases.fail(row, "no answer") is False
    stored = Image.objects.get()
    assert (
        stored.not_before > timezone.now()
        and stored.state == ImageState.STORED
        and stored.error == "no answer"
    )
    assert leases.claim(everything(), 1) == []


def test_the_third_failure_quarantines(waiting: Any) -> None:
    waiting()
    for _attempt in range(leases.MAX_ATTEMPTS):
        Image.objects.update(not_before=None)
        [row] = leases.claim(everything(), 1)
        last = leases.fail(row, "crashed", reason="Checking failed.")
    stored = Image.objects.get()
    assert last is True and stored.state == ImageState.REJECTED and stored.reason == "Checking failed."


def test_an_outage_never_counts_as_an_attempt(waiting: Any) -> None:
    waiting()
    for _outage in range(5):
        Image.objects.update(not_before=None)
        [row] = leases.claim(everything(), 1)
        leases.postpone(row, "storage is down")
    assert (Image.objects.get().attempts, Image.objects.get().state) == (0, ImageState.STORED)


def test_a_row_that_keeps_killing_its_workers_is_quarantined(waiting: Any) -> None:
    waiting()
    for _death in range(leases.MAX_DEATHS):
        assert leases.claim(everything(), 1, timedelta(seconds=-1))
    assert leases.quarantine_exhausted(everything(), "It kills.") == 1
    assert Image.objects.get().state == ImageState.REJECTED


def test_single_uploads_go_before_bulk_work(waiting: Any) -> None:
    waiting(4, bulk=True)
    [single] = waiting(1)
    rows = leases.claim_fairly(everything(), 2, group="collection__team")
    assert rows[0].pk == single.pk and len(rows) == 2


def test_teams_share_bulk_work(waiting: Any, make_collection: Any, other_team: Any) -> None:
    waiting(6, bulk=True)
    elsewhere = make_collection("Far", team=other_team)
    waiting(2, in_collection=elsewhere, bulk=True)
    rows = leases.claim_fairly(everything(), 4, group="collection__team")
    assert sorted(row.collection_id == elsewhere.pk for row in rows) == [False, False, True, True]


def test_heartbeat_prolongs_only_what_is_held(waiting: Any) -> None:
    waiting()
    [late] = leases.claim(everything(), 1, timedelta(seconds=-1))
    [mine] = leases.claim(everything(), 1, timedelta(seconds=5))
    leases.heartbeat([late], timedelta(hours=1))
    assert Image.objects.get().lease_until == mine.lease_until
    leases.heartbeat([mine], timedelta(hours=1))
    assert Image.objects.get().lease_until > mine.lease_until


def test_retry_gives_quarantined_rows_a_clean_record(waiting: Any) -> None:
    waiting(1)
    Image.objects.update(state=ImageState.REJECTED, attempts=3, error="crashed")
    assert leases.retry(everything()) == 1
    stored = Image.objects.get()
    assert (stored.state, stored.attempts, stored.error) == (ImageState.STORED, 0, "")


def test_a_late_heartbeat_does_not_lease_a_finished_row(waiting: Any) -> None:
    waiting()
    [row] = leases.claim(everything(), 1)
    leases.fail(row, "no answer")
    leases.heartbeat([row], timedelta(hours=1))
    assert Image.objects.get().lease_until is None


def test_a_batch_takes_one_row_that_was_tried_before(waiting: Any) -> None:
    waiting(3)
    leases.claim(everything(), 3, timedelta(seconds=-1))
    waiting(2)
    fresh, tried = leases.claim_batch(everything(), 5, "collection__team", exhausted="It kills.")
    assert (len(fresh), len(tried)) == (2, 1) and tried[0].attempts == 2


def test_an_empty_queue_costs_one_question(db: None, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(1):
        assert leases.claim_batch(everything(), 5, "collection__team", exhausted="It kills.") == ([], [])
