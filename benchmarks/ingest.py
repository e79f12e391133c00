"""From files to a searchable index: the published loop, its batched version and Loupe, side by side in one run.

    python -m benchmarks.ingest [--pictures 24] [--photographs DIR]

The loops open, convert, preprocess with the library's processor, embed in float32 and append; they make no
renditions, no metadata, no quality, no perceptual hash, and store nothing. Loupe does all of that in its own way,
through the same functions as the server. The model has ViT-B/32's shape and random weights. CPU seconds are user +
system of the process and its children; one thread everywhere. Every contender runs in a process of its own, warm: the
model is loaded and, for Loupe, its decoding children are up. "per s" uses as many cores as a contender can.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Picture

CONTENDERS = ("loop", "batched", "loupe")
SIZE = (4000, 3000)


def make_pictures(folder: Path, count: int) -> None:
    """12-megapixel JPEGs with smooth shapes, edges and grain, about 4 MB each like a camera's."""
    random = np.random.default_rng(7)
    for number in range(count):
        coarse = Picture.fromarray(random.integers(0, 256, (24, 32, 3), dtype=np.uint8)).resize(
            SIZE, Picture.Resampling.BICUBIC
        )
        grain = random.integers(-9, 10, (SIZE[1], SIZE[0], 1), dtype=np.int16)
        pixels = np.clip(np.asarray(coarse, dtype=np.int16) + grain, 0, 255).astype(np.uint8)
        Picture.fromarray(pixels).save(folder / f"{number:03}.jpg", quality=90)


# ── The published loop ──────────────────────────────────────────────────────────────────────────────────────────


def run_loop(files: list[Path], model_folder: Path, batch: int) -> dict[str, Any]:
    import torch
    from transformers import CLIPModel
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    torch.set_num_threads(1)
    processor = CLIPImageProcessorPil.from_pretrained(model_folder)
    model = CLIPModel.from_pretrained(model_folder, dtype=torch.float32).eval()
    split = {"decode": 0.0, "preprocess": 0.0, "model": 0.0}
    vectors = []
    _warm(model, torch)
    start, clock = cpu_seconds(), time.perf_counter()
    for first in range(0, len(files), batch):
        with timed(split, "decode"):
            pictures = [Picture.open(path).convert("RGB") for path in files[first : first + batch]]
        with timed(split, "preprocess"):
            inputs = processor(images=pictures, return_tensors="pt")
        with timed(split, "model"), torch.no_grad():
            features = model.get_image_features(**inputs)
            features = getattr(features, "pooler_output", features)
            vectors.append((features / features.norm(dim=-1, keepdim=True)).numpy())
    return report(start, clock, split, len(files))


def _warm(model: Any, torch: Any) -> None:
    with torch.no_grad():
        model.get_image_features(pixel_values=torch.zeros(1, 3, 224, 224))


# ── Loupe ───────────────────────────────────────────────────────────────────────────────────────────────────────


def run_loupe(files: list[Path]) -> dict[str, Any]:
    import django

    django.setup()
    from django.core.management import call_command

    from images import processing
    from images.models import Collection, Image, ImageState
    from search import index
    from search.embedding import embed_pending

    call_command("migrate", verbosity=0)
    collection, user = _collection(Collection)
    children = _warm_loupe(collection)
    split: dict[str, float] = {"upload": 0.0, "check": 0.0, "embed": 0.0, "index": 0.0}
    start, clock = cpu_seconds(children), time.perf_counter()
    with timed(split, "upload"):
        _upload(files, collection, user)
    with timed(split, "check", children):
        drain(processing.process_pending)
    with timed(split, "embed"):
        drain(embed_pending)
    with timed(split, "index"):
        index.request_rebuild(collection)
        drain(index.build_due)
    result = report(start, clock, split, len(files), children)
    ready = Image.objects.filter(state=ImageState.READY).count()
    assert index.status(collection).vectors == ready == len(files), "not every picture became searchable"
    assert sorted(children) == sorted(processing.pool().pids()), "a decoding child was replaced"
    processing.close_pool()
    return result


def _warm_loupe(collection: Any) -> list[int]:
    """Load what a worker loads once; the process ids of the decoding children."""
    from images import processing
    from search import index
    from search.encoders import get_encoder

    index.ensure_index(collection)
    get_encoder(os.environ["LOUPE_MODEL"]).encode_images([Picture.new("RGB", (224, 224))])
    small = io.BytesIO()
    Picture.new("RGB", (64, 64)).save(small, "JPEG")
    with ThreadPoolExecutor(2) as threads:
        while len(processing.pool().pids()) < 2:
            list(threads.map(processing.pool().process, [small.getvalue()] * 2))
    return processing.pool().pids()


