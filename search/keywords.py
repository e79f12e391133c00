"""Words that stand on a picture: title, tags, caption, alternative text and file name.

Postgres searches with its full text in the query's language; elsewhere plain `contains` does, on collections small
enough for it. Both only propose rows: how much of the question a row covers is measured here, the same for both.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import takewhile
from operator import and_, or_

from django.contrib.postgres.search import SearchQuery, SearchVectorField
from django.db import connections
from django.db.models import Q, QuerySet
from django.db.models.expressions import RawSQL

from images.models import Image
from search.languages import guess

MAX_TERMS = 12
MOST_FOUND = 200
# `LIKE` reads every row: above this many pictures it would cost more than the whole search.
MOST_SCANNED = 20_000
FIELDS = ("title", "tags", "caption", "alt_text", "file_name")
WORTH = {"title": 1.0, "tags": 1.0, "caption": 0.9, "alt_text": 0.9, "file_name": 0.8}
# Languages whose inflections Postgres knows here; every other is searched word by word ("simple").
CONFIGURATIONS = {"en": "english", "es": "spanish", "fr": "french", "de": "german"}
# The words of a picture as the index of search/migrations/0005 holds them, in every language at once: nobody says in
# which a title is written. It has to be the same expression, or Postgres reads every row. File names are taken apart
# here, since Postgres takes "red-car.jpg" for the name of a computer.
_TEXT = " || ' ' || ".join(
    [f'"images_image"."{name}"' for name in ("title", "caption", "alt_text")]
    + ["""translate("images_image"."file_name", '._-/', '    ')"""]
)
DOCUMENT = " || ".join(f"to_tsvector('{name}', {_TEXT})" for name in (*CONFIGURATIONS.values(), "simple"))
_EMPTY = """
a an and any are at by for from in is it my of on or our some that the this to with without near under over
photo photos picture pictures image images photograph foto fotos imagen bild bilder jpg jpeg png gif webp
de del la el los las un una unos unas y o en con sin le les des du une et ou dans sur avec sans
der die das ein eine einen einem und oder im am mit ohne auf
"""
_EMPTY_WORDS = frozenset(_EMPTY.split())


@dataclass(frozen=True, slots=True)
class Found:
    """A picture whose words answer: `evidence` is the share of the question that they cover, 0–1."""

    image_id: int
    evidence: float
    fields: tuple[str, ...]
    whole: bool


def tokens(text: str) -> list[str]:
    """Words of letters and digits, lower case; everything else separates."""
    plain = unicodedata.normalize("NFKC", text).lower()
    return "".join(char if char.isalnum() else " " for char in plain).split()


def terms(texts: Iterable[str]) -> list[str]:
    """The words of a question that carry meaning, in order, each once."""
    words = list(dict.fromkeys(word for text in texts for word in tokens(text)))
    return [word for word in words if word not in _EMPTY_WORDS and len(word) > 1][:MAX_TERMS]


def found(texts: Sequence[str], rows: QuerySet[Image], size: int) -> list[Found]:
    """Pictures of `rows` whose words answer the texts, best first, at most `MOST_FOUND`: those that hold every word, or
    else those that hold some. `size` is about how many rows there are to look through."""
    words = terms(texts)
    on_postgres = connections[rows.db].vendor == "postgresql"
    if not words or (size > MOST_SCANNED and not on_postgres):
        return []
    proposed = _by_full_text(words, " ".join(texts), rows) if on_postgres else _by_contains(words, rows)
    same = _inflected if on_postgres else _plural
    measured = [one for row in proposed if (one := _measure(row, words, same)).evidence > 0]
    answers = [one for one in measured if one.whole] or measured
    return sorted(answers, key=lambda one: (-one.evidence, -one.image_id))[:MOST_FOUND]


def _by_full_text(words: Sequence[str], text: str, rows: QuerySet[Image]) -> list[Image]:
    """Any of the words in any field, and tags by their names, which live in another table: asked one after the other,
    for no index answers "or" across two tables. What holds all words is asked first, so that it is not lost among
    many that hold one."""
    document = RawSQL(DOCUMENT, [], output_field=SearchVectorField())  # noqa: S611 - a constant
    said = rows.annotate(said=document)
    every, some = _asked(words, text)
    tagged = Q()
    for word in words:
        tagged |= _tagged(word)
    hits = _loaded(said.filter(said=every)) + _loaded(rows.filter(tagged))
    if len(words) > 1:
        hits += _loaded(said.filter(said=some))
    return list({row.pk: row for row in hits}.values())


def _asked(words: Sequence[str], text: str) -> tuple[SearchQuery, SearchQuery]:
    """All of the words and any of them, each in the languages that the text may be in."""
    guessed = [CONFIGURATIONS[one] for one in guess(text) if one in CONFIGURATIONS]
    names = [*(guessed or CONFIGURATIONS.values()), "simple"]
    each = [reduce(or_, (SearchQuery(word, config=name) for name in names)) for word in words]
    return reduce(and_, each), reduce(or_, each)


def _by_contains(words: Sequence[str], rows: QuerySet[Image]) -> list[Image]:
    """All of the words, or else any of them: the first needs no more than one look at most rows."""
    every, some = Q(), Q()
    for word in words:
        every &= _contains(word)
        some |= _contains(word)
    return _loaded(rows.filter(every)) or (_loaded(rows.filter(some)) if len(words) > 1 else [])


def _contains(word: str) -> Q:
    stem = _stem(word)
    plain = Q(title__icontains=stem) | Q(caption__icontains=stem) | Q(alt_text__icontains=stem)
    return plain | Q(file_name__icontains=stem) | _tagged(word)


def _tagged(word: str) -> Q:
    """Asked once for all rows, not once for each."""
    return Q(pk__in=Image.tags.through.objects.filter(tag__name__icontains=_stem(word)).values("image_id"))


def _loaded(hits: QuerySet[Image]) -> list[Image]:
    slim = hits.only("pk", "title", "caption", "alt_text", "file_name").prefetch_related("tags")
    return list(slim.order_by("-pk")[: 2 * MOST_FOUND])


def _measure(row: Image, words: Sequence[str], same: Callable[[str, str], bool]) -> Found:
    """The mean over the words of the best field that holds each."""
    texts = {name: tokens(getattr(row, name)) for name in FIELDS if name != "tags"}
    texts["tags"] = [word for tag in row.tags.all() for word in tokens(tag.name)]
    holding = {name: [any(same(word, one) for one in texts[name]) for word in words] for name in FIELDS}
    best = [max(WORTH[name] * holding[name][place] for name in FIELDS) for place in range(len(words))]
    fields = tuple(name for name in FIELDS if any(holding[name]))
    return Found(row.pk, sum(best) / len(words), fields, all(best))


def _stem(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") else word


def _plural(asked: str, said: str) -> bool:
    """Equal up to a plural ending."""
    first, second = sorted((asked, said), key=len)
    return first == second or (
        len(first) > 2 and second in (first + "s", first + "es", first + "n", first + "en")
    )


def _inflected(asked: str, said: str) -> bool:
    """Equal up to short endings: enough behind the database's own stemmer, too loose without it."""
    stem = len([*takewhile(lambda pair: pair[0] == pair[1], zip(asked, said, strict=False))])
    return _plural(asked, said) or (stem > 3 and max(len(asked), len(said)) - stem <= 3)
