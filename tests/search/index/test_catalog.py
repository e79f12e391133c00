import threading
from datetime import timedelta

import numpy as np
import pytest
from django.db import transaction
from django.utils import timezone

from images import leases
from images.models import Image, Job
from search import index
from search.index import builder, catalog, reader
from search.models import CollectionIndex, Embedding, Generation, Space
from tests.search.index.shapes import unit
from tests.search.rows import finish

pytestmark = pytest.mark.django_db


def test_fresh_picture_is_found_by_the_next_query_without_a_build(indexed, add, vectors, find):
    collection, known = indexed(), vectors(3)
    add(collection, known[:2])
    find(known[0], collection)
    (fresh,) = add(collection, known[2:])
    assert find(known[2], collection).ids[0] == fresh
    assert not Generation.objects.exists()


def test_fresh_picture_is_found_beside_a_generation(indexed, add, vectors, find, rebuilt):
    collection, known = indexed(), vectors(30)
    add(collection, known[:29])
    rebuilt(collection)
    (fresh,) = add(collection, known[29:])
    found = find(known[29], collection, k=30)
    assert found.ids[0] == fresh and len(found.ids) == 30
    assert found.hits.generations == {collection.pk: 1}


def test_built_generation_answers_like_the_delta_did(indexed, add, vectors, find, rebuilt):
    collection, known = indexed(), vectors(50)
    add(collection, known)
    before = find(known[7], collection, k=50)
    row = rebuilt(collection)
    after = find(known[7], collection, k=50)
    assert before.ids == after.ids
    assert row.live.count == 50 and row.live.state == "live" and row.state == "idle"
    assert after.hits.generations == {collection.pk: 1}


@pytest.mark.parametrize("kind", ["hnsw", "ivf", "ivf-pq", "ivf-flat"])
def test_wanted_kind_is_built_tuned_and_searched(kind, indexed, add, vectors, find, rebuilt):
    collection, known = indexed(), vectors(400)
    ids = add(collection, known)
    row = rebuilt(collection, kind=kind)
    assert row.live.kind == kind and row.live.recall >= 0.98
    assert row.live.manifest["curve"] and row.live.parameters["effort"]
    found = find(known[5], collection, k=10)
    assert found.ids[0] == ids[5] and found.hits.plan == kind
    assert found.hits.estimated_recall == row.live.recall


def test_exact_search_on_demand(indexed, add, vectors, find, rebuilt):
    collection, known = indexed(), vectors(400)
    add(collection, known)
    rebuilt(collection, kind="hnsw")
    found = find(known[5], collection, exact=True)
    assert found.hits.exact and found.hits.plan == "exact"


@pytest.mark.parametrize("built", [False, True])
def test_filter_and_denied_rows(built, indexed, add, vectors, find, rebuilt):
    collection, known = indexed(), vectors(40)
    ids = add(collection, known)
    if built:
        rebuilt(collection)
    assert sorted(find(known[0], collection, k=9, allowed=[*ids[:4], 10**9]).ids) == ids[:4]
    assert sorted(find(known[0], collection, k=40, denied=ids[:4]).ids) == ids[4:]
    assert sorted(find(known[0], collection, k=9, allowed=ids[:4], denied=ids[:2]).ids) == ids[2:4]
    assert find(known[0], collection, allowed=[]).ids == []


def test_deleted_picture_leaves_the_file_at_the_next_build(indexed, add, vectors, find, rebuilt):
    collection, known = indexed(), vectors(10)
    ids = add(collection, known)
    rebuilt(collection)
    Image.objects.filter(pk=ids[3]).delete()
    row = rebuilt(collection)
    assert row.live.count == 9 and ids[3] not in find(known[3], collection, k=10).ids


@pytest.mark.parametrize("change", [{"trashed_at": timezone.now()}, {"moderation": "hidden"}])
def test_hidden_picture_leaves_the_file_and_returns_by_itself(change, indexed, add, vectors, find, rebuilt):
    collection, known = indexed(), vectors(10)
    ids = add(collection, known)
    Image.objects.filter(pk=ids[3]).update(**change)
    assert rebuilt(collection).live.count == 9
    Image.objects.filter(pk=ids[3]).update(trashed_at=None, moderation="approved")
    assert ids[3] not in find(known[3], collection).ids
    index.build_due()
    assert find(known[3], collection).ids[0] == ids[3]


