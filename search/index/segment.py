"""An immutable segment: vectors, their row ids and an optional approximate index in ONE checksummed file.

    offset 0     "LOUPESEG", then the header: JSON padded with spaces to HEADER_BYTES
    64-aligned   ids   int64 little-endian [n], rising: position -> row id
    64-aligned   flat  every vector as fp16 (scalar quantiser): the exact answer, and what `ann` is refined with
    64-aligned   ann   IVF lists or HNSW links (kind "exact" has none; HNSW links borrow `flat` as their storage)

The file is mapped (a small one is read): pages come in as searches touch them and processes share them. `ann` is read
when it is first needed: lists cannot be searched where they lie in the file. This is the only module of the product
that imports faiss, and it knows nothing of Django.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import structlog

from search.index.codes import coded_axes
from search.index.errors import BadParameters, DamagedSegment, NotFinite, UnorderedIds, WrongDimension
from search.index.masks import Bitmap, mask_of

log = structlog.get_logger(__name__)
MAGIC = b"LOUPESEG"
HEADER_BYTES = 4096
ALIGNMENT = 64
CHUNK = 8192
FORMAT = 1
KINDS = ("exact", "hnsw", "ivf", "ivf-pq", "ivf-flat")
# Bounds per parameter; `nlist` is also clamped to what can be trained from the vectors.
PARAMETERS: dict[str, dict[str, tuple[int, int]]] = {
    "exact": {},
    "hnsw": {"m": (4, 128), "ef_construction": (8, 1000)},
    "ivf": {"nlist": (1, 1 << 17)},
    "ivf-pq": {"nlist": (1, 1 << 17), "m": (1, 1024)},
    "ivf-flat": {"nlist": (1, 1 << 17)},
}
TRAINING_ROWS_PER_LIST = 64
FEWEST_ROWS_PER_LIST = 39  # faiss warns below this, and the lists come out uneven
REFINE_FACTOR = 2
# 4-bit codes misjudge by more than 8-bit ones, so more of what they find is compared in full: this many at least, and
# the more the larger the share of the lists that is looked into (measured at 100k and 1M vectors).
REFINED_ROWS, REFINED_ROWS_PER_SHARE, REFINED_FACTOR = 300, 600, 3
FEWEST_CODES = 64
MAX_EFFORT = 1 << 17
MOST_PLANS = 64
# Smaller files are read, not mapped: a mapping holds a file descriptor, and there may be thousands of collections.
READ_BYTES = 1 << 20
# The engine also counts tables that it would compute from the lists: at 39 rows a list at most this many times them.
TABLES = 8

_READING = threading.Lock()


class _Engine:
    """faiss, imported at first use: a web process starts without it, and forks before it has threads."""

    def __getattr__(self, name: str) -> Any:
        import faiss as engine

        value = getattr(engine, name)
        setattr(self, name, value)
        return value


faiss: Any = _Engine()


def engine_version() -> str:
    return f"faiss {faiss.__version__}"


@dataclass(frozen=True)
class Built:
    """What `build` wrote."""

    sha256: str
    byte_size: int
    count: int
    parameters: dict[str, int]


def checked_queries(vectors: np.ndarray, dimension: int) -> np.ndarray:
    """`vectors` as contiguous float32 [q, dimension]. Raises WrongDimension or NotFinite."""
    array = np.ascontiguousarray(vectors, dtype=np.float32)
    if array.ndim == 1:
        array = array[None]
    if array.ndim != 2 or array.shape[1] != dimension:
        raise WrongDimension(f"the space has {dimension} components, the vectors have shape {array.shape}")
    if not np.isfinite(array).all():
        raise NotFinite("a query vector holds NaN or infinity")
    return array


# ── Building ─────────────────────────────────────────────────────────────────────────────────────────────────────


def kind_parameters(
    kind: str, count: int, given: Mapping[str, int] | None = None, dimension: int = 512
) -> dict[str, int]:
    """Defaults for `count` vectors overlaid with `given`. Raises BadParameters that names the field."""
    if kind not in KINDS:
        raise BadParameters(f"kind must be one of {', '.join(KINDS)}, not {kind!r}")
    defaults = {
        "hnsw": {"m": 32, "ef_construction": 80},
        "ivf": {"nlist": round(4 * count**0.5)},
        "ivf-pq": {
            "nlist": round(1.3 * count**0.5),
            "m": min(dimension, max(FEWEST_CODES, dimension // 4)),
        },
        "ivf-flat": {"nlist": 256},
    }
    chosen = defaults.get(kind, {})
    for name, value in (given or {}).items():
        low, high = PARAMETERS[kind].get(name, (1, 0))
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise BadParameters(f"{kind}: {name} = {value!r} is unknown or not a whole number in its range")
        chosen[name] = value
    if "m" in chosen and kind == "ivf-pq":
        chosen["m"] = min(chosen["m"], dimension)
    if "nlist" in chosen:
        chosen["nlist"] = max(1, min(chosen["nlist"], count // FEWEST_ROWS_PER_LIST))
    return chosen


def build(
    path: Path,
    kind: str,
    vectors: np.ndarray,
    ids: np.ndarray,
    *,
    parameters: Mapping[str, int] | None = None,
    like: Segment | None = None,
    threads: int = 1,
    tick: Callable[[int], None] = lambda done: None,
) -> Built:
    """Write a segment of `vectors` (fp16 or f32 [n, d], may be a memmap) under `ids` (int64 [n], rising).

    Flushed to the disk on return. `tick(rows done)` is called often; what it raises ends the build. With `like`, an
    earlier segment of the same kind, lists are not trained anew: the rows are added to a copy of its own.
    Raises UnorderedIds, NotFinite, WrongDimension, BadParameters.
    """
    if vectors.ndim != 2 or vectors.shape[0] != len(ids) or vectors.shape[1] < 1:
        raise WrongDimension(f"{len(ids)} ids came with vectors of shape {vectors.shape}")
    if len(ids) > 1 and not (np.diff(ids) > 0).all():
        raise UnorderedIds("row ids must rise strictly")
    chosen = kind_parameters(kind, len(ids), parameters, int(vectors.shape[1]))
    if like is not None and "nlist" in chosen:
        chosen["nlist"] = like.nlist
    faiss.omp_set_num_threads(threads)
    try:
        with path.open("wb") as file:
            _write(file, kind, vectors, ids, chosen, like, tick)
    finally:
        faiss.omp_set_num_threads(1)
    return Built(digest(path), path.stat().st_size, len(ids), chosen)


def _write(
    file: BinaryIO,
    kind: str,
    vectors: np.ndarray,
    ids: np.ndarray,
    parameters: dict[str, int],
    like: Segment | None,
    tick: Callable[[int], None],
) -> None:
    file.write(b" " * HEADER_BYTES)
    sections = {"ids": _section(file, lambda: file.write(np.ascontiguousarray(ids, "<i8").tobytes()))}
    flat = _flat(vectors)
    sections["flat"] = _section(file, lambda: faiss.write_index(flat, faiss.PyCallbackIOWriter(file.write)))
    if kind != "exact" and len(ids) and not (kind == "ivf-pq" and parameters["nlist"] == 1):
        ann, held = like.grown(ids, vectors) if like else (_approximate(kind, vectors, parameters), 0)
        _add(ann, vectors[held:], tick)
        flags = faiss.IO_FLAG_SKIP_STORAGE if kind == "hnsw" else 0
        sections["ann"] = _section(
            file, lambda: faiss.write_index(ann, faiss.PyCallbackIOWriter(file.write), flags)
        )
    header = {
        "format": FORMAT,
        "kind": kind,
        "count": len(ids),
        "dimension": int(vectors.shape[1]),
        "nlist": parameters.get("nlist", 0),
        "sections": sections,
    }
    file.seek(0)
    file.write((MAGIC + json.dumps(header).encode()).ljust(HEADER_BYTES, b" "))
    file.flush()
    os.fsync(file.fileno())


def _section(file: BinaryIO, write: Any) -> list[int]:
    file.write(b"\0" * (-file.tell() % ALIGNMENT))
    start = file.tell()
    write()
    return [start, file.tell() - start]


def _chunks(vectors: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(vectors), CHUNK):
        chunk = np.asarray(vectors[start : start + CHUNK], dtype=np.float32)
        if not np.isfinite(chunk).all():
            raise NotFinite(f"a vector between rows {start} and {start + len(chunk)} holds NaN or infinity")
        yield np.ascontiguousarray(chunk)


def _flat(vectors: np.ndarray) -> Any:
    flat = faiss.IndexScalarQuantizer(
        int(vectors.shape[1]), faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
    )
    for chunk in _chunks(vectors):
        flat.add(chunk)
    return flat


def _approximate(kind: str, vectors: np.ndarray, parameters: dict[str, int]) -> Any:
    """The empty index of `kind`, trained where it needs training."""
    dimension, metric = int(vectors.shape[1]), faiss.METRIC_INNER_PRODUCT
    if kind == "hnsw":
        graph = faiss.IndexHNSWSQ(dimension, faiss.ScalarQuantizer.QT_fp16, parameters["m"], metric)
        graph.hnsw.efConstruction = parameters["ef_construction"]
        return graph
    nlist, coarse = parameters["nlist"], faiss.IndexFlatIP(dimension)
    if kind == "ivf-pq":
        return _coded(_training_rows(vectors, nlist), nlist, parameters["m"])
    if kind == "ivf":
        eight_bit = faiss.ScalarQuantizer.QT_8bit
        lists = faiss.IndexIVFScalarQuantizer(coarse, dimension, nlist, eight_bit, metric, False)
    else:
        lists = faiss.IndexIVFFlat(coarse, dimension, nlist, metric)
    lists.train(_training_rows(vectors, nlist))
    return lists


def _coded(sample: np.ndarray, nlist: int, codes: int) -> Any:
    """Lists of 4-bit product codes of what a vector has beyond its list's centroid, trained with `sample` [n, d]."""
    sample, dimension = np.resize(sample, (max(len(sample), 1000), sample.shape[1])), sample.shape[1]
    clusters = faiss.Kmeans(
        dimension, nlist, niter=10, spherical=True, max_points_per_centroid=TRAINING_ROWS_PER_LIST
    )
    clusters.train(sample)
    axes = coded_axes(sample - clusters.centroids[clusters.assign(sample)[1]], codes)
    coarse = faiss.IndexFlatIP(2 * codes)
    coarse.add(np.ascontiguousarray(clusters.centroids @ axes.T))
    lists = faiss.IndexIVFPQFastScan(coarse, 2 * codes, nlist, codes, 4, faiss.METRIC_INNER_PRODUCT)
    lists.by_residual = True
    lists.train(np.ascontiguousarray(sample @ axes.T))
    turn = faiss.LinearTransform(dimension, 2 * codes, False)
    faiss.copy_array_to_vector(axes.ravel(), turn.A)
    turn.is_trained = True
    return faiss.IndexPreTransform(turn, lists)


