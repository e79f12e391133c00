"""Other libraries beside Loupe, each where it is installed: hnswlib, usearch, and pgvector on a server of your own.

Their parameters are the ones that their manuals give for high recall; effort is raised until recall@50 reaches 0.985.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measuring import K, Table, recall, timed, wall

TARGET = 0.985
EFFORTS = (64, 96, 128, 192, 256, 384, 512)
M, EF_CONSTRUCTION = 32, 100
PAGE = 5000
Asked = Callable[[np.ndarray], np.ndarray]


def peers(table: Table, vectors: np.ndarray, text: np.ndarray, truth: np.ndarray, url: str) -> None:
    for name, made in (("hnswlib", hnswlib), ("usearch", usearch)):
        if find_spec(name) is None:
            print(f"{name} is not installed: no row")
            continue
        (asker, megabytes), seconds = wall(lambda made=made: made(vectors))
        _best(table, name, asker, vectors, text, truth, build_s=seconds, mb=megabytes)
    if url:
        pgvector(table, vectors, text, truth, url)
    else:
        print("no --postgres with the extension pgvector: no row")


def _best(
    table: Table,
    name: str,
    asker: Callable[[int], Asked],
    vectors: np.ndarray,
    text: np.ndarray,
    truth: np.ndarray,
    clock: Callable[[], float] = time.process_time,
    **told: Any,
) -> None:
    """One row: the smallest effort that reaches the target, or the largest."""
    for effort in EFFORTS:
        found, cost = timed(asker(effort), text, clock)
        if recall(found, truth) >= TARGET or effort == EFFORTS[-1]:
            told |= {"recall": recall(found, truth), "cpu_ms": cost, "note": f"m {M}, ef {effort}"}
            table.add("whole", len(vectors), name, **told)
            return


def hnswlib(vectors: np.ndarray) -> tuple[Callable[[int], Asked], float]:
    import hnswlib as library

    index = library.Index("ip", vectors.shape[1])
    index.init_index(len(vectors), M=M, ef_construction=EF_CONSTRUCTION, random_seed=1)
    index.add_items(vectors, num_threads=os.cpu_count() or 1)
    index.set_num_threads(1)

    def at(effort: int) -> Asked:
        index.set_ef(effort)
        return lambda query: index.knn_query(query, K)[0].astype(np.int64)

    return at, index.index_file_size() / 1e6


def usearch(vectors: np.ndarray) -> tuple[Callable[[int], Asked], float]:
    from usearch.index import Index

    index = Index(
        ndim=vectors.shape[1], metric="ip", dtype="f16", connectivity=M, expansion_add=EF_CONSTRUCTION
    )
    index.add(np.arange(len(vectors)), vectors, threads=os.cpu_count() or 1)

    def at(effort: int) -> Asked:
        index.expansion_search = effort
        return lambda query: index.search(query[0], K, threads=1).keys[None].astype(np.int64)

    return at, index.memory_usage / 1e6


def pgvector(table: Table, vectors: np.ndarray, text: np.ndarray, truth: np.ndarray, url: str) -> None:
    """CPU is that of the server process that answers (Linux, the same machine)."""
    import psycopg

    with psycopg.connect(url, autocommit=True) as link:
        link.execute("CREATE EXTENSION IF NOT EXISTS vector")
        link.execute("DROP TABLE IF EXISTS bench_pictures")
        link.execute(f"CREATE TABLE bench_pictures (id int, v halfvec({vectors.shape[1]}))")
        link.execute("SET maintenance_work_mem = '2GB'; SET jit = off")
        _none, seconds = wall(lambda: _fill(link, vectors))
        size = link.execute("SELECT pg_total_relation_size('bench_pictures')").fetchone()
        clock = _cpu_of(link.info.backend_pid)

        def at(effort: int) -> Asked:
            link.execute(f"SET hnsw.ef_search = {effort}")
            return lambda query: _nearest(link, query)

        megabytes = size[0] / 1e6 if size else 0.0
        _best(table, "pgvector halfvec", at, vectors, text, truth, clock, build_s=seconds, mb=megabytes)
        link.execute("DROP TABLE bench_pictures")


def _fill(link: Any, vectors: np.ndarray) -> None:
    with link.cursor().copy("COPY bench_pictures FROM STDIN") as copy:
        for line in _lines(vectors):
            copy.write(line)
    link.execute(
        "CREATE INDEX ON bench_pictures USING hnsw (v halfvec_ip_ops)"
        f" WITH (m = {M}, ef_construction = {EF_CONSTRUCTION})"
    )


def _lines(vectors: np.ndarray) -> Iterator[str]:
    for number, vector in enumerate(vectors):
        yield f"{number}\t[{','.join(f'{value:.5g}' for value in vector)}]\n"


def _nearest(link: Any, query: np.ndarray) -> np.ndarray:
    asked = f"[{','.join(f'{value:.6g}' for value in query[0])}]"
    rows = link.execute(
        "SELECT id FROM bench_pictures ORDER BY v <#> %s::halfvec LIMIT %s", (asked, K)
    ).fetchall()
    return np.array([[row[0] for row in rows] + [-1] * (K - len(rows))])


def _cpu_of(pid: int) -> Callable[[], float]:
    path = Path(f"/proc/{pid}/schedstat")
    return lambda: int(path.read_text().split()[0]) / 1e9
