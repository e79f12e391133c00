"""The last step before a list is frozen: cut off, sort, spread out, fold. Pure numpy over the lists of all spaces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search import ranking
from search.frozen import ROW
from search.query import Query
from search.ranking import BANDS, WEAK, Calibration

WEAKEST = BANDS.index(WEAK)
Table = NDArray[Any]


@dataclass(frozen=True)
class Ranked:
    """Candidates of one space: rows of `ROW` [n], part similarities [n, p], when (Unix seconds) and how good each
    picture is [n], and, where they were read, its vectors [n, d]; the line (see `Curve.line`) of every part."""

    rows: Table
    parts: NDArray[np.float32]
    when: NDArray[np.float64]
    good: NDArray[np.float64]
    vectors: NDArray[np.float32] | None
    calibration: Calibration
    lines: tuple[tuple[float, float], ...]

    def take(self, places: NDArray[Any] | list[int]) -> Ranked:
        vectors = None if self.vectors is None else self.vectors[places]
        return Ranked(
            self.rows[places],
            self.parts[places],
            self.when[places],
            self.good[places],
            vectors,
            self.calibration,
            self.lines,
        )


def assemble(lists: Sequence[Ranked], query: Query, depth: int) -> tuple[Table, NDArray[np.float32]]:
    """One table in its final order, at most `depth` rows, with the part similarities beside it.

    Spreading and folding compare vectors, so they act only where all candidates come from one space.
    """
    whole = _joined([_cut(one, query) for one in lists])
    whole = whole.take(_order(whole, query)[:depth])
    groups = np.arange(len(whole.rows))
    if query.fold and whole.vectors is not None and len(groups):
        groups = np.array(ranking.fold(np.nan_to_num(whole.vectors), whole.calibration.same))
        whole = whole.take(np.argsort(groups, kind="stable"))
        groups = np.sort(groups)
    whole.rows["group"] = groups
    return whole.rows, whole.parts


def leaders(rows: Table) -> Table:
    """The first row of every group."""
    return rows[np.flatnonzero(np.diff(rows["group"], prepend=-1))]


def _cut(one: Ranked, query: Query) -> Ranked:
    """Only what reaches the asked-for band and match. A sort by date or quality needs a cut, or it would begin with
    whatever is newest: without a band it takes the possible ones where there are any."""
    matches = one.rows["match"]
    least = max(one.calibration.floor(query.min_band), query.min_match or 0.0)
    if query.sort != "relevance" and not least and (matches >= one.calibration.possible).any():
        least = one.calibration.possible
    return one.take(np.flatnonzero(matches >= np.float32(least)))


def _joined(lists: Sequence[Ranked]) -> Ranked:
    if len(lists) == 1:
        return lists[0]
    return Ranked(
        np.concatenate([one.rows for one in lists]) if lists else np.empty(0, ROW),
        np.concatenate([one.parts for one in lists]),
        np.concatenate([one.when for one in lists]),
        np.concatenate([one.good for one in lists]),
        None,
        lists[0].calibration,
        (),
    )


def _order(whole: Ranked, query: Query) -> NDArray[np.intp]:
    """Places in the order of the page; the weak ones always below the others when sorted by relevance."""
    ids = whole.rows["id"]
    if query.sort != "relevance":
        keys = {"newest": -whole.when, "oldest": whole.when, "quality": -whole.good}
        return np.lexsort((ids, keys[query.sort]))
    weak = whole.rows["band"] == WEAKEST
    order = np.lexsort((ids, -whole.rows["score"], weak))
    if not query.diversity or whole.vectors is None:
        return order
    sections = [order[~weak[order]], order[weak[order]]]
    return np.concatenate([_spread(section, whole, query.diversity) for section in sections])


def _spread(section: NDArray[np.intp], whole: Ranked, diversity: float) -> NDArray[np.intp]:
    assert whole.vectors is not None
    places = ranking.diversify(whole.rows["score"][section], np.nan_to_num(whole.vectors[section]), diversity)
    return section[places]
