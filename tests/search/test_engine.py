"""Search end to end, on the real index and database: rights, honesty, paging, negatives, words, caches."""

import os
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import numpy as np
import pytest
from django.core.cache import cache
from PIL import Image as Pillow

from images.access import ANONYMOUS, principal_for_user
from images.models import Image, Tag
from search import encoders, engine, frozen, index, retrieval
from search.facets import facets_of
from search.frozen import CursorExpired
from search.models import CollectionIndex, Embedding, Space
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
from tests.search.axes import DIMENSION, NAME, SHA256, WORDS, AxesEncoder, vector

pytestmark = pytest.mark.django_db


@pytest.fixture
def encoder(monkeypatch):
    made = AxesEncoder()
    monkeypatch.setitem(encoders.REGISTRY, NAME, encoders.replace(encoders.DEMO, name=NAME))
    monkeypatch.setitem(encoders._encoders, NAME, made)
    retrieval.forget()
    index.reset()
    return made


@pytest.fixture
def space(db, encoder):
    return Space.objects.create(name=NAME, sha256=SHA256, dimension=DIMENSION, languages=["en"])


def embed(pictures, vectors, place, space):
    """Rows as the embedding worker leaves them: vectors in the collection's order."""
    row, _made = CollectionIndex.objects.get_or_create(collection=place, defaults={"space": space})
    Embedding.objects.filter(image__in=pictures, space=space).delete()
    Embedding.objects.bulk_create(
        Embedding(
            image=picture,
            collection=place,
            space=space,
            state="done",
            vector=made.astype("<f2").tobytes(),
            seq=row.last_seq + number,
        )
        for number, (picture, made) in enumerate(zip(pictures, vectors, strict=True), 1)
    )
    row.last_seq += len(pictures)
    row.save()


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


# ── paging ──────────────────────────────────────────────────────────────────────────────────────────────────────


def pages(typed, principal, between=lambda: None):
    page = engine.find(parse(typed), principal)
    yield page
    while page.next_cursor:
        between()
        page = engine.find(parse(f"{typed} cursor:{page.next_cursor}"), principal)
        yield page


def test_pages_hold_everything_once(gallery, me):
    seen = [one for page in pages("dog limit:7", me) for one in ids(page)]
    assert len(seen) == len(set(seen)) == 60
    assert seen[:7] == ids(engine.find(parse("dog limit:7"), me))


def test_pages_neither_repeat_nor_miss_while_pictures_come_and_go(gallery, add, me):
    noise = np.random.default_rng(3)
    first = set(Image.objects.values_list("pk", flat=True))
    gone = set()

    def disturb():
        add("dog", noise=0.05)
        victim = int(noise.choice(sorted(first - gone)))
        gone.add(victim)
        Image.objects.filter(pk=victim).update(trashed_at=datetime(2026, 1, 1, tzinfo=UTC))

    seen = [one for page in pages("dog limit:4", me, disturb) for one in ids(page)]
    assert len(seen) == len(set(seen))
    assert first - gone <= set(seen) <= first


def test_a_page_skips_what_vanished_and_stays_full(gallery, me):
    first = engine.find(parse("dog limit:5"), me)
    whole = ids(engine.find(parse("dog limit:60"), me))
    Image.objects.filter(pk__in=whole[5:8]).update(moderation="hidden")
    second = engine.find(parse(f"dog limit:5 cursor:{first.next_cursor}"), me)
    assert ids(second) == whole[8:13]


def test_a_lost_list_and_changed_rights_expire_the_cursor(gallery, me, owner):
    cursor = engine.find(parse("dog limit:5"), me).next_cursor
    with pytest.raises(CursorExpired):
        engine.find(parse(f"dog limit:5 cursor:{cursor}"), principal_for_user(owner))
    cache.clear()
    with pytest.raises(CursorExpired):
        engine.find(parse(f"dog limit:5 cursor:{cursor}"), me)


def test_a_cursor_of_another_search_or_of_ones_own_making_is_refused(gallery, me):
    cursor = engine.find(parse("dog limit:5"), me).next_cursor
    for typed in (f"cat cursor:{cursor}", "dog cursor:made-up", f"dog cursor:{cursor}x"):
        with pytest.raises(QueryError) as caught:
            engine.find(parse(typed), me)
        assert (caught.value.pointer, caught.value.status) == ("/cursor", 400)


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


# ── caches, explanations, warnings ──────────────────────────────────────────────────────────────────────────────


def test_the_model_reads_a_text_once(gallery, me, encoder):
    for typed in ("dog", "  DOG ", "dog sort:newest", "dog limit:3"):
        engine.find(parse(typed), me)
    assert encoder.read == ["dog"]


def test_the_shared_cache_spares_another_process_the_model(gallery, me, encoder):
    engine.find(parse("dog"), me)
    retrieval.forget()
    page = engine.find(parse("dog sort:newest"), me)
    assert page.meta["cache"] == {"vector": "hit", "results": "miss"}
    assert encoder.read == ["dog"]


def test_the_same_question_is_answered_from_the_same_list(gallery, me):
    assert engine.find(parse("dog"), me).meta["cache"]["results"] == "miss"
    assert engine.find(parse("dog"), me).meta["cache"]["results"] == "hit"


