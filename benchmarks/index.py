"""The index beside the published recipe and other libraries, in one run and on the same vectors.

    python benchmarks/index.py [--sizes 10000 100000] [--queries 100] [--without-database] [--postgres URL]

The recipe is FAISS "IVF256,Flat" over all vectors, searched with nprobe 8 to 256; `flat` is IndexFlatIP. Vectors are
synthetic (512 components, pictures in a clustered cone, text queries in a cone of their own, see
tests/search/index/shapes.py), rounded to the half precision in which the database keeps them before anybody gets them,
and, where LOUPE_TEST_DATA holds them, 1,454 genuine MobileCLIP2 vectors. Recall is recall@50 against exact search,
asked with text-like queries that no tuning has seen. CPU is one thread's median milliseconds per query. Times on a
shared machine are noisy: compare rows of one run. hnswlib and usearch are measured where they can be imported, pgvector
where --postgres names a server on this machine that has the extension. Results go to benchmarks/results/: index.csv
and a plot for each size.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count() or 1))
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import faiss  # noqa: E402
import numpy as np  # noqa: E402

from benchmarks.index_database import in_database, set_up  # noqa: E402
from benchmarks.index_peers import peers  # noqa: E402
from benchmarks.measuring import K, Table, held, median_ms, paired, recall, timed, wall  # noqa: E402
from benchmarks.plot import scatter  # noqa: E402

NPROBES = (8, 16, 32, 64, 256)
SHARES = (0.5, 0.05, 0.005, 0.0005)
POST_FILTERED = 200
TARGET = 0.985
RESULTS = Path(__file__).parent / "results"
ROUNDS = 9
PAGE = 50_000


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

    path, threads = folder / kind, os.cpu_count() or 1
    built, seconds = wall(lambda: build(path, kind, vectors, np.arange(len(vectors)), threads=threads))
    segment = open_segment(path, built.sha256)
    (effort, curve), tuning = wall(lambda: tune(segment, probes, TARGET))
    manifest = Manifest(
        "0" * 64, vectors.shape[1], kind, len(vectors), 0, "", File(SEGMENT_NAME, built.sha256, built.byte_size),
        effort=effort, curve=curve,
    )  # fmt: skip
    return View(1, 1, 0, Base(1, 1, segment, manifest)), seconds + tuning, built.byte_size


def asker(view: Any, chosen: Any = None, exact: bool = False) -> Callable[[np.ndarray], np.ndarray]:
    from search.index.view import Filter, merged

    return lambda query: merged(view.search(query, K, chosen or Filter(), exact), K, 1)[0]


def stored(count: int, queries: int) -> tuple[np.ndarray, np.ndarray]:
    """(vectors as the database returns them, text-like queries)."""
    from tests.search.index.shapes import world

    vectors, text = world(count, queries)
    for start in range(0, count, PAGE):
        page = vectors[start : start + PAGE]
        page[:] = page.astype(np.float16)
    return vectors, text


def exactly(table: Table, vectors: np.ndarray, text: np.ndarray) -> np.ndarray:
    """The true ids [q, k], and the row of IndexFlatIP."""
    flat = faiss.IndexFlatIP(vectors.shape[1])
    flat.add(vectors)
    faiss.omp_set_num_threads(1)
    truth, cost = timed(partial(_ids, flat, None), text)
    table.add("whole", len(vectors), "flat (IndexFlatIP)", recall=1.0, cpu_ms=cost, mb=vectors.nbytes / 1e6)
    return truth


def _ids(index: Any, params: Any, query: np.ndarray) -> np.ndarray:
    return index.search(query, K, params=params)[1]


def whole(table: Table, count: int, queries: int, postgres: str) -> None:
    from search.index.planner import kind_for
    from search.index.tuning import PROBES

    vectors, text = stored(count, queries + PROBES)
    probes, text = text[:PROBES], text[PROBES:]
    truth = exactly(table, vectors, text)
    faiss.omp_set_num_threads(os.cpu_count() or 1)
    recipe, seconds = wall(lambda: build_recipe(vectors))
    faiss.omp_set_num_threads(1)
    for nprobe in NPROBES:
        params = faiss.SearchParametersIVF(nprobe=nprobe)
        found, cost = timed(partial(_ids, recipe, params), text)
        size = (vectors.nbytes + recipe.nlist * vectors.shape[1] * 4 + 8 * count) / 1e6
        told = {"recall": recall(found, truth), "cpu_ms": cost, "build_s": seconds, "mb": size}
        table.add("whole", count, f"recipe nprobe {nprobe}", **told)
    with tempfile.TemporaryDirectory() as name:
        folder, chosen, kept = Path(name), kind_for(count), {}
        for kind in dict.fromkeys(["exact", chosen, "ivf-pq", "hnsw", "ivf"]):
            if count > 250_000 and kind in ("hnsw", "ivf"):
                continue  # they build for very long and win nothing there
            view, seconds, size = opened(folder, kind, vectors, probes)
            found, cost = timed(asker(view), text)
            told = {"recall": recall(found, truth), "cpu_ms": cost, "build_s": seconds, "mb": size / 1e6}
            note = f"effort {view.base.manifest.effort}" + (", chosen by size" if kind == chosen else "")
            table.add("whole", count, f"Loupe {kind}", **told, note=note)
            kept |= {kind: view} if kind == chosen else {}
        equal = table.of("whole", count, "recipe nprobe 32")["recall"]
        again = at_recall(table, kept[chosen], probes, text, truth, equal)
        beside(table, recipe, {"as tuned": kept[chosen], "at the recipe's recall": again}, text)
        filtered(table, vectors, text, recipe, kept[chosen])
        faiss.write_index(recipe, str(folder / "recipe.faiss"))
        np.save(folder / "text.npy", text)
        opening(table, count, folder, chosen, text)
        memory(table, count, folder, chosen, kept[chosen])
        fresh(table, folder, vectors, kept[chosen])
    peers(table, vectors, text, truth, postgres)
    figures(table, count, chosen)
    points = [row for row in table.rows if row["part"] == "whole" and row["vectors"] == count]
    title = f"{count:,} vectors, 512 components, text-like queries, k = {K}"
    scatter(points, title, RESULTS / f"index-{count}.png")


def at_recall(
    table: Table, view: Any, probes: np.ndarray, text: np.ndarray, truth: np.ndarray, target: float
) -> Any:
    """The chosen kind once more, tuned to the recall that the recipe reaches."""
    from search.index.tuning import tune

    base = view.base
    effort, curve = tune(base.segment, probes, target)
    again = replace(view, base=replace(base, manifest=replace(base.manifest, effort=effort, curve=curve)))
    found, cost = timed(asker(again), text)
    method = f"Loupe {base.manifest.kind} at the recipe's recall"
    note = f"effort {effort}, the same segment"
    table.add("whole", base.manifest.count, method, recall=recall(found, truth), cpu_ms=cost, note=note)
    return again


def beside(table: Table, recipe: Any, views: dict[str, Any], text: np.ndarray) -> None:
    """Turn by turn with the recipe, query by query."""
    params = faiss.SearchParametersIVF(nprobe=32)
    for name, view in views.items():
        ratio = paired(asker(view), partial(_ids, recipe, params), text)
        about = view.base.manifest
        told = f"{ratio:.3f}x the CPU of recipe nprobe 32, turn by turn ({1 / ratio:.1f} times less)"
        table.add("figure", about.count, f"Loupe {about.kind} {name}", note=told)


def filtered(table: Table, vectors: np.ndarray, text: np.ndarray, recipe: Any, view: Any) -> None:
    from search.index.view import Filter

    random, wide, count = np.random.default_rng(1), faiss.SearchParametersIVF(nprobe=32), len(vectors)
    for share in SHARES:
        allowed = np.sort(random.choice(count, max(1, int(share * count)), replace=False))
        allowed.setflags(write=False)  # as the engine's cached sets are
        truth = allowed[np.argsort(-(text @ vectors[allowed].T), axis=1)[:, :K]]

        def after(query: np.ndarray, allowed: np.ndarray = allowed) -> np.ndarray:
            ids = recipe.search(query, POST_FILTERED, params=wide)[1]
            return np.where(np.isin(ids, allowed), ids, -1)

        found, cost = timed(after, text)
        about = f"{100 * share:g} % allowed"
        table.add("filter", count, f"recipe post-filter, {about}", recall=recall(found, truth), cpu_ms=cost)
        found, cost = timed(asker(view, Filter(allowed=allowed)), text)
        plan = view.search(text[:1], K, Filter(allowed=allowed), False)[0].plan
        table.add(
            "filter", count, f"Loupe, {about}", recall=recall(found, truth), cpu_ms=cost, note=plan.name
        )


def opening(table: Table, count: int, folder: Path, kind: str, text: np.ndarray) -> None:
    """Medians of several rounds, the files in the system's cache; `answered` includes the first query."""
    from search.index.segment import digest, open_segment

    def read() -> Any:
        return faiss.read_index(str(folder / "recipe.faiss"))

    def mapped() -> Any:
        return open_segment(folder / kind, checksum, verified=True)

    def prepared() -> None:
        mapped().prepare()

    checksum, _seconds = wall(lambda: digest(folder / kind))
    for name, work in (
        ("recipe read_index", read),
        ("recipe read_index + first query", lambda: read().search(text[:1], K)),
        (f"Loupe {kind}", mapped),
        (f"Loupe {kind}, lists read too", prepared),
        (f"Loupe {kind} + first query", lambda: mapped().search(text[:1], K, effort=100)),
    ):
        times = [wall(work)[1] for _round in range(ROUNDS)]
        table.add("open", count, name, note=f"{median_ms(times):.2f} ms")
    table.add("open", count, "Loupe, checksum of a new file", note=f"{1e3 * _seconds:.1f} ms, once a host")


