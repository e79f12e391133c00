"""The query algebra: every form prints back to what it was read from, and nothing unbounded gets in."""

from datetime import UTC, datetime
from uuid import UUID

import numpy as np
import pytest
from django.http import QueryDict
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from search import query_text
from search.query import (
    BANDS,
    MAX_TEXT,
    ORIENTATIONS,
    SORTS,
    STATES,
    Filters,
    Query,
    QueryError,
    Rerank,
    StoredImagePart,
    TextPart,
    UploadedImagePart,
    clean,
    compose,
    from_json,
    normalised,
    to_json,
)

ONE = UUID("0198a6c0-0000-7000-8000-000000000001")

words = st.text(min_size=1, max_size=40).filter(clean)
weights = st.one_of(st.just(1.0), st.just(0.0), st.floats(1e-6, 1000))
shares = st.none() | st.floats(0, 1)
moments = st.none() | st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))
tags = st.lists(words, max_size=3).map(tuple)
parts = st.one_of(
    st.builds(TextPart, words, weights),
    st.builds(
        TextPart, st.sampled_from(["dog on the beach", "-snow", "like:x", 'a "b"', "a:b", "a\\"]), weights
    ),
    st.builds(StoredImagePart, st.uuids(), weights),
    st.builds(UploadedImagePart, st.sampled_from(["image", "second-one"]), weights),
)
filters = st.builds(
    Filters,
    taken_after=moments,
    taken_before=moments,
    uploaded_after=moments,
    uploaded_before=moments,
    tags=tags,
    tags_none=tags,
    uploader=st.none() | words,
    orientation=st.none() | st.sampled_from(ORIENTATIONS),
    min_quality=shares,
    min_width=st.none() | st.integers(1, 9000),
    min_height=st.none() | st.integers(1, 9000),
    state=st.none() | st.sampled_from(STATES),
)
reranks = st.builds(
    Rerank, shares, shares, st.none() | st.floats(1, 900), st.none() | st.sampled_from(["taken", "uploaded"])
)


@st.composite
def queries(draw: st.DrawFn) -> Query:
    try:
        return Query(
            parts=tuple(draw(st.lists(parts, min_size=1, max_size=5))),
            negatives=tuple(draw(st.lists(parts, max_size=3))),
            collections=tuple(draw(st.lists(st.uuids(), max_size=2))),
            filters=draw(filters),
            rerank=draw(reranks),
            sort=draw(st.sampled_from(SORTS)),
            min_band=draw(st.none() | st.sampled_from(BANDS)),
            min_match=draw(shares),
            limit=draw(st.integers(1, 200)),
            fold=draw(st.booleans()),
            diversity=draw(st.floats(0, 1)),
            words=draw(st.booleans()),
            templates=draw(st.booleans()),
            subtraction=draw(st.floats(0, 1)),
            explain=draw(st.booleans()),
            cursor=draw(st.none() | words),
        )
    except QueryError:
        assume(False)
        raise


@given(queries())
@settings(max_examples=300, deadline=None)
def test_text_form_round_trips(query: Query):
    assert query_text.parse(query_text.show(query)) == query


@given(queries())
@settings(max_examples=150, deadline=None)
def test_json_form_round_trips(query: Query):
    body = to_json(query)
    assert from_json(body) == query
    assert to_json(from_json(body)) == body


@given(queries())
@settings(max_examples=150, deadline=None)
def test_url_form_round_trips_through_a_real_query_string(query: Query):
    parameters = QueryDict(query_text.query_string(query))
    assert query_text.from_url(dict(parameters.lists())) == query


@given(st.text(max_size=200))
@settings(max_examples=300, deadline=None)
def test_whatever_is_typed_is_a_query_or_a_query_error_and_then_stable(typed: str):
    try:
        query = query_text.parse(typed)
    except QueryError:
        return
    assert query_text.parse(query_text.show(query)) == query


def test_plain_words_are_one_concept():
    assert query_text.parse("dog on  the beach").parts == (TextPart("dog on the beach"),)


