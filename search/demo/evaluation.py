"""How well a model of the drawn world searches, on pictures and phrasings that training never saw.

`python -m search.demo.evaluation [folder]` prints the table. Ranking is exact; precision is over the first five
pictures, or over as many as are right when fewer than five are.
"""

import random
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from search.demo.captions import Caption, Concept, hypernym_concepts, matrix, object_concepts, scene_concepts
from search.demo.lexicon import LANGUAGES, rows
from search.demo.samples import Mix, Painter
from search.demo.world import Facts, Table

if TYPE_CHECKING:
    from PIL.Image import Image

FLOORS = {
    "objects": 0.955,
    "held-out wrappers": 0.92,
    "scenes": 0.98,
    "object + place": 0.86,
    "two objects": 0.95,
    "hypernyms": 0.93,
    "picture to same object": 0.75,
    "answerable AUC": 0.96,
}
JOINS = {
    "en": ("at the", "by a"),
    "es": ("junto a la", "en un"),
    "fr": ("devant la", "dans un"),
    "de": ("vor der", "in einem"),
}
SEED = 424_243
Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Row:
    """One line of the table; `floor` is None where none is promised."""

    metric: str
    value: float
    floor: float | None
    queries: int

    @property
    def passed(self) -> bool:
        """Whether the value reaches the floor."""
        return self.floor is None or self.value >= self.floor


@lru_cache(maxsize=8)
def held_out(kind: str) -> dict[str, tuple[str, ...]]:
    """Texts of data/evaluation.tsv by language."""
    return {language: tuple(cells) for found, language, *cells in rows("evaluation.tsv") if found == kind}


def reserved_texts() -> frozenset[str]:
    """What training must not use: the held-out texts and their longer words, lower case."""
    kinds = ("absent", "nonsense", "wrap")
    texts = [text.lower() for kind in kinds for cells in held_out(kind).values() for text in cells]
    return frozenset(texts) | {word for text in texts for word in re.findall(r"\w{5,}", text)}


class Encoder:
    """A saved model as two functions into the shared space; loads through AutoModel and AutoProcessor."""

    def __init__(self, folder: Path) -> None:
        import torch
        from transformers import AutoModel, AutoProcessor

        from search.demo.tower import register

        register()
        self._torch = torch
        self.model = AutoModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32).eval()
        self.processor = AutoProcessor.from_pretrained(folder, local_files_only=True)

    def pictures(self, images: "Iterable[NDArray[np.uint8] | Image]") -> Vectors:
        """Unit vectors [pictures, 256]."""
        images, parts = list(images), []
        for start in range(0, len(images), 128):
            batch = self.processor(images=images[start : start + 128], return_tensors="pt")
            parts.append(self._unit(self.model.get_image_features, **batch))
        return np.concatenate(parts)

    def texts(self, texts: list[str]) -> Vectors:
        """Unit vectors [texts, 256]."""
        parts = []
        for start in range(0, len(texts), 256):
            batch = self.processor(
                text=texts[start : start + 256], return_tensors="pt", padding=True, truncation=True
            )
            parts.append(self._unit(self.model.get_text_features, **batch))
        return np.concatenate(parts)

    def _unit(self, encode: Callable[..., object], **batch: object) -> Vectors:
        with self._torch.inference_mode():
            vectors = encode(**batch).pooler_output.numpy()  # type: ignore[attr-defined]
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def precision(scores: Vectors, truth: NDArray[np.bool_], depth: int = 5) -> NDArray[np.float64]:
    """[queries]: the share of right pictures among the best min(depth, number of right ones)."""
    depth = min(depth, scores.shape[1])
    best = np.argsort(-scores, axis=1)[:, :depth]
    hits = np.take_along_axis(truth, best, axis=1)
    wanted = np.minimum(truth.sum(1), depth)
    counted = np.arange(depth)[None, :] < wanted[:, None]
    return (hits & counted).sum(1) / np.maximum(wanted, 1)


def auc(positive: NDArray[np.float32], negative: NDArray[np.float32]) -> float:
    """The chance that an answerable text scores above an unanswerable one."""
    return float(
        (positive[:, None] > negative[None, :]).mean() + 0.5 * (positive[:, None] == negative[None, :]).mean()
    )


def _named(concepts: Iterable[Concept], language: str) -> list[Caption]:
    return [(concept.names[language][0], concept.claims) for concept in concepts]


def _wrapped(captions: list[Caption], language: str, rng: random.Random) -> list[Caption]:
    return [(rng.choice(held_out("wrap")[language]).format(text), claims) for text, claims in captions]


def _pairs(facts: list[Facts], kinds: tuple[str, ...], rng: random.Random, count: int = 160) -> list[Caption]:
    """Captions that name one fact of each kind of a random picture, so that at least one picture fits."""
    fitting = (
        [f for f in facts if f.place and f.objects]
        if "place" in kinds
        else [f for f in facts if len(f.objects) == 2]
    )
    captions = []
    for fact in rng.choices(fitting, k=count):
        language = rng.choice(LANGUAGES)
        parts = [_part(kind, fact, position, rng) for position, kind in enumerate(kinds)]
        text = f" {rng.choice(JOINS[language])} ".join(part.names[language][0] for part in parts)
        captions.append((text, tuple(claim for part in parts for claim in part.claims)))
    return captions


