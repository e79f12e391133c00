"""From files to a searchable index: the published loop, its batched version and Loupe, side by side in one run.

    python -m benchmarks.ingest [--pictures 60] [--rounds 2] [--photographs DIR [--most 200]]

The loops open, convert, preprocess with the library's processor, embed in float32 and append; they make no
renditions, no metadata, no quality, no perceptual hash, and store nothing. Loupe does all of that in its own way,
through the same functions as the server. The model has ViT-B/32's shape and random weights. CPU seconds are user +
system of the process and its children; one thread everywhere. Every contender runs in a process of its own, warm: the
model is loaded and, for Loupe, its decoding children are up. The loops use one core; "loupe" does too (one decoding
child), so that its CPU time is measured under the same conditions; "loupe x2" has two children.

Loupe's split: "decode" (with shrinking and colours to sRGB), "renditions" and "measures" (metadata, quality, hashes,
colours) share the children's time as the same functions do in one process; "model" is reading the preview back,
preprocessing and the tower; "storage" is hashing, reading and writing files and the pipe to the children; "database"
is all the rest of the worker: rows, leases, transactions, bells.
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
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Picture

CONTENDERS = {"loop": 1, "batched": 1, "loupe": 1, "loupe x2": 2}  # name → decoding children
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


def run_loupe(files: list[Path], children_wanted: int) -> dict[str, Any]:
    import django

    django.setup()
    from django.core.management import call_command

    from images import processing
    from images.models import Collection, Image, ImageState
    from search import index
    from search.embedding import embed_pending

    call_command("migrate", verbosity=0)
    collection, user = _collection(Collection)
    began = time.perf_counter()
    children = _warm_loupe(collection, children_wanted)
    warm_up = time.perf_counter() - began
    meter = Meter()
    _meter_loupe(meter)
    split: dict[str, float] = {"index": 0.0}
    start, clock = cpu_seconds(children), time.perf_counter()
    before = sum(map(_seconds_of, children))
    _upload(files, collection, user)
    drain(processing.process_pending)
    drain(embed_pending)
    with timed(split, "index"):
        index.request_rebuild(collection)
        drain(index.build_due)
    decoding = sum(map(_seconds_of, children)) - before
    result = report(start, clock, split, len(files), children)
    ready = Image.objects.filter(state=ImageState.READY).count()
    assert index.status(collection).vectors == ready == len(files), "not every picture became searchable"
    assert sorted(children) == sorted(processing.pool().pids()), "a decoding child was replaced"
    processing.close_pool()
    parts = {name: seconds * decoding for name, seconds in _shares(files).items()}
    parts |= meter.seconds | split
    parts["database"] = result["cpu_ms"] * len(files) / 1000 - sum(parts.values())
    order = ("decode", "renditions", "measures", "model", "storage", "database", "index")
    split_ms = {name: parts[name] * 1000 / len(files) for name in order}
    return {**result, "split_ms": split_ms, "start_seconds": warm_up}


def _meter_loupe(meter: Meter) -> None:
    from images import ingest, processing, storage
    from search import embedding
    from search.encoders import get_encoder

    for owner, name in ((ingest, "_measure"), (processing, "_check"), (storage, "put")):
        meter.wrap(owner, name, "storage")
    meter.wrap(embedding, "_preview", "model")
    meter.wrap(type(get_encoder(os.environ["LOUPE_MODEL"])), "encode_images", "model")


def _shares(files: list[Path]) -> dict[str, float]:
    """How a child's time divides, measured on some of the files in this process."""
    from images import pixels

    meter = Meter()
    meter.wrap(pixels, "decode", "decode")
    for name in ("encode", "thumbnail", "fitted"):
        meter.wrap(pixels, name, "renditions")
    began = time.thread_time()
    for path in files[:20]:
        pixels.process(path)
    whole = time.thread_time() - began
    shares = {name: seconds / whole for name, seconds in meter.seconds.items()}
    return {**shares, "measures": 1 - sum(shares.values())}


