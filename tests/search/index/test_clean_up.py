"""Which files of indexes are removed, and when."""

from datetime import timedelta

import pytest
from django.utils import timezone

from images import storage
from images.models import Image
from search import index
from search.index import catalog, files
from search.models import CollectionIndex, Generation

pytestmark = pytest.mark.django_db


@pytest.fixture
def hours_later(monkeypatch):
    monkeypatch.setattr(catalog, "FILE_GRACE", timedelta(seconds=-1))
    monkeypatch.setattr(files, "GRACE_SECONDS", -1)


def test_clean_up_keeps_what_is_live_and_the_one_before(indexed, add, vectors, rebuilt, hours_later):
    collection = indexed()
    add(collection, vectors(5))
    for _round in range(4):
        rebuilt(collection)
        Generation.objects.filter(state="retired").update(retired_at=timezone.now() - timedelta(days=1))
    Generation.objects.filter(number=3).update(retired_at=timezone.now() - timedelta(hours=2))
    assert index.collect_garbage() == 2
    kept = {entry.key for entry in storage.list("indexes/")}
    assert kept == set(Generation.objects.filter(number__in=[3, 4]).values_list("key", flat=True))
    assert set(Generation.objects.filter(number__in=[1, 2]).values_list("key", flat=True)) == {""}


def test_clean_up_takes_the_files_of_deleted_collections(indexed, add, vectors, rebuilt, hours_later):
    collection = indexed()
    add(collection, vectors(5))
    rebuilt(collection)
    collection.delete()
    assert index.collect_garbage() == 1
    assert not list(storage.list("indexes/"))


def test_recent_files_are_left_alone(indexed, add, vectors, rebuilt):
    collection = indexed()
    add(collection, vectors(5))
    rebuilt(collection)
    collection.delete()
    assert index.collect_garbage() == 0


def test_deleted_pictures_leave_the_file_after_a_day(indexed, add, vectors, rebuilt):
    collection = indexed()
    ids = add(collection, vectors(5))
    rebuilt(collection)
    Image.objects.filter(pk=ids[0]).delete()
    index.collect_garbage()
    assert index.build_due() == 0
    Generation.objects.update(built_at=timezone.now() - timedelta(days=2))
    index.collect_garbage()
    assert index.build_due() == 1
    assert CollectionIndex.objects.get().live.count == 4
