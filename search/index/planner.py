"""Which way to search, given the size, the filter and what was measured at build. Pure.

Filters are never applied after the fact: of the top 200, a filter that keeps 0.5 % leaves 1. Either the set itself is
searched exactly (its bitmap costs far less than a full scan), or the approximate search carries the bitmap and is
widened so that it meets about as many allowed rows as the unfiltered search did.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from search.index.manifest import RecallPoint

EXACT_ROWS = 20_000
# Below this many allowed rows the exact scan of the set is the cheaper plan at any size.
SMALL_SET = 10_000
MAX_EF = 4096
# What one unit of effort costs, in rows of an exact scan (100k and 1M vectors of 512 components, one thread).
HNSW_ROWS_PER_EF = 35
LISTED_ROW = {"ivf": 0.7, "ivf-pq": 0.4, "ivf-flat": 2.0}
# Who wants more than this share of everything is answered exactly: nearly every list would have to be looked into.
MOST_WANTED = 1 / 40


@dataclass(frozen=True)
class Plan:
    """`effort` is efSearch or nprobe; None means exact search (over the allowed set, where there is one)."""

    name: str
    effort: int | None
    exact: bool
    estimated_recall: float

    def fallback(self) -> Plan:
        """The exact plan that follows when the approximate one came back short."""
        return Plan(f"{self.name}+exact", None, True, 1.0)


@dataclass(frozen=True)
class Searchable:
    """What the planner must know of a segment. `effort` None: nothing but exact search reached the target."""

    count: int
    kind: str
    effort: int | None = None
    nlist: int = 0
    curve: tuple[RecallPoint, ...] = ()


def kind_for(count: int) -> str:
    """The kind by size, where nobody asked for another."""
    return "exact" if count <= EXACT_ROWS else "ivf-pq"


def plan(segment: Searchable, k: int, allowed_count: int | None = None) -> Plan:
    """Choose the cheapest plan that keeps the tuned recall; `allowed_count` None means no filter."""
    exact = Plan("exact" if allowed_count is None else "filtered-exact", None, True, 1.0)
    if segment.kind == "exact" or segment.effort is None or k > MOST_WANTED * segment.count:
        return exact
    if allowed_count is None:
        effort = max(segment.effort, k) if segment.kind == "hnsw" else segment.effort
        return Plan(segment.kind, effort, False, recall_at(segment.curve, segment.effort))
    if allowed_count <= max(SMALL_SET, k):
        return exact
    wider = _widened(segment, allowed_count)
    if wider is None or allowed_count <= _rows(segment, wider):
        return exact
    return Plan(f"{segment.kind}-filtered", wider, False, recall_at(segment.curve, segment.effort))


def _widened(segment: Searchable, allowed_count: int) -> int | None:
    """The effort that meets as many allowed rows as the tuned one meets rows; None where that is everything."""
    effort = -(-(segment.effort or 1) * segment.count // allowed_count)
    most = MAX_EF if segment.kind == "hnsw" else segment.nlist - 1
    return effort if effort <= most else None


def _rows(segment: Searchable, effort: int) -> float:
    """Cost of an approximate search, in rows of an exact scan."""
    if segment.kind == "hnsw":
        return effort * HNSW_ROWS_PER_EF
    return LISTED_ROW[segment.kind] * segment.count * effort / max(1, segment.nlist)


def recall_at(curve: Sequence[RecallPoint], effort: int) -> float:
    """The measured recall of the largest point that is not above `effort`; 0 where nothing was measured."""
    return max((point.recall for point in curve if point.effort <= effort), default=0.0)