def _warm_loupe(collection: Any, wanted: int) -> list[int]:
    """Load what a worker loads once; the process ids of the decoding children."""
    from images import processing
    from search import index
    from search.encoders import get_encoder

    index.ensure_index(collection)
    get_encoder(os.environ["LOUPE_MODEL"]).encode_images([Picture.new("RGB", (224, 224))])
    small = io.BytesIO()
    Picture.new("RGB", (64, 64)).save(small, "JPEG")
    with ThreadPoolExecutor(2) as threads:
        while len(processing.pool().pids()) < wanted:
            list(threads.map(processing.pool().process, [small.getvalue()] * wanted))
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


class Meter:
    """CPU seconds that threads spend in wrapped functions, by part; of nested ones the outermost counts."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._inside = threading.local()
        self._lock = threading.Lock()

    def wrap(self, owner: Any, name: str, part: str) -> None:
        """Put a counting function in the place of `owner.name`."""
        function = getattr(owner, name)
        self.seconds.setdefault(part, 0.0)

        def counted(*arguments: Any, **named: Any) -> Any:
            if getattr(self._inside, "now", False):
                return function(*arguments, **named)
            self._inside.now, began = True, time.thread_time()
            try:
                return function(*arguments, **named)
            finally:
                self._inside.now = False
                with self._lock:
                    self.seconds[part] += time.thread_time() - began

        setattr(owner, name, counted)


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
    if name.startswith("loupe"):
        return run_loupe(files, CONTENDERS[name])
    return run_loop(files, model_folder, 1 if name == "loop" else 32)


def compare(folder: Path, model_folder: Path, title: str, most: int, rounds: int) -> None:
    """Run every contender over the same files, in turn, and print one table of each one's best round."""
    print(f"\n{title}: {len(pictures_in(folder, most))} pictures, the best of {rounds} rounds")
    print(f"{'':10} {'CPU ms':>8} {'ratio':>6} {'per s':>7} {'peak MB':>8}  split (CPU ms per picture)")
    given: dict[str, list[dict[str, Any]]] = {name: [] for name in CONTENDERS}
    for _ in range(rounds):
        for name in CONTENDERS:
            given[name].append(_in_a_process(name, folder, model_folder, most))
    best = {name: min(results, key=lambda result: result["cpu_ms"]) for name, results in given.items()}
    for name, result in best.items():
        split = "  ".join(f"{part} {ms:.1f}" for part, ms in result["split_ms"].items())
        ratio = best["loop"]["cpu_ms"] / result["cpu_ms"]
        fastest = max(one["per_second"] for one in given[name])
        print(
            f"{name:10} {result['cpu_ms']:8.1f} {ratio:5.1f}x {fastest:7.1f} {result['peak_mb']:8.0f}  {split}",
            flush=True,
        )
    print(f"Loupe's model and children take {result['start_seconds']:.0f} s to start, once for each worker.")


def _in_a_process(name: str, folder: Path, model_folder: Path, most: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as data:
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "LOUPE_DATA": data,
            "LOUPE_MODEL": str(model_folder),
            "LOG_LEVEL": "WARNING",
            "LOUPE_DECODE_PROCESSES": str(CONTENDERS[name]),
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
            "--most",
            str(most),
            "--model",
            str(model_folder),
        ]
        done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE)
        return json.loads(done.stdout.splitlines()[-1])


def pictures_in(folder: Path, most: int) -> list[Path]:
    """At most `most` of the pictures below `folder`, spread evenly over the sorted names."""
    kinds = {".jpg", ".jpeg", ".png", ".webp"}
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in kinds)
    return found[:: -(-len(found) // most) or 1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=60)
    parser.add_argument("--photographs", type=Path, help="measure these files too")
    parser.add_argument("--rounds", type=int, default=2, help="of all contenders, in turn")
    parser.add_argument("--most", type=int, default=200, help="of the photographs")
    parser.add_argument("--contender", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--model", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contender:
        files = pictures_in(options.photographs, options.most)
        print(json.dumps(contend(options.contender, files, options.model)))
        return
    from benchmarks.encoder import build_model

    with tempfile.TemporaryDirectory() as folder:
        model_folder, generated = Path(folder) / "model", Path(folder) / "generated"
        generated.mkdir()
        build_model(model_folder)
        make_pictures(generated, options.pictures)
        compare(generated, model_folder, "12-megapixel JPEGs", options.pictures, options.rounds)
        if options.photographs:
            compare(options.photographs, model_folder, "photographs", options.most, options.rounds)


if __name__ == "__main__":
    main()
