"""Labelled questions to the sample gallery, computed from the facts in its manifest."""

import random
from collections.abc import Callable, Iterator
from typing import Any

from search.demo.captions import Concept, hypernym_concepts, object_concepts, scene_concepts
from search.demo.evaluation import JOINS, held_out
from search.demo.lexicon import LANGUAGES, by_name
from search.demo.scene import COLOURS, PLACES, TIMES, WEATHERS
from search.demo.world import Facts

Row = dict[str, Any]
COUNTS = {"object": 70, "scene": 36, "hypernym": 40, "object+place": 40, "object+time": 16, "two objects": 24}
ABSENT_OBJECTS = 24


def facts_of(row: Row) -> Facts:
    """The facts of a row of the manifest."""
    facts = row["facts"]
    return Facts(
        tuple(by_name()[name].number for name in facts["objects"]),
        PLACES.index(facts["place"]),
        TIMES.index(facts["time"]),
        WEATHERS.index(facts["weather"]),
        list(COLOURS).index(facts["background"]),
    )


def labelled_queries(manifest: list[Row]) -> list[Row]:
    """Answerable queries with the files that are right, then unanswerable ones with none."""
    rng = random.Random(7)  # noqa: S311 - no secret
    facts = {row["file"]: facts_of(row) for row in manifest}
    found: list[Row] = []
    for kind, count in COUNTS.items():
        seen: set[str] = set()
        for query, language, parts in _drawn(kind, list(facts.values()), rng):
            if query not in seen:
                seen.add(query)
                files = [file for file, fact in facts.items() if all(part.true_of(fact) for part in parts)]
                found.append({"query": query, "language": language, "kind": kind, "relevant": files})
            if len(seen) == count:
                break
    return found + _unanswerable(list(facts.values()), rng)


def _drawn(kind: str, facts: list[Facts], rng: random.Random) -> Iterator[tuple[str, str, list[Concept]]]:
    """An endless stream of queries of one kind, each true of some picture."""
    choose: Callable[[Facts], list[Concept]] = {
        "object": lambda fact: [_object(fact, rng)],
        "scene": lambda fact: [_scene(fact, rng)],
        "hypernym": lambda fact: [_hypernym(fact, rng)],
        "object+place": lambda fact: [_object(fact, rng), _scene(fact, rng, "place")],
        "object+time": lambda fact: [_object(fact, rng), _scene(fact, rng, "time")],
        "two objects": lambda fact: [object_concepts()[number] for number in fact.objects],
    }[kind]
    fitting = [fact for fact in facts if _suits(kind, fact)]
    while True:
        language = rng.choice(LANGUAGES)
        parts = choose(rng.choice(fitting))
        text = f" {rng.choice(JOINS[language])} ".join(part.names[language][0] for part in parts)
        wrapped = rng.choice(held_out("wrap")[language]).format(text) if rng.random() < 0.25 else text
        yield wrapped, language, parts


def _suits(kind: str, fact: Facts) -> bool:
    if kind == "two objects":
        return len(fact.objects) == 2
    return (kind == "scene" or bool(fact.objects)) and (
        kind not in ("object+place", "object+time") or fact.place > 0
    )


def _object(fact: Facts, rng: random.Random) -> Concept:
    return object_concepts()[rng.choice(fact.objects)]


def _hypernym(fact: Facts, rng: random.Random) -> Concept:
    fitting = [concept for concept in hypernym_concepts() if concept.true_of(fact)]
    return rng.choice(fitting) if fitting else _object(fact, rng)


def _scene(fact: Facts, rng: random.Random, kind: str = "") -> Concept:
    return rng.choice([c for c in scene_concepts() if c.true_of(fact) and kind in ("", c.claims[0].kind)])


def _unanswerable(facts: list[Facts], rng: random.Random) -> list[Row]:
    """Nonsense, things outside the world, and things of the world that the gallery does not show."""
    shown = {number for fact in facts for number in fact.objects}
    missing = [concept for number, concept in enumerate(object_concepts()) if number not in shown]
    rng.shuffle(missing)
    found = [
        (text, language, "nonsense") for language, texts in held_out("nonsense").items() for text in texts
    ]
    found += [
        (text, language, "absent") for language, texts in held_out("absent").items() for text in texts[:16]
    ]
    for position, concept in enumerate(missing[:ABSENT_OBJECTS]):
        language = LANGUAGES[position % len(LANGUAGES)]
        found.append((concept.names[language][0], language, "absent"))
    return [
        {"query": text, "language": language, "kind": kind, "relevant": []} for text, language, kind in found
    ]