def test_plain_words_stay_one_concept_around_a_filter():
    query = query_text.parse("dog tag:Holiday on the beach")
    assert query.parts == (TextPart("dog on the beach"),)
    assert query.filters.tags == ("holiday",)


def test_the_documented_example_reads_as_documented():
    typed = f'mountains:0.7 lake:0.3 -snow "a red car" like:{ONE} after:2026-01-01 is:landscape min:0.5'
    query = query_text.parse(typed)
    assert query.parts == (
        TextPart("mountains", 0.7),
        TextPart("lake", 0.3),
        TextPart("a red car"),
        StoredImagePart(ONE),
    )
    assert query.negatives == (TextPart("snow"),)
    assert query.filters == Filters(taken_after=datetime(2026, 1, 1, tzinfo=UTC), orientation="landscape")
    assert query.min_match == 0.5
    shown = f"mountains:0.7 lake:0.3 a red car like:{ONE} -snow after:2026-01-01 is:landscape min:0.5"
    assert query_text.show(query) == shown


@pytest.mark.parametrize("typed", ["t-shirt", "dog:", ":dog", "a - b", "5'", "what?"])
def test_ordinary_punctuation_is_ordinary_text(typed: str):
    assert query_text.parse(typed).parts == (TextPart(typed),)


@pytest.mark.parametrize("typed", ["-snow dog", '-"snow" dog', "dog -snow:1"])
def test_a_minus_makes_a_negative(typed: str):
    query = query_text.parse(typed)
    assert (query.parts, query.negatives) == ((TextPart("dog"),), (TextPart("snow"),))


def test_an_open_quote_reaches_to_the_end():
    assert query_text.parse('"a red ca').parts == (TextPart("a red ca"),)


def test_min_takes_a_band_or_a_number():
    assert query_text.parse("dog min:possible").min_band == "possible"
    assert query_text.parse("dog min:0.25").min_match == 0.25


@pytest.mark.parametrize(
    ("typed", "pointer"),
    [
        ("", "/query"),
        ("   ", "/query"),
        ("tag:x", "/query"),
        ("-snow", "/query"),
        ("foo:bar", "/q"),
        ("dog:nan", "/query/0/weight"),
        ("dog:inf", "/query/0/weight"),
        ("dog:-1", "/query/0/weight"),
        ("dog:0", "/query"),
        ("like:nothing", "/q"),
        ("dog sort:newest sort:oldest", "/q"),
        ("dog is:round", "/filters/orientation"),
        ("dog min:7", "/min_match"),
        ("dog after:yesterday", "/filters/taken_after"),
        ("dog limit:0", "/limit"),
        ("dog -limit:5", "/q"),
        ("dog -collection:5", "/q"),
        (" ".join(f"w{n}:1" for n in range(17)), "/query"),
        ("x" * (MAX_TEXT + 1), "/query/0/text"),
    ],
)
def test_a_bad_text_form_names_its_field(typed: str, pointer: str):
    with pytest.raises(QueryError) as caught:
        query_text.parse(typed)
    assert caught.value.pointer == pointer


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ([], ""),
        ({}, "/query"),
        ({"query": []}, "/query"),
        ({"query": "dog"}, "/query"),
        ({"query": [{}]}, "/query/0"),
        ({"query": [{"text": "a", "upload": "b"}]}, "/query/0"),
        ({"query": [{"text": ""}]}, "/query/0/text"),
        ({"query": [{"text": "x" * 1001}]}, "/query/0/text"),
        ({"query": [{"text": "a", "weight": float("nan")}]}, "/query/0/weight"),
        ({"query": [{"text": "a", "weight": "1"}]}, "/query/0/weight"),
        ({"query": [{"text": "a", "weight": True}]}, "/query/0/weight"),
        ({"query": [{"text": "a", "weight": 0}]}, "/query"),
        ({"query": [{"text": "a", "boost": 1}]}, "/query/0/boost"),
        ({"query": [{"text": "a"}] * 17}, "/query"),
        ({"query": [{"image_id": "7"}]}, "/query/0/image_id"),
        ({"query": [{"upload": "a b"}]}, "/query/0/upload"),
        ({"query": ["a"], "limt": 3}, "/limt"),
        ({"query": ["a"], "limit": 201}, "/limit"),
        ({"query": ["a"], "limit": 1.5}, "/limit"),
        ({"query": ["a"], "filters": {"colour": "red"}}, "/filters/colour"),
        ({"query": ["a"], "filters": {"tags": "red"}}, "/filters/tags"),
        ({"query": ["a"], "filters": {"tags": [1]}}, "/filters/tags/0"),
        ({"query": ["a"], "filters": []}, "/filters"),
        ({"query": ["a"], "rerank": 0}, "/rerank"),
        ({"query": ["a"], "collections": ""}, "/collections"),
        ({"query": ["a"], "limit": 10**400}, "/limit"),
        ({"query": ["a"], "min_band": ["weak"]}, "/min_band"),
        ({"query": ["a"], "rerank": {"recency": 2}}, "/rerank/recency"),
        ({"query": ["a"], "collections": ["x"]}, "/collections/0"),
        ({"query": ["a"], "min_band": "great"}, "/min_band"),
        ({"query": ["a"], "fold": "yes"}, "/fold"),
    ],
)
def test_a_bad_json_form_names_its_field(body: object, pointer: str):
    with pytest.raises(QueryError) as caught:
        from_json(body)
    assert caught.value.pointer == pointer


