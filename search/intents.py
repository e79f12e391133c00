"""Whether parts, negatives and pictures in a question change the ranking as they are meant to.

Cases are generated from the facts of a labelled gallery (which objects, which place); each is asked through the
engine and judged by its first results.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from images.access import Principal
from images.models import Image
from search import engine
from search.evaluation import Labelled
from search.query import Query, StoredImagePart, TextPart

PLACES = ("beach", "mountains", "forest", "desert", "city", "meadow")
SHORE = "sea"  # a beach shows the sea and the sea is seen from a beach: one place
FIRST = 5
CASES = 100
SEED = 11
Facts = list[dict[str, Any]]


@dataclass(frozen=True)
class Case:
    """A question, and what has to be true of the facts of its results, best first, beside those of the question
    without its negative."""

    kind: str
    query: Query
    intended: Callable[[Facts, Facts], bool]


def intended(data: Labelled, principal: Principal) -> dict[str, float]:
    """The share of cases of each kind that came out as intended."""
    names = dict(Image.objects.visible_to(principal).values_list("file_name", "uid"))
    outcomes: dict[str, list[bool]] = {}
    for case in cases(data, names):
        plain = Query(case.query.parts, words=False)
        outcome = case.intended(_found(case.query, data, principal), _found(plain, data, principal))
        outcomes.setdefault(case.kind, []).append(outcome)
    return {f"intended: {kind}": sum(some) / len(some) for kind, some in outcomes.items()}


def cases(data: Labelled, names: dict[str, Any], seed: int = SEED) -> Iterator[Case]:
    """The same cases on every run, at most `CASES` of each kind; pictures with a flaw are nobody's example."""
    rng = random.Random(seed)  # noqa: S311 - no secret
    sound = {name: facts for name, facts in data.facts.items() if not facts.get("flaw")}
    shown = {(one, place(facts)) for facts in sound.values() for one in facts["objects"]}
    pairs = sorted(pair for pair in shown if pair[1] in PLACES)
    elsewhere = [
        (one, where) for one, where in pairs if len({there for what, there in shown if what == one}) > 1
    ]
    for one, where in rng.sample(pairs, min(CASES, len(pairs))):
        parts = (TextPart(one, 0.5), TextPart(where, 0.5))
        yield Case("two weighted parts", Query(parts, words=False), _both(one, where, FIRST))
    for one, where in rng.sample(elsewhere, min(CASES, len(elsewhere))):
        yield Case("negative", Query((TextPart(one),), (TextPart(where),), words=False), _without(one, where))
        if (picture := _picture(sound, rng, one, where)) in names:
            asked = Query((StoredImagePart(names[picture]), TextPart(where)), words=False)
            yield Case("picture and words", asked, _both(one, where, FIRST))


def place(facts: dict[str, Any]) -> str:
    return "beach" if facts["place"] == SHORE else str(facts["place"])


def _found(query: Query, data: Labelled, principal: Principal) -> Facts:
    return [data.facts[result.image.file_name] for result in engine.find(query, principal).results]


def _picture(sound: dict[str, dict[str, Any]], rng: random.Random, one: str, where: str) -> str:
    """A picture of the object alone that was taken in another place."""
    fitting = [name for name, facts in sound.items() if facts["objects"] == [one] and place(facts) != where]
    return rng.choice(sorted(fitting)) if fitting else ""


def _both(one: str, where: str, deep: int) -> Callable[[Facts, Facts], bool]:
    """A picture with both is among the first."""
    return lambda found, _plain: any(
        one in facts["objects"] and place(facts) == where for facts in found[:deep]
    )


def _without(one: str, where: str) -> Callable[[Facts, Facts], bool]:
    """The first shows the object elsewhere, and pictures of both have fallen behind the others of the object."""

    def gap(found: Facts) -> float:
        places = [place(facts) == where for facts in found if one in facts["objects"]]
        both = [rank for rank, unwanted in enumerate(places) if unwanted]
        others = [rank for rank, unwanted in enumerate(places) if not unwanted]
        return (sum(both) / len(both) if both else len(found)) - (sum(others) / len(others) if others else 0)

    def judge(found: Facts, plain: Facts) -> bool:
        elsewhere = one in found[0]["objects"] and place(found[0]) != where
        return elsewhere and gap(found) >= gap(plain)

    return judge
