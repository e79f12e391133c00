"""A reranker of one's own looks at the first pictures, and may fail."""

import pytest

from images.models import Image
from search import engine, retrieval
from search.query_text import parse
from tests.search.engine.conftest import ids, keys

pytestmark = pytest.mark.django_db


def test_a_reranker_looks_closer_at_the_first_pictures(gallery, me, settings):
    settings.LOUPE_RERANKER = "tests.search.engine.test_reranker.prefer_favourites"
    favourite = gallery["dog"][-1]
    Image.objects.filter(pk=favourite.pk).update(file_name="favourite.jpg")
    assert ids(engine.find(parse("dog words:off"), me))[0] == favourite.pk


def prefer_favourites(texts, images):
    assert texts == ["dog"]
    return [0.99 if image.file_name == "favourite.jpg" else 0.9 for image in images]


class Examiner:
    """Reads the pictures' titles, as a cross-encoder would look at pictures and question together; made once."""

    made = 0

    def __init__(self):
        Examiner.made += 1
        self.asked = []

    def __call__(self, texts, images):
        self.asked.append(len(images))
        return [0.95 if set(image.title.split()) & set(texts[0].split()) else 0.05 for image in images]


def test_a_reranker_may_be_a_class_which_is_made_once_and_sees_the_first_fifty(gallery, me, settings):
    right = gallery["dog"][3]
    Image.objects.filter(pk=right.pk).update(title="dog")
    plain = ids(engine.find(parse("dog words:off limit:60"), me))
    settings.LOUPE_RERANKER = "tests.search.engine.test_reranker.Examiner"
    Examiner.made = 0
    retrieval._reranker.cache_clear()
    page = engine.find(parse("dog words:off limit:60 explain:on sort:relevance subtract:0.4"), me)
    engine.find(parse("cat words:off"), me)
    examiner = retrieval._reranker(settings.LOUPE_RERANKER)
    assert (Examiner.made, examiner.asked) == (1, [50, 50])
    assert ids(page)[0] == right.pk != plain[0]
    assert page.results[0].explain["reranker"] == 0.95
    assert page.results[-1].explain["reranker"] is None


def breaks(texts, images):
    raise RuntimeError("out of memory")


@pytest.mark.parametrize("name", ["breaks", "nowhere", "too_few"])
def test_a_reranker_that_fails_costs_its_opinion_and_not_the_search(gallery, me, settings, name):
    settings.LOUPE_RERANKER = f"tests.search.engine.test_reranker.{name}"
    assert set(ids(engine.find(parse("dog"), me))[:6]) == keys(gallery["dog"])


def too_few(texts, images):
    return [0.5]
