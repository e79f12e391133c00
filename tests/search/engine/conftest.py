"""A gallery whose right answers are known, and the words of its tests."""

from uuid import uuid4

import pytest

from images.access import principal_for_user
from images.models import Image, Tag
from search.models import CollectionIndex, Embedding, Space
from tests.search.axes import DIMENSION, NAME, SHA256, WORDS, AxesEncoder, installed, vector
from tests.search.rows import finish


@pytest.fixture
def encoder(monkeypatch):
    return installed(monkeypatch, AxesEncoder())


@pytest.fixture
def space(db, encoder):
    return Space.objects.create(name=NAME, sha256=SHA256, dimension=DIMENSION, languages=["en"])


def embed(pictures, vectors, place, space):
    """Finished embeddings of this space in the place of those that are there."""
    CollectionIndex.objects.get_or_create(collection=place, defaults={"space": space})
    Embedding.objects.filter(image__in=pictures, space=space).delete()
    finish(place, pictures, vectors, space)


def plain(place, number, **fields):
    known = {
        "file_name": "picture.jpg",
        "byte_size": 1,
        "state": "ready",
        "width": 48,
        "height": 32,
        "quality": 0.7,
    }
    return Image(collection=place, sha256=f"{number:064x}", **{**known, **fields})


@pytest.fixture
def add(space, collection):
    """`add("dog", "beach")`: a picture of these, embedded and searchable at once."""

    def make(*words, place=None, noise=0.7, like=None, tags=(), **fields):
        place = place or collection
        picture = plain(place, uuid4().int, **fields)
        picture.save()
        picture.tags.set([Tag.objects.get_or_create(team=place.team, name=name)[0] for name in tags])
        made = vector(*words, noise=noise, seed=picture.pk) if like is None else like
        embed([picture], [made], place, space)
        return picture

    return make


@pytest.fixture
def gallery(space, collection):
    """Sixty pictures: six of every word."""
    words = [word for word in WORDS for _ in range(6)]
    pictures = Image.objects.bulk_create(plain(collection, number) for number in range(len(words)))
    embed(
        pictures, [vector(word, noise=0.7, seed=seed) for seed, word in enumerate(words)], collection, space
    )
    return {word: pictures[6 * at : 6 * at + 6] for at, word in enumerate(WORDS)}


@pytest.fixture
def me(teammate):
    return principal_for_user(teammate)


def ids(page):
    return [result.image.pk for result in page.results]


def keys(pictures):
    return {picture.pk for picture in pictures}


def strong(page):
    return {result.image.pk for result in page.results if result.band == "strong"}
