"""What a search answers, as JSON and as shapes for the schema. Requests are checked by `search.query`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers

from images.endpoint import moment
from images.serializers import ImageSerializer, images_json
from search.engine import Page
from search.models import IndexState
from search.query import (
    BANDS,
    MAX_COLLECTIONS,
    MAX_PARTS,
    MAX_TAGS,
    MAX_TEXT,
    MAX_WEIGHT,
    SCALARS,
    Scalar,
    default_of,
)

if TYPE_CHECKING:
    from search.index import IndexStatus


def page_json(page: Page) -> dict[str, Any]:
    shown = images_json([result.image for result in page.results])
    results = []
    for result, image in zip(page.results, shown, strict=True):
        told = {
            "image": image,
            "similarity": result.similarity,
            "match": result.match,
            "band": result.band,
            "score": result.score,
            "why": list(result.why),
            "copies": result.copies,
        }
        results.append(told if result.explain is None else {**told, "explain": result.explain})
    return {
        "results": results,
        "total": page.total,
        "has_more": page.has_more,
        "next_cursor": page.next_cursor,
        "bands": page.bands,
        "meta": page.meta,
    }


def index_json(status: IndexStatus) -> dict[str, Any]:
    age = (timezone.now() - status.built_at).total_seconds() if status.built_at else None
    return {
        "generation": status.generation,
        "kind": status.kind,
        "parameters": status.parameters,
        "vectors": status.vectors,
        "rows": status.total,
        "pending": status.pending,
        "delta": status.delta,
        "recall": status.recall,
        "live_recall": status.live_recall,
        "live_recall_queries": status.live_recall_count,
        "built_at": moment(status.built_at),
        "age_seconds": age,
        "space": {
            "name": status.space.name,
            "sha256": status.space.sha256,
            "dimension": status.space.dimension,
        },
        "state": status.state,
        "building": status.building,
        "last_error": status.error,
    }


# ── URL parameters ──────────────────────────────────────────────────────────────────────────────────────────────

_TYPES: dict[str, Any] = {"number": "number", "integer": "integer", "flag": "boolean", "text": "string"}


def _parameter(scalar: Scalar) -> OpenApiParameter:
    return OpenApiParameter(scalar.parameter, _schema(scalar), required=False)


def _schema(scalar: Scalar) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": _TYPES.get(scalar.kind, "string")}
    if scalar.kind in ("number", "integer"):
        schema |= {"minimum": scalar.low, "maximum": scalar.high}
    elif scalar.kind == "choice":
        schema["enum"] = list(scalar.choices)
    elif scalar.kind == "text":
        schema["maxLength"] = int(scalar.high)
    elif scalar.kind == "moment":
        schema["example"] = "2026-01-31"
    default = default_of(scalar)
    return schema if default is None else {**schema, "default": default}


TAGS = [
    OpenApiParameter(
        "tags", {"type": "array", "maxItems": MAX_TAGS, "items": {"type": "string", "maxLength": 100}}
    ),
    OpenApiParameter(
        "tags_none", {"type": "array", "maxItems": MAX_TAGS, "items": {"type": "string", "maxLength": 100}}
    ),
]
COLLECTIONS = OpenApiParameter(
    "collections",
    {"type": "array", "maxItems": MAX_COLLECTIONS, "items": {"type": "string", "format": "uuid"}},
    description="Only in these.",
)
QUESTION = OpenApiParameter(
    "q",
    OpenApiTypes.STR,
    required=True,
    description='The query as text: `mountains:0.7 lake:0.3 -snow "a red car" like:<image id> tag:holiday '
    "after:2026-01-01`.",
)
QUESTION_OR_NONE = OpenApiParameter("q", OpenApiTypes.STR, description="The query as text; may be left out.")
FILTERS = [*(_parameter(scalar) for scalar in SCALARS if scalar.group == "filters"), *TAGS, COLLECTIONS]
SEARCH = [*(_parameter(scalar) for scalar in SCALARS), *TAGS, COLLECTIONS]

# ── Request ─────────────────────────────────────────────────────────────────────────────────────────────────────

_PART = {
    "type": "object",
    "description": "One of `text`, `image_id` and `upload` (the form field that holds the picture).",
    "additionalProperties": False,
    "properties": {
        "text": {"type": "string", "minLength": 1, "maxLength": MAX_TEXT},
        "image_id": {"type": "string", "format": "uuid"},
        "upload": {"type": "string", "minLength": 1, "maxLength": 64},
        "weight": {"type": "number", "minimum": 0, "maximum": MAX_WEIGHT, "default": 1},
    },
}


def _group(name: str, more: dict[str, Any] | None = None) -> dict[str, Any]:
    known = {scalar.name: {**_schema(scalar), "nullable": True} for scalar in SCALARS if scalar.group == name}
    return {"type": "object", "additionalProperties": False, "properties": {**known, **(more or {})}}


def _strings(most: int, **item: Any) -> dict[str, Any]:
    return {"type": "array", "maxItems": most, "items": {"type": "string", **item}}


_ROOT = _group("")
SEARCH_BODY = {
    **_ROOT,
    "required": ["query"],
    "properties": {
        "query": {"type": "array", "minItems": 1, "maxItems": MAX_PARTS, "items": _PART},
        "negative": {"type": "array", "maxItems": MAX_PARTS, "items": _PART},
        "collections": _strings(MAX_COLLECTIONS, format="uuid"),
        "filters": _group(
            "filters", {name: _strings(MAX_TAGS, maxLength=100) for name in ("tags", "tags_none")}
        ),
        "rerank": _group("rerank"),
        **_ROOT["properties"],
    },
}
SEARCH_FORM = {
    "type": "object",
    "properties": {
        "image": {
            "type": "string",
            "format": "binary",
            "description": "The picture that `upload: image` names.",
        },
        "payload": {
            "type": "string",
            "description": "The JSON body; left out, the picture alone is searched with.",
        },
    },
}

# ── Answer ──────────────────────────────────────────────────────────────────────────────────────────────────────


class ResultSerializer(serializers.Serializer):
    image = ImageSerializer()
    similarity = serializers.FloatField(
        allow_null=True, help_text="Raw cosine; null where words alone found it."
    )
    match = serializers.FloatField(help_text="Calibrated, 0 to 1.")
    band = serializers.ChoiceField(BANDS)
    score = serializers.FloatField(help_text="What the list is ordered by.")
    why = serializers.ListField(child=serializers.CharField())
    copies = serializers.IntegerField(help_text="Near-duplicates folded into this result.")
    explain = serializers.DictField(required=False)


class BandsSerializer(serializers.Serializer):
    strong = serializers.IntegerField()
    possible = serializers.IntegerField()
    weak = serializers.IntegerField()


class SearchSerializer(serializers.Serializer):
    results = ResultSerializer(many=True)
    total = serializers.IntegerField()
    has_more = serializers.BooleanField()
    next_cursor = serializers.CharField(allow_null=True)
    bands = BandsSerializer()
    meta = serializers.DictField(help_text="Space, plan, estimated recall, generations, caches, times.")


class CountSerializer(serializers.Serializer):
    value = serializers.CharField()
    count = serializers.IntegerField()


class YearCountSerializer(serializers.Serializer):
    value = serializers.IntegerField()
    count = serializers.IntegerField()


class NamedCountSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    name = serializers.CharField(allow_blank=True)
    count = serializers.IntegerField()


class FacetsSerializer(serializers.Serializer):
    total = serializers.IntegerField()
    tags = CountSerializer(many=True)
    years = YearCountSerializer(many=True)
    collections = NamedCountSerializer(many=True)
    uploaders = NamedCountSerializer(many=True)
    orientations = CountSerializer(many=True)


class SpaceSerializer(serializers.Serializer):
    name = serializers.CharField()
    sha256 = serializers.CharField()
    dimension = serializers.IntegerField()


class IndexSerializer(serializers.Serializer):
    generation = serializers.IntegerField(allow_null=True, help_text="Null until the first build.")
    kind = serializers.CharField(allow_blank=True)
    parameters = serializers.DictField()
    vectors = serializers.IntegerField(help_text="Inside the generation.")
    rows = serializers.IntegerField(help_text="Vectors that can be found.")
    pending = serializers.IntegerField(help_text="Pictures that wait for their vector.")
    delta = serializers.IntegerField(help_text="Vectors searched beside the generation.")
    recall = serializers.FloatField(allow_null=True, help_text="Measured at the build, against exact search.")
    live_recall = serializers.FloatField(
        allow_null=True, help_text="Of a sample of live queries; null where none was replayed."
    )
    live_recall_queries = serializers.IntegerField(help_text="How many live queries that is.")
    built_at = serializers.DateTimeField(allow_null=True)
    age_seconds = serializers.FloatField(allow_null=True)
    space = SpaceSerializer()
    state = serializers.ChoiceField(IndexState.choices)
    building = serializers.BooleanField()
    last_error = serializers.CharField(allow_blank=True)