def _part(kind: str, fact: Facts, position: int, rng: random.Random) -> Concept:
    if kind == "object":
        return object_concepts()[fact.objects[position % len(fact.objects)]]
    if kind == "hypernym":
        fitting = [c for c in hypernym_concepts() if c.true_of(fact)]
        return rng.choice(fitting) if fitting else object_concepts()[fact.objects[0]]
    return rng.choice(
        [c for c in scene_concepts() if c.claims[0].kind == kind and len(c.claims) == 1 and c.true_of(fact)]
    )


def queries(facts: list[Facts], seed: int = SEED) -> dict[str, list[Caption]]:
    """The questions of each metric."""
    rng = random.Random(seed)  # noqa: S311 - no secret
    asked: dict[str, list[Caption]] = {}
    for language in LANGUAGES:
        asked[f"objects {language}"] = _named(object_concepts(), language)
    asked["held-out wrappers"] = [
        caption
        for language in LANGUAGES
        for caption in _wrapped(_named(object_concepts()[::2], language), language, rng)
    ]
    asked["hypernyms"] = [
        caption for language in LANGUAGES for caption in _named(hypernym_concepts(), language)
    ]
    asked["scenes"] = [caption for language in LANGUAGES for caption in _named(scene_concepts(), language)]
    asked["object + place"] = _pairs(facts, ("object", "place"), rng)
    asked["object + place + time"] = _pairs(facts, ("object", "place", "time"), rng)
    asked["two objects"] = _pairs(facts, ("object", "object"), rng)
    asked["hypernym + place"] = _pairs(facts, ("hypernym", "place"), rng)
    return asked


def unanswerable() -> list[str]:
    """Held-out texts that no picture answers, bare and in held-out wrappers."""
    bare = [
        (text, language)
        for kind in ("absent", "nonsense")
        for language, cells in held_out(kind).items()
        for text in cells
    ]
    return [text for text, _ in bare] + [
        held_out("wrap")[language][0].format(text) for text, language in bare[::2]
    ]


def measure(texts: Callable[[list[str]], Vectors], vectors: Vectors, facts: list[Facts]) -> list[Row]:
    """The table for pictures whose vectors and facts are given."""
    table = Table(facts)
    columns = {kind: getattr(table, kind) for kind in ("objects", "place", "time", "weather", "background")}
    found: list[Row] = []
    best: list[NDArray[np.float32]] = []
    named: list[NDArray[np.float64]] = []
    for metric, captions in queries(facts).items():
        truth = matrix(captions, columns)
        keep = truth.any(1)
        scores = texts([text for text, _ in captions])[keep] @ vectors.T
        marks = precision(scores, truth[keep])
        found.append(Row(metric, float(marks.mean()), FLOORS.get(metric), len(marks)))
        if metric.startswith("objects "):
            named.append(marks)
        best.append(scores.max(1))
    every = np.concatenate(named)
    found.insert(0, Row("objects", float(every.mean()), FLOORS["objects"], len(every)))
    found.append(_same_object(vectors, facts, table))
    refused = (texts(unanswerable()) @ vectors.T).max(1)
    found.append(
        Row("answerable AUC", auc(np.concatenate(best), refused), FLOORS["answerable AUC"], len(refused))
    )
    return found


def _same_object(vectors: Vectors, facts: list[Facts], table: Table) -> Row:
    single = np.array([len(fact.objects) == 1 for fact in facts])
    truth = (table.objects[single].astype(int) @ table.objects.T.astype(int)) > 0
    scores = vectors[single] @ vectors.T
    own = np.flatnonzero(single)
    truth[np.arange(len(own)), own], scores[np.arange(len(own)), own] = False, -2
    keep = truth.any(1)
    marks = precision(scores[keep], truth[keep])
    return Row("picture to same object", float(marks.mean()), FLOORS["picture to same object"], len(marks))


def evaluate(folder: Path, pictures: int = 1200, seed: int = SEED) -> list[Row]:
    """The whole table for a saved model, on new drawings."""
    encoder, painter = Encoder(folder), Painter(seed, pictures // 3)
    drawn = [painter.paint(Mix()) for _ in range(pictures)]
    return measure(
        encoder.texts, encoder.pictures(picture for picture, _ in drawn), [facts for _, facts in drawn]
    )


def formatted(found: list[Row]) -> str:
    """The table as Markdown."""
    lines = ["| metric | value | floor | queries |", "| --- | ---: | ---: | ---: |"]
    for row in found:
        lines.append(
            f"| {row.metric} | {row.value:.3f} | {'–' if row.floor is None else row.floor} | {row.queries} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("model")
    sys.stdout.write(formatted(evaluate(folder)) + "\n")