def memory(table: Table, count: int, folder: Path, kind: str, view: Any) -> None:
    """What a process of its own holds after the queries: its own memory, and pages of the file that it mapped. Those
    are mostly what the system reads ahead; without that they are what these queries need."""
    effort = str(view.base.manifest.effort or 0)
    for name, file, ahead in (
        ("recipe", "recipe.faiss", "ahead"),
        (f"Loupe {kind}", kind, "ahead"),
        (f"without read-ahead, Loupe {kind}", kind, "needed"),
    ):
        queries = str(folder / "text.npy")
        asked = [sys.executable, __file__, "--hold", str(folder / file), queries, effort, ahead]
        told = json.loads(subprocess.run(asked, check=True, capture_output=True, text=True).stdout)
        note = f"{told['own']:.0f} MB own memory + {told['file']:.0f} MB of the file mapped (may be evicted)"
        table.add("memory", count, name, mb=told["own"] + told["file"], note=note)


def hold(path: Path, queries: Path, effort: int, ahead: bool) -> None:
    from search.index.segment import open_segment

    text, copy = np.load(queries), evicted(path)
    before = held()
    if path.suffix == ".faiss":
        index = faiss.read_index(str(copy))
        for query in text[:, None]:
            index.search(query, K, params=faiss.SearchParametersIVF(nprobe=32))
    else:
        segment = open_segment(copy, "", verified=True)
        if not ahead:
            segment._raw._mmap.madvise(mmap.MADV_RANDOM)
        for query in text:
            segment.search(query, K, effort=effort or None)
    print(json.dumps({name: value - before[name] for name, value in held().items()}))