def _add(index: Any, vectors: np.ndarray, tick: Callable[[int], None]) -> None:
    done = 0
    for chunk in _chunks(vectors):
        index.add(chunk)
        done += len(chunk)
        tick(done)


def _training_rows(vectors: np.ndarray, nlist: int) -> np.ndarray:
    wanted = max(nlist * TRAINING_ROWS_PER_LIST, 1000)
    if wanted >= len(vectors):
        return np.ascontiguousarray(vectors, dtype=np.float32)
    rows = np.sort(np.random.default_rng(0).choice(len(vectors), wanted, replace=False))
    return np.ascontiguousarray(vectors[rows], dtype=np.float32)


def digest(path: Path) -> str:
    """sha256 of a file, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# ── Reading ──────────────────────────────────────────────────────────────────────────────────────────────────────


def open_segment(path: Path, expected_sha256: str, *, verified: bool = False) -> Segment:
    """Map a segment. Nothing of the file reaches faiss before its checksum agreed.

    `verified`: the caller has already compared this very file with its checksum (see `files.py`).
    Raises DamagedSegment.
    """
    try:
        if not verified and digest(path) != expected_sha256:
            raise DamagedSegment(f"{path.name}: the checksum differs from the manifest's")
        small = path.stat().st_size <= READ_BYTES
        raw = np.fromfile(path, np.uint8) if small else np.memmap(path, dtype=np.uint8, mode="r")
    except (OSError, ValueError) as error:
        raise DamagedSegment(f"{path.name}: {error}") from error
    return Segment(raw, _header(raw, path.name), path.name)


def _header(raw: np.ndarray, name: str) -> dict[str, Any]:
    block = raw[:HEADER_BYTES].tobytes()
    if len(block) < HEADER_BYTES or not block.startswith(MAGIC):
        raise DamagedSegment(f"{name}: this is no segment file")
    try:
        header = json.loads(block[len(MAGIC) :])
        if header["format"] != FORMAT or header["kind"] not in KINDS:
            raise DamagedSegment(
                f"{name}: format {header['format']!r}, kind {header['kind']!r} is not known here"
            )
        sections = header["sections"].values()
        inside = all(start >= HEADER_BYTES and 0 <= size <= len(raw) - start for start, size in sections)
        if not inside or header["sections"]["ids"][1] != 8 * header["count"]:
            raise DamagedSegment(f"{name}: the sections do not fit the file")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedSegment(f"{name}: the header cannot be read ({error})") from error
    return header


class Segment:
    """A mapped, immutable segment. Safe to search from many threads: no search changes it."""

    def __init__(self, raw: np.ndarray, header: Mapping[str, Any], name: str) -> None:
        self._raw = raw  # the engine below points into these bytes
        self.mapped = isinstance(raw, np.memmap)
        self.kind: str = header["kind"]
        self.count: int = header["count"]
        self.dimension: int = header["dimension"]
        start, size = header["sections"]["ids"]
        self.ids: np.ndarray = raw[start : start + size].view("<i8")
        self._plans: dict[tuple[int, int], tuple[Any, Any]] = {}
        self._name, self._nlist = name, int(header.get("nlist", 0))
        self._flat = self._read(header["sections"]["flat"], name)
        self._ann: Any = None
        self._refined: Any = None
        self._unread: Sequence[int] | None = header["sections"].get("ann")
        self._ann_section = self._unread
        self._reading = threading.Lock()

    def _read(self, section: Sequence[int], name: str) -> Any:
        start, size = section
        view = self._raw[start : start + size]
        try:
            with _READING:
                faiss.set_deserialization_vector_byte_limit(TABLES * size + READ_BYTES)
                faiss.set_deserialization_loop_limit(MAX_EFFORT)
                index = faiss.read_index(faiss.ZeroCopyIOReader(faiss.swig_ptr(view), size))
        except RuntimeError as error:
            raise DamagedSegment(f"{name}: the engine refused a section") from error
        if (index.ntotal, index.d, index.metric_type) != (
            self.count,
            self.dimension,
            faiss.METRIC_INNER_PRODUCT,
        ):
            raise DamagedSegment(
                f"{name}: a section holds another number or size of vectors than the header says"
            )
        return index

    def prepare(self) -> None:
        """Read the approximate part, which otherwise the first search that wants it does. Raises DamagedSegment."""
        with self._reading:
            if self._unread is None:
                return
            section, self._unread = self._unread, None
            ann = self._read(section, self._name)
            if self.kind == "hnsw":
                ann.storage, ann.own_fields = self._flat, False
            elif self.kind in ("ivf", "ivf-pq"):
                self._refined = faiss.IndexRefine(ann, self._flat)
            self._ann = ann

    def grown(self, ids: np.ndarray, vectors: np.ndarray) -> tuple[Any, int]:
        """A copy of the lists to add to, and how many of these rows it holds already: all of this segment's where they
        come first and unchanged, else none, and then only what was trained is taken over. Raises BadParameters."""
        if self._ann_section is None or not self.kind.startswith("ivf"):
            raise BadParameters(f"{self._name}: there are no lists to add to")
        start, size = self._ann_section
        with _READING:
            faiss.set_deserialization_vector_byte_limit(TABLES * size + READ_BYTES)
            copy = faiss.deserialize_index(np.array(self._raw[start : start + size]))
        if self._begins(ids, vectors):
            return copy, self.count
        copy.reset()
        return copy, 0

    def _begins(self, ids: np.ndarray, vectors: np.ndarray) -> bool:
        """Whether these rows begin with all of this segment's."""
        if len(ids) < self.count or not np.array_equal(ids[: self.count], self.ids):
            return False
        at = (np.arange(start, min(start + CHUNK, self.count)) for start in range(0, self.count, CHUNK))
        return all(np.array_equal(self.vectors(part), vectors[part].astype(np.float32)) for part in at)

    def _approximates(self) -> bool:
        """Whether there is an approximate part. One that the engine refuses is reported, and exact search answers:
        the checksum has held, so another version of the engine wrote it."""
        if self._unread is not None:
            try:
                self.prepare()
            except DamagedSegment as error:
                log.error("segment_searched_exactly", segment=self._name, error=str(error))
        return self._ann is not None

    @classmethod
    def in_memory(cls, ids: np.ndarray, vectors: np.ndarray) -> Segment:
        """An exact segment that lives in this process alone: `ids` rising int64 [n], `vectors` [n, d]."""
        segment = cls.__new__(cls)
        segment.kind, segment.count, segment.dimension = "exact", len(ids), int(vectors.shape[1])
        segment.ids, segment._ann, segment._refined, segment.mapped = ids, None, None, False
        segment._plans, segment._ann_section = {}, None
        segment._name, segment._nlist, segment._unread, segment._reading = "memory", 0, None, threading.Lock()
        segment._flat = _flat(vectors)
        return segment

    @property
    def nlist(self) -> int:
        """Number of lists of an inverted file, 0 for the other kinds."""
        if not self._nlist and self.kind.startswith("ivf") and self._approximates():
            self._nlist = int(faiss.extract_index_ivf(self._ann).nlist)
        return self._nlist

    def mask(self, wanted: np.ndarray) -> np.ndarray:
        """bool [n]: the positions of the row ids `wanted`."""
        return mask_of(self.ids, wanted)

    def search(
        self, queries: np.ndarray, k: int, *, effort: int | None = None, allowed: Bitmap | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Best `k` rows for each query: (ids int64 [q, k], scores f32 [q, k]), best first.

        `effort`: efSearch or nprobe; None searches exactly. Missing places hold id -1 and score -inf.
        Raises WrongDimension, NotFinite, BadParameters.
        """
        queries = checked_queries(queries, self.dimension)
        if k < 1 or (effort is not None and not 1 <= effort <= MAX_EFFORT):
            raise BadParameters(f"k = {k}, effort = {effort}: out of range")
        width = min(k, self.count)
        if not width or (allowed is not None and not allowed.count):
            return _padded(np.empty((len(queries), 0), np.int64), np.empty((len(queries), 0), np.float32), k)
        faiss.omp_set_num_threads(1)  # per calling thread: two threads under contention are 5-20x slower
        selector = None if allowed is None else faiss.IDSelectorBitmap(allowed.bits)
        index, params = self._planned(effort, selector, width)
        scores, at = index.search(queries, width, params=params)
        ids = np.where(at >= 0, self.ids[at], -1)
        return _padded(ids, np.where(at >= 0, scores, -np.inf).astype(np.float32), k)

    def _planned(self, effort: int | None, selector: Any, k: int) -> tuple[Any, Any]:
        """`_plan`, made once for each effort and k where nothing is filtered: it costs as much as a small search."""
        if selector is not None or effort is None:
            return self._plan(effort, selector, k)
        if (effort, k) not in self._plans:
            if len(self._plans) >= MOST_PLANS:
                self._plans.clear()
            self._plans[effort, k] = self._plan(effort, selector, k)
        return self._plans[effort, k]

    def _plan(self, effort: int | None, selector: Any, k: int) -> tuple[Any, Any]:
        """The engine and its parameters for this request alone: shared state is never changed."""
        options = {} if selector is None else {"sel": selector}
        if effort is None or not self._approximates():
            return self._flat, faiss.SearchParameters(**options) if options else None
        if self.kind == "hnsw":
            return self._ann, faiss.SearchParametersHNSW(efSearch=effort, **options)
        nprobe = min(effort, self.nlist)
        lists, factor = faiss.SearchParametersIVF(nprobe=nprobe, **options), float(REFINE_FACTOR)
        if self._refined is None:
            return self._ann, lists
        if self.kind == "ivf-pq":
            lists = faiss.SearchParametersPreTransform(index_params=lists)
            factor = _factor(nprobe / self.nlist, k, self.count)
        return self._refined, faiss.IndexRefineSearchParameters(k_factor=factor, base_index_params=lists)

    def vectors(self, positions: np.ndarray) -> np.ndarray:
        """float32 [len(positions), d] of the vectors at those positions."""
        if not len(positions):
            return np.empty((0, self.dimension), np.float32)
        faiss.omp_set_num_threads(1)
        return self._flat.reconstruct_batch(np.ascontiguousarray(positions, dtype=np.int64))

    def lookup(self, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(ids, vectors) of those of `wanted` that this segment holds."""
        at = np.flatnonzero(self.mask(wanted))
        return self.ids[at], self.vectors(at)


def _factor(share: float, k: int, count: int) -> float:
    """How many candidates of 4-bit codes are compared in full, in multiples of `k`; `share` of the lists is looked
    into."""
    rows = max(REFINED_ROWS + REFINED_ROWS_PER_SHARE * share, REFINED_FACTOR * k)
    return max(1.0, min(rows, count) / k)


def _padded(ids: np.ndarray, scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    if ids.shape[1] == k:
        return ids, scores
    missing = ((0, 0), (0, k - ids.shape[1]))
    return np.pad(ids, missing, constant_values=-1), np.pad(scores, missing, constant_values=-np.inf)
