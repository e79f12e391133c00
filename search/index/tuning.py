"""Recall is measured, never assumed: the cheapest parameter that reaches the target, with the whole curve.

Text queries are what users type, and they are the hard ones: codes that look perfect on image queries (.999) fail on
them (.71-.87). So every figure here comes from probes that are text, or lie where text lies.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np

from search.index.manifest import RecallPoint
from search.index.segment import Segment

DEPTH = 50
PROBES = 300
MAX_HNSW_EFFORT = 1024
CLOSE = 1.06
# Share of a text vector that is its modality's own direction, its concept, and neither (cosines of real text with
# real pictures come out at .15-.35 with these).
MODALITY, CONCEPT, REST = 0.8, 0.5, 0.3


def text_like_probes(sample: np.ndarray, count: int = PROBES, seed: int = 0) -> np.ndarray:
    """Stand-ins for text queries, float32 [count, d], made of a `sample` [n, d] of the collection's own vectors.

    Each is a direction that no picture has (the gap between text and pictures), plus one or two concepts of the
    sample with the mean taken out, plus noise of the sample's own spread. They are harder than image queries and
    close to text, but no replacement for it: a manifest says which of the two was used.
    """
    if not len(sample):
        return np.empty((0, sample.shape[1]), np.float32)
    random = np.random.default_rng(seed)
    mean = sample.mean(0)
    spread = sample - mean
    gap = random.standard_normal(sample.shape[1])
    gap = gap - (gap @ mean) * mean / max(float(mean @ mean), 1e-12)
    first, second = random.integers(0, len(sample), (2, count))
    share = random.uniform(0, 0.3, (count, 1))
    concept = (1 - share) * spread[first] + share * spread[second]
    mixed = random.standard_normal((count, min(len(sample), 256))) @ spread[: min(len(sample), 256)]
    return _unit(MODALITY * _unit(gap[None]) + CONCEPT * _unit(concept) + REST * _unit(mixed)).astype(
        np.float32
    )


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def efforts(segment: Segment) -> Iterator[int]:
    """Values of efSearch or nprobe worth measuring, cheapest first."""
    most = MAX_HNSW_EFFORT if segment.kind == "hnsw" else segment.nlist
    effort = DEPTH if segment.kind == "hnsw" else 4
    while effort < most:
        yield effort
        effort = max(effort + 1, round(effort * 1.4))
    if segment.kind != "hnsw":
        yield most


def recalls(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Per query, the share of the true ids [q, k] among the found [q, k]; places that hold -1 do not count."""
    pairs = zip(found, truth, strict=True)
    return np.array([len(np.intersect1d(a, b[b >= 0])) / max(1, int((b >= 0).sum())) for a, b in pairs])


def measure(
    segment: Segment, probes: np.ndarray, truth: np.ndarray, effort: int, target: float
) -> tuple[RecallPoint, bool]:
    """Recall@50 and median CPU milliseconds per query, asked one at a time as users do; and whether the recall
    reaches `target` by more than its standard error, so that other queries than these reach it too."""
    found, spent = [], []
    for probe in probes:
        begun = time.thread_time()
        found.append(segment.search(probe, DEPTH, effort=effort)[0][0])
        spent.append(time.thread_time() - begun)
    each = recalls(np.array(found), truth)
    error = float(each.std()) / len(each) ** 0.5
    point = RecallPoint(effort, round(float(each.mean()), 4), round(1e3 * float(np.median(spent)), 4))
    return point, float(each.mean()) - error >= target


def tune(segment: Segment, probes: np.ndarray, target: float) -> tuple[int | None, tuple[RecallPoint, ...]]:
    """(effort, curve): the smallest effort whose recall@50 reaches `target`, None where only exact search does.

    A coarse grid, then halfway between the last two points while they are far apart. The curve is sorted by effort.
    """
    if segment.kind == "exact" or not segment.count or not len(probes):
        return None, ()
    truth = np.concatenate([segment.search(probe, DEPTH)[0] for probe in probes])
    chosen, before, curve = None, 0, []
    for effort in efforts(segment):
        point, reached = measure(segment, probes, truth, effort, target)
        curve.append(point)
        if reached:
            chosen = effort
            break
        before = effort
    while chosen and before and chosen > CLOSE * before and chosen - before > 1:
        between = round((before * chosen) ** 0.5)
        point, reached = measure(segment, probes, truth, between, target)
        before, chosen = (before, between) if reached else (between, chosen)
        curve.append(point)
    return chosen, tuple(sorted(curve, key=lambda point: point.effort))
