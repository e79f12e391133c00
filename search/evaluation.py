"""How well a whole search answers: retrieval metrics, honesty, latency, through the real engine; and the calibration
that is learnt from labelled pictures.

A data set is a folder: `queries.jsonl` (query, kind, relevant file names; nothing relevant: unanswerable), or
`manifest.jsonl` with a `label` per file, from which queries are made. Pictures lie beside it.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from django.db import transaction
from numpy.typing import NDArray
from PIL import Image as Picture

from images.access import Principal, principal_for_user
from images.models import Collection, Image, Team, User
from search import engine, index, retrieval
from search.encoders import Encoder, SpaceIdentity
from search.models import CollectionIndex, Embedding, EmbeddingState, Space
from search.query import Query, TextPart, compose, normalised
from search.ranking import Background, Calibration, Curve, fit, match
from search.scope import SAMPLE
from search.serializers import page_json

NONSENSE = (
    "zxqv blorf", "qwpl mntrk", "flarn gwibble", "xkcdq vvrt", "brzzl hoont", "plomf dreek", "uhjk wexx", "gnarf iptol",
)  # fmt: skip
BATCH = 64
BINS = (0.0, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 1.0)
HONEST = 0.78  # asked of the strong results when fitting, a little above the promised 0.75
REFUSED = 0.92
ANSWERLESS = 0.01
LEAST_POSSIBLE = 0.2
Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Asked:
    """One labelled question; without relevant files it is one that must not be answered."""

    text: str
    kind: str
    relevant: frozenset[str]


@dataclass(frozen=True)
class Labelled:
    """A data set: files in a folder, their title and tags, and questions."""

    folder: Path
    files: tuple[str, ...]
    asked: tuple[Asked, ...]
    titles: dict[str, str] = field(default_factory=dict)
    same: tuple[frozenset[str], ...] = ()  # groups of files that show the same thing
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)


def load(folder: Path) -> Labelled:
    """Raises FileNotFoundError where the folder holds neither list."""
    manifest = _rows(folder / "manifest.jsonl")
    if (folder / "queries.jsonl").is_file():
        asked = tuple(
            Asked(row["query"], row["kind"], frozenset(row["relevant"]))
            for row in _rows(folder / "queries.jsonl")
        )
        titles = {row["file"]: row.get("title", "") for row in manifest}
        facts = {row["file"]: row["facts"] for row in manifest if row.get("facts")}
        return Labelled(folder, tuple(titles), asked, titles, _grouped(manifest, _things), facts)
    labelled = [row for row in manifest if row.get("label")]
    named: list[str] = []
    groups = _grouped(labelled, lambda row: [row["label"].replace("_", " ").lower()], named)
    asked = tuple(Asked(name, "label", group) for name, group in zip(named, groups, strict=True))
    nonsense = tuple(Asked(text, "nonsense", frozenset()) for text in NONSENSE)
    return Labelled(folder, tuple(row["file"] for row in labelled), asked + nonsense, {}, groups)


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def _things(row: dict[str, Any]) -> list[str]:
    things = row.get("facts", {}).get("objects", [])
    return things if len(things) == 1 else []


def _grouped(
    rows: Sequence[dict[str, Any]],
    keys: Callable[[dict[str, Any]], list[str]],
    named: list[str] | None = None,
) -> tuple[frozenset[str], ...]:
    groups: dict[str, set[str]] = {}
    for row in rows:
        for key in keys(row):
            groups.setdefault(key, set()).add(row["file"])
    if named is not None:
        named += groups
    return tuple(frozenset(group) for group in groups.values())


# -- a scratch collection -----------------------------------------------------------------------------------


def encoded(data: Labelled, encoder: Encoder) -> Vectors:
    """Vectors [files, d] of the pictures of a data set."""
    parts = []
    for start in range(0, len(data.files), BATCH):
        pictures = [_opened(data.folder / name) for name in data.files[start : start + BATCH]]
        parts.append(encoder.encode_images(pictures))
    return np.concatenate(parts).astype(np.float32)


def _opened(path: Path) -> Picture.Image:
    with Picture.open(path) as picture:
        return picture.convert("RGB")


@contextmanager
def scratch(
    data: Labelled,
    vectors: Vectors,
    identity: SpaceIdentity,
    calibration: Calibration,
    *,
    titles: bool = False,
) -> Iterator[Principal]:
    """The data set as a searchable collection that nobody else ever sees: one transaction, rolled back at the end.
    Yields a principal that reads this collection alone."""
    retrieval.forget()
    with transaction.atomic():
        try:
            yield _populated(data, vectors, _space(identity, calibration), titles)
        finally:
            transaction.set_rollback(True)
            retrieval.forget()
            index.reset()


def _space(identity: SpaceIdentity, calibration: Calibration) -> Space:
    known = asdict(identity) | {"languages": list(identity.languages), "calibration": calibration.to_json()}
    return Space.objects.update_or_create(sha256=known.pop("sha256"), defaults=known)[0]


def _populated(data: Labelled, vectors: Vectors, space: Space, titles: bool) -> Principal:
    team = Team.objects.create(name="Evaluation", slug=f"evaluation-{secrets.token_hex(4)}")
    user = User.objects.create_user(f"{team.slug}@loupe.invalid", None, name="Evaluation")
    user.memberships.create(team=team, role="viewer")
    place = Collection.objects.create(team=team, name="Evaluation")
    rows = Image.objects.bulk_create(_row(place, n, name, data, titles) for n, name in enumerate(data.files))
    Embedding.objects.filter(image__in=rows).delete()
    Embedding.objects.bulk_create(
        _embedding(row, space, vector, seq)
        for seq, (row, vector) in enumerate(zip(rows, vectors, strict=True), 1)
    )
    CollectionIndex.objects.update_or_create(
        collection=place, defaults={"space": space, "last_seq": len(rows)}
    )
    return replace(principal_for_user(user), only_team=team.pk)


def _embedding(row: Image, space: Space, vector: Vectors, seq: int) -> Embedding:
    content = vector.astype("<f2").tobytes()
    done = EmbeddingState.DONE
    return Embedding(image=row, collection=row.collection, space=space, state=done, vector=content, seq=seq)


def _row(place: Collection, number: int, name: str, data: Labelled, titles: bool) -> Image:
    title = data.titles.get(name, "") if titles else ""
    known = {"byte_size": 1, "state": "ready", "width": 1, "height": 1, "quality": 0.5}
    return Image(collection=place, sha256=f"{number:064x}", file_name=name[-255:], title=title, **known)


# -- measuring ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """What came back for one question: is each result right, its match, and the milliseconds by stage."""

    asked: Asked
    right: NDArray[np.bool_]
    matches: NDArray[np.float64]
    bands: tuple[str, ...]
    took: dict[str, float]


def ask(
    asked: Sequence[Asked], principal: Principal, *, words: bool = False, limit: int = 200
) -> list[Answer]:
    """Every question through the real engine; words on the pictures are left out unless asked for, so that the
    figures say what the model and the calibration do."""
    found = []
    for one in asked:
        page = engine.find(Query((TextPart(one.text),), words=words, limit=limit), principal)
        right = np.array([result.image.file_name in one.relevant for result in page.results], bool)
        began = time.perf_counter()
        orjson.dumps(page_json(page))
        took = page.meta["took_ms"] | {"format": (time.perf_counter() - began) * 1000}
        took["total"] += took["format"]
        matches = np.array([result.match for result in page.results])
        bands = tuple(result.band for result in page.results)
        found.append(Answer(one, right, matches, bands, took))
    return found


def precision_at(right: NDArray[np.bool_], wanted: int, depth: int) -> float:
    """The share of right ones among the first min(depth, wanted)."""
    most = min(depth, wanted)
    return float(right[:most].sum() / most)


def reciprocal_rank(right: NDArray[np.bool_]) -> float:
    return float(1.0 / (1 + np.argmax(right))) if right.any() else 0.0


def ndcg(right: NDArray[np.bool_], wanted: int, depth: int = 10) -> float:
    discounts = 1.0 / np.log2(np.arange(2, depth + 2))
    gained = float((right[:depth] * discounts[: len(right[:depth])]).sum())
    return gained / float(discounts[: min(wanted, depth)].sum())


@dataclass(frozen=True)
class Report:
    """Figures by name, the calibration table (from, to, results, mean match, share right), stages (p50, p95)."""

    figures: dict[str, float]
    table: tuple[tuple[float, float, int, float, float], ...]
    stages: dict[str, tuple[float, float]]

    def formatted(self) -> str:
        """Markdown."""
        lines = ["| figure | value |", "| --- | ---: |"]
        lines += [f"| {name} | {value:.3f} |" for name, value in self.figures.items()]
        lines += ["", "| match | results | mean match | right |", "| --- | ---: | ---: | ---: |"]
        lines += [f"| {a:.2f}–{b:.2f} | {n} | {m:.3f} | {r:.3f} |" for a, b, n, m, r in self.table]
        lines += ["", "| stage | p50 ms | p95 ms |", "| --- | ---: | ---: |"]
        lines += [f"| {name} | {middle:.2f} | {late:.2f} |" for name, (middle, late) in self.stages.items()]
        return "\n".join(lines)


def report(answers: Sequence[Answer]) -> Report:
    good = [one for one in answers if one.asked.relevant]
    bad = [one for one in answers if not one.asked.relevant]
    return Report(
        _figures(good) | _honesty(answers, good, bad) | _kinds(good), _table(answers), _stages(answers)
    )


def _figures(good: Sequence[Answer]) -> dict[str, float]:
    wanted = [len(one.asked.relevant) for one in good]
    pairs = list(zip(good, wanted, strict=True))
    return {
        "queries": len(good),
        "precision@5": _mean(precision_at(one.right, most, 5) for one, most in pairs),
        "top-5 accuracy": _mean(bool(one.right[:5].any()) for one in good),
        "recall@50": _mean(one.right[:50].sum() / min(most, 50) for one, most in pairs),
        "MRR": _mean(reciprocal_rank(one.right) for one in good),
        "nDCG@10": _mean(ndcg(one.right, most) for one, most in pairs),
    }


def _honesty(answers: Sequence[Answer], good: Sequence[Answer], bad: Sequence[Answer]) -> dict[str, float]:
    shown = [(right, match) for one in answers for right, match in zip(one.right, one.matches, strict=True)]
    strong = [right for right, match in shown if match >= 0.8]
    figures = {
        "right of those shown at 0.8 or more": _mean(strong),
        "answerable with a strong result": _mean("strong" in one.bands for one in good),
        "answerable with nothing strong or possible (zero results)": _mean(
            not {"strong", "possible"} & set(one.bands) for one in good
        ),
    }
    for kind in sorted({one.asked.kind for one in bad}):
        some = [one for one in bad if one.asked.kind == kind]
        figures[f"{kind}: without a strong result"] = _mean("strong" not in one.bands for one in some)
    return figures


def _kinds(good: Sequence[Answer]) -> dict[str, float]:
    kinds = dict.fromkeys(one.asked.kind for one in good)
    return {
        f"precision@5 {kind}": _mean(
            precision_at(one.right, len(one.asked.relevant), 5) for one in good if one.asked.kind == kind
        )
        for kind in kinds
    }


def _table(answers: Sequence[Answer]) -> tuple[tuple[float, float, int, float, float], ...]:
    matches = np.concatenate([one.matches for one in answers])
    right = np.concatenate([one.right for one in answers])
    rows = []
    for low, high in pairwise(BINS):
        inside = (matches >= low) & ((matches < high) | (high == 1.0))
        if inside.any():
            rows.append(
                (low, high, int(inside.sum()), float(matches[inside].mean()), float(right[inside].mean()))
            )
    return tuple(rows)


def _stages(answers: Sequence[Answer]) -> dict[str, tuple[float, float]]:
    names = answers[0].took if answers else {}
    taken = {name: np.array([one.took[name] for one in answers]) for name in names}
    return {name: (float(np.median(ms)), float(np.quantile(ms, 0.95))) for name, ms in taken.items()}


def _mean(values: Any) -> float:
    listed = list(values)
    return float(np.mean(listed)) if listed else float("nan")


# -- calibration --------------------------------------------------------------------------------------------


def calibrated(data: Labelled, vectors: Vectors, encoder: Encoder, *, source: str) -> Calibration:
    """The calibration that makes matches honest on a data set: one curve for texts, one for pictures, each shifted
    until the strong results are right often enough and what cannot be answered is refused."""
    asked = [normalised(one.text) for one in data.asked]
    texts = np.stack([compose(group, [1.0] * len(group)) for group in _prompted(asked, encoder)])
    truth = [np.array([name in one.relevant for name in data.files]) for one in data.asked]
    curves = {"text": _curve(texts @ vectors.T, truth, vectors, texts)}
    if data.same:
        places, same = _like(data)
        scores = vectors[places] @ vectors.T
        scores[np.arange(len(places)), places] = -2.0
        curves["image"] = _curve(scores, same, vectors, vectors[places])
    made = Calibration(curves={**Calibration().curves, **curves}, source=source)
    return replace(made, possible=_possible(texts @ vectors.T, truth, _backgrounds(vectors, texts), made))


def _possible(
    scores: Vectors, truth: Sequence[NDArray[np.bool_]], backgrounds: Sequence[Background], made: Calibration
) -> float:
    """The cut-off of the possible band: at most the default, and so that hardly an answerable question is left with
    weak results alone."""
    rows = [match(row, one, made.of("text")).max() for row, one in zip(scores, backgrounds, strict=True)]
    best = [row for row, right in zip(rows, truth, strict=True) if right.any()]
    return (
        float(np.clip(np.quantile(best, ANSWERLESS), LEAST_POSSIBLE, made.possible))
        if best
        else made.possible
    )


def _backgrounds(vectors: Vectors, probes: Vectors) -> list[Background]:
    drawn = np.random.default_rng(1).permutation(len(vectors))[:SAMPLE]
    return [Background.of(vectors[drawn] @ probe) for probe in probes]


def _prompted(texts: Sequence[str], encoder: Encoder) -> Iterator[Vectors]:
    """The vectors of every text's prompts, as the engine asks the model."""
    for text in texts:
        yield encoder.encode_texts(retrieval.prompts(text, encoder))


