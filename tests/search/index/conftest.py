"""Collections with vectors, without files or a model: the index only ever sees rows."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest

from images import leases
from images.models import Image
from search import index
from search.models import CollectionIndex, Space
from tests.search.index.shapes import unit
from tests.search.rows import finish

DIMENSION = 16
_numbers = itertools.count(1)


@pytest.fixture(autouse=True)
def fresh_process():
    index.reset()
    yield
    index.reset()


@pytest.fixture
def space(db):
    return Space.objects.create(name="test space", sha256="5" * 64, dimension=DIMENSION)


@pytest.fixture
def random():
    return np.random.default_rng(11)


@pytest.fixture
def vectors(random):
    """`vectors(n)`: n unit vectors of the space."""
    return lambda count, dimension=DIMENSION: unit(random.standard_normal((count, dimension))).astype(
        np.float32
    )


@pytest.fixture
def indexed(make_collection, space):
    """`indexed()`: a collection with an index row; more names make more of them."""

    def make(name="Shore", **fields):
        collection = make_collection(name)
        CollectionIndex.objects.create(collection=collection, space=space, **fields)
        return collection

    return make


@pytest.fixture
def add(space):
    """`add(collection, vectors)`: ready images with finished embeddings; returns their row ids."""

    def make(collection, vectors, in_space=None):
        where = in_space or space
        images = Image.objects.bulk_create(
            Image(
                collection=collection,
                file_name="x.jpg",
                sha256=f"{next(_numbers):064x}",
                byte_size=1,
                original_key=f"originals/{next(_numbers)}",
                state="ready",
            )
            for _vector in vectors
        )
        finish(collection, images, vectors, where)
        return [image.pk for image in images]

    return make


@pytest.fixture
def find(space):
    """`find(vector, *collections, k=…)`: row ids, best first."""

    def search(vector, *collections, k=5, **options):
        hits = index.search([one.pk for one in collections], space, vector, k, **options)
        return SimpleNamespace(ids=[int(pk) for pk in hits.ids[0] if pk >= 0], hits=hits)

    return search


@pytest.fixture
def rebuilt(space):
    """`rebuilt(collection)`: its index after a wanted build, opened by this process."""

    def make(collection, **wanted):
        row = index.request_rebuild(collection, **wanted)
        for claimed in leases.claim(CollectionIndex.objects.filter(pk=row.pk), 1):
            index.build_next(claimed)
        index.search([collection.pk], space, np.ones(space.dimension) / space.dimension**0.5, 1)
        index.settle()
        return CollectionIndex.objects.select_related("live").get(collection=collection)

    return make
