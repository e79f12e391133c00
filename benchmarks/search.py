"""A whole search beside the published recipe, in one run, over the same 100,000 vectors and the same model.

    python benchmarks/search.py [--vectors 100000] [--queries 200]

Recipe: text padded to 77 tokens, encoded in float32 → FAISS IVF256,Flat with nprobe 32, k = 50 → one row per hit from
the database through a ModelSerializer → one boto3 presigned URL per hit. Loupe: `search.engine.find` as the API calls
it (rights, gate, calibration, frozen list) → the same fields → its own signed URLs → JSON. The model has the exact size
of CLIP ViT-B/32 with random weights: its time counts, its vectors are replaced by text-like queries whose nearest
pictures are known (tests/search/index/shapes.py). CPU is the process's milliseconds per query, median. Compare the
columns of one run; on a shared machine the times themselves mean little.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("OMP_NUM_THREADS", "1")
FOLDER = tempfile.TemporaryDirectory(prefix="loupe-bench-")
os.environ["LOUPE_DATA"] = FOLDER.name
os.environ["LOG_LEVEL"] = "WARNING"
os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"

import django  # noqa: E402

django.setup()

import boto3  # noqa: E402
import faiss  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from botocore.config import Config  # noqa: E402
from django.conf import settings  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.test import override_settings  # noqa: E402
from rest_framework.serializers import ModelSerializer  # noqa: E402

from images import storage  # noqa: E402
from images.access import Principal, principal_for_user  # noqa: E402
from images.models import Collection, Image, Team, User  # noqa: E402
from search import encoders, engine, index, retrieval  # noqa: E402
from search.models import CollectionIndex, Embedding, Space  # noqa: E402
from search.query import Query, TextPart  # noqa: E402
from tests.search.index.shapes import world  # noqa: E402

DIMENSION, K = 512, 50
SPARE = 256
NAME = "benchmark/vit-b-32"
VOCABULARY = "red blue old small dog cat boat tree house street lake snow night child bridge market"
WORDS = VOCABULARY.split()
STAGES = ("encode", "candidates", "gate", "rank", "format", "total")
# Nothing listens there: links are signed on this machine.
S3 = {"endpoint_url": "http://127.0.0.1:9", "access_key": "benchmark", "secret_key": "benchmark"}
RESULTS = Path(__file__).parent / "results"


class Model:
    """A text tower of ViT-B/32's size. `vectors` answers by text, after the tower has done its work."""

    spec = encoders.replace(encoders.REGISTRY["openai/clip-vit-base-patch32"], name=NAME)
    dimension, sha256, revision = DIMENSION, "f" * 64, "1"

    def __init__(self, vectors: dict[str, np.ndarray], spare: np.ndarray) -> None:
        from transformers import CLIPTextConfig, CLIPTextModelWithProjection

        torch.set_num_threads(1)
        torch.manual_seed(0)
        self.vectors, self.spare = vectors, spare
        self.full = CLIPTextModelWithProjection(CLIPTextConfig(projection_dim=DIMENSION)).eval()
        self.half = (
            CLIPTextModelWithProjection(CLIPTextConfig(projection_dim=DIMENSION)).eval().to(torch.bfloat16)
        )

    def padded(self, text: str) -> np.ndarray:
        """The recipe: float32, always 77 tokens."""
        return self._run(self.full, [_tokens(text, 77)])

    def encode_texts(self, texts: list[str]) -> np.ndarray:
        """As search.clip does it: bfloat16, no longer than the longest text."""
        longest = max(len(_tokens(text, 0)) for text in texts)
        self._run(self.half, [_tokens(text, longest) for text in texts])
        return np.stack([self.vectors.get(text, self._spare(text)) for text in texts])

    def _spare(self, text: str) -> np.ndarray:
        """A vector for what the index asks while it tunes itself: none of the questions that are measured."""
        return self.spare[sum(map(ord, text)) % len(self.spare)]

    def _run(self, model: Any, tokens: list[list[int]]) -> np.ndarray:
        with torch.inference_mode():
            vectors = model(input_ids=torch.tensor(tokens)).text_embeds.float().numpy()
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _tokens(text: str, length: int) -> list[int]:
    ids = [49406, *(320 + sum(map(ord, word)) % 40_000 for word in text.split()), 49407]
    return ids + [49407] * (length - len(ids))


