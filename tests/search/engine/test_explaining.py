"""What a page is told is enough to score its results anew when a weight moves, exactly as the server would."""

import json
import math
from dataclasses import replace

import pytest

from search import engine
from search.query import Query, Rerank, TextPart
from search.query_text import parse
from tests.search.engine.conftest import ids

pytestmark = pytest.mark.django_db


def rescored(told, weights, unwanted):
    """(band, score) by the formula in `search.explaining.rescoring`; the browser does the same."""
    match = math.prod(
        max(part, 1e-9) ** (weight / sum(weights))
        for part, weight in zip(told["parts"], weights, strict=True)
    )
    for part, weight in zip(told["negatives"], unwanted, strict=True):
        match *= 1 - told["penalty"] * min(1, weight) * part
    limit = 1 if match >= told["strong"] else told["ceiling"]
    match = max(match, min(limit, 1 - (1 - match) * (1 - told["lift"])))
    if told["judged"] is not None:
        match = (match + told["judged"]) / 2
    band = "strong" if match >= told["strong"] else "possible" if match >= told["possible"] else "weak"
    return band, match, match * told["boost"]


def asked(weights, unwanted, **more):
    return Query(
        (TextPart("dog", weights[0]), TextPart("beach", weights[1])),
        (TextPart("snow", unwanted[0]),),
        rerank=Rerank(recency=0.3, quality=0.5),
        limit=200,
        explain=True,
        **more,
    )


@pytest.fixture
def mixture(gallery, add):
    """Pictures of both, of one, with and without snow, some with words on them."""
    for number in range(6):
        add("dog", "beach", noise=0.2 * number, quality=0.1 * number)
        add("dog", "snow", noise=0.2 * number, title="a dog" if number % 2 else "")
        add("beach", "snow", noise=0.3 * number, quality=0.9)


@pytest.mark.parametrize(
    ("weights", "unwanted"),
    [((0.9, 0.1), (1.0,)), ((0.1, 0.9), (0.2,)), ((1.0, 0.0), (0.0,)), ((3.0, 2.0), (2.0,))],
)
def test_a_page_scores_anew_as_the_server_would(mixture, me, weights, unwanted):
    before = engine.find(asked((0.5, 0.5), (0.5,)), me).results
    after = {one.image.pk: one for one in engine.find(asked(weights, unwanted), me).results}
    assert len(before) == len(after) > 60
    for one in before:
        band, match, score = rescored(one.rescore, weights, unwanted)
        server = after[one.image.pk]
        assert (match, score) == pytest.approx((server.match, server.score), abs=1e-4)
        assert band == server.band


def test_the_order_of_a_page_scored_anew_is_the_servers(mixture, me):
    before = engine.find(asked((0.5, 0.5), (0.5,)), me).results
    told = {one.image.pk: rescored(one.rescore, (0.9, 0.1), (1.0,)) for one in before}
    order = sorted(told, key=lambda pk: (told[pk][0] == "weak", -told[pk][2]))
    server = ids(engine.find(asked((0.9, 0.1), (1.0,)), me))
    assert order == server
    assert order != [one.image.pk for one in before]


def test_a_judgement_counts_in_the_page_too(mixture, me, settings):
    settings.LOUPE_RERANKER = "tests.search.engine.test_explaining.half"
    for one in engine.find(asked((0.5, 0.5), (0.5,)), me).results[:50]:
        assert rescored(one.rescore, (0.5, 0.5), (0.5,))[1] == pytest.approx(one.match, abs=1e-4)


def half(texts, images):
    return [0.5] * len(images)


def test_what_a_page_is_told_is_json(gallery, me):
    told = engine.find(replace(parse("dog title"), explain=True), me).results[0].rescore
    assert json.loads(json.dumps(told, allow_nan=False)) == told


def test_without_explain_nothing_is_told(gallery, me):
    assert engine.find(parse("dog"), me).results[0].rescore is None