def test_moved_picture_is_found_where_it_is(indexed, add, vectors, find, rebuilt):
    shore, harbour, known = indexed("Shore"), indexed("Harbour"), vectors(10)
    ids = add(shore, known)
    rebuilt(shore)
    Image.objects.filter(pk=ids[3]).update(collection=harbour)
    index.adopt(Embedding.objects.filter(image=ids[3]))
    assert find(known[3], harbour).ids == [ids[3]]
    assert find(known[3], shore, harbour, k=20).ids.count(ids[3]) == 1
    assert rebuilt(shore).live.count == 9
    assert ids[3] not in find(known[3], shore, k=20).ids


def test_picture_embedded_anew_answers_with_its_new_vector(indexed, add, vectors, find, rebuilt, space):
    collection, known = indexed(), vectors(12)
    ids = add(collection, known[:10])
    rebuilt(collection)
    for vector in known[10:]:  # beside the generation, then over a row of the delta
        Embedding.objects.filter(image=ids[3]).delete()
        finish(collection, [Image.objects.get(pk=ids[3])], [vector], space)
        found = find(vector, collection, k=20)
        assert found.ids[0] == ids[3] and len(found.ids) == 10
        assert found.hits.scores[0, 0] > 0.99


def test_collections_are_merged_by_score(indexed, add, vectors, find, rebuilt):
    shore, harbour, known = indexed("Shore"), indexed("Harbour"), vectors(60)
    ids = add(shore, known[:30]) + add(harbour, known[30:])
    rebuilt(shore)
    truth = np.argsort(-(known @ known[4]))[:12]
    assert find(known[4], shore, harbour, k=12).ids == [ids[at] for at in truth]


def test_unknown_and_empty_collections_are_empty(indexed, vectors, find, space):
    assert find(vectors(1), indexed()).ids == []
    hits = index.search([987654], space.pk, vectors(1), 5)
    assert hits.plan == "empty" and hits.ids.shape == (1, 0)


def test_wrong_queries_are_refused(indexed, space):
    with pytest.raises(index.WrongDimension):
        index.search([indexed().pk], space, np.ones(15), 5)
    with pytest.raises(index.NotFinite):
        index.search([1], space, np.full(16, np.nan), 5)
    with pytest.raises(index.BadParameters, match="k must"):
        index.search([1], space, np.ones(16), 0)


# ── Order ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_places_rise_and_need_a_transaction(indexed):
    collection = indexed()
    with transaction.atomic():
        assert [index.hand_out_seq(collection.pk, 3), index.hand_out_seq(collection.pk, 1)] == [1, 4]
    assert CollectionIndex.objects.get(collection=collection).last_seq == 4


@pytest.mark.django_db(transaction=True)
def test_places_outside_a_transaction_are_refused(indexed):
    with pytest.raises(index.IndexFault, match="transaction"):
        index.hand_out_seq(indexed().pk, 1)


def test_collection_without_an_index_row_has_no_places(collection):
    with pytest.raises(index.IndexFault, match="ensure_index"):
        index.hand_out_seq(collection.pk, 1)


def test_reader_that_read_the_row_earlier_does_not_go_back(indexed, add, vectors, find, space):
    collection, known = indexed(), vectors(4)
    add(collection, known[:2])
    process = reader.Reader()
    early = reader.states_of([collection.pk])
    add(collection, known[2:])
    (late,) = process.views(reader.states_of([collection.pk]), space)
    (again,) = process.views(early, space)
    assert late is again or again.seq == 4


def test_reader_follows_a_database_that_was_restored(indexed, add, vectors, find):
    collection, known = indexed(), vectors(4)
    ids = add(collection, known)
    assert len(find(known[0], collection).ids) == 4
    Embedding.objects.filter(seq__gt=2).delete()
    CollectionIndex.objects.update(last_seq=2)
    assert sorted(find(known[0], collection).ids) == ids[:2]