class RecipeSerializer(ModelSerializer):
    class Meta:
        model = Image
        fields = ("uid", "file_name", "title", "width", "height", "taken_at", "uploaded_at", "quality")


class Recipe:
    """IVF256,Flat over all vectors; ids in a list beside it."""

    def __init__(self, ids: list[int], pictures: np.ndarray, model: Model) -> None:
        self.ids, self.model = ids, model
        quantiser = faiss.IndexFlatIP(DIMENSION)
        self.index = faiss.IndexIVFFlat(quantiser, DIMENSION, 256, faiss.METRIC_INNER_PRODUCT)
        self.index.train(pictures)
        self.index.add(pictures)
        self.index.nprobe = 32
        self.client = boto3.client(
            "s3",
            endpoint_url=S3["endpoint_url"],
            aws_access_key_id=S3["access_key"],
            aws_secret_access_key=S3["secret_key"],
            region_name="us-east-1",
            config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
        )

    def encode(self, text: str) -> np.ndarray:
        self.model.padded(text)
        return self.model.vectors[text][None]

    def candidates(self, vector: np.ndarray) -> list[int]:
        return [self.ids[place] for place in self.index.search(vector, K)[1][0]]

    def format(self, found: list[int]) -> str:
        rows = Image.objects.in_bulk(found)
        parts = [dict(RecipeSerializer(rows[one]).data) | {"url": self._url(rows[one])} for one in found]
        return json.dumps(parts, default=str)

    def _url(self, row: Image) -> str:
        parameters = {"Bucket": "pictures", "Key": row.original_key}
        return str(self.client.generate_presigned_url("get_object", Params=parameters, ExpiresIn=3600))


def populate(vectors: int, space: Space, pictures: np.ndarray) -> tuple[list[int], Principal]:
    """One collection of `vectors` pictures with a published generation, and somebody who may read it."""
    team = Team.objects.create(name="Benchmark", slug="benchmark")
    user = User.objects.create_user("benchmark@loupe.invalid", None, name="Benchmark")
    user.memberships.create(team=team, role="viewer")
    place = Collection.objects.create(team=team, name="Benchmark")
    known = {
        "byte_size": 1,
        "state": "ready",
        "width": 900,
        "height": 600,
        "quality": 0.5,
        "file_name": "picture.jpg",
    }
    ids: list[int] = []
    for start in range(0, vectors, 5000):
        rows = Image.objects.bulk_create(
            Image(collection=place, uploader=user, sha256=f"{n:064x}", original_key=f"originals/{n}", **known)
            for n in range(start, min(start + 5000, vectors))
        )
        Embedding.objects.bulk_create(
            Embedding(image=row, collection=place, space=space, state="done", seq=n + 1,
                      vector=pictures[n].astype("<f2").tobytes())
            for n, row in enumerate(rows, start)
        )  # fmt: skip
        ids += [row.pk for row in rows]
    CollectionIndex.objects.create(collection=place, space=space, last_seq=vectors)
    index.request_rebuild(place)
    index.build_due()
    return ids, principal_for_user(user)


class Times:
    """CPU and wall milliseconds by name."""

    def __init__(self) -> None:
        self.cpu: dict[str, list[float]] = {}
        self.wall: dict[str, list[float]] = {}

    def of(self, name: str, work: Callable[[], Any]) -> Any:
        began, processor = time.perf_counter(), time.process_time()
        result = work()
        self.cpu.setdefault(name, []).append((time.process_time() - processor) * 1000)
        self.wall.setdefault(name, []).append((time.perf_counter() - began) * 1000)
        return result


def shown(page: engine.Page) -> str:
    """The page as the API sends it, links included."""
    import orjson

    rows = [
        {
            "uid": str(one.image.uid), "file_name": one.image.file_name, "title": one.image.title,
            "width": one.image.width, "height": one.image.height, "quality": one.image.quality,
            "match": one.match, "band": one.band,
            "url": storage.signed_url(one.image.original_key),
        }
        for one in page.results
    ]  # fmt: skip
    return orjson.dumps({"results": rows, "total": page.total, "meta": page.meta}).decode()


