"""Edits show in the next answer although answers are remembered; words say why and never how much; hits are counted."""

import pytest
from prometheus_client import REGISTRY

from images import moderation
from images.models import Image
from search import engine
from search.query_text import parse
from tests.search.engine.conftest import ids, keys

pytestmark = pytest.mark.django_db


def test_a_new_title_is_found_by_the_next_query(gallery, me, owner):
    picture = gallery["boat"][0]
    assert engine.find(parse("rialto bridge"), me).results[0].why == ("meaning",)
    moderation.edit(picture, owner, title="Rialto bridge")
    first = engine.find(parse("rialto bridge"), me).results[0]
    assert (first.image.pk, first.why) == (picture.pk, ("title",))


def test_a_new_tag_counts_in_the_next_query(gallery, me, owner):
    assert engine.find(parse("dog tag:show"), me).total == 0
    moderation.edit(gallery["dog"][0], owner, tags=["show"])
    assert ids(engine.find(parse("dog tag:show"), me)) == [gallery["dog"][0].pk]


def test_an_approval_shows_in_the_next_query(gallery, add, me, owner):
    picture = add("dog", noise=0.1, moderation="pending")
    assert picture.pk not in ids(engine.find(parse("dog"), me))
    moderation.decide(picture, "approve", owner)
    assert ids(engine.find(parse("dog"), me))[0] == picture.pk


def test_words_in_common_make_no_strong_match(gallery, me):
    """Fire engines are no zeppelin engine manuals, whatever their titles have in common."""
    Image.objects.filter(pk__in=keys(gallery["car"])).update(title="Fire engine")
    page = engine.find(parse("zeppelin engine manual"), me)
    assert page.bands["strong"] == 0
    named = [result for result in page.results if "title" in result.why]
    assert {result.image.pk for result in named} == keys(gallery["car"])
    assert {result.band for result in named} == {"weak"}


def test_a_whole_title_is_a_possible_match_and_says_that_it_is_the_title(gallery, me):
    Image.objects.filter(pk=gallery["car"][0].pk).update(title="Zeppelin engine manual")
    first = engine.find(parse("zeppelin engine manual"), me).results[0]
    assert (first.image.pk, first.band, first.why) == (gallery["car"][0].pk, "possible", ("title",))


def test_words_beside_a_strong_picture_leave_it_strong(gallery, me):
    Image.objects.filter(pk=gallery["car"][0].pk).update(title="A car")
    first = engine.find(parse("car"), me).results[0]
    assert (first.image.pk, first.band, first.why) == (gallery["car"][0].pk, "strong", ("meaning", "title"))


def count(cache, outcome):
    return REGISTRY.get_sample_value("loupe_search_cache_total", {"cache": cache, "outcome": outcome}) or 0.0


def test_hits_are_told_in_the_answer_and_counted_in_the_metrics(gallery, me, encoder):
    before = {(name, what): count(name, what) for name in ("vector", "results") for what in ("hit", "miss")}
    told = [engine.find(parse(typed), me).meta["cache"] for typed in ("dog", "dog", "dog sort:newest")]
    assert told == [
        {"vector": "miss", "results": "miss"},
        {"vector": "hit", "results": "hit"},
        {"vector": "hit", "results": "miss"},
    ]
    grown = {key: count(*key) - value for key, value in before.items()}
    assert grown == {
        ("vector", "hit"): 1,
        ("vector", "miss"): 1,
        ("results", "hit"): 1,
        ("results", "miss"): 2,
    }
    assert encoder.read == ["dog"]


def test_everything_that_filters_finds_the_same_pictures(gallery, api, teammate, me):
    """The list, the search and the counts read the same parameters the same way."""
    chosen = keys(gallery["dog"][:4])
    Image.objects.filter(pk__in=chosen).update(width=900, height=500, quality=0.9)
    asked = {"min_width": "600", "orientation": "landscape", "min_quality": "0.8"}
    client = api(teammate)
    listed = client.get("/api/v1/images/", asked).json()["data"]
    found = client.get("/api/v1/search/", {**asked, "q": "dog"}).json()
    counted = [
        client.get("/api/v1/search/facets/", {**asked, **q}).json()["total"] for q in ({}, {"q": "dog"})
    ]
    assert {one["id"] for one in listed} == {one["image"]["id"] for one in found["results"]}
    assert len(listed) == found["total"] == 4
    assert counted == [4, 4]
