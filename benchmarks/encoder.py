"""The published way to embed (one picture at a time, float32, text padded to 77) beside Loupe's, in one run.

    python -m benchmarks.encoder [--images 64] [--threads 1] [--size 800x600]

The model has ViT-B/32's exact shape and random weights: speed does not depend on what the weights know. Times include
preprocessing of decoded pictures, not the decoding. The cosine is the lowest between a row's vectors and the first's.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import django
import numpy as np
from PIL import Image

QUERIES = [
    "a dog running on a beach",
    "sunset over the mountains",
    "two people cooking in a kitchen",
    "red car",
    "an old stone bridge over a river in autumn",
    "birthday cake with candles",
    "snow",
    "a child reading a book under a tree",
]


def build_model(folder: Path) -> Path:
    """A random `CLIPModel` of ViT-B/32's shape with a byte-level tokenizer."""
    import torch
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPConfig, CLIPModel, CLIPTokenizer
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    torch.manual_seed(0)
    letters = sorted(ByteLevel.alphabet())
    pieces = [*letters, *(letter + "</w>" for letter in letters)]
    # Whole words, so that a query has as many tokens as with the real vocabulary.
    words = sorted({word for query in QUERIES for word in query.split()})
    vocabulary, merges = {piece: i for i, piece in enumerate(pieces)}, []
    for word in words:
        parts = [*word[:-1], word[-1] + "</w>"]
        while len(parts) > 1:
            joined = parts[0] + parts[1]
            if joined not in vocabulary:
                vocabulary[joined] = len(vocabulary)
                merges.append((parts[0], parts[1]))
            parts = [joined, *parts[2:]]
    vocabulary |= {"<|startoftext|>": 49406, "<|endoftext|>": 49407}
    CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=77).save_pretrained(folder)
    ids = {"bos_token_id": 49406, "eos_token_id": 49407, "pad_token_id": 49407}
    CLIPModel(CLIPConfig(text_config=ids)).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(
        json.dumps(CLIPImageProcessorPil().to_dict(), default=str)
    )
    return folder


def pictures(count: int, size: tuple[int, int]) -> list[Image.Image]:
    """Smooth coloured noise with grain, decoded."""
    random = np.random.default_rng(3)
    found = []
    for _ in range(count):
        coarse = Image.fromarray(random.integers(0, 256, (12, 12, 3), dtype=np.uint8)).resize(size, 3)
        grain = random.integers(-15, 16, (size[1], size[0], 1))
        found.append(Image.fromarray(np.clip(np.asarray(coarse) + grain, 0, 255).astype(np.uint8)))
    return found


class Recipe:
    """What tutorials do: the library's processor, float32, text padded to 77."""

    def __init__(self, folder: Path) -> None:
        from transformers import CLIPModel, CLIPTokenizer
        from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

        self.model = CLIPModel.from_pretrained(folder).eval()
        self.tokenizer = CLIPTokenizer.from_pretrained(folder)
        self.processor = CLIPImageProcessorPil()

    def images(self, images: list[Image.Image], batch: int) -> np.ndarray:
        import torch

        parts = []
        for start in range(0, len(images), batch):
            inputs = self.processor(images[start : start + batch], return_tensors="pt")
            with torch.no_grad():
                parts.append(self.model.get_image_features(**inputs).pooler_output)
        return torch.nn.functional.normalize(torch.cat(parts)).numpy()

    def text(self, text: str) -> np.ndarray:
        import torch

        tokens = self.tokenizer(
            [text], padding="max_length", max_length=77, truncation=True, return_tensors="pt"
        )
        with torch.no_grad():
            return torch.nn.functional.normalize(self.model.get_text_features(**tokens).pooler_output).numpy()


Row = tuple[str, Callable[[], np.ndarray], int]


def measure(rows: list[Row], rounds: int, title: str) -> None:
    """Run the rows in turn, so that a noisy machine is noisy for all; medians over the rounds."""
    answers = [run() for _name, run, _count in rows]
    seconds: list[list[float]] = [[] for _ in rows]
    for _ in range(rounds):
        for place, (_name, run, _count) in enumerate(rows):
            started = time.perf_counter()
            run()
            seconds[place].append(time.perf_counter() - started)
    each = [statistics.median(times) / count for times, (_n, _r, count) in zip(seconds, rows, strict=True)]
    print(f"\n{title:<34}{'ms each':>10}{'per second':>12}{'times':>8}{'min cosine':>12}")
    for (name, _run, _count), cost, answer in zip(rows, each, answers, strict=True):
        cosine = float((answer * answers[0]).sum(1).min())
        print(f"{name:<34}{cost * 1000:>10.2f}{1 / cost:>12.1f}{each[0] / cost:>8.2f}{cosine:>12.5f}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--size", default="800x600")
    options = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()
    from search import clip
    from search.encoders import spec_for

    width, height = (int(part) for part in options.size.split("x"))
    with tempfile.TemporaryDirectory() as folder:
        spec = spec_for(build_model(Path(folder)))
        recipe = Recipe(Path(folder))
        full, half = (clip.load(spec, dtype=dtype, device="cpu") for dtype in ("float32", "bfloat16"))
    clip.set_threads(options.threads)
    images = pictures(options.images, (width, height))
    count = len(images)
    measure(
        [
            ("recipe: float32, one by one", lambda: recipe.images(images, 1), count),
            ("recipe: float32, batches of 32", lambda: recipe.images(images, 32), count),
            ("Loupe: float32, batches of 32", lambda: full.encode_images(images), count),
            ("Loupe: bfloat16, batches of 32", lambda: half.encode_images(images), count),
        ],
        options.rounds,
        f"pictures ({width}x{height}, {options.threads} thread)",
    )
    measure(
        [
            (
                "recipe: float32, padded to 77",
                lambda: np.vstack([recipe.text(text) for text in QUERIES]),
                len(QUERIES),
            ),
            (
                "Loupe: float32",
                lambda: np.vstack([full.encode_texts([text]) for text in QUERIES]),
                len(QUERIES),
            ),
            (
                "Loupe: bfloat16",
                lambda: np.vstack([half.encode_texts([text]) for text in QUERIES]),
                len(QUERIES),
            ),
        ],
        options.rounds * 3,
        f"single text queries ({options.threads} thread)",
    )


if __name__ == "__main__":
    main()
