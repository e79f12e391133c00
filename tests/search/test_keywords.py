"""Words on pictures propose, and say how much of the question they cover."""

import pytest
from django.contrib.postgres.search import SearchQuery, SearchVectorField
from django.db import connection
from django.db.models.expressions import RawSQL

from images.models import Image
from search.keywords import DOCUMENT, MOST_FOUND, MOST_SCANNED, found, terms, tokens
from search.languages import guess, unread


def test_terms_leave_out_what_carries_no_meaning():
    assert terms(["A photo of the Golden-Gate bridge", "bridge"]) == ["golden", "gate", "bridge"]


def test_tokens_are_split_at_everything_else():
    assert tokens("IMG_2041-Größe.JPG") == ["img", "2041", "größe", "jpg"]


@pytest.mark.parametrize(
    ("text", "languages"),
    [
        ("the dog and the cat", ("en",)),
        ("der Hund und die Katze", ("de",)),
        ("un perro con los gatos", ("es",)),
        ("собака на пляже", ("ru", "uk", "bg", "sr")),
        ("犬と猫", ("ja",)),
        ("Rialto", ()),
        ("", ()),
    ],
)
def test_a_language_is_guessed_where_something_tells(text, languages):
    guessed = guess(text)
    assert guessed[:1] == languages[:1]


def test_only_what_is_surely_not_read_is_pointed_out():
    assert unread("der Hund und die Katze", ["en"]) == "de"
    assert unread("der Hund und die Katze", ["en", "de"]) is None
    assert unread("Rialto", ["en"]) is None
    assert unread("собака на пляже", []) is None


@pytest.fixture
def search(make_image):
    make_image(file_name="a", title="Two dogs at the lake")
    make_image(file_name="b", caption="A dog")
    make_image(file_name="c", tags=("lake",))
    make_image(file_name="d", title="Doghouse")
    make_image(file_name="lake.jpg")
    names = dict(Image.objects.values_list("pk", "file_name"))

    def run(text, size=5):
        return [
            (names[one.image_id], one.evidence, one.fields)
            for one in found([text], Image.objects.all(), size)
        ]

    return run


def test_what_holds_every_word_answers_alone(search):
    assert search("dog at the lake") == [("a", 1.0, ("title",))]


def test_where_nothing_holds_every_word_the_more_the_better(search):
    assert [name for name, *_rest in search("two dogs in a forest")] == ["a", "b"]


def test_a_part_of_a_word_is_no_evidence(search):
    assert "d" not in [name for name, _evidence, _fields in search("dog")]


def test_wild_cards_are_letters(search):
    assert search("%") == search("_") == search("d%g") == []


@pytest.mark.skipif(connection.vendor == "postgresql", reason="Postgres has full text")
def test_large_collections_are_not_scanned_without_full_text(search):
    assert search("dog", MOST_SCANNED + 1) == []


# ── Full text, on Postgres as `python -m tests.services` starts it ─────────────────────────────────────────────────


@pytest.fixture
def named(make_image):
    if connection.vendor != "postgresql":
        pytest.skip("needs Postgres")

    def run(text):
        names = dict(Image.objects.values_list("pk", "file_name"))
        return {names[one.image_id] for one in found([text], Image.objects.all(), 10**6)}

    return run


@pytest.mark.services
@pytest.mark.parametrize(
    ("title", "asked"),
    [
        ("Climbing at dawn", "climbers climb"),
        ("Die Häuser am Fluss", "ein Haus und der Fluss"),
        ("Los perros corren", "el perro"),
        ("Les chevaux blancs", "des chevaux"),
        ("Собака на пляже", "собака"),
    ],
)
def test_full_text_knows_inflections(named, make_image, title, asked):
    make_image(file_name="e", title=title)
    make_image(file_name="f", title="Something else")
    assert named(asked) == {"e"}


@pytest.mark.services
def test_full_text_takes_file_names_apart(named, make_image):
    make_image(file_name="old-harbour_2041.jpg")
    assert named("harbour") == named("2041") == {"old-harbour_2041.jpg"}


@pytest.mark.services
def test_full_text_is_answered_by_its_index(named, make_image):
    """The migration and the question spell the same expression: else every row would be read."""
    make_image(file_name="e", title="Climbing at dawn")
    said = Image.objects.annotate(said=RawSQL(DOCUMENT, [], output_field=SearchVectorField()))
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
    plan = said.filter(said=SearchQuery("climb", config="english")).explain()
    assert "image_words" in plan


@pytest.mark.services
def test_what_holds_every_word_is_not_lost_among_many_that_hold_one(named, make_image, collection):
    make_image(file_name="both", title="Rialto bridge")
    Image.objects.bulk_create(
        Image(
            collection=collection,
            sha256=f"{n:064x}",
            byte_size=1,
            file_name="one",
            title="Bridge",
            state="ready",
        )
        for n in range(2 * MOST_FOUND + 5)
    )
    assert named("rialto bridge") == {"both"}