def test_an_unknown_url_parameter_is_refused_unless_it_is_expected():
    with pytest.raises(QueryError) as caught:
        query_text.from_url({"q": ["dog"], "colour": ["red"]})
    assert caught.value.pointer == "/colour"
    assert query_text.from_url({"q": ["dog"], "page": ["2"]}, frozenset({"page"})).parts == (TextPart("dog"),)


def test_blank_url_fields_are_left_out():
    query = query_text.from_url({"q": ["dog"], "taken_after": [""], "tags": [""], "sort": ["newest"]})
    assert (query.sort, query.filters) == ("newest", Filters())


def test_control_characters_and_surrogates_never_get_in():
    assert TextPart("a\x00b\ud800\n").text == "a b"


def test_normalised_texts_share_a_cache_key():
    assert normalised("  Ｄog  on\tthe BEACH ") == normalised("dog on the beach")


def test_a_page_and_its_search_ask_the_same_question():
    first = Query((TextPart("dog"),), limit=5)
    second = Query((TextPart("dog"),), limit=9, cursor="x", explain=True)
    assert first.question() == second.question()


@pytest.mark.parametrize(
    ("made", "kind"),
    [
        ((TextPart("a"),), "text"),
        ((StoredImagePart(ONE), UploadedImagePart()), "image"),
        ((TextPart("a"), UploadedImagePart()), "mixed"),
    ],
)
def test_the_kind_of_a_query_follows_its_parts(made, kind: str):
    assert Query(made).kind == kind


def test_composition_is_a_unit_vector_between_its_parts():
    vector = compose(np.eye(3, dtype=np.float32)[:2], [0.7, 0.3])
    assert np.linalg.norm(vector) == pytest.approx(1)
    assert vector[0] / vector[1] == pytest.approx(7 / 3)


def test_scaling_all_weights_changes_nothing():
    vectors = np.eye(3, dtype=np.float32)
    assert np.allclose(compose(vectors, [1, 2, 3]), compose(vectors, [10, 20, 30]))


def test_a_negative_moves_away_by_half_its_length():
    axes = np.eye(2, dtype=np.float32)
    assert compose(axes[:1], [1], axes[1:])[1] == pytest.approx(-0.5 / np.sqrt(1.25))


def test_a_negative_equal_to_the_query_leaves_the_query():
    axes = np.eye(2, dtype=np.float32)
    assert np.allclose(compose(axes[:1], [1], axes[:1], subtraction=1.0), axes[0])
