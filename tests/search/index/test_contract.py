"""What every index keeps, asked through the public face alone: any kind, any engine, checked against plain numpy."""

import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from images.models import Image
from search import index
from search.models import Embedding

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.parametrize("kind", ["exact", "hnsw", "ivf", "ivf-pq", "ivf-flat"]),
]
UNKNOWN = [-7, 10**9, 10**15]
_numbers = itertools.count(1)


class Shelf:
    """A collection with an index of `kind`, and beside it what it should hold: vectors by row id."""

    def __init__(self, kind, indexed, add, rebuilt, find):
        self.kind, self._add, self._rebuilt, self._find = kind, add, rebuilt, find
        self.collection, self.held, self.gone = indexed(f"Shelf {next(_numbers)}"), {}, []

    def add(self, vectors):
        ids = self._add(self.collection, vectors)
        self.held |= dict(zip(ids, np.asarray(vectors, "<f2").astype(np.float32), strict=True))
        return ids

    def delete(self, ids):
        Image.objects.filter(pk__in=ids).delete()
        self.gone += ids
        for pk in ids:
            del self.held[pk]

    def build(self):
        return self._rebuilt(self.collection, kind=self.kind)

    def ask(self, query, k, **options):
        return self._find(query, self.collection, k=k, **options).ids

    def truth(self, query, k, allowed=None):
        """Scores of the best `k` by numpy."""
        rows = [vector for pk, vector in self.held.items() if allowed is None or pk in allowed]
        return np.sort(np.array(rows).reshape(-1, len(query)) @ query)[::-1][:k]

    def scores(self, query, ids):
        return np.array([self.held[pk] @ query for pk in ids])


@pytest.fixture
def shelf(kind, indexed, add, rebuilt, find):
    return Shelf(kind, indexed, add, rebuilt, find)


def test_best_come_first_and_are_those_of_numpy(shelf, vectors):
    shelf.add(vectors(400))
    row = shelf.build()
    assert row.live.kind == shelf.kind
    shares = []
    for query in vectors(30):
        assert np.allclose(
            shelf.scores(query, shelf.ask(query, 10, exact=True)), shelf.truth(query, 10), atol=2e-3
        )
        found = shelf.scores(query, shelf.ask(query, 10))
        assert (np.diff(found) <= 2e-3).all()
        shares.append(np.mean(found >= shelf.truth(query, 10)[-1] - 2e-3))
    assert np.mean(shares) > 0.93


def test_fresh_vector_is_found_by_the_next_query(shelf, vectors):
    known = vectors(301)
    shelf.add(known[:300])
    shelf.build()
    (fresh,) = shelf.add(known[300:])
    assert shelf.ask(known[300], 5)[0] == fresh


def test_deleted_vectors_are_denied_at_once_and_gone_with_the_next_build(shelf, vectors):
    known = vectors(300)
    ids = shelf.add(known)
    shelf.build()
    assert ids[7] not in shelf.ask(known[7], 300, denied=ids[7:8])
    shelf.delete(ids[7:8])
    assert shelf.build().live.count == 299 and ids[7] not in shelf.ask(known[7], 300)


def test_filter_finds_the_best_of_what_it_allows(shelf, vectors):
    known = vectors(400)
    ids = shelf.add(known)
    shelf.build()
    for allowed in (ids[:200], ids[40:60], ids[5:6], [*ids[3:9], *UNKNOWN]):
        found = shelf.ask(known[5], 4, allowed=allowed)
        assert found[0] == ids[5] if ids[5] in allowed else set(found) <= set(allowed)
        assert len(found) == min(4, len(set(allowed) & set(ids)))
    assert shelf.ask(known[5], 4, allowed=[]) == shelf.ask(known[5], 4, allowed=UNKNOWN) == []


def test_empty_then_one(shelf, vectors):
    (query,) = vectors(1)
    assert shelf.ask(query, 3) == []
    shelf.build()
    assert shelf.ask(query, 3) == []
    ids = shelf.add([query])
    shelf.build()
    assert shelf.ask(query, 3) == ids


def test_duplicates_all_come_back(shelf, vectors):
    known = vectors(100)
    ids = shelf.add(np.repeat(known, 3, axis=0))
    shelf.build()
    assert sorted(shelf.ask(known[20], 3)) == ids[60:63]


def test_more_wanted_than_there_are(shelf, vectors):
    known = vectors(60)
    ids = shelf.add(known)
    shelf.build()
    assert sorted(shelf.ask(known[0], 500)) == ids


def test_wrong_questions_are_refused(shelf, vectors):
    shelf.add(vectors(50))
    shelf.build()
    for wrong in (np.ones(15), np.ones((1, 17)), np.ones((1, 1, 16))):
        with pytest.raises(index.WrongDimension):
            shelf.ask(wrong, 3)
    for value in (np.nan, np.inf):
        with pytest.raises(index.NotFinite):
            shelf.ask(np.full(16, value), 3)


def test_vector_that_is_not_finite_enters_nothing(shelf, vectors):
    known = vectors(50)
    ids = shelf.add(known)
    Embedding.objects.filter(image=ids[3]).update(vector=np.full(16, np.nan, "<f2").tobytes())
    Embedding.objects.filter(image=ids[4]).update(vector=b"short")
    assert shelf.build().live.count == 48
    assert set(shelf.ask(known[0], 50)) == set(ids) - {ids[3], ids[4]}


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(st.sampled_from(["add", "delete", "build", "replace"]), min_size=1, max_size=6),
    k=st.integers(1, 60),
    share=st.floats(0, 1),
    seed=st.integers(0, 2**20),
)
def test_any_life_of_a_collection_ends_as_numpy_says(
    kind, indexed, add, rebuilt, find, steps, k, share, seed
):
    random, shelf = np.random.default_rng(seed), Shelf(kind, indexed, add, rebuilt, find)

    def some(count):
        given = random.standard_normal((count, 16)).astype(np.float32)
        return given / np.linalg.norm(given, axis=1, keepdims=True)

    for step in ["add", *steps]:
        few = random.permutation(list(shelf.held))[: int(random.integers(1, 6))].tolist()
        if step == "build":
            shelf.build()
        if step in ("delete", "replace"):
            shelf.delete(few)
        if step in ("add", "replace"):
            shelf.add(some(int(random.integers(1, 90))))
    query, allowed = some(1)[0], [pk for pk in shelf.held if random.random() < share]
    for told, allows in (({}, None), ({"allowed": allowed}, allowed)):
        found = shelf.ask(query, k, exact=True, denied=shelf.gone, **told)
        np.testing.assert_allclose(shelf.scores(query, found), shelf.truth(query, k, allows), atol=2e-3)
