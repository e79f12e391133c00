"""Random captions in four languages, true of a given picture, true of some picture, or true of none."""

import random
import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from search.demo import cldr
from search.demo.lexicon import LANGUAGES, hypernyms, phrases, plural, scene_words, things
from search.demo.world import Facts, Predicate

Caption = tuple[str, tuple[Predicate, ...]]  # no predicates: true of no picture


@dataclass(frozen=True)
class Concept:
    """What a name means, and its names by language."""

    claims: tuple[Predicate, ...]
    names: dict[str, tuple[str, ...]]

    def true_of(self, facts: Facts) -> bool:
        """Whether every claim holds for one picture."""
        return all(_holds(claim, facts) for claim in self.claims)


def _holds(claim: Predicate, facts: Facts) -> bool:
    if claim.kind == "objects":
        return bool(set(claim.values) & set(facts.objects))
    return getattr(facts, claim.kind) in claim.values


def object_concept(number: int) -> Concept:
    """One object."""
    return Concept((Predicate("objects", (number,)),), things()[number].names)


@lru_cache(maxsize=1)
def object_concepts() -> tuple[Concept, ...]:
    """All objects, in the order of their numbers."""
    return tuple(object_concept(thing.number) for thing in things())


@lru_cache(maxsize=1)
def hypernym_concepts() -> tuple[Concept, ...]:
    """What several objects are together."""
    return tuple(Concept((Predicate("objects", numbers),), names) for numbers, names in hypernyms())


@lru_cache(maxsize=1)
def scene_concepts() -> tuple[Concept, ...]:
    """Places, times, weathers and backgrounds."""
    return tuple(
        Concept(tuple(Predicate(*claim) for claim in claims), names) for claims, names in scene_words()
    )


@lru_cache(maxsize=1)
def known_words() -> frozenset[str]:
    """Every lower-case word of every name in the world: what a nonsense text must not contain."""
    concepts = (*object_concepts(), *hypernym_concepts(), *scene_concepts())
    names = (name for concept in concepts for language in LANGUAGES for name in concept.names[language])
    words = {word for name in names for word in re.findall(r"\w+", name.lower())}
    return frozenset(words) | {word + "s" for word in words}


