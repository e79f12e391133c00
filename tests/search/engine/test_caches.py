"""What is remembered and what is told: caches, explanations, warnings, facets."""

import numpy as np
import pytest
from django.core.cache import cache

from search import engine, frozen, retrieval
from search.facets import facets_of
from search.query import (
    Query,
    Rerank,
    TextPart,
)
from search.query_text import parse
from tests.search.axes import NAME
from tests.search.engine.conftest import strong

pytestmark = pytest.mark.django_db


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
