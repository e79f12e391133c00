"""Which language a short query is in, well enough to warn when the model does not read it. Pure, no data files."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection

# Words that are frequent in one language and in none of the others listed here.
_HINTS = {
    "en": "the of and with on at in from near under over by is are a an to two three some red blue green white black",
    "es": "el los las una unos unas del con y sin sobre bajo en por para dos tres rojo roja azul verde blanco negro",
    "fr": "le les une des du avec et sans sur sous dans au aux chez près deux trois rouge bleu vert blanc noir",
    "de": "der das ein eine einen einem und mit ohne auf unter im beim vor zwei drei rot blau grün weiß schwarz",
    "it": "il gli uno della dello delle degli con senza sul sulla sotto nel nella due tre rosso verde bianco nero",
    "pt": "os umas uns dos das com sem sobre sob na nas nos ao dois três vermelho azul verde branco preto",
    "nl": "het een van met zonder op onder bij aan naast twee drie rood blauw groen wit zwart",
}
# Names that English has taken over, with words of another language in them.
_NAMES = re.compile(r"\b(?:los angeles|las vegas|los alamos|el paso|el capitan|el niño|le mans|les paul)\b")
_WORDS = {language: frozenset(words.split()) for language, words in _HINTS.items()}
# What a letter's Unicode name begins with → the languages written so.
_SCRIPTS = {
    "CYRILLIC": ("ru", "uk", "bg", "sr"),
    "GREEK": ("el",),
    "ARABIC": ("ar", "fa", "ur"),
    "HEBREW": ("he",),
    "DEVANAGARI": ("hi", "mr"),
    "BENGALI": ("bn",),
    "THAI": ("th",),
    "HANGUL": ("ko",),
    "HIRAGANA": ("ja",),
    "KATAKANA": ("ja",),
    "CJK": ("zh", "ja"),
    "TAMIL": ("ta",),
    "TELUGU": ("te",),
}


def guess(text: str) -> tuple[str, ...]:
    """The languages a text may be in, likeliest first; empty where nothing tells (a single name, an emoji)."""
    scripts = [_script(letter) for letter in text if letter.isalpha()]
    foreign = [script for script in scripts if script in _SCRIPTS]
    if len(foreign) * 2 > len(scripts):
        return (
            ("ja",)
            if {"HIRAGANA", "KATAKANA"} & set(foreign)
            else _SCRIPTS[max(set(foreign), key=foreign.count)]
        )
    words = set(_NAMES.sub(" ", text.lower()).split())
    hits = {language: len(words & known) for language, known in _WORDS.items()}
    most = max(hits.values())
    return tuple(language for language, count in hits.items() if count == most) if most else ()


def unread(text: str, languages: Collection[str]) -> str | None:
    """The language of a text that a model of `languages` does not read; `None` where it does or nobody can tell."""
    guessed = guess(text)
    if not guessed or not languages or "*" in languages or set(guessed) & set(languages):
        return None
    return guessed[0]


def _script(letter: str) -> str:
    return unicodedata.name(letter, "").split(" ", 1)[0]
