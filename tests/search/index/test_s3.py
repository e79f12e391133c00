"""Generations on object storage, with a real server: build, open on another host, refuse damage, collect."""

from datetime import timedelta
from io import BytesIO
from types import SimpleNamespace

import pytest
from django.conf import settings as environment
from django.utils import timezone

from images import storage
from search import index
from search.index import catalog
from search.models import CollectionIndex, Generation

pytestmark = [pytest.mark.services, pytest.mark.django_db]


@pytest.fixture(autouse=True)
def server():
    if not environment.S3_BUCKET:
        pytest.skip("no S3 server: run through python -m tests.services")
    yield
    for entry in storage.list(f"{catalog.PREFIX}/"):
        storage.delete(entry.key)


@pytest.fixture
def other_host(settings, tmp_path):
    """`other_host()`: go on as a process of another machine, with an empty cache folder."""

    def move(name="other"):
        settings.INDEX_CACHE = tmp_path / name
        index.reset()
        return settings.INDEX_CACHE

    return move


@pytest.fixture
def built(indexed, add, vectors, rebuilt):
    given = vectors(1200)
    shore = indexed()
    ids = add(shore, given)
    return SimpleNamespace(shore=shore, ids=ids, vectors=given, row=rebuilt(shore, kind="ivf-pq"))


def test_another_host_downloads_verifies_and_answers(built, other_host, find):
    assert storage.local_path(built.row.live.key) is None
    assert [entry.key for entry in storage.list(f"{catalog.PREFIX}/")] == [built.row.live.key]
    cache = other_host()
    found = find(built.vectors[7], built.shore, k=1)
    assert found.ids == [built.ids[7]] and found.hits.generations == {built.shore.pk: 1}
    assert [path.stat().st_size for path in cache.glob("*.segment")] == [built.row.live.byte_size]


def test_merge_copies_the_live_lists_from_storage(built, other_host, add, vectors, rebuilt, find):
    other_host()
    fresh = vectors(1)
    (pk,) = add(built.shore, fresh)
    row = rebuilt(built.shore)
    assert (row.live.number, row.live.count, row.live.parameters["trained"]) == (2, 1201, 1200)
    assert find(fresh[0], built.shore, k=1).ids == [pk]


def test_damaged_object_is_refused_reported_and_rebuilt(built, other_host, find):
    key = built.row.live.key
    with storage.open(key) as source:
        content = bytearray(source.read())
    content[len(content) // 2] ^= 8
    storage.delete(key)
    storage.put(key, BytesIO(content), "application/octet-stream")
    cache = other_host()
    assert find(built.vectors[7], built.shore, k=1).ids == [built.ids[7]]  # from the database
    assert Generation.objects.get(number=1).state == "failed"
    assert not list(cache.glob("*.segment"))
    assert index.build_due() == 1
    index.reset()
    found = find(built.vectors[7], built.shore, k=1)
    assert found.ids == [built.ids[7]] and found.hits.generations == {built.shore.pk: 2}


def test_replaced_objects_are_collected(built, rebuilt, monkeypatch):
    first = built.row.live.key
    kept = [rebuilt(built.shore).live.key for _build in range(2)]
    Generation.objects.filter(state="retired").update(retired_at=timezone.now() - timedelta(hours=3))
    monkeypatch.setattr(catalog, "FILE_GRACE", timedelta(seconds=-60))
    assert index.collect_garbage() >= 1
    left = {entry.key for entry in storage.list(f"{catalog.PREFIX}/")}
    assert left == set(kept) and first not in left
    assert CollectionIndex.objects.get().live.key == kept[-1]