# ── Build ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_size_rule(indexed, add, vectors, monkeypatch):
    monkeypatch.setattr(catalog, "MERGE_ROWS", 5)
    collection = indexed()
    assert index.build_due() == 0
    add(collection, vectors(3))
    assert index.build_due() == 1  # the first build
    add(collection, vectors(5))
    assert index.build_due() == 0
    add(collection, vectors(1))
    assert index.build_due() == 1
    assert CollectionIndex.objects.get().live.count == 9


def test_builder_that_fails_leaves_the_old_generation_live(indexed, add, vectors, find, rebuilt, monkeypatch):
    collection, known = indexed(), vectors(10)
    add(collection, known)
    first = rebuilt(collection).live
    add(collection, vectors(2))
    monkeypatch.setattr(builder, "_verify", lambda *_args: (_ for _ in ()).throw(OSError("disk full")))
    row = rebuilt(collection)
    assert row.live == first and "disk full" in row.error
    assert Generation.objects.get(number=2).state == "failed"
    assert len(find(known[0], collection, k=20).ids) == 12
    monkeypatch.undo()
    assert rebuilt(collection).live.number == 3


def test_builder_that_was_presumed_dead_cannot_publish(indexed, add, vectors):
    collection = indexed()
    add(collection, vectors(10))
    index.request_rebuild(collection)
    (first,) = leases.claim(CollectionIndex.objects.all(), 1)
    CollectionIndex.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    (second,) = leases.claim(CollectionIndex.objects.all(), 1)
    assert builder.build_next(second).number == 1
    assert builder.build_next(first) is None
    assert CollectionIndex.objects.get().live.number == 1


def test_killed_builder_is_succeeded(indexed, add, vectors, monkeypatch):
    collection = indexed()
    add(collection, vectors(10))

    def die(name):
        if name == "before_publish":
            raise KeyboardInterrupt

    monkeypatch.setattr(builder, "faultpoint", die)
    with pytest.raises(KeyboardInterrupt):
        index.build_due()
    monkeypatch.undo()
    assert CollectionIndex.objects.get().live is None and index.build_due() == 0  # the lease still runs
    CollectionIndex.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    assert index.build_due() == 1
    assert list(Generation.objects.values_list("number", "state")) == [(2, "live"), (1, "failed")]


def test_damaged_vector_enters_no_generation_and_is_reported(indexed, add, vectors, find, rebuilt):
    collection, known = indexed(), vectors(10)
    ids = add(collection, known)
    bad = np.full(16, np.nan, "<f2").tobytes()
    Embedding.objects.filter(image=ids[1]).update(vector=bad)
    Embedding.objects.filter(image=ids[2]).update(vector=b"short")
    assert len(find(known[0], collection, k=20).ids) == 8
    assert rebuilt(collection).live.count == 8
    states = Embedding.objects.filter(image__in=ids[1:3]).values_list("state", "seq")
    assert list(states) == [("quarantined", None)] * 2


def test_images_in_any_order_of_embedding(indexed, add, vectors, find, rebuilt, space):
    collection, known = indexed(), vectors(20)
    images = [Image.objects.get(pk=pk) for pk in add(collection, known)]
    Embedding.objects.all().delete()
    finish(collection, images[::-1], known[::-1], space)
    rebuilt(collection)
    assert find(known[6], collection).ids[0] == images[6].pk


def test_job_shows_progress_and_ends(indexed, add, vectors, rebuilt):
    collection = indexed()
    add(collection, vectors(10))
    job = Job.objects.create(team=collection.team, collection=collection, kind="reindex", total=10)
    rebuilt(collection)
    job.refresh_from_db()
    assert (job.state, job.done) == ("done", 10) and job.finished_at


def test_progress_only_rises(indexed, add, vectors, rebuilt, monkeypatch):
    collection, seen, tick = indexed(), [], builder.Build.tick
    add(collection, vectors(900))
    monkeypatch.setattr(builder, "PAGE", 200)
    monkeypatch.setattr("search.index.segment.CHUNK", 200)
    monkeypatch.setattr(builder.Build, "tick", lambda self, done: seen.append(done) or tick(self, done))
    rebuilt(collection, kind="ivf-pq")
    assert seen == sorted(seen) and len(set(seen)) > 8 and seen[-1] == 900


