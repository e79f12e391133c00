"""manage.py reconcile names every difference between storage and database, and mends only when told to."""

import io
import os
import time
from typing import Any

import pytest
from django.core.management import call_command

from images import storage
from images.models import Image

pytestmark = pytest.mark.django_db
DAY = 24 * 3600


def reconcile(*options: str) -> str:
    out = io.StringIO()
    call_command("reconcile", *options, stdout=out)
    return out.getvalue()


def stray(age: float) -> str:
    key = storage.new_key("originals")
    storage.put(key, io.BytesIO(b"x"), "image/jpeg")
    then = time.time() - age
    os.utime(storage.local_path(key), (then, then))  # type: ignore[arg-type]
    return key


@pytest.fixture(autouse=True)
def local_only(settings: Any) -> None:
    if settings.S3_BUCKET:
        pytest.skip("object storage keeps its own clock: an object's age cannot be set")


def test_in_agreement_there_is_nothing_to_say(make_image: Any) -> None:
    make_image()
    assert reconcile().strip() == "0 findings"


def test_a_missing_object_is_named(make_image: Any) -> None:
    image = make_image()
    storage.delete(image.original_key)
    assert f"missing  {image.original_key}  ({image.uid})" in reconcile()


def test_a_flipped_byte_is_named(make_image: Any) -> None:
    image = make_image()
    storage.put(image.original_key, io.BytesIO(b"other"), "image/jpeg")
    assert f"damaged  {image.original_key}" in reconcile("--verify")


def test_only_old_strays_are_named_and_removed_when_told(db: None) -> None:
    old, young = stray(2 * DAY), stray(60)
    assert old in reconcile() and storage.exists(old)
    assert young not in reconcile("--repair")
    assert not storage.exists(old) and storage.exists(young)
    assert "0 findings" in reconcile()


def test_repair_orders_lost_renditions_again(make_image: Any) -> None:
    image = make_image()
    storage.delete(image.thumbnail_key)
    reconcile("--repair")
    assert Image.objects.get(pk=image.pk).state == "stored"
