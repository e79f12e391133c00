"""What a generation says about itself. Pure: JSON in, JSON out, and anything unexpected is refused."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from search.index.errors import ForeignManifest

FORMAT = 1
METRIC = "inner product"
SEGMENT_NAME = "segment.bin"
MAX_POINTS = 64
SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class File:
    name: str
    sha256: str
    byte_size: int


@dataclass(frozen=True)
class RecallPoint:
    """Measured against exact search: `cpu_ms` is one thread's median for one query."""

    effort: int
    recall: float
    cpu_ms: float


@dataclass(frozen=True)
class Manifest:
    """`effort` is the tuned efSearch / nprobe, None where exact search is the answer to every query.

    `probes` says what the recall was measured with: "text" (phrases encoded by the space) or "perturbed" (vectors of
    the collection moved to where text lies).
    """

    space: str
    dimension: int
    kind: str
    count: int
    upto_seq: int
    engine: str
    segment: File
    parameters: dict[str, int] = field(default_factory=dict)
    effort: int | None = None
    recall: float = 1.0
    target: float = 0.98
    probes: str = "text"
    curve: tuple[RecallPoint, ...] = ()
    metric: str = METRIC
    format: int = FORMAT

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"curve": [asdict(point) for point in self.curve]}


def parse(data: Any) -> Manifest:
    """Read `as_json` back. Raises ForeignManifest that names the field."""
    values = _exactly(data, Manifest, "manifest")
    segment = File(**_exactly(values["segment"], File, "segment"))
    curve = values["curve"]
    if not isinstance(curve, list) or len(curve) > MAX_POINTS:
        raise ForeignManifest(f"manifest: curve must be a list of at most {MAX_POINTS} points")
    points = tuple(RecallPoint(**_exactly(point, RecallPoint, "curve")) for point in curve)
    manifest = Manifest(**values | {"segment": segment, "curve": points})
    _check(manifest)
    return manifest


def _exactly(data: Any, kind: type[Any], where: str) -> dict[str, Any]:
    if not isinstance(data, Mapping):
        raise ForeignManifest(f"{where}: not an object")
    names = {item.name for item in fields(kind)}
    if set(data) != names:
        odd = ", ".join(sorted(str(name) for name in set(data) ^ names))
        raise ForeignManifest(f"{where}: unknown or missing: {odd}")
    return dict(data)


def _check(manifest: Manifest) -> None:
    rules = {
        "format": _whole(manifest.format) and manifest.format == FORMAT,
        "metric": manifest.metric == METRIC,
        "space": _sha256(manifest.space),
        "dimension": _whole(manifest.dimension) and 1 <= manifest.dimension <= 65_536,
        "kind": manifest.kind in ("exact", "hnsw", "ivf", "ivf-pq", "ivf-flat"),
        "count": _whole(manifest.count),
        "upto_seq": _whole(manifest.upto_seq),
        "engine": isinstance(manifest.engine, str) and len(manifest.engine) <= 80,
        "segment": _file(manifest.segment),
        "parameters": isinstance(manifest.parameters, dict)
        and all(map(_whole, manifest.parameters.values())),
        "effort": manifest.effort is None or (_whole(manifest.effort) and manifest.effort >= 1),
        "recall": _share(manifest.recall),
        "target": _share(manifest.target),
        "probes": manifest.probes in ("text", "perturbed"),
        "curve": all(_point(point) for point in manifest.curve),
    }
    for name, holds in rules.items():
        if not holds:
            raise ForeignManifest(f"manifest: {name} = {getattr(manifest, name)!r} is not valid")


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _share(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _sha256(value: Any) -> bool:
    return isinstance(value, str) and SHA256.fullmatch(value) is not None


def _file(value: File) -> bool:
    return value.name == SEGMENT_NAME and _sha256(value.sha256) and _whole(value.byte_size)


def _point(point: RecallPoint) -> bool:
    return _whole(point.effort) and _share(point.recall) and isinstance(point.cpu_ms, int | float)
