import json

import pytest

from search.index.errors import ForeignManifest
from search.index.manifest import File, Manifest, RecallPoint, parse

GOOD = Manifest(
    space="a" * 64,
    dimension=512,
    kind="hnsw",
    count=30_000,
    upto_seq=31_000,
    engine="faiss 1.15.1",
    segment=File("segment.bin", "b" * 64, 123),
    parameters={"m": 32, "ef_construction": 80},
    effort=128,
    recall=0.985,
    curve=(RecallPoint(50, 0.9, 0.2), RecallPoint(128, 0.985, 0.4)),
)


def test_survives_json():
    assert parse(json.loads(json.dumps(GOOD.as_json()))) == GOOD


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("format", 2),
        ("format", True),
        ("metric", "L2"),
        ("space", "A" * 64),
        ("space", "a" * 63),
        ("dimension", 0),
        ("dimension", 10**6),
        ("dimension", "512"),
        ("kind", "flat"),
        ("count", -1),
        ("count", 2.5),
        ("upto_seq", None),
        ("engine", 3),
        ("parameters", {"m": "32"}),
        ("parameters", []),
        ("effort", 0),
        ("recall", 1.5),
        ("recall", float("nan")),
        ("target", "high"),
        ("probes", "images"),
    ],
)
def test_wrong_values_are_refused_by_name(field, value):
    with pytest.raises(ForeignManifest, match=field):
        parse(GOOD.as_json() | {field: value})


@pytest.mark.parametrize("data", [None, [], "x", 3, {}])
def test_what_is_no_manifest_is_refused(data):
    with pytest.raises(ForeignManifest):
        parse(data)


@pytest.mark.parametrize("field", list(GOOD.as_json()))
def test_missing_fields_are_refused(field):
    data = GOOD.as_json()
    del data[field]
    with pytest.raises(ForeignManifest, match=field):
        parse(data)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("segment", {"name": "../other", "sha256": "b" * 64, "byte_size": 1}),
        ("segment", {"name": "segment.bin", "sha256": "b", "byte_size": 1}),
        ("segment", {"name": "segment.bin", "sha256": "b" * 64}),
        ("segment", []),
        ("curve", {}),
        ("curve", [{"effort": 1}]),
        ("curve", [{"effort": -1, "recall": 0.5, "cpu_ms": 1.0}]),
        ("curve", [{"effort": 1, "recall": 0.5, "cpu_ms": "1"}]),
        ("curve", [{"effort": 1, "recall": 0.5, "cpu_ms": 1.0}] * 65),
    ],
)
def test_parts_are_checked_too(field, value):
    with pytest.raises(ForeignManifest, match=field):
        parse(GOOD.as_json() | {field: value})
