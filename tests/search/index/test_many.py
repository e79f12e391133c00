"""One query over many collections."""

import numpy as np
import pytest

from search import index
from search.index import reader

pytestmark = pytest.mark.django_db


@pytest.fixture
def many(indexed, add, vectors, rebuilt):
    """40 small collections; some have a generation, one is empty."""
    collections = [indexed(f"Album {number}") for number in range(40)]
    known = vectors(39 * 6).reshape(39, 6, 16)
    ids = [add(collection, part) for collection, part in zip(collections, known, strict=False)]
    for collection in collections[:3]:
        rebuilt(collection)
    return collections, known, ids


def test_many_small_collections_answer_as_one(many, find):
    collections, known, ids = many
    flat, rows = known.reshape(-1, 16), np.ravel(ids)
    truth = rows[np.argsort(-(flat @ known[7, 2]))[:15]]
    found = find(known[7, 2], *collections, k=15)
    assert found.ids == truth.tolist() and found.hits.exact
    assert len(found.hits.generations) == 40


def test_some_of_many_answer_for_themselves_alone(many, find):
    collections, known, ids = many
    find(known[0, 0], *collections)
    found = find(known[30, 2], *collections[:20], k=500)
    assert sorted(found.ids) == sorted(np.ravel(ids[:20]).tolist())


def test_fresh_picture_in_one_of_many(many, find, add, vectors):
    collections, known, _ids = many
    find(known[0, 0], *collections)
    vector = vectors(1)
    (fresh,) = add(collections[11], vector)
    found = find(vector, *collections, k=500)
    assert found.ids[0] == fresh and len(found.ids) == len(set(found.ids)) == 39 * 6 + 1


def test_filters_over_many(many, find):
    collections, known, ids = many
    wanted = [ids[2][1], ids[38][5]]
    assert sorted(find(known[0, 0], *collections, k=9, allowed=wanted).ids) == sorted(wanted)
    found = find(known[0, 0], *collections[:20], k=500, denied=ids[2])
    assert sorted(found.ids) == sorted(np.ravel(ids[:2] + ids[3:20]).tolist())


def test_many_collections_cost_one_statement_when_nothing_changed(many, find, django_assert_max_num_queries):
    collections, known, _ids = many
    find(known[0, 0], *collections)
    with django_assert_max_num_queries(1):
        find(known[0, 0], *collections)


def test_change_elsewhere_costs_one_more_statement(
    many, find, indexed, add, vectors, django_assert_num_queries
):
    collections, known, ids = many
    elsewhere = indexed("Elsewhere")
    find(known[0, 0], *collections)
    add(elsewhere, vectors(1))
    with django_assert_num_queries(2):
        assert find(known[4, 1], *collections).ids[0] == ids[4][1]
    with django_assert_num_queries(1):
        find(known[0, 0], *collections)


def test_new_generations_of_many_are_noticed(many, find, rebuilt):
    collections, known, _ids = many
    find(known[0, 0], *collections)
    number = rebuilt(collections[9]).live.number
    assert number and find(known[0, 0], *collections).hits.generations[collections[9].pk] == number


def test_process_that_holds_too_much_closes_views_and_still_answers(many, find, monkeypatch):
    collections, known, ids = many
    monkeypatch.setattr(reader, "MOST_ROWS", 50)
    index.reset()
    flat, rows = known.reshape(-1, 16), np.ravel(ids)
    truth = rows[np.argsort(-(flat @ known[7, 2]))[:15]]
    for _round in range(2):
        assert find(known[7, 2], *collections, k=15).ids == truth.tolist()
        assert (
            find(known[7, 2], collections[7], k=15).ids
            == find(known[7, 2], collections[7], k=15, exact=True).ids
        )