def _like(data: Labelled) -> tuple[list[int], list[NDArray[np.bool_]]]:
    """Pictures to ask with, and for each which others show the same."""
    place = {name: number for number, name in enumerate(data.files)}
    asked, truth = [], []
    for group in data.same:
        for name in sorted(group)[:4] if len(group) > 1 else ():
            asked.append(place[name])
            truth.append(np.array([other in group and other != name for other in data.files]))
    return asked, truth


def _curve(scores: Vectors, truth: Sequence[NDArray[np.bool_]], vectors: Vectors, probes: Vectors) -> Curve:
    backgrounds = _backgrounds(vectors, probes)
    prior = (
        float(np.mean([one.mean for one in backgrounds])),
        float(np.mean([one.std for one in backgrounds])),
    )
    settled = Curve(0.0, 1.0, 0.0, *prior)
    positives, negatives = [], []
    for row, right, background in zip(scores, truth, backgrounds, strict=True):
        mean, std = settled.settled(background)
        shown = np.argsort(-row, kind="stable")[:100]
        pairs = np.column_stack([row[shown], (row[shown] - mean) / std, np.full(len(shown), std)])
        positives.append(pairs[right[shown]])
        negatives.append(pairs[~right[shown]])
    curve = fit(np.concatenate(positives), np.concatenate(negatives), prior=prior)
    return _honest(curve, scores, truth, backgrounds)


def _honest(
    curve: Curve, scores: Vectors, truth: Sequence[NDArray[np.bool_]], backgrounds: Sequence[Background]
) -> Curve:
    """The curve with the least shift of its bias that keeps the promises; a shift keeps it monotone."""
    for shift in np.arange(0.0, 12.0, 0.1):
        shifted = replace(curve, bias=curve.bias - float(shift))
        rows = [match(row, one, shifted) >= 0.8 for row, one in zip(scores, backgrounds, strict=True)]
        right = sum(int((row & true).sum()) for row, true in zip(rows, truth, strict=True))
        shown = sum(int(row.sum()) for row in rows)
        empty = [row for row, true in zip(rows, truth, strict=True) if not true.any()]
        refused = _mean(not row.any() for row in empty) if empty else 1.0
        if (not shown or right / shown >= HONEST) and refused >= REFUSED:
            return shifted
    return shifted


def halves(data: Labelled) -> tuple[Labelled, Labelled]:
    """Every second question for fitting, the others for measuring what was fitted."""
    return replace(data, asked=data.asked[::2]), replace(data, asked=data.asked[1::2])