def evicted(path: Path) -> Path:
    """A copy of which nothing is in the system's cache: pages of a file that another process maps stay there."""
    copy = path.with_name(f"{path.name}.copy")
    shutil.copyfile(path, copy)
    with copy.open("rb+") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return copy


def fresh(table: Table, folder: Path, vectors: np.ndarray, view: Any) -> None:
    """One more picture: the recipe reads, adds and writes the whole file."""
    path, count = str(folder / "recipe.faiss"), len(vectors)

    def update() -> None:
        index = faiss.read_index(path)
        index.add(vectors[:1])
        faiss.write_index(index, path + ".new")
        Path(path + ".new").replace(path)

    times = [wall(update)[1] for _round in range(3)]
    table.add("fresh", count, "recipe read + add + write", note=f"{median_ms(times):.1f} ms")
    times = []
    for number in range(50):
        row = vectors[number : number + 1]
        view, spent = wall(
            lambda view=view, row=row, n=number: view.extended(n + 1, np.array([count + n]), row)
        )
        times.append(spent)
    table.add(
        "fresh", count, "Loupe, into the delta", note=f"{median_ms(times):.2f} ms, without the row's commit"
    )


def figures(table: Table, count: int, kind: str) -> None:
    """The ratios that this run came to."""
    recipe, flat = table.of("whole", count, "recipe nprobe 32"), table.of("whole", count, "flat")
    for name, other in (
        (f"Loupe {kind}", recipe),
        (f"Loupe {kind} at the recipe's recall", recipe),
        ("Loupe exact", flat),
    ):
        row = table.of("whole", count, name)
        note = f"{row['cpu_ms'] / other['cpu_ms']:.3f}x the CPU of {other['method']} ({other['recall']:.4f})"
        table.add("figure", count, name, recall=row["recall"], note=note)
    for part, ours, theirs in (
        ("open", f"Loupe {kind}", "recipe read_index"),
        ("open", f"Loupe {kind} + first", "recipe read_index + first"),
        ("fresh", "Loupe", "recipe"),
    ):
        first, second = (float(table.of(part, count, name)["note"].split()[0]) for name in (theirs, ours))
        table.add("figure", count, f"{part}: {ours}", note=f"{first / second:.1f}x as fast as {theirs}")
    first, second, third = (table.of("memory", count, name) for name in ("recipe", "Loupe", "without"))
    own = [float(row["note"].split()[0]) for row in (first, second)]
    note = (
        f"{own[1] / own[0]:.3f}x the recipe's own, {third['mb'] / first['mb']:.3f}x with the pages that the queries"
        f" need, {second['mb'] / first['mb']:.3f}x with those that are read ahead"
    )
    table.add("figure", count, "memory", note=note)


