"""From stored bytes to a checked picture, through the real decoding child."""

import io
import threading
import time
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.utils import timezone
from PIL import Image as Pillow

from images import ingest, leases, processing, storage
from images.models import Image, ImageState
from images.sandbox import SandboxPool
from images.signals import image_ready

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module", autouse=True)
def children() -> Any:
    """Decoding children are shared by the module and ended after it."""
    processing.close_pool()
    yield
    processing.close_pool()


@pytest.fixture
def upload(collection: Any, owner: Any, picture: Any) -> Any:
    def call(content: bytes | None = None, **options: Any) -> Image:
        file = io.BytesIO(content or picture(size=(640, 480)))
        return ingest.ingest(collection, owner, file, file_name="a.jpg", **options).image

    return call


def photograph(exif: bytes = b"", **options: Any) -> bytes:
    file = io.BytesIO()
    Pillow.effect_noise((1600, 1200), 40).convert("RGB").save(file, "JPEG", exif=exif, **options)
    return file.getvalue()


def test_a_stored_picture_becomes_ready_with_its_renditions(upload: Any) -> None:
    upload(photograph())
    assert processing.process_pending() == 1
    image = Image.objects.get()
    assert (image.state, image.width, image.height) == (ImageState.READY, 1600, 1200)
    assert 0 <= image.quality <= 1 and len(image.phash) == 32 and image.colours
    thumbnail = Pillow.open(io.BytesIO(storage.read(image.thumbnail_key)))
    assert 200 <= max(thumbnail.size) <= 256
    assert thumbnail.size == (image.thumbnail_width, image.thumbnail_height)


def test_a_damaged_picture_is_refused_with_a_reason(upload: Any) -> None:
    upload(photograph()[:20_000])
    processing.process_pending()
    image = Image.objects.get()
    assert image.state == ImageState.REJECTED and "missing" in image.reason


def test_one_bad_picture_costs_only_itself(upload: Any) -> None:
    upload(photograph()[:20_000])
    for _ in range(3):
        upload()
    processing.process_pending()
    assert sorted(Image.objects.values_list("state", flat=True)) == ["ready", "ready", "ready", "rejected"]


def test_bytes_that_changed_in_storage_are_never_ready(upload: Any) -> None:
    image = upload()
    storage.put(image.original_key, io.BytesIO(photograph()), "image/jpeg")
    processing.process_pending()
    assert Image.objects.get().state == ImageState.REJECTED


def test_a_lost_object_is_told(upload: Any) -> None:
    storage.delete(upload().original_key)
    processing.process_pending()
    assert "gone" in Image.objects.get().reason


def test_storage_that_is_away_only_delays(upload: Any, monkeypatch: Any) -> None:
    upload()

    def away(key: str) -> Any:
        raise storage.StorageUnavailable("503")

    with monkeypatch.context() as patched:
        patched.setattr(storage, "open", away)
        processing.process_pending()
    stored = Image.objects.get()
    assert (stored.state, stored.attempts) == (ImageState.STORED, 0) and stored.not_before


def renditions() -> set[str]:
    return {entry.key for entry in storage.list("renditions/")}


def test_a_late_worker_leaves_no_trace(upload: Any) -> None:
    upload()
    before = renditions()
    [late] = leases.claim(Image.objects.order_by("id").select_related("collection"), 1)
    Image.objects.update(fence=9)
    processing.process(late)
    assert Image.objects.get().state == ImageState.STORED
    assert renditions() == before


def test_a_listener_that_fails_undoes_the_outcome(upload: Any) -> None:
    upload()

    def broken(**kwargs: Any) -> None:
        raise RuntimeError("listener")

    image_ready.connect(broken)
    try:
        processing.process_pending()
    finally:
        image_ready.disconnect(broken)
    image = Image.objects.get()
    assert (image.state, image.error, image.preview_key) == (ImageState.STORED, "RuntimeError: listener", "")


def test_renditions_in_use_outlive_a_failed_second_check(upload: Any) -> None:
    upload()
    processing.process_pending()
    Image.objects.update(state=ImageState.STORED)

    def broken(**kwargs: Any) -> None:
        raise RuntimeError("listener")

    image_ready.connect(broken)
    try:
        processing.process_pending()
    finally:
        image_ready.disconnect(broken)
    assert storage.read(Image.objects.get().preview_key)


def test_a_second_check_leaves_no_old_renditions(upload: Any) -> None:
    before = renditions()
    upload()
    processing.process_pending()
    Image.objects.update(state=ImageState.STORED, attempts=0)
    processing.process_pending()
    image = Image.objects.get()
    assert renditions() - before == {image.preview_key, image.thumbnail_key}