def test_a_fresh_picture_is_found_by_the_next_query(gallery, add, me):
    engine.find(parse("dog"), me)
    fresh = add("dog", noise=0.1)
    assert fresh.pk in strong(engine.find(parse("dog"), me))


def test_what_is_cached_is_text(gallery, me, monkeypatch):
    kept = []
    monkeypatch.setattr(cache, "set", lambda key, value, *rest: kept.append(value))
    monkeypatch.setattr(cache, "set_many", lambda values, *rest: kept.extend(values.values()))
    engine.find(parse("dog -snow"), me)
    assert {type(value) for value in kept} == {str}


def test_an_explanation_adds_up(gallery, add, me):
    add("dog", "snow", noise=0.2)
    query = Query(
        (TextPart("dog"),), (TextPart("snow"),), rerank=Rerank(recency=0.3, quality=0.2), explain=True
    )
    for result in engine.find(query, me).results[:8]:
        shares = result.explain
        base = result.match / 1.5
        assert result.score == pytest.approx(base + shares["recency"] + shares["quality"], abs=0.001)
        assert [part["text"] for part in shares["parts"] + shares["negatives"]] == ["dog", "snow"]
        assert shares["negative"] <= 0


def test_the_answer_tells_how_it_came_about(gallery, collection, me):
    meta = engine.find(parse("dog"), me).meta
    assert meta["space"] == NAME
    assert meta["exact"] is True
    assert meta["generations"] == {str(collection.uid): 0}
    assert set(meta["took_ms"]) == {"encode", "candidates", "gate", "rank", "total"}


def test_a_language_that_the_model_does_not_read_is_pointed_out(gallery, me):
    warnings = engine.find(parse("der Hund und die Katze"), me).meta["warnings"]
    assert [warning["code"] for warning in warnings] == ["language"]
    assert engine.find(parse("the dog and the cat"), me).meta["warnings"] == []


def test_a_model_of_another_version_is_not_asked(gallery, me, encoder):
    encoder.sha256 = "c" * 64
    with pytest.raises(retrieval.SpaceUnavailable):
        engine.find(parse("boat"), me)


def test_a_reranker_looks_closer_at_the_first_pictures(gallery, me, settings):
    settings.LOUPE_RERANKER = "tests.search.test_engine.prefer_favourites"
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
    settings.LOUPE_RERANKER = "tests.search.test_engine.Examiner"
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
    settings.LOUPE_RERANKER = f"tests.search.test_engine.{name}"
    assert set(ids(engine.find(parse("dog"), me))[:6]) == keys(gallery["dog"])


def too_few(texts, images):
    return [0.5]


def test_an_unreadable_calibration_leaves_the_default(gallery, space, me):
    space.calibration = {"curves": {"text": {"bias": 0, "z": -3}}}
    space.save()
    assert engine.find(parse("dog"), me).bands["strong"] == 6


def test_frozen_lists_survive_their_text_form():
    rows = np.zeros(3, frozen.ROW)
    rows["id"] = [5, 3, 9]
    made = frozen.Frozen(rows, np.ones((3, 2), np.float32), {"a": 1})
    read = frozen.Frozen.loads(made.dumps(), "name")
    assert (list(read.rows["id"]), read.parts.shape, read.about) == ([5, 3, 9], (3, 2), {"a": 1})


def test_facets_count_what_a_search_found(gallery, add, me):
    add("dog", tags=("red",), noise=0.1)
    add("city", tags=("blue",))
    counts = facets_of(parse("dog min:strong"), me)
    assert (counts["total"], counts["tags"]) == (7, [{"value": "red", "count": 1}])


@pytest.mark.slow
def test_paging_holds_through_many_random_steps(gallery, add, me):
    """Readers at random places, uploads, deletions and hiding in between: nobody sees a picture twice, and whatever
    was there from a reader's first page to the last was seen."""
    noise = np.random.default_rng(5)
    readers = {}
    for _step in range(STEPS):
        action, shown = int(noise.integers(10)), present()
        if action < 2 or len(shown) < 30:
            add(str(noise.choice(WORDS)), noise=0.5)
        elif action < 4:
            change = (
                {"moderation": "hidden"} if action == 2 else {"trashed_at": datetime(2026, 1, 1, tzinfo=UTC)}
            )
            Image.objects.filter(pk=int(noise.choice(shown))).update(**change)
        else:
            turn(readers, str(noise.choice(WORDS)), int(noise.integers(3, 25)), me)


STEPS = int(os.environ.get("PAGING_STEPS", "400"))


def present():
    return list(Image.objects.searchable().values_list("pk", flat=True))


def turn(readers, word, limit, me):
    """The next page of the reader of `word`, or the first."""
    cursor, seen, before = readers.pop(word, ("", [], set(present())))
    typed = f"{word} words:off limit:{limit}" + (f" cursor:{cursor}" if cursor else "")
    page = engine.find(parse(typed), me)
    seen = seen + ids(page)
    assert len(seen) == len(set(seen))
    if page.next_cursor:
        readers[word] = (page.next_cursor, seen, before)
    else:
        assert set(present()) & before <= set(seen)
