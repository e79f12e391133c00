"""The facts of a picture, and what a caption claims about them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search.demo.lexicon import things
from search.demo.scene import COLOURS, PLACES, TIMES, WEATHERS


@dataclass(frozen=True)
class Facts:
    """All that is true of a picture: object numbers, and positions in PLACES, TIMES, WEATHERS, COLOURS."""

    objects: tuple[int, ...]
    place: int = 0
    time: int = 0
    weather: int = 0
    background: int = 0


class Table:
    """The facts of many pictures as columns, so that a claim is checked for all of them at once."""

    def __init__(self, facts: "list[Facts]") -> None:
        self.objects: NDArray[np.bool_] = np.zeros((len(facts), len(things())), bool)
        for row, fact in enumerate(facts):
            self.objects[row, list(fact.objects)] = True
        self.place = one_hot([fact.place for fact in facts], len(PLACES))
        self.time = one_hot([fact.time for fact in facts], len(TIMES))
        self.weather = one_hot([fact.weather for fact in facts], len(WEATHERS))
        self.background = one_hot([fact.background for fact in facts], len(COLOURS))

    def __len__(self) -> int:
        return len(self.objects)


def one_hot(values: list[int], count: int) -> NDArray[np.bool_]:
    """[len(values), count], True where the value is."""
    table = np.zeros((len(values), count), bool)
    table[np.arange(len(values)), values] = True
    return table


@dataclass(frozen=True)
class Predicate:
    """One claim: the `kind` of fact (a column of Table) is one of `values`. A hypernym has many values."""

    kind: str
    values: tuple[int, ...]

    def holds(self, table: Table) -> NDArray[np.bool_]:
        """[pictures], True where the claim is true."""
        return getattr(table, self.kind)[:, list(self.values)].any(axis=1)


def truth(claims: tuple[Predicate, ...], table: Table) -> NDArray[np.bool_]:
    """[pictures], True where all claims hold; no claims at all (nonsense) hold nowhere."""
    if not claims:
        return np.zeros(len(table), bool)
    return np.logical_and.reduce([claim.holds(table) for claim in claims])