def _collection(model: Any) -> tuple[Any, Any]:
    from images.models import Team, User

    team = Team.objects.create(name="Benchmark", slug="benchmark")
    return model.objects.create(team=team, name="Benchmark"), User.objects.create_user("bench@example.org")


def _upload(files: list[Path], collection: Any, user: Any) -> None:
    from images.ingest import ingest

    for path in files:
        with path.open("rb") as file:
            ingest(collection, user, file, file_name=path.name, bulk=True)


def drain(step: Callable[[], int]) -> None:
    while step():
        pass


# ── Measuring ───────────────────────────────────────────────────────────────────────────────────────────────────


def cpu_seconds(children: Sequence[int] = ()) -> float:
    """User + system seconds of this process, of its ended children, and of the living ones named."""
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in spent) + sum(map(_seconds_of, children))


def _seconds_of(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class timed:
    """Adds the CPU seconds of its block to `split[name]`."""

    def __init__(self, split: dict[str, float], name: str, children: Sequence[int] = ()) -> None:
        self.split, self.name, self.children = split, name, children

    def __enter__(self) -> None:
        self.began = cpu_seconds(self.children)

    def __exit__(self, *raised: object) -> None:
        self.split[self.name] += cpu_seconds(self.children) - self.began


def report(
    start: float, clock: float, split: dict[str, float], count: int, children: Sequence[int] = ()
) -> dict[str, Any]:
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return {
        "cpu_ms": (cpu_seconds(children) - start) * 1000 / count,
        "per_second": count / (time.perf_counter() - clock),
        "peak_mb": peak / 1024,
        "split_ms": {name: seconds * 1000 / count for name, seconds in split.items()},
    }


def contend(name: str, files: list[Path], model_folder: Path) -> dict[str, Any]:
    if name == "loupe":
        return run_loupe(files)
    return run_loop(files, model_folder, 1 if name == "loop" else 32)


def compare(folder: Path, model_folder: Path, title: str) -> None:
    """Run every contender over the same files and print one table."""
    print(f"\n{title}: {len(pictures_in(folder))} pictures")
    print(f"{'':10} {'CPU ms':>8} {'ratio':>6} {'per s':>7} {'peak MB':>8}  split (CPU ms per picture)")
    baseline = None
    for name in CONTENDERS:
        result = _in_a_process(name, folder, model_folder)
        baseline = baseline or result["cpu_ms"]
        split = "  ".join(f"{part} {ms:.1f}" for part, ms in result["split_ms"].items())
        print(
            f"{name:10} {result['cpu_ms']:8.1f} {baseline / result['cpu_ms']:5.1f}x {result['per_second']:7.1f}"
            f" {result['peak_mb']:8.0f}  {split}",
            flush=True,
        )


def _in_a_process(name: str, folder: Path, model_folder: Path) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as data:
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "LOUPE_DATA": data,
            "LOUPE_MODEL": str(model_folder),
            "LOG_LEVEL": "WARNING",
            "DJANGO_SETTINGS_MODULE": "config.settings",
        }
        command = [
            sys.executable,
            "-m",
            "benchmarks.ingest",
            "--contender",
            name,
            "--photographs",
            str(folder),
        ]
        done = subprocess.run(
            [*command, "--model", str(model_folder)], env=environment, check=True, stdout=subprocess.PIPE
        )
        return json.loads(done.stdout.splitlines()[-1])


def pictures_in(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.rglob("*") if path.suffix.lower() in {".jpg", ".jpeg", ".png", ".webp"}
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=24)
    parser.add_argument("--photographs", type=Path, help="measure these files too")
    parser.add_argument("--contender", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--model", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contender:
        print(json.dumps(contend(options.contender, pictures_in(options.photographs), options.model)))
        return
    from benchmarks.encoder import build_model

    with tempfile.TemporaryDirectory() as folder:
        model_folder, generated = Path(folder) / "model", Path(folder) / "generated"
        generated.mkdir()
        build_model(model_folder)
        make_pictures(generated, options.pictures)
        compare(generated, model_folder, "12-megapixel JPEGs")
        if options.photographs:
            compare(options.photographs, model_folder, "photographs")


if __name__ == "__main__":
    main()