def test_a_picture_that_moves_while_it_is_checked_is_announced_where_it_is(
    upload: Any, make_collection: Any, monkeypatch: Any
) -> None:
    image, target = upload(), make_collection("Target")
    decode = processing._decode

    def slowly(row: Image) -> Any:
        Image.objects.filter(pk=row.pk).update(collection=target)
        return decode(row)

    monkeypatch.setattr(processing, "_decode", slowly)
    announced: list[Any] = []
    image_ready.connect(listener := lambda image, **kwargs: announced.append(image.collection_id))
    [row] = leases.claim(Image.objects.select_related("collection"), 1)
    processing.process(row)
    image_ready.disconnect(listener)
    assert announced == [target.pk] and Image.objects.get(pk=image.pk).collection_id == target.pk


def test_a_database_that_is_away_ends_the_batch_and_counts_nothing_twice(
    upload: Any, monkeypatch: Any
) -> None:
    upload()

    def away(*args: Any, **kwargs: Any) -> None:
        raise OperationalError("gone")

    monkeypatch.setattr(processing, "_finish", away)
    with pytest.raises(OperationalError):
        processing.process_pending()
    assert (Image.objects.get().state, Image.objects.get().attempts) == (ImageState.STORED, 1)


def test_a_worker_prolongs_its_leases_while_it_works(upload: Any, monkeypatch: Any) -> None:
    upload()
    decode, seen = processing._decode, []

    def slowly(row: Image) -> Any:
        time.sleep(0.5)
        seen.append(Image.objects.get().lease_until)
        connection.close()
        return decode(row)

    monkeypatch.setattr(processing, "_decode", slowly)
    monkeypatch.setattr(leases, "BEATS", 300)
    before = timezone.now()
    processing.process_pending()
    assert seen[0] > before + leases.LEASE + timedelta(seconds=0.2)


def test_a_decode_that_lasts_to_its_limit_keeps_its_lease(upload: Any, monkeypatch: Any) -> None:
    """The child burns its processor time, for three times a lease; nobody else gets the row meanwhile."""
    upload()
    spinning = SandboxPool(1, seconds=3.0, module="tests.images.hostile_decoder")
    began, over, taken = threading.Event(), threading.Event(), []

    def decode(row: Image) -> Any:
        began.set()
        return spinning.process(b"spin")

    def second_worker() -> None:
        began.wait(30)
        try:
            while not over.wait(0.1):
                taken.extend(leases.claim(Image.objects.all(), 5))
        finally:
            connection.close()

    monkeypatch.setattr(leases, "LEASE", timedelta(seconds=1))
    monkeypatch.setattr(processing, "_decode", decode)
    other, started = threading.Thread(target=second_worker), time.monotonic()
    other.start()
    with spinning:
        assert processing.process_pending() == 1
    lasted = time.monotonic() - started
    over.set()
    other.join()
    image = Image.objects.get()
    assert lasted >= 3 * leases.LEASE.total_seconds() and taken == []
    assert (image.attempts, image.fence, image.lease_until) == (1, 1, None) and "too long" in image.error


def test_a_file_that_hangs_does_not_hold_up_those_that_come_after(upload: Any, monkeypatch: Any) -> None:
    slow = upload()
    decode, released = processing._decode, threading.Event()

    def hanging(row: Image) -> Any:
        if row.pk == slow.pk:
            released.wait(20)
        else:
            released.set()
        return decode(row)

    def late(*args: Any) -> Any:
        monkeypatch.setattr(processing, "wait", wait)
        upload()
        return wait(*args)

    wait = processing.wait
    monkeypatch.setattr(processing, "_decode", hanging)
    monkeypatch.setattr(processing, "wait", late)
    monkeypatch.setattr(processing, "STRAGGLER_SECONDS", 0.05)
    assert processing.process_pending() == 2
    assert set(Image.objects.values_list("state", flat=True)) == {"ready"}


def test_the_capture_date_given_by_the_uploader_wins(upload: Any) -> None:
    from datetime import UTC, datetime

    given = datetime(2021, 5, 4, tzinfo=UTC)
    exif = Pillow.Exif()
    exif[0x9003] = "2019:01:02 03:04:05"
    upload(photograph(exif=exif.tobytes()), taken_at=given)
    processing.process_pending()
    assert Image.objects.get().taken_at == given


def test_retry_checks_refused_pictures_again(upload: Any) -> None:
    upload()
    Image.objects.update(state=ImageState.REJECTED, reason="old", attempts=3)
    assert processing.retry(Image.objects.all()) == 1
    processing.process_pending()
    image = Image.objects.get()
    assert (image.state, image.reason) == (ImageState.READY, "")
