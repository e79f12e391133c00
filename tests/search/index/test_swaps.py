"""Generations change under searches: swaps, damage, storage that is away, roll back."""

import threading

import pytest

from images import storage
from search import index
from search.index import builder, files, reader
from search.models import CollectionIndex, Generation

pytestmark = pytest.mark.django_db


def test_old_generation_answers_until_the_new_one_is_loaded(
    indexed, add, vectors, find, rebuilt, monkeypatch
):
    collection, known = indexed(), vectors(10)
    ids = add(collection, known)
    rebuilt(collection)
    find(known[0], collection)
    gate, fetch = threading.Event(), files.fetch
    monkeypatch.setattr(reader.files, "fetch", lambda *args: gate.wait(10) and fetch(*args))
    index.request_rebuild(collection)
    monkeypatch.setattr(builder.files, "fetch", fetch)
    monkeypatch.setattr(reader, "opened", lambda row, real=reader.opened: gate.wait(10) and real(row))
    index.build_due()
    during = find(known[3], collection)
    assert during.ids[0] == ids[3] and during.hits.generations == {collection.pk: 1}
    gate.set()
    index.settle()
    assert find(known[3], collection).hits.generations == {collection.pk: 2}


def damage(generation):
    path = storage.local_path(generation.key)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def test_damaged_new_generation_keeps_the_old_one_and_asks_for_a_build(indexed, add, vectors, find, rebuilt):
    collection, known = indexed(), vectors(10)
    ids = add(collection, known)
    rebuilt(collection)
    index.request_rebuild(collection)
    index.build_due()
    damage(CollectionIndex.objects.get().live)
    find(known[3], collection)
    index.settle()
    found = find(known[3], collection)
    assert found.ids[0] == ids[3] and found.hits.generations == {collection.pk: 1}
    row = CollectionIndex.objects.get()
    assert row.state == "wanted" and "checksum" in row.live.error
    index.build_due()
    find(known[3], collection)
    index.settle()
    assert find(known[3], collection).hits.generations == {collection.pk: 3}


def test_fresh_process_with_a_damaged_generation_falls_back(indexed, add, vectors, find, rebuilt):
    collection, known = indexed(), vectors(10)
    ids = add(collection, known)
    damage(rebuilt(collection).live)
    index.reset()
    found = find(known[3], collection, k=20)
    assert found.ids[0] == ids[3] and len(found.ids) == 10
    assert found.hits.generations == {collection.pk: 0}
    assert CollectionIndex.objects.get().state == "wanted"


@pytest.mark.parametrize("change", [{"space": "7" * 64}, {"count": 9}, {"extra": 1}, {"upto_seq": -1}])
def test_foreign_manifest_is_refused(change, indexed, add, vectors, find, rebuilt):
    collection, known = indexed(), vectors(10)
    add(collection, known)
    live = rebuilt(collection).live
    Generation.objects.filter(pk=live.pk).update(manifest=live.manifest | change)
    index.reset()
    assert len(find(known[3], collection, k=20).ids) == 10
    live.refresh_from_db()
    assert live.state == "failed" and live.error


def test_missing_file_falls_back_to_the_generation_before(indexed, add, vectors, find, rebuilt):
    collection, known = indexed(), vectors(10)
    add(collection, known)
    rebuilt(collection)
    storage.delete(rebuilt(collection).live.key)
    index.reset()
    found = find(known[3], collection, k=20)
    assert len(found.ids) == 10 and found.hits.generations == {collection.pk: 1}


def test_storage_that_is_down_is_tried_again_and_not_reported(
    indexed, add, vectors, find, rebuilt, monkeypatch
):
    collection, known = indexed(), vectors(10)
    add(collection, known)
    rebuilt(collection)
    index.reset()

    def down(*_args):
        raise storage.StorageUnavailable("no route")

    with monkeypatch.context() as patch:
        patch.setattr(reader.files, "fetch", down)
        assert len(find(known[3], collection, k=20).ids) == 10
    assert CollectionIndex.objects.get().live.state == "live"
    monkeypatch.setattr(reader.time, "monotonic", lambda now=reader.time.monotonic: now() + 60)
    find(known[3], collection)
    index.settle()
    assert find(known[3], collection).hits.generations == {collection.pk: 1}


def test_roll_back_and_forth(indexed, add, vectors, find, rebuilt):
    collection, known = indexed(), vectors(12)
    ids = add(collection, known[:10])
    first = rebuilt(collection).live
    ids += add(collection, known[10:])
    rebuilt(collection)
    again = index.roll_back(collection)
    assert (again.number, again.key, again.count) == (3, first.key, 10)
    find(known[11], collection)
    index.settle()
    found = find(known[11], collection, k=20)
    assert found.ids[0] == ids[11] and len(found.ids) == 12
    assert found.hits.generations == {collection.pk: 3}
    assert index.roll_back(collection).count == 12


def test_nothing_to_roll_back_to(indexed, add, vectors, rebuilt):
    collection = indexed()
    add(collection, vectors(3))
    rebuilt(collection)
    with pytest.raises(index.NothingToRollBackTo, match="Shore"):
        index.roll_back(collection)


def test_status(indexed, add, vectors, rebuilt, space):
    collection = indexed()
    assert index.status(collection).generation is None
    add(collection, vectors(7))
    rebuilt(collection)
    add(collection, vectors(2))
    found = index.status(collection)
    assert (found.generation, found.kind, found.vectors, found.total, found.delta) == (1, "exact", 7, 9, 2)
    assert (found.recall, found.pending, found.space, found.building) == (1.0, 0, space, False)
