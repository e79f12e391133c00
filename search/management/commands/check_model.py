"""Prove that a model on this machine answers as it must."""

from __future__ import annotations

import json
import os
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext as _
from PIL import Image

from search.encoders import Encoder, EncoderError, default_model_name, spec_for

GENUINE = "openai/clip-vit-base-patch32"
SAMPLE_TEXTS = ("a dog on a beach", "two red apples on a wooden table in the morning light", "snow")
LOGIT_SCALE = 100.0


@dataclass(frozen=True)
class Check:
    """One line of the table."""

    name: str
    passed: bool
    detail: str


class Command(BaseCommand):
    help = "Check a model: unit norm, determinism, batches and, for the original ViT-B/32, published answers."
    # It also runs where no database is: in an image build, on a bare machine.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "name", nargs="?", default="", help="a listed model or a directory (default: LOUPE_MODEL)"
        )
        parser.add_argument(
            "--golden", default="", help="folder with golden-checks/ and clip-retrieval-golden/"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        from search.clip import load

        try:
            spec = spec_for(options["name"] or default_model_name())
            started = time.perf_counter()
            encoder = load(spec)
            seconds = time.perf_counter() - started
            checks = list(self_checks(encoder))
            golden = golden_folder(options["golden"], spec.name)
            if golden:
                checks += golden_checks(load(spec, dtype="float32"), golden)
        except EncoderError as error:
            raise CommandError(str(error)) from error
        where = f"{encoder.dtype} on {encoder.device}"
        self.stdout.write(f"{spec.label}: {encoder.dimension}-d, {where}, loaded in {seconds:.1f} s")
        for check in checks:
            self.stdout.write(f"{'ok  ' if check.passed else 'FAIL'}  {check.name:<32} {check.detail}")
        failed = sum(not check.passed for check in checks)
        if failed:
            raise CommandError(
                _("%(failed)d of %(all)d checks failed.") % {"failed": failed, "all": len(checks)}
            )


def golden_folder(option: str, name: str) -> Path | None:
    """Where the published answers lie; only for the model that gave them, or where the operator says so."""
    if not option and name != GENUINE:
        return None
    base = Path(settings.BASE_DIR) if hasattr(settings, "BASE_DIR") else Path.cwd()
    data = Path(os.environ.get("LOUPE_TEST_DATA", base.parent / "shared" / "data"))
    folder = Path(option) if option else data / "clip"
    if (folder / "golden-checks" / "golden.json").is_file():
        return folder
    if option:
        raise CommandError(_("%(folder)s holds no golden-checks/golden.json.") % {"folder": folder})
    return None


def sample_images() -> list[Image.Image]:
    """Gradients of odd sizes and modes, one of them a strip of 4 x 4000 pixels."""
    pictures = []
    for index, (width, height) in enumerate([(301, 200), (97, 640), (224, 224), (4000, 4)]):
        x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
        values = np.stack([x, y, np.full_like(x, 60 * index)], axis=-1)
        pictures.append(Image.fromarray(values.astype(np.uint8)))
    return [*pictures[:3], pictures[3].convert("L")]


def self_checks(encoder: Encoder) -> Iterator[Check]:
    """What every encoder must hold, whatever its weights."""
    images, texts = sample_images(), list(SAMPLE_TEXTS)
    started = time.perf_counter()
    seen, read = encoder.encode_images(images), encoder.encode_texts(texts)
    seconds = time.perf_counter() - started
    yield Check("shape", seen.shape[1] == read.shape[1] == encoder.dimension, f"{seen.shape} {read.shape}")
    drift = max(float(np.abs(np.linalg.norm(part, axis=1) - 1).max()) for part in (seen, read))
    yield Check("unit norm", drift < 1e-4, f"largest deviation {drift:.1e}")
    again = encoder.encode_images(images), encoder.encode_texts(texts)
    same = np.array_equal(seen, again[0]) and np.array_equal(read, again[1])
    yield Check("same answer twice", same, "bit for bit")
    singly = np.concatenate([encoder.encode_images([image]) for image in images])
    yield _agrees("one picture or a batch", seen, singly)
    alone = np.concatenate([encoder.encode_texts([text]) for text in texts])
    yield _agrees("one text or a batch", read, alone)
    tail = encoder.encode_texts(["word " * 5000, "", "naïve ☃ \ud800 text\x00"])
    yield Check("odd texts", bool(np.isfinite(tail).all()), "5,000 words, empty, lone surrogate")
    yield Check("extreme aspect", seconds < 60, f"4 x 4000 included, {seconds:.2f} s for all")


def _agrees(name: str, first: np.ndarray, second: np.ndarray) -> Check:
    lowest = float((first * second).sum(1).min())
    return Check(name, lowest > 0.999, f"lowest cosine {lowest:.5f}")


def golden_checks(encoder: Encoder, folder: Path) -> list[Check]:
    """What the original weights answered elsewhere: logits, probabilities and seven vectors."""
    checks = []
    rules = json.loads((folder / "golden-checks" / "golden.json").read_text(encoding="utf-8"))
    for name, rule in rules.items():
        if "texts" in rule:
            checks.append(_logits_check(encoder, name, folder / "golden-checks" / rule["image"], rule))
    vectors = folder / "clip-retrieval-golden"
    return [*checks, _vectors_check(encoder, vectors)] if (vectors / "golden.npz").is_file() else checks


def _logits_check(encoder: Encoder, name: str, picture: Path, rule: dict[str, Any]) -> Check:
    with Image.open(picture) as image:
        logits = LOGIT_SCALE * encoder.encode_images([image])[0] @ encoder.encode_texts(rule["texts"]).T
    if "expected_logits_per_image" in rule:
        wanted, got, tolerance = rule["expected_logits_per_image"], logits, 0.05
    else:
        wanted, tolerance = rule["expected_probs"], 0.01
        got = np.exp(logits - logits.max())
        got = got / got.sum()
    off = float(np.abs(np.asarray(wanted) - got).max())
    return Check(name[:32], off <= tolerance, f"off by {off:.4f}, allowed {tolerance}")


def _vectors_check(encoder: Encoder, folder: Path) -> Check:
    golden = np.load(folder / "golden.npz", allow_pickle=False)
    pictures = {path.stem: path for path in folder.rglob("*.jpg")}
    images = [Image.open(pictures[name]) for name in golden["names"].tolist()]
    vectors = encoder.encode_images(images)
    if vectors.shape != golden["emb"].shape:
        return Check("published image vectors", False, "another dimension")
    lowest = float((vectors * golden["emb"]).sum(1).min())
    return Check("published image vectors", lowest >= 0.99, f"lowest cosine {lowest:.5f} of {len(images)}")