def recall(found: list[list[int]], truth: list[set[int]]) -> float:
    return float(np.mean([len(set(one) & right) / K for one, right in zip(found, truth, strict=True)]))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--vectors", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=200)
    options = parser.parse_args()
    call_command("migrate", verbosity=0)
    pictures, drawn = world(options.vectors, options.queries + SPARE)
    probes, spare = np.split(drawn, [options.queries])
    texts = [
        f"{WORDS[n % 16]} {WORDS[n // 16 % 16]} {WORDS[n // 256]} number{n}" for n in range(options.queries)
    ]
    model = Model(dict(zip(texts, probes, strict=True)), spare)
    encoders.REGISTRY[NAME], encoders._encoders[NAME] = model.spec, model
    space = Space.objects.create(name=NAME, sha256=model.sha256, dimension=DIMENSION, languages=["en"])
    ids, principal = populate(options.vectors, space, pictures)
    # Warm: the index opened, the sample drawn, the first plans made.
    engine.find(Query((TextPart(texts[0]),), words=False), principal)
    index.settle()
    retrieval.text_vectors.clear()
    faiss.omp_set_num_threads(1)
    gc.collect()
    gc.freeze()  # as a web process does when it is warm
    with on_s3():
        report(measure(texts, probes, pictures, ids, principal, model))


@contextmanager
def on_s3() -> Iterator[None]:
    """Links of the kind that the recipe signs; the index stays in its folder, already opened."""
    backend = {"BACKEND": "storages.backends.s3.S3Storage", "OPTIONS": {**S3, "region_name": "us-east-1"}}
    with override_settings(
        STORAGES={**settings.STORAGES, "default": backend},
        S3_BUCKET="pictures",
        S3_ENDPOINT_URL=S3["endpoint_url"],
    ):
        yield


def measure(
    texts: list[str],
    probes: np.ndarray,
    pictures: np.ndarray,
    ids: list[int],
    principal: Principal,
    model: Model,
) -> dict[str, Any]:
    recipe, times = Recipe(ids, pictures, model), Times()
    truth = [{ids[place] for place in np.argsort(-(pictures @ probe))[:K]} for probe in probes]
    found: dict[str, list[list[int]]] = {"recipe": [], "loupe": []}
    for text in texts[1:]:
        found["recipe"].append(times.of("recipe total", lambda text=text: ask_recipe(recipe, text, times)))
        query = Query((TextPart(text),), limit=K)
        for name in ("loupe", "cached"):
            page = times.of(
                f"{name} total", lambda query=query, name=name: ask(query, principal, name, times)
            )
        found["loupe"].append([one.image.pk for one in page.results])
    totals = {name: float(np.median(values)) for name, values in times.cpu.items()}
    return {
        "vectors": len(ids),
        "times less CPU": totals["recipe total"] / totals["loupe total"],
        "times less CPU, cached": totals["recipe total"] / totals["cached total"],
        "recipe recall@50": recall(found["recipe"], truth[1:]),
        "loupe recall@50": recall(found["loupe"], truth[1:]),
        "cpu": totals,
        "wall": {name: np.quantile(values, [0.5, 0.95]).tolist() for name, values in times.wall.items()},
    }


def ask_recipe(recipe: Recipe, text: str, times: Times) -> list[int]:
    vector = times.of("recipe encode", lambda: recipe.encode(text))
    hits: list[int] = times.of("recipe candidates", lambda: recipe.candidates(vector))
    times.of("recipe format", lambda: recipe.format(hits))
    return hits


def ask(query: Query, principal: Principal, name: str, times: Times) -> engine.Page:
    """One search as the API does it; the engine measures its own stages."""
    page = engine.find(query, principal)
    for stage, took in page.meta["took_ms"].items():
        if stage != "total":
            times.wall.setdefault(f"{name} {stage}", []).append(took)
    times.of(f"{name} format", lambda: shown(page))
    return page


def report(figures: dict[str, Any]) -> None:
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "search.json").write_text(json.dumps(figures, indent=2) + "\n")
    for name, value in figures.items():
        if not isinstance(value, dict):
            print(f"{name:28}{value:12.3f}")
    print("\n| milliseconds, p50 / p95 | recipe | Loupe | Loupe, cached |\n| --- | ---: | ---: | ---: |")
    for stage in STAGES:
        cells = [figures["wall"].get(f"{name} {stage}") for name in ("recipe", "loupe", "cached")]
        print(
            f"| {stage} |",
            " | ".join("–" if one is None else f"{one[0]:.2f} / {one[1]:.2f}" for one in cells),
            "|",
        )
    cells = [figures["cpu"][f"{name} total"] for name in ("recipe", "loupe", "cached")]
    print("| CPU, p50 |", " | ".join(f"{one:.2f}" for one in cells), "|")


if __name__ == "__main__":
    main()
