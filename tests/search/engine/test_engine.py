"""Search end to end, on the real index and database: honesty, the algebra, rights, filters, order, words."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from django.core.cache import cache
from PIL import Image as Pillow

from images.access import ANONYMOUS, principal_for_user
from images.models import Image
from search import encoders, engine, retrieval
from search.models import Space
from search.query import (
    Filters,
    Query,
    QueryError,
    Rerank,
    StoredImagePart,
    TextPart,
    UnknownItem,
    UploadedImagePart,
)
from search.query_text import parse
from tests.search.axes import DIMENSION, WORDS, AxesEncoder, vector
from tests.search.engine.conftest import embed, ids, keys, plain, strong

pytestmark = pytest.mark.django_db


# ── honesty ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_was_asked_for_comes_first_and_strong(gallery, me):
    page = engine.find(parse("dog"), me)
    assert set(ids(page)[:6]) == strong(page) == keys(gallery["dog"])
    assert page.bands["strong"] == 6


def test_nonsense_has_no_strong_result_but_says_what_is_nearest(gallery, me):
    page = engine.find(parse("zxqv blorf"), me)
    assert page.bands["strong"] == 0
    assert page.total == 60


def test_similarity_is_raw_and_match_is_calibrated_and_falls_with_it(gallery, me):
    results = engine.find(parse("cat words:off limit:60"), me).results
    similarities = [result.similarity for result in results]
    matches = [result.match for result in results]
    assert similarities == sorted(similarities, reverse=True)
    assert matches == sorted(matches, reverse=True)


def test_a_least_band_and_a_least_match_cut_off(gallery, me):
    assert len(engine.find(parse("dog min:strong"), me).results) == 6
    assert all(result.match >= 0.5 for result in engine.find(parse("dog min:0.5"), me).results)


def test_pictures_in_two_spaces_are_ranked_side_by_side(gallery, make_collection, me, monkeypatch):
    other = Space.objects.create(name="test/other", sha256="b" * 64, dimension=DIMENSION)
    second = AxesEncoder()
    second.sha256 = other.sha256
    monkeypatch.setitem(encoders.REGISTRY, other.name, encoders.replace(encoders.DEMO, name=other.name))
    monkeypatch.setitem(encoders._encoders, other.name, second)
    place = make_collection("Second")
    words = [word for word in WORDS for _ in range(4)]
    found = Image.objects.bulk_create(plain(place, number) for number in range(len(words)))
    embed(found, [vector(word, noise=0.5, seed=seed) for seed, word in enumerate(words)], place, other)
    page = engine.find(parse("dog"), me)
    assert strong(page) == keys(gallery["dog"]) | keys(found[:4])


# ── the algebra ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_negative_moves_what_shows_it_out_of_the_strong_ones(gallery, add, me):
    both = add("dog", "snow", noise=0.2)
    assert both.pk in strong(engine.find(parse("dog"), me))
    page = engine.find(parse("dog -snow"), me)
    assert both.pk not in strong(page)
    assert strong(page) == keys(gallery["dog"])


def test_weighted_parts_want_both(gallery, add, me):
    both = add("car", "night", noise=0.2)
    page = engine.find(parse("car:0.6 night:0.4"), me)
    assert ids(page)[0] == both.pk
    assert strong(page) == {both.pk}


def test_like_finds_its_kind_and_not_itself(gallery, me):
    first, *others = gallery["boat"]
    page = engine.find(Query((StoredImagePart(first.uid),)), me)
    assert set(ids(page)[:5]) == keys(others)
    assert first.pk not in ids(page)


def test_similar_is_the_same_search(gallery, me):
    first = gallery["tree"][0]
    assert ids(engine.similar(first, me)) == ids(engine.find(Query((StoredImagePart(first.uid),)), me))


def test_an_upload_is_a_part(gallery, me):
    sent = {"image": Pillow.new("RGB", (8, 8), (WORDS.index("apple"), 0, 0))}
    page = engine.find(Query((UploadedImagePart(),)), me, uploads=sent)
    assert set(ids(page)[:6]) == keys(gallery["apple"])


def test_picture_and_words_together_want_both(gallery, add, me):
    wanted = add("cat", "night", noise=0.2)
    query = Query((StoredImagePart(gallery["cat"][0].uid), TextPart("night")))
    assert ids(engine.find(query, me))[0] == wanted.pk


def test_an_upload_that_was_not_sent_is_named(gallery, me):
    with pytest.raises(QueryError) as caught:
        engine.find(Query((TextPart("dog"), UploadedImagePart("second"))), me)
    assert caught.value.pointer == "/query/1/upload"


def test_an_unknown_picture_is_not_found(gallery, me):
    with pytest.raises(UnknownItem) as caught:
        engine.find(Query((TextPart("dog"),), negatives=(StoredImagePart(uuid4()),)), me)
    assert (caught.value.pointer, caught.value.status) == ("/negative/0/image_id", 404)


# ── rights ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_outsider_finds_nothing_and_learns_nothing(gallery, outsider):
    page = engine.find(parse("dog"), principal_for_user(outsider))
    assert (page.results, page.total, page.bands["strong"], page.meta["generations"]) == ((), 0, 0, {})


def test_nobody_finds_nothing(gallery):
    assert engine.find(parse("dog"), ANONYMOUS).total == 0


def test_a_strangers_collection_and_picture_are_unknown(gallery, collection, outsider):
    who = principal_for_user(outsider)
    for query, pointer in (
        (Query((TextPart("dog"),), collections=(collection.uid,)), "/collections/0"),
        (Query((StoredImagePart(gallery["dog"][0].uid),)), "/query/0/image_id"),
    ):
        with pytest.raises(UnknownItem) as caught:
            engine.find(query, who)
        assert caught.value.pointer == pointer


@pytest.mark.parametrize(
    "change",
    [{"moderation": "hidden"}, {"moderation": "pending"}, {"trashed_at": datetime(2026, 1, 1, tzinfo=UTC)}],
)
def test_what_is_hidden_or_deleted_is_gone_from_the_next_query(gallery, me, change):
    assert gallery["dog"][0].pk in ids(engine.find(parse("dog"), me))
    Image.objects.filter(pk=gallery["dog"][0].pk).update(**change)
    assert gallery["dog"][0].pk not in ids(engine.find(parse("dog"), me))


def test_a_pending_picture_is_found_by_its_uploader_and_the_owner_alone(
    add, gallery, teammate, viewer, owner
):
    mine = add("dog", uploader=teammate, moderation="pending")
    seen = [
        mine.pk in ids(engine.find(parse("dog"), principal_for_user(who)))
        for who in (teammate, owner, viewer)
    ]
    assert seen == [True, True, False]


def test_hidden_doubles_change_nothing_that_is_shown(gallery, add, me, monkeypatch):
    monkeypatch.setattr(retrieval, "DEPTH", 30)
    before = engine.find(parse("dog limit:30"), me)
    for number in range(80):
        add("dog", noise=0.01, moderation="hidden", file_name=f"{number}.jpg")
    cache.clear()
    retrieval.forget()
    after = engine.find(parse("dog limit:30"), me)
    shown = [(one.image.pk, one.similarity, one.match, one.score) for one in after.results]
    assert shown == [(one.image.pk, one.similarity, one.match, one.score) for one in before.results]
    assert (after.total, after.bands) == (before.total, before.bands) == (30, before.bands)


# ── filters, order, variety ─────────────────────────────────────────────────────────────────────────────────────


def test_a_filter_is_applied_before_the_nearest_are_taken(gallery, add, me, monkeypatch):
    monkeypatch.setattr(retrieval, "DEPTH", 10)
    tagged = [add("city", tags=("harbour",)), add("boat", tags=("harbour",))]
    assert set(ids(engine.find(parse("dog tag:harbour"), me))) == keys(tagged)


def test_a_filter_that_nothing_meets_gives_an_empty_page(gallery, me):
    assert engine.find(Query((TextPart("dog"),), filters=Filters(tags=("none",))), me).total == 0


def test_a_tag_taken_away_is_noticed_by_the_next_query(gallery, add, me):
    picture = add("dog", tags=("harbour",))
    assert ids(engine.find(parse("dog tag:harbour"), me)) == [picture.pk]
    picture.tags.clear()
    assert ids(engine.find(parse("dog tag:harbour"), me)) == []


def test_only_the_collections_asked_for_are_searched(gallery, add, make_collection, me):
    other = make_collection("Other")
    there = add("dog", place=other)
    assert ids(engine.find(Query((TextPart("dog"),), collections=(other.uid,)), me)) == [there.pk]


def test_sorting_by_date_sorts_what_matches_and_not_everything(gallery, me):
    now = datetime(2026, 1, 1, tzinfo=UTC)
    for number, picture in enumerate(gallery["dog"]):
        Image.objects.filter(pk=picture.pk).update(taken_at=now + timedelta(days=number))
    assert ids(engine.find(parse("dog sort:oldest"), me)) == [picture.pk for picture in gallery["dog"]]
    assert ids(engine.find(parse("dog sort:newest"), me)) == [
        picture.pk for picture in reversed(gallery["dog"])
    ]


def test_recency_reorders_matches_but_lifts_nothing_else(gallery, me):
    old = datetime(2000, 1, 1, tzinfo=UTC)
    Image.objects.filter(pk__in=keys(gallery["dog"])).update(taken_at=old)
    newest = gallery["dog"][-1]
    Image.objects.filter(pk=newest.pk).update(taken_at=datetime.now(UTC))
    page = engine.find(Query((TextPart("dog"),), rerank=Rerank(recency=0.5)), me)
    assert ids(page)[0] == newest.pk
    assert set(ids(page)[:6]) == keys(gallery["dog"])


def test_a_collections_own_weights_are_the_default(gallery, collection, me):
    collection.rerank_quality = 0.5
    collection.save()
    best = gallery["dog"][3]
    Image.objects.filter(pk__in=keys(gallery["dog"])).update(quality=0.1)
    Image.objects.filter(pk=best.pk).update(quality=1.0)
    assert ids(engine.find(parse("dog"), me))[0] == best.pk


def test_near_duplicates_fold_into_one_tile_that_counts_them(gallery, add, me):
    same = vector("dog", noise=0.1, seed=1)
    doubles = [add(like=same) for _ in range(3)]
    page = engine.find(parse("dog fold:on limit:60"), me)
    tiles = [result for result in page.results if result.image.pk in keys(doubles)]
    assert [tile.copies for tile in tiles] == [2]


def test_a_tile_outlives_its_first_picture(gallery, add, me):
    doubles = [add(like=vector("dog", noise=0.1, seed=1)) for _ in range(3)]
    leader = next(one.image for one in engine.find(parse("dog fold:on"), me).results if one.copies)
    Image.objects.filter(pk=leader.pk).update(moderation="hidden")
    page = engine.find(parse("dog fold:on"), me)
    left = [(one.image.pk in keys(doubles), one.copies) for one in page.results if one.copies]
    assert left == [(True, 1)]


def test_diversity_brings_something_else_up(gallery, add, me):
    for _ in range(5):
        add(like=vector("dog", noise=0.05, seed=1))
    plain, spread = ids(engine.find(parse("dog"), me)), ids(engine.find(parse("dog diversity:0.7"), me))
    assert plain != spread
    assert len(set(plain[:5]) & set(spread[:5])) < 5


# ── words ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_words_on_a_picture_find_what_the_model_does_not_know(gallery, add, me):
    named = add("city", title="Rialto bridge at dawn")
    page = engine.find(parse("rialto bridge"), me)
    assert ids(page)[0] == named.pk
    assert page.results[0].why == ("title",)
    assert page.results[0].band == "possible", "words alone never say what a picture shows"


def test_words_can_be_switched_off(gallery, add, me):
    named = add("city", title="Rialto bridge")
    assert named.pk not in strong(engine.find(parse("rialto bridge words:off"), me))


def test_words_never_reveal_a_hidden_picture(gallery, add, me):
    hidden = add("city", title="Rialto bridge", moderation="hidden")
    assert hidden.pk not in ids(engine.find(parse("rialto bridge"), me))


def test_a_picture_without_vector_is_found_by_its_words(gallery, make_image, me):
    named = make_image(title="Rialto bridge")
    found = engine.find(parse("rialto bridge"), me).results[0]
    assert (found.image.pk, found.similarity) == (named.pk, None)


def test_a_page_costs_the_same_few_statements_whatever_its_length(
    gallery, add, me, teammate, django_assert_num_queries
):
    for number in range(10):
        add("dog", tags=("red", f"n{number}"), uploader=teammate)
    engine.find(parse("dog limit:60"), me)
    with django_assert_num_queries(5):
        page = engine.find(parse("dog limit:60"), me)
        shown = [
            (one.image.collection.name, one.image.uploader, one.image.tags.all()) for one in page.results
        ]
    assert max([tag.name for tag in tags] for _place, _who, tags in shown)[1] == "red"
