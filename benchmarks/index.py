"""The index beside the published recipe, in one run and on the same vectors.

    python benchmarks/index.py [--sizes 10000 100000] [--queries 100] [--without-database]

The recipe is FAISS "IVF256,Flat" over all vectors, searched with nprobe 8 to 256; `flat` is IndexFlatIP. Vectors are
synthetic (512 components, pictures in a clustered cone, text queries in a cone of their own, see
tests/search/index/shapes.py) and, where LOUPE_TEST_DATA holds them, 1,454 genuine MobileCLIP2 vectors. Recall is
recall@50 against exact search, asked with text-like queries that no tuning has seen. CPU is one thread's median
milliseconds per query. Times on a shared machine are noisy: compare rows of one run. Results go to
benchmarks/results/index.csv (and .png with matplotlib).
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count() or 1))
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import faiss  # noqa: E402
import numpy as np  # noqa: E402

K = 50
NPROBES = (8, 16, 32, 64, 256)
SHARES = (0.5, 0.05, 0.005, 0.0005)
POST_FILTERED = 200
TARGET = 0.985
RESULTS = Path(__file__).parent / "results"
FIELDS = ("part", "vectors", "method", "recall", "cpu_ms", "build_s", "mb", "note")
SWAPS, PER_SECOND = 50, 20

rows: list[dict[str, Any]] = []


def note(part: str, vectors: int, method: str, **values: Any) -> None:
    row = dict.fromkeys(FIELDS, "") | {"part": part, "vectors": vectors, "method": method} | values
    rows.append(row)
    shown = [f"{row[name]:.4g}" if isinstance(row[name], float) else str(row[name]) for name in FIELDS]
    print(
        f"{shown[0]:9}{shown[1]:>9} {shown[2]:34}{shown[3]:>8}{shown[4]:>9}{shown[5]:>9}{shown[6]:>9}  {shown[7]}",
        flush=True,
    )


def timed(ask: Callable[[np.ndarray], np.ndarray], queries: np.ndarray) -> tuple[np.ndarray, float]:
    """(ids [q, k], median CPU milliseconds of one query)."""
    found, spent = [], []
    for query in queries[:, None]:
        begun = time.process_time()
        found.append(ask(query)[0])
        spent.append(time.process_time() - begun)
    return np.array(found), 1e3 * float(np.median(spent))


def clock(work: Callable[[], Any]) -> tuple[Any, float]:
    begun = time.perf_counter()
    return work(), time.perf_counter() - begun


def recall(found: np.ndarray, truth: np.ndarray) -> float:
    hits = sum(len(np.intersect1d(a, b[b >= 0])) for a, b in zip(found, truth, strict=True))
    return hits / max(1, int((truth >= 0).sum()))


# ── One collection ──────────────────────────────────────────────────────────────────────────────────────────────


def build_recipe(vectors: np.ndarray) -> Any:
    index = faiss.IndexIVFFlat(
        faiss.IndexFlatIP(vectors.shape[1]), vectors.shape[1], 256, faiss.METRIC_INNER_PRODUCT
    )
    index.train(vectors)
    index.add(vectors)
    return index


def opened(folder: Path, kind: str, vectors: np.ndarray, probes: np.ndarray) -> tuple[Any, float, int]:
    """(view over a built and tuned segment, build seconds, bytes)."""
    from search.index.manifest import SEGMENT_NAME, File, Manifest
    from search.index.segment import build, open_segment
    from search.index.tuning import tune
    from search.index.view import Base, View

    path = folder / kind
    built, seconds = clock(
        lambda: build(path, kind, vectors, np.arange(len(vectors)), threads=os.cpu_count() or 1)
    )
    segment = open_segment(path, built.sha256)
    (effort, curve), tuning = clock(lambda: tune(segment, probes, TARGET))
    manifest = Manifest(
        "0" * 64, vectors.shape[1], kind, len(vectors), 0, "", File(SEGMENT_NAME, built.sha256, built.byte_size),
        effort=effort, curve=curve,
    )  # fmt: skip
    return View(1, 1, 0, Base(1, 1, segment, manifest)), seconds + tuning, built.byte_size


def asker(view: Any, chosen: Any = None, exact: bool = False) -> Callable[[np.ndarray], np.ndarray]:
    from search.index.view import Filter, merged

    return lambda query: merged(view.search(query, K, chosen or Filter(), exact), K, 1)[0]


def megabytes(size: int) -> float:
    return size / 1e6


def whole(count: int, queries: int) -> None:
    from search.index.planner import kind_for
    from search.index.tuning import PROBES
    from tests.search.index.shapes import world

    vectors, text = world(count, queries + PROBES)
    probes, text = text[:PROBES], text[PROBES:]
    flat = faiss.IndexFlatIP(vectors.shape[1])
    flat.add(vectors)
    faiss.omp_set_num_threads(os.cpu_count() or 1)
    recipe, seconds = clock(lambda: build_recipe(vectors))
    faiss.omp_set_num_threads(1)
    truth, cost = timed(lambda query: flat.search(query, K)[1], text)
    note("whole", count, "flat (IndexFlatIP)", recall=1.0, cpu_ms=cost, mb=megabytes(vectors.nbytes))
    for nprobe in NPROBES:
        params = faiss.SearchParametersIVF(nprobe=nprobe)
        found, cost = timed(lambda query, params=params: recipe.search(query, K, params=params)[1], text)
        size = megabytes(vectors.nbytes + recipe.nlist * vectors.shape[1] * 4 + 8 * count)
        note(
            "whole",
            count,
            f"recipe nprobe {nprobe}",
            recall=recall(found, truth),
            cpu_ms=cost,
            build_s=seconds,
            mb=size,
        )
    with tempfile.TemporaryDirectory() as name:
        chosen, views = kind_for(count), {}
        for kind in dict.fromkeys(["exact", chosen, "hnsw", "ivf"]):
            views[kind], seconds, size = opened(Path(name), kind, vectors, probes)
            found, cost = timed(asker(views[kind]), text)
            effort = views[kind].base.manifest.effort
            told = f"effort {effort}" + (" (chosen by size)" if kind == chosen else "")
            note(
                "whole",
                count,
                f"Loupe {kind}",
                recall=recall(found, truth),
                cpu_ms=cost,
                build_s=seconds,
                mb=megabytes(size),
                note=told,
            )
        filtered(count, vectors, text, recipe, views[chosen])
        opening(count, recipe, Path(name), chosen)
        fresh(count, recipe, vectors, views[chosen])


def filtered(count: int, vectors: np.ndarray, text: np.ndarray, recipe: Any, view: Any) -> None:
    from search.index.view import Filter

    random, wide = np.random.default_rng(1), faiss.SearchParametersIVF(nprobe=32)
    half = vectors.astype(np.float16)
    for share in SHARES:
        allowed = np.sort(random.choice(count, max(1, int(share * count)), replace=False))
        scores = text @ half[allowed].astype(np.float32).T
        truth = allowed[np.argsort(-scores, axis=1)[:, :K]]

        def after(query: np.ndarray, allowed: np.ndarray = allowed) -> np.ndarray:
            ids = recipe.search(query, POST_FILTERED, params=wide)[1]
            return np.where(np.isin(ids, allowed), ids, -1)

        found, cost = timed(after, text)
        note("filter", count, f"post-filter {100 * share:g} %", recall=recall(found, truth), cpu_ms=cost)
        ask = asker(view, Filter(allowed=allowed))
        found, cost = timed(ask, text)
        plan = view.search(text[:1], K, Filter(allowed=allowed), False)[0].plan
        note(
            "filter",
            count,
            f"Loupe {100 * share:g} %",
            recall=recall(found, truth),
            cpu_ms=cost,
            note=plan.name,
        )


def opening(count: int, recipe: Any, folder: Path, kind: str) -> None:
    from search.index.segment import digest, open_segment

    path = folder / "recipe.faiss"
    faiss.write_index(recipe, str(path))
    _index, seconds = clock(lambda: faiss.read_index(str(path)))
    note("open", count, "recipe read_index", note=f"{1e3 * seconds:.1f} ms")
    checksum = digest(folder / kind)
    _segment, seconds = clock(lambda: open_segment(folder / kind, checksum))
    note("open", count, f"Loupe {kind}, first process", note=f"{1e3 * seconds:.1f} ms with the checksum")
    times = [clock(lambda: open_segment(folder / kind, checksum, verified=True))[1] for _round in range(5)]
    note("open", count, f"Loupe {kind}, known file", note=f"{1e3 * float(np.median(times)):.2f} ms")


def fresh(count: int, recipe: Any, vectors: np.ndarray, view: Any) -> None:
    """One more picture: the recipe reads, adds and writes the whole file."""
    with tempfile.TemporaryDirectory() as name:
        path = str(Path(name) / "recipe.faiss")
        faiss.write_index(recipe, path)

        def update() -> None:
            index = faiss.read_index(path)
            index.add(vectors[:1])
            faiss.write_index(index, path + ".new")
            Path(path + ".new").replace(path)

        _none, seconds = clock(update)
    note("fresh", count, "recipe read + add + write", note=f"{1e3 * seconds:.1f} ms")
    times = []
    for number in range(50):
        view, spent = clock(
            lambda view=view, number=number: view.extended(
                number + 1, np.array([count + number]), vectors[number : number + 1]
            )
        )
        times.append(spent)
    note(
        "fresh",
        count,
        "Loupe delta (without the row's commit)",
        note=f"{1e3 * float(np.median(times)):.2f} ms",
    )


def real(folder: Path) -> None:
    from search.index.tuning import text_like_probes

    path = folder / "clip" / "mobileclip2-unity" / "emb_f32.npy"
    if not path.is_file():
        print("no genuine vectors here (LOUPE_TEST_DATA)")
        return
    vectors = np.load(path).astype(np.float32)
    text = text_like_probes(vectors, 300, seed=9)
    probes, text = text[:200], text[200:]
    truth = np.argsort(-(text @ vectors.T), axis=1)[:, :K]
    with tempfile.TemporaryDirectory() as name:
        for kind in ("exact", "hnsw", "ivf"):
            view, seconds, size = opened(Path(name), kind, vectors, probes)
            found, cost = timed(asker(view), text)
            told = f"effort {view.base.manifest.effort}; genuine pictures, perturbed queries"
            note(
                "real",
                len(vectors),
                f"Loupe {kind}",
                recall=recall(found, truth),
                cpu_ms=cost,
                build_s=seconds,
                mb=megabytes(size),
                note=told,
            )


# ── Through the database ────────────────────────────────────────────────────────────────────────────────────────


def in_database(arguments: list[str], data: Path) -> subprocess.Popen[str]:
    environment = os.environ | {"LOUPE_DATA": str(data), "DATABASE_URL": "", "DEBUG": "true"}
    environment.pop("DATABASE_URL")
    return subprocess.Popen(
        [sys.executable, __file__, *arguments], env=environment, stdout=subprocess.PIPE, text=True
    )


def set_up() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    import django

    django.setup()


def fill(name: str, vectors: np.ndarray, space: Any, team: Any) -> Any:
    """A collection with finished embeddings."""
    from django.db import transaction

    from images.models import Collection, Image
    from search import index
    from search.models import CollectionIndex, Embedding

    with transaction.atomic():
        collection = Collection.objects.create(team=team, name=name)
        CollectionIndex.objects.create(collection=collection, space=space)
        images = Image.objects.bulk_create(
            Image(
                collection=collection,
                file_name="x",
                sha256=f"{number:064x}",
                byte_size=1,
                original_key="o/x",
                state="ready",
            )
            for number in range(len(vectors))
        )
        first = index.hand_out_seq(collection.pk, len(images))
        Embedding.objects.bulk_create(
            Embedding(
                image=image,
                collection=collection,
                space=space,
                state="done",
                vector=vector.astype("<f2").tobytes(),
                seq=first + number,
            )
            for number, (image, vector) in enumerate(zip(images, vectors, strict=True))
        )
    return collection


def database() -> None:
    """Many small collections, and swaps under load; runs in a process of its own over an empty database."""
    if "LOUPE_DATA" not in os.environ:
        raise SystemExit("only the benchmark itself starts this part, over a folder of its own")
    set_up()
    from django.core.management import call_command

    from images.models import Team
    from search.models import Space
    from tests.search.index.shapes import world

    call_command("migrate", verbosity=0)
    team = Team.objects.create(name="Bench", slug="bench")
    space = Space.objects.create(name="bench", sha256="0" * 64, dimension=512)
    for each in (20, 100):
        vectors, text = world(1000 * each, 50)
        many = [fill(f"{each} {at}", vectors[at * each : (at + 1) * each], space, team) for at in range(1000)]
        one = fill(f"{each} in one", vectors, space, team)
        compare(many, one, space, text, each)
        if each == 20:
            swaps(one, space)


def compare(many: list[Any], one: Any, space: Any, text: np.ndarray, each: int) -> None:
    from images import leases
    from search import index
    from search.models import CollectionIndex

    index.request_rebuild(one)
    for row in leases.claim(CollectionIndex.objects.filter(collection=one), 1):
        index.build_next(row)
    costs = {}
    for name, asked in (("one", [one.pk]), ("many", [collection.pk for collection in many])):
        index.search(asked, space, text[:1], K)
        _found, costs[name] = timed(lambda query, asked=asked: index.search(asked, space, query, K).ids, text)
        kind = index.search(asked, space, text[:1], K).plan
        print(
            json.dumps(
                ["many", 1000 * each, f"{name}: {1000 if name == 'many' else 1} x {each}", costs[name], kind]
            )
        )
    print(json.dumps(["many", 1000 * each, "ratio many / one", costs["many"] / costs["one"], ""]))


def swaps(one: Any, space: Any) -> None:
    """Two processes ask 20 times a second while this one publishes 50 generations."""
    from images import leases
    from search import index
    from search.models import CollectionIndex

    CollectionIndex.objects.filter(collection=one).update(kind="exact")
    children = [
        in_database(["--ask", str(one.pk), str(space.pk)], Path(os.environ["LOUPE_DATA"])) for _n in range(2)
    ]
    for child in children:
        child.stdout.readline()  # it is warm
    for _swap in range(SWAPS):
        index.request_rebuild(one)
        for row in leases.claim(CollectionIndex.objects.filter(collection=one), 1):
            index.build_next(row)
    (Path(os.environ["LOUPE_DATA"]) / "stop").touch()
    for child in children:
        answer = json.loads(child.communicate(timeout=60)[0])
        print(json.dumps(["swaps", SWAPS, "asked while swapping", None, json.dumps(answer)]))


def ask(collection: int, space: int) -> None:
    set_up()
    from search import index
    from tests.search.index.shapes import world

    text, counts, seen = world(10, 50)[1], {"asked": 0, "failed": 0, "short": 0}, set()
    index.search([collection], space, text[:1], K)
    print("warm", flush=True)
    stop, slowest = Path(os.environ["LOUPE_DATA"]) / "stop", 0.0
    while not stop.exists():
        begun = time.perf_counter()
        try:
            hits = index.search([collection], space, text[counts["asked"] % 50], K)
            counts["short"] += int((hits.ids < 0).any() or hits.ids.shape[1] < K)
            seen.add(hits.generations[collection])
        except Exception as error:  # noqa: BLE001  (every failure counts here)
            counts["failed"] += 1
            print(repr(error), file=sys.stderr)
        counts["asked"] += 1
        spent = time.perf_counter() - begun
        slowest = max(slowest, spent)
        time.sleep(max(0.0, 1 / PER_SECOND - spent))
    print(json.dumps(counts | {"generations": len(seen), "slowest_ms": round(1e3 * slowest, 1)}))


# ── Everything ──────────────────────────────────────────────────────────────────────────────────────────────────


def write(results: Iterable[dict[str, Any]]) -> None:
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / "index.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        writer.writerows(results)
    try:
        from matplotlib import pyplot
    except ImportError:
        return
    figure, axes = pyplot.subplots()
    for row in (row for row in rows if row["part"] == "whole"):
        axes.scatter(row["cpu_ms"], row["recall"])
        axes.annotate(f"{row['method']} ({row['vectors']:,})", (row["cpu_ms"], row["recall"]), fontsize=6)
    axes.set(xscale="log", xlabel="CPU ms per query", ylabel="recall@50, text-like queries")
    figure.savefig(RESULTS / "index.png", dpi=160)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="*", default=[10_000, 100_000])
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument(
        "--without-database", action="store_true", help="leave out many collections and swaps"
    )
    parser.add_argument("--database", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--ask", type=int, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ask:
        return ask(*options.ask)
    if options.database:
        return database()
    set_up()
    print(f"{'part':9}{'vectors':>9} {'method':34}{'recall':>8}{'cpu ms':>9}{'build s':>9}{'MB':>9}")
    for count in options.sizes:
        whole(count, options.queries)
    real(Path(os.environ.get("LOUPE_TEST_DATA", ROOT.parent / "shared" / "data")))
    if not options.without_database:
        with tempfile.TemporaryDirectory() as name:
            child = in_database(["--database"], Path(name))
            for line in child.stdout or ():
                part, vectors, method, cost, told = json.loads(line)
                note(part, vectors, method, cpu_ms=cost if cost is not None else "", note=told)
            if child.wait():
                raise SystemExit("the database part failed")
    write(rows)
    return None


if __name__ == "__main__":
    main()