def real(table: Table, folder: Path) -> None:
    from search.index.tuning import text_like_probes

    path = folder / "clip" / "mobileclip2-unity" / "emb_f32.npy"
    if not path.is_file():
        print("no genuine vectors here (LOUPE_TEST_DATA)")
        return
    vectors = np.load(path).astype(np.float16).astype(np.float32)
    text = text_like_probes(vectors, 300, seed=9)
    probes, text = text[:200], text[200:]
    truth = np.argsort(-(text @ vectors.T), axis=1)[:, :K]
    with tempfile.TemporaryDirectory() as name:
        for kind in ("exact", "ivf-pq", "hnsw", "ivf"):
            view, seconds, size = opened(Path(name), kind, vectors, probes)
            found, cost = timed(asker(view), text)
            told = {"recall": recall(found, truth), "cpu_ms": cost, "build_s": seconds, "mb": size / 1e6}
            note = f"effort {view.base.manifest.effort}; genuine pictures, perturbed queries"
            table.add("real", len(vectors), f"Loupe {kind}", **told, note=note)


# ── Everything ──────────────────────────────────────────────────────────────────────────────────────────────────


def database(table: Table) -> None:
    with tempfile.TemporaryDirectory() as name:
        child = in_database([], Path(name))
        for line in child.stdout or ():
            part, vectors, method, cost, told = json.loads(line)
            table.add(part, vectors, method, cpu_ms=cost if cost is not None else "", note=told)
        if child.wait():
            raise SystemExit("the database part failed")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="*", default=[10_000, 100_000])
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--postgres", default="", help="URL of a server with pgvector, on this machine")
    parser.add_argument(
        "--without-database", action="store_true", help="leave out many collections and swaps"
    )
    parser.add_argument("--hold", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        os.environ |= {"LOUPE_DATA": name, "DEBUG": "true"}  # settings want a folder; nothing is kept there
        set_up()
        if options.hold:
            path, queries, effort, ahead = options.hold
            return hold(Path(path), Path(queries), int(effort), ahead == "ahead")
        table = Table()
        RESULTS.mkdir(exist_ok=True)
        for count in options.sizes:
            whole(table, count, options.queries, options.postgres)
        real(table, Path(os.environ.get("LOUPE_TEST_DATA", ROOT.parent / "shared" / "data")))
        if not options.without_database:
            database(table)
        table.write(RESULTS / "index.csv")
    return None


if __name__ == "__main__":
    main()