class Captioner:
    """A stream of captions. The same seed gives the same captions."""

    def __init__(self, seed: int, avoid: frozenset[str] = frozenset()) -> None:
        self.random = random.Random(seed)  # noqa: S311 - no secret
        small = {
            word for kind in ("word", "adjective") for lang in LANGUAGES for word in phrases()[(kind, lang)]
        }
        self.unknown = {lang: cldr.unknown_names(lang, known_words() | small, avoid) for lang in LANGUAGES}

    def true_of(self, facts: Facts) -> Caption:
        """A caption that holds for the picture, of one to four concepts."""
        language = self.random.choice(LANGUAGES)
        if facts.objects and facts.place and self.random.random() < 0.3:
            return self.compose(self._thing_somewhere(facts), language)
        parts = self._subject(facts) + self._setting(facts)
        if not parts:
            return self.of_none()
        return self.compose(parts, language)

    def of_some(self) -> Caption:
        """A caption of known concepts that need not hold anywhere."""
        pick = self.random.choice
        parts = [pick(hypernym_concepts() if self.random.random() < 0.3 else object_concepts())]
        if self.random.random() < 0.8:
            parts.append(pick(scene_concepts() if self.random.random() < 0.65 else object_concepts()))
        if self.random.random() < 0.15:
            parts.append(pick(scene_concepts()))
        return self.compose(parts, pick(LANGUAGES))

    def of_none(self) -> Caption:
        """Something that no picture of the world shows."""
        language, draw = self.random.choice(LANGUAGES), self.random.random()
        if draw < 0.56:
            text = self.random.choice(self.unknown[language])
            if self.random.random() < 0.2:
                text += " " + self.random.choice(self.unknown[language])
        elif draw < 0.82:
            text = " ".join(self._spliced(language) for _ in range(self.random.choice((1, 1, 2))))
        elif draw < 0.92:
            text = " ".join(self._letters() for _ in range(self.random.randint(1, 3)))
        else:
            text = self._function_words(language, 3) + " " + self._shuffled(language)
        if self.random.random() < 0.25:
            scene = self.random.choice(self.random.choice(scene_concepts()).names[language])
            text = self.random.choice(
                (text + self.random.choice(phrases()[("join", language)]) + scene, scene + " " + text)
            )
        return self._wrapped(text, language), ()

    def compose(self, parts: list[Concept], language: str) -> Caption:
        """Names the concepts in one text."""
        if self.random.random() < 0.3:
            parts = self.random.sample(parts, len(parts))
        text = self._name(parts[0], language)
        for part in parts[1:]:
            text += self.random.choice(phrases()[("join", language)]) + self._name(part, language)
        claims = tuple(claim for part in parts for claim in part.claims)
        if claims[0].kind == "objects" and self.random.random() < 0.2:
            text = self._among_strangers(text, language)
        return self._typed(self._wrapped(text.replace("  ", " "), language)), claims

    def _among_strangers(self, text: str, language: str) -> str:
        """Words without meaning around a known thing do not hide it: people phrase as they like."""
        names = self.random.choices(self.unknown[language], k=self.random.choice((1, 1, 2, 3)))
        strangers = [
            self._spliced(language) if self.random.random() < 0.3 else name.split()[0] for name in names
        ]
        cut = self.random.randint(0, len(strangers))
        return " ".join((*strangers[:cut], text, *strangers[cut:]))

    def _spliced(self, language: str) -> str:
        """The head of one word and the tail of another: a word that nobody knows but that looks like one."""
        known = self.random.choice(object_concepts()).names[language][0].lower()
        head = self.random.choice((known, *self.random.choices(self.unknown[language], k=3))).split()[0]
        tail = self.random.choice((known, *self.random.choices(self.unknown[language], k=3))).split()[-1]
        word = head[: max(2, len(head) // 2 + self.random.randint(-1, 1))] + tail[-max(2, len(tail) // 2) :]
        return self._letters() if word in known_words() else word

    def _typed(self, text: str) -> str:
        """As people type: sometimes without accents, sometimes with a slip in one word."""
        if self.random.random() < 0.12:
            text = "".join(c for c in unicodedata.normalize("NFD", text) if not unicodedata.combining(c))
        words = text.split(" ")
        slot = self.random.randrange(len(words))
        if self.random.random() < 0.06 and len(words[slot]) > 4:
            letters, at = list(words[slot]), self.random.randrange(1, len(words[slot]) - 1)
            slip = self.random.randrange(3)
            letters[at : at + 2] = ([], letters[at : at + 1] * 2, letters[at : at + 2][::-1])[slip] + (
                letters[at + 1 : at + 2] if slip < 2 else []
            )
            words[slot] = "".join(letters)
        return " ".join(words)

    def _subject(self, facts: Facts) -> list[Concept]:
        objects = list(facts.objects)
        self.random.shuffle(objects)
        if not objects or self.random.random() < 0.17:
            return []
        chosen = objects if self.random.random() < 0.5 else objects[:1]
        return [
            self._kind(number) if self.random.random() < 0.27 else object_concepts()[number]
            for number in chosen
        ]

    def _thing_somewhere(self, facts: Facts) -> list[Concept]:
        """What people ask most: a thing, or a kind of thing, and where it is, sometimes also when."""
        number = self.random.choice(facts.objects)
        thing = self._kind(number) if self.random.random() < 0.3 else object_concepts()[number]
        fitting = [c for c in scene_concepts() if c.true_of(facts)]
        where = self.random.choice([c for c in fitting if c.claims[0].kind == "place"])
        return [thing, where, self.random.choice(fitting)] if self.random.random() < 0.25 else [thing, where]

    def _kind(self, number: int) -> Concept:
        fitting = [c for c in hypernym_concepts() if number in c.claims[0].values]
        return self.random.choice(fitting) if fitting else object_concepts()[number]

    def _setting(self, facts: Facts) -> list[Concept]:
        bare = not facts.objects
        if not bare and self.random.random() < 0.4:
            return []
        fitting = [c for c in scene_concepts() if c.true_of(facts)]
        chosen = self.random.sample(fitting, min(len(fitting), self.random.choice((1, 1, 1, 2))))
        return chosen

    def _name(self, concept: Concept, language: str) -> str:
        name = self.random.choice(concept.names[language])
        if concept.claims[0].kind == "objects" and self.random.random() < 0.12:
            name = plural(name, language) or name
        if self.random.random() < 0.12:
            name = f"{self.random.choice(phrases()[('adjective', language)])} {name}"
        return name

    def _wrapped(self, text: str, language: str) -> str:
        draw = self.random.random()
        if draw < 0.3:
            text = self.random.choice(phrases()[("wrap", language)]).format(text)
        elif draw < 0.5:
            text = f"{self._function_words(language, 4)} {text}"
        elif draw < 0.58:
            text = f"{text} {self._function_words(language, 3)}"
        if self.random.random() < 0.1:
            text = self.random.choice(("{}?", "¿{}?", "{} ?", "{}!", "{}.", "{}, ", '"{}"')).format(text)
        return text.strip()

    def _function_words(self, language: str, most: int) -> str:
        words = phrases()[("word", language)]
        return " ".join(self.random.choice(words) for _ in range(self.random.randint(1, most)))

    def _letters(self) -> str:
        alphabet = self.random.choice(
            ("abcdefghijklmnopqrstuvwxyz", "asdfghjkl", "qwertzuiop", "xkjqzvwy", "abc123 89")
        )
        return "".join(self.random.choice(alphabet) for _ in range(self.random.randint(2, 9)))

    def _shuffled(self, language: str) -> str:
        concept = self.random.choice(object_concepts())
        letters = list(self.random.choice(concept.names[language]).split()[0].lower())
        if len(letters) < 5:
            return self._letters()
        self.random.shuffle(letters)
        return "".join(letters)


def matrix(captions: list[Caption], columns: dict[str, np.ndarray]) -> np.ndarray:
    """[captions, pictures] of truth; `columns` are a world.Table's columns cut to the pictures."""
    size = len(columns["objects"])
    result = np.zeros((len(captions), size), bool)
    for row, (_, claims) in enumerate(captions):
        if claims:
            result[row] = True
            for claim in claims:
                result[row] &= columns[claim.kind][:, list(claim.values)].any(axis=1)
    return result
