"""From raw cosines to an honest order: calibration, bands, metadata, words, diversity. Pure numpy.

A raw cosine means nothing to a person: it differs between models, between text and picture queries and from query
to query. `match` places it twice: against the background of THIS query over a sample of the collection (z-score)
and against what matching and non-matching pairs of the space looked like (`Curve`, a logistic in both).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

STRONG, POSSIBLE, WEAK = "strong", "possible", "weak"
BANDS = (STRONG, POSSIBLE, WEAK)
RRF_K = 60
# A robust spread of fewer or flatter vectors than this says nothing.
LEAST_STD = 0.01
# What of a match is left to a picture that surely shows what is not wanted: 1 − PENALTY.
PENALTY = 0.9
# How far below the strong band words on a picture can raise it: what it shows is for the model to say.
BELOW_STRONG = 0.01
# How many background vectors the calibrated prior is worth.
PRIOR_COUNT = 40.0


@dataclass(frozen=True, slots=True)
class Background:
    """How the sample of a collection scores for one query vector: robust centre, spread, upper quantiles."""

    mean: float
    std: float
    count: int
    p90: float = 0.0
    p99: float = 0.0

    @classmethod
    def of(cls, similarities: Floats) -> Background:
        """Centre and spread of the lower half, so that the matches in a small sample do not hide themselves."""
        if not len(similarities):
            return cls(0.0, 0.0, 0)
        low, middle, p90, p99 = (float(one) for one in np.quantile(similarities, [0.1587, 0.5, 0.9, 0.99]))
        return cls(middle, middle - low, len(similarities), p90, p99)


@dataclass(frozen=True, slots=True)
class Curve:
    """P(match) = logistic(bias + z · z-score + cosine · similarity + spread · background spread) for one kind of part.

    The spread says how far a question tells the pictures of the collection apart: one that the model does not
    understand leaves them alike, however near the nearest happens to be.

    `mean` and `std` describe the background to expect before the collection is known; a small sample is drawn
    towards them. `std` = 0: nothing is expected, the collection alone counts.
    """

    bias: float
    z: float
    cosine: float = 0.0
    mean: float = 0.0
    std: float = 0.0
    spread: float = 0.0

    def settled(self, background: Background) -> tuple[float, float]:
        """Mean and standard deviation to measure against, the sample weighed with the prior."""
        if not self.std:
            return background.mean, max(background.std, LEAST_STD)
        share = background.count / (background.count + PRIOR_COUNT)
        mean = share * background.mean + (1 - share) * self.mean
        return mean, max(share * background.std + (1 - share) * self.std, LEAST_STD)

    def line(self, background: Background) -> tuple[float, float]:
        """(a, b), b ≥ 0: against this background a similarity s matches with logistic(a + b · s)."""
        mean, std = self.settled(background)
        return self.bias - self.z * mean / std + self.spread * std, self.z / std + self.cosine


# A model without stored calibration: the background alone. Among 2,000 pictures that do not match the best lies
# near z = 3.3 by chance, so half-way is set above it; pictures resemble each other with a wider spread than words.
DEFAULT_CURVES = {
    "text": Curve(bias=-7.6, z=1.8),
    "image": Curve(bias=-5.5, z=1.9),
}


@dataclass(frozen=True, slots=True)
class Calibration:
    """How similarities of one space read: a curve per kind of part (a mixed query combines its parts), the cut-offs
    of the bands, the likeness from which two pictures count as the same."""

    curves: Mapping[str, Curve] = field(default_factory=lambda: dict(DEFAULT_CURVES))
    strong: float = 0.8
    possible: float = 0.35
    same: float = 0.97
    source: str = "default"

    def of(self, kind: str) -> Curve:
        return self.curves.get(kind) or DEFAULT_CURVES[kind]

    def bands(self, matches: Floats) -> list[str]:
        return [
            STRONG if one >= self.strong else POSSIBLE if one >= self.possible else WEAK for one in matches
        ]

    @property
    def ceiling(self) -> float:
        """The greatest match that words alone can give."""
        return self.strong - BELOW_STRONG

    def floor(self, band: str | None) -> float:
        """The least match that lies in `band` or above."""
        return {STRONG: self.strong, POSSIBLE: self.possible}.get(band or "", 0.0)

    def to_json(self) -> dict[str, Any]:
        return {
            "curves": {kind: asdict(curve) for kind, curve in self.curves.items()},
            "strong": self.strong,
            "possible": self.possible,
            "same": self.same,
            "source": self.source,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | None) -> Calibration:
        """The stored calibration; whatever is missing keeps its default. Raises `ValueError` on nonsense."""
        if not data:
            return cls()
        curves = {kind: Curve(**curve) for kind, curve in data.get("curves", {}).items()}
        for curve in curves.values():
            numbers = asdict(curve).values()
            if not all(math.isfinite(one) for one in numbers) or min(curve.z, curve.cosine, curve.std) < 0:
                raise ValueError("A calibration has to be finite and to rise with similarity.")
        plain = {name: data[name] for name in ("strong", "possible", "same", "source") if name in data}
        return cls(curves=dict(DEFAULT_CURVES) | curves, **plain)


def match(similarities: Floats, background: Background, curve: Curve) -> Floats:
    """Calibrated P(match) in 0–1 of similarities [n]; never falls where the similarity rises."""
    start, rise = curve.line(background)
    return logistic(start + rise * np.asarray(similarities, np.float64))


def placed(similarities: Floats, lines: Sequence[tuple[float, float]]) -> Floats:
    """Matches [n, p] of the similarities [n, p] to every part, by the line of each; no vector (NaN), no match."""
    starts, rises = np.asarray(lines, np.float64).reshape(-1, 2).T
    return np.nan_to_num(logistic(starts + rises * np.asarray(similarities, np.float64)))


def logistic(values: Floats) -> Floats:
    return 1.0 / (1.0 + np.exp(-np.clip(values, -60.0, 60.0)))


def combine(matches: Floats, weights: Sequence[float]) -> Floats:
    """One match [n] of the matches [p, n] of several parts: their weighted geometric mean, so that a picture has to
    answer every part. A weighted sum of vectors alone is content with one of them."""
    if len(matches) == 1:
        return np.asarray(matches[0], np.float64)
    shares = np.asarray(weights, np.float64) / np.sum(weights)
    return np.exp(shares @ np.log(np.clip(matches, 1e-9, 1.0)))


def balance(weights: Sequence[float], backgrounds: Sequence[Background]) -> list[float]:
    """Weights that let a part count by what was asked, not by how widely its kind of cosine spreads (pictures
    spread 3–5 times wider than words, so an unbalanced mixed query is a picture query)."""
    spreads = [max(one.std, LEAST_STD) for one in backgrounds]
    return [weight / spread for weight, spread in zip(weights, spreads, strict=True)]


def penalise(matches: Floats, unwanted: Floats, weights: Sequence[float]) -> Floats:
    """Matches [n] less what matches the negatives [q, n]: subtraction in the vector alone leaves such pictures in.
    A negative of weight 1 or more takes away all it can, a lighter one its share of that."""
    taken = PENALTY * np.minimum(np.asarray(weights, np.float64), 1.0)
    return np.asarray(matches) * np.prod(1.0 - taken[:, None] * np.asarray(unwanted), axis=0)


def judged(matches: Floats, judgements: Floats) -> Floats:
    """The mean of a match and of what a reranker says, where it looked (elsewhere NaN)."""
    return np.where(np.isnan(judgements), matches, (np.asarray(matches) + np.nan_to_num(judgements)) / 2)


# -- calibration from pairs ---------------------------------------------------------------------------------


def fit(
    positives: Floats,
    negatives: Floats,
    *,
    prior: tuple[float, float] = (0.0, 0.0),
    balance_classes: bool = False,
    ridge: float = 1e-3,
) -> Curve:
    """The curve that tells matching pairs [p, 3] from others [n, 3], columns (similarity, z-score, background spread).

    Penalised logistic regression by Newton's method; similarity or z-score is left out where its weight would be
    negative, since a match must not fall where similarity rises. `prior`: mean and spread of the background to expect.
    """
    if not len(positives) or not len(negatives):
        raise ValueError("A calibration needs matching and other pairs.")
    features = np.concatenate([positives, negatives]).astype(np.float64)
    labels = np.concatenate([np.ones(len(positives)), np.zeros(len(negatives))])
    counts = np.where(labels > 0, 0.5 / len(positives), 0.5 / len(negatives)) * len(labels)
    shares = counts if balance_classes else np.ones(len(labels))
    for columns in ([0, 1, 2], [0, 2], [1, 2]):
        weights = _newton(features[:, columns], labels, shares, ridge)
        named = dict(zip(columns, weights[1:].tolist(), strict=True))
        if min(weight for column, weight in named.items() if column < 2) > 0:
            return Curve(float(weights[0]), named.get(1, 0.0), named.get(0, 0.0), *prior, named[2])
    raise ValueError("In these pairs similarity says nothing about matching.")


def _newton(features: Floats, labels: Floats, shares: Floats, ridge: float) -> Floats:
    """Weights (bias first) of a ridge logistic regression, steps halved until the loss falls."""
    scale = np.maximum(features.std(axis=0), 1e-9)
    design = np.column_stack([np.ones(len(features)), features / scale])
    penalty = np.diag([0.0] + [ridge * len(labels)] * features.shape[1])
    weights = np.zeros(design.shape[1])

    def loss(at: Floats) -> float:
        odds = design @ at
        return float(shares @ (np.logaddexp(0, odds) - labels * odds) + at @ penalty @ at / 2)

    for _round in range(60):
        likely = logistic(design @ weights)
        gradient = design.T @ (shares * (likely - labels)) + penalty @ weights
        curvature = (design * (shares * likely * (1 - likely))[:, None]).T @ design + penalty
        step = np.linalg.solve(curvature + 1e-9 * np.eye(len(weights)), gradient)
        pace = 1.0
        while pace > 1e-6 and loss(weights - pace * step) > loss(weights):
            pace /= 2
        weights = weights - pace * step
        if float(np.abs(step).max()) < 1e-8:
            break
    return np.concatenate([weights[:1], weights[1:] / scale])


# -- metadata -----------------------------------------------------------------------------------------------


def recency(ages_days: Floats, half_life_days: float) -> Floats:
    """1 for now and for the future, a half after every half-life, 0 where there is no date (NaN)."""
    ages = np.asarray(ages_days, np.float64)
    return np.where(np.isnan(ages), 0.0, 0.5 ** (np.maximum(np.nan_to_num(ages), 0.0) / half_life_days))


@dataclass(frozen=True, slots=True)
class Shares:
    """What each thing adds to a score; relevance + recency + quality = score."""

    relevance: Floats
    recency: Floats
    quality: Floats

    @property
    def score(self) -> Floats:
        return self.relevance + self.recency + self.quality


def blend(
    relevance: Floats,
    fresh: Floats,
    quality: Floats,
    recency_weight: Floats | float,
    quality_weight: Floats | float,
) -> Shares:
    """Scores in 0–1. The metadata scales relevance instead of being added to it, so that a new or a brilliant
    picture of something else stays at the bottom."""
    base = np.asarray(relevance, np.float64) / (1.0 + recency_weight + quality_weight)
    return Shares(base, base * recency_weight * fresh, base * quality_weight * quality)


# -- words --------------------------------------------------------------------------------------------------


def rrf(lists: Sequence[Sequence[int]], k: int = RRF_K) -> dict[int, float]:
    """Reciprocal rank fusion: the merged ids, best first, each with its sum of 1 / (k + rank)."""
    scores: dict[int, float] = {}
    for ranked in lists:
        for rank, one in enumerate(ranked, 1):
            scores[one] = scores.get(one, 0.0) + 1.0 / (k + rank)
    return dict(sorted(scores.items(), key=lambda item: (-item[1], item[0])))


def lift(evidence: Floats, ranks: Floats, most: float = 0.85, k: int = RRF_K) -> Floats:
    """What words found close of the way from a match to certainty [n]: `evidence` 0–1 says how much of the question
    they cover (0: none), `ranks` the place in the keyword list, from 1."""
    return most * np.asarray(evidence) ** 2 * (k + 1.0) / (k + np.maximum(np.asarray(ranks, np.float64), 1.0))


def lifted(matches: Floats, lifts: Floats, calibration: Calibration) -> Floats:
    """Matches [n] raised by their lifts [n]. Words order what is strong; they make nothing strong that is not."""
    matches = np.asarray(matches, np.float64)
    limits = np.where(matches >= calibration.strong, 1.0, calibration.ceiling)
    return np.maximum(matches, np.minimum(1.0 - (1.0 - matches) * (1.0 - np.asarray(lifts)), limits))


# -- variety ------------------------------------------------------------------------------------------------


def diversify(scores: Floats, vectors: Floats, diversity: float, depth: int = 200) -> list[int]:
    """Places in maximal-marginal-relevance order: each next one has the best (1 − diversity) · score − diversity ·
    (greatest cosine to what stands above it). Only the first `depth` places move; ties keep their order."""
    order = [int(one) for one in np.argsort(-np.asarray(scores), kind="stable")]
    head, tail = order[:depth], order[depth:]
    if diversity <= 0 or len(head) < 3:
        return order
    alike = np.asarray(vectors[head], np.float32) @ np.asarray(vectors[head], np.float32).T
    worth = (1 - diversity) * np.asarray(scores, np.float64)[head]
    nearest = np.zeros(len(head))
    left = np.ones(len(head), bool)
    chosen: list[int] = []
    for _place in head:
        gain = np.where(left, worth - diversity * nearest, -np.inf)
        best = int(np.argmax(gain))
        left[best] = False
        chosen.append(head[best])
        nearest = np.maximum(nearest, alike[best])
    return chosen + tail


def fold(vectors: Floats, same: float = 0.97) -> list[int]:
    """For vectors [n, d] in ranked order: the place of the tile that each one is folded into (its own where it
    leads). A follower resembles its leader, never only another follower, so chains do not swallow a collection."""
    unit = np.asarray(vectors, np.float32)
    leaders: list[int] = []
    into: list[int] = []
    for place in range(len(unit)):
        close = unit[leaders] @ unit[place] if leaders else np.empty(0)
        best = int(np.argmax(close)) if len(close) else -1
        if best >= 0 and float(close[best]) >= same:
            into.append(leaders[best])
        else:
            leaders.append(place)
            into.append(place)
    return into


def band_counts(bands: Iterable[str]) -> dict[str, int]:
    counts = dict.fromkeys(BANDS, 0)
    for band in bands:
        counts[band] += 1
    return counts
