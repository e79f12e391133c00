import re

import numpy as np
import pytest

from search.demo import cldr
from search.demo.captions import Captioner, hypernym_concepts, known_words, matrix, scene_concepts
from search.demo.evaluation import auc, held_out, precision, reserved_texts, unanswerable
from search.demo.lexicon import LANGUAGES, by_name, hypernyms, phrases, plural, rows, split, things
from search.demo.scene import PLACES, TIMES
from search.demo.world import Facts, Predicate, Table, truth
from tests.parts import without

DOG, CAR = (by_name()[name].number for name in ("dog", "car"))
BEACH, SEA, CITY = (PLACES.index(name) for name in ("beach", "sea", "city"))
NIGHT, DAY = TIMES.index("night"), TIMES.index("day")
PICTURES = [
    Facts((DOG,), BEACH, DAY, 1),
    Facts((DOG, CAR), CITY, NIGHT, 1),
    Facts((), SEA, NIGHT, 2),
    Facts((), background=1),
]


@pytest.fixture(scope="module")
def captioner():
    if not cldr.COMMON.exists():
        without("captions without an answer need Debian's package unicode-cldr-core")
    return Captioner(5, reserved_texts())


def concept(concepts, word):
    return next(c for c in concepts if word in c.names["en"])


def held(*claims):
    return truth(claims, Table(PICTURES)).tolist()


def test_a_claim_about_an_object_holds_where_it_is():
    assert held(Predicate("objects", (DOG,))) == [True, True, False, False]


def test_claims_are_joined_by_and():
    assert held(Predicate("objects", (DOG,)), Predicate("time", (NIGHT,))) == [False, True, False, False]


def test_a_hypernym_holds_for_any_of_its_members():
    assert held(*concept(hypernym_concepts(), "vehicle").claims) == [False, True, False, False]


def test_the_sea_is_also_seen_from_the_beach_but_not_the_other_way_round():
    assert held(*concept(scene_concepts(), "sea").claims) == [True, False, True, False]
    assert held(*concept(scene_concepts(), "beach").claims) == [True, False, False, False]


def test_no_claims_hold_nowhere():
    assert held() == [False] * 4


def test_the_matrix_of_captions_agrees_with_single_checks():
    table = Table(PICTURES)
    columns = {kind: getattr(table, kind) for kind in ("objects", "place", "time", "weather", "background")}
    captions = [(str(n), c.claims) for n, c in enumerate((*hypernym_concepts(), *scene_concepts()))] + [
        ("x", ())
    ]
    for row, (_, claims) in zip(matrix(captions, columns), captions, strict=True):
        assert row.tolist() == truth(claims, table).tolist()


def test_captions_of_a_picture_are_true_of_it(captioner):
    for facts in PICTURES[:2] * 60:
        text, claims = captioner.true_of(facts)
        assert text
        assert truth(claims, Table([facts]))[0] or not claims


def test_captions_of_nothing_claim_nothing(captioner):
    captions = [captioner.of_none() for _ in range(100)]
    assert all(text and claims == () for text, claims in captions)
    assert len({text for text, _ in captions}) > 80


def test_names_from_outside_the_world_hold_no_word_of_it(captioner):
    for language in LANGUAGES:
        words = {word for name in captioner.unknown[language] for word in re.findall(r"\w+", name)}
        assert len(words) > 1000
        assert not words & known_words()


def test_training_keeps_clear_of_the_texts_of_the_evaluation(captioner):
    for language in LANGUAGES:
        assert not reserved_texts() & set(captioner.unknown[language])
        assert not set(held_out("wrap")[language]) & set(phrases()[("wrap", language)])


def test_unanswerable_texts_contain_no_known_object():
    names = {name.lower() for thing in things() for lang in LANGUAGES for name in thing.names[lang]}
    assert not [text for text in unanswerable() if text.lower() in names]


def test_the_same_seed_gives_the_same_captions(captioner):
    one, other = Captioner(8), Captioner(8)
    assert [one.of_some() for _ in range(20)] == [other.of_some() for _ in range(20)]


def test_every_object_has_names_in_every_language():
    assert len(things()) == 230
    for thing in things():
        assert all(thing.names[language] for language in LANGUAGES)


def test_no_name_means_two_objects_in_one_language():
    for language in LANGUAGES:
        names = [name.lower() for thing in things() for name in thing.names[language]]
        assert len(names) == len(set(names))


def test_every_member_of_a_hypernym_exists():
    known = {thing.group for thing in things()} | set(by_name())
    assert not [name for members, *_ in rows("hypernyms.tsv") for name in split(members) if name not in known]
    assert all(numbers for numbers, _ in hypernyms())


@pytest.mark.parametrize(
    ("name", "language", "expected"),
    [("dog", "en", "dogs"), ("cherry", "en", "cherries"), ("fox", "en", "foxes"), ("perro", "es", "perros"),
     ("león", "es", None), ("gâteau", "fr", "gâteaux"), ("Hund", "de", None)],
)  # fmt: skip
def test_plurals(name, language, expected):
    assert plural(name, language) == expected


def test_known_words_hold_the_names_of_all_languages():
    assert {"dog", "perro", "chien", "hund", "playa", "wüste"} <= known_words()


def test_precision_counts_only_as_many_places_as_there_are_right_pictures():
    scores = np.array([[0.9, 0.8, 0.1, 0.0], [0.1, 0.2, 0.9, 0.8]], np.float32)
    right = np.array([[True, False, True, False], [False, False, True, False]])
    assert precision(scores, right).tolist() == [0.5, 1.0]


def test_auc_is_the_share_of_pairs_in_the_right_order():
    assert auc(np.array([0.9, 0.5], np.float32), np.array([0.5, 0.1], np.float32)) == 0.875