def test_cancelled_job_stops_the_build(indexed, add, vectors, monkeypatch):
    collection = indexed()
    add(collection, vectors(10))
    index.request_rebuild(collection)
    Job.objects.create(team=collection.team, collection=collection, kind="reindex", total=10)

    def cancel(name):
        Job.objects.update(state="cancelled")

    monkeypatch.setattr(builder, "faultpoint", cancel)
    index.build_due()
    row = CollectionIndex.objects.get()
    assert row.live is None and row.state == "idle" and row.lease_until is None
    assert Generation.objects.get().error == "The rebuild was cancelled."


def test_text_probes_are_used_where_given(indexed, add, vectors):
    collection = indexed(kind="hnsw")
    add(collection, vectors(300))
    index.build_due(probes=lambda space: vectors(20, space.dimension))
    assert CollectionIndex.objects.get().live.manifest["probes"] == "text"


def test_build_without_pictures(indexed, rebuilt, find, vectors):
    collection = indexed()
    assert rebuilt(collection).live.count == 0
    assert find(vectors(1), collection).ids == []


def test_change_of_model_waits_for_every_vector_and_then_flips(indexed, add, vectors, rebuilt, find):
    collection, known = indexed(), vectors(10)
    ids = add(collection, known)
    other = Space.objects.create(name="other", sha256="6" * 64, dimension=8)
    images, new = [Image.objects.get(pk=pk) for pk in ids], vectors(10, 8)
    finish(collection, images[:9], new[:9], other)
    assert rebuilt(collection, space=other).space_id != other.pk
    finish(collection, images[9:], new[9:], other)
    row = rebuilt(collection)
    assert (row.space_id, row.next_space_id, row.live.space_id) == (other.pk, None, other.pk)
    assert index.search([collection.pk], other, new[9], 1).ids[0, 0] == ids[9]
    assert find(known[2], collection).ids[0] == ids[2]  # the old space goes on answering who asks for it


def test_unknown_kind_is_refused(indexed):
    with pytest.raises(index.BadParameters, match="kind"):
        index.request_rebuild(indexed(), kind="quantum")


def test_large_files_are_mapped_and_counted(indexed, add, vectors, rebuilt, space, monkeypatch):
    monkeypatch.setattr("search.index.segment.READ_BYTES", 0)
    monkeypatch.setattr(reader, "MOST_MAPPED", 1)
    process, collections = reader.Reader(), [indexed("Shore"), indexed("Harbour")]
    for collection in collections:
        add(collection, vectors(5))
        rebuilt(collection)
    views = process.views(reader.states_of([collection.pk for collection in collections]), space)
    assert [view.mapped for view in views] == [1, 1] and [view.held for view in views] == [0, 0]
    assert (len(process._views), process._mapped) == (1, 1)


def test_vectors_by_image(indexed, add, vectors, space):
    known = vectors(3)
    ids = add(indexed(), known)
    found = index.vectors([*ids[1:], 10**9], space)
    assert list(found) == ids[1:]
    np.testing.assert_allclose(found[ids[2]], known[2], atol=1e-3)


def test_search_is_safe_beside_swaps(indexed, add, vectors, space):
    """Many threads ask a view while it is extended and replaced; none ever comes back short or wrong."""
    from search.index.view import Filter, View

    known, stop, faults = unit(np.random.default_rng(0).standard_normal((600, 16))), threading.Event(), []
    view = [View(1, None, 0, None).extended(300, np.arange(300), known[:300])]

    def ask():
        while not stop.is_set():
            (part, *_rest) = view[0].search(known[5][None].astype(np.float32), 1, Filter(), False)
            if part.ids[0, 0] != 5:
                faults.append(part.ids)

    threads = [threading.Thread(target=ask) for _number in range(4)]
    for thread in threads:
        thread.start()
    for at in range(300, 600, 5):
        view[0] = view[0].extended(at + 5, np.arange(at, at + 5), known[at : at + 5])
    stop.set()
    for thread in threads:
        thread.join()
    assert not faults and view[0].rows == 600
