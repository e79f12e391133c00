"""What the drawn world can contain and what the things are called in four languages."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from search.demo.scene import COLOURS, PLACES, TIMES, WEATHERS

DATA = Path(__file__).with_name("data")
LANGUAGES = ("en", "es", "fr", "de")


@dataclass(frozen=True)
class Thing:
    """A drawable object. `homes` are letters of scenes (see data/objects.tsv), `size` a share of the short side."""

    number: int
    character: str
    group: str
    homes: str
    size: float
    names: dict[str, tuple[str, ...]]

    @property
    def name(self) -> str:
        """The first English name: the key of the object in all data files."""
        return self.names["en"][0]


def rows(file_name: str) -> list[list[str]]:
    """The rows of a data file, cells split at the bar, comments left out."""
    lines = (DATA / file_name).read_text(encoding="utf-8").splitlines()
    return [line.split("|") for line in lines if line and not line.startswith("#")]


def split(cell: str) -> tuple[str, ...]:
    """The alternatives of a cell."""
    return tuple(part.strip() for part in cell.split(",") if part.strip())


@lru_cache(maxsize=1)
def things() -> tuple[Thing, ...]:
    """All objects, in the order of their numbers."""
    return tuple(
        Thing(
            number,
            cells[0],
            cells[1],
            cells[2],
            float(cells[3]),
            dict(zip(LANGUAGES, map(split, cells[4:]), strict=True)),
        )
        for number, cells in enumerate(rows("objects.tsv"))
    )


@lru_cache(maxsize=1)
def by_name() -> dict[str, Thing]:
    """Objects by their first English name."""
    return {thing.name: thing for thing in things()}


FACT_VALUES = {"place": PLACES, "time": TIMES, "weather": WEATHERS, "background": tuple(COLOURS)}


@lru_cache(maxsize=1)
def hypernyms() -> tuple[tuple[tuple[int, ...], dict[str, tuple[str, ...]]], ...]:
    """Pairs (numbers of the objects, names by language): what several objects are together."""
    table = []
    for members, *cells in rows("hypernyms.tsv"):
        wanted = set(split(members))
        numbers = tuple(thing.number for thing in things() if wanted & {thing.group, thing.name})
        table.append((numbers, dict(zip(LANGUAGES, map(split, cells), strict=True))))
    return tuple(table)


@lru_cache(maxsize=1)
def scene_words() -> tuple[tuple[tuple[tuple[str, tuple[int, ...]], ...], dict[str, tuple[str, ...]]], ...]:
    """Pairs (claims, names by language); a claim is (kind of fact, allowed values)."""
    table = []
    for claims, *cells in rows("scenes.tsv"):
        parsed = tuple(_claim(claim) for claim in claims.split(";"))
        table.append((parsed, dict(zip(LANGUAGES, map(split, cells), strict=True))))
    return tuple(table)


def _claim(text: str) -> tuple[str, tuple[int, ...]]:
    kind, _, values = text.partition(":")
    return kind, tuple(FACT_VALUES[kind].index(value) for value in values.split(","))


@lru_cache(maxsize=1)
def phrases() -> dict[tuple[str, str], tuple[str, ...]]:
    """(kind, language) → alternatives, where the kind is wrap, word, adjective or join."""
    return {(kind, language): tuple(cells) for kind, language, *cells in rows("phrases.tsv")}


def plural(name: str, language: str) -> str | None:
    """The regular plural of a single English, Spanish or French word, else None."""
    if " " in name and language != "en":
        return None
    last = name[-1]
    if language == "en":
        if name.endswith(("s", "x", "ch", "sh")):
            return name + "es" if not name.endswith("s") else None
        return name[:-1] + "ies" if last == "y" and name[-2] not in "aeiou" else name + "s"
    if language == "es":
        return name + "s" if last in "aeioué" else name + "es" if last in "rdl" else None
    if language == "fr":
        return None if last in "sxz" else name + "x" if name.endswith(("eau", "eu")) else name + "s"
    return None
