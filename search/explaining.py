"""Why a picture stands where it stands: the shares of its score, and the numbers to score it anew in the page."""

from __future__ import annotations

from typing import Any

import numpy as np

from search.frozen import Frozen, masked
from search.keywords import FIELDS
from search.query import Part, Query, StoredImagePart, TextPart
from search.ranking import PENALTY, placed


def explain(found: Frozen, place: int, query: Query) -> dict[str, Any]:
    """The shares of a score, and the raw similarity and the match of every part."""
    row = found.row(place)
    matches = placed(found.parts[place], _space(found, place)["lines"])
    parts = [
        {**named(part), "similarity": _short(value), "match": _short(matched)}
        for part, value, matched in zip(
            (*query.parts, *query.negatives), found.parts[place], matches, strict=True
        )
    ]
    return {
        "parts": parts[: len(query.parts)],
        "negatives": parts[len(query.parts) :],
        "negative": -round(row.negative, 4),
        "recency": round(row.recency, 4),
        "quality": round(row.quality, 4),
        "words": {"share": round(row.words, 4), "fields": list(masked(row.fields, FIELDS))},
        "reranker": _short(row.judged),
    }


def rescoring(found: Frozen, place: int, query: Query) -> dict[str, Any]:
    """What the page needs to score a picture anew when only weights of parts change; the candidates stay the same.

    match = Π parts[i] ** (w[i] / Σ w) · Π (1 − penalty · min(1, v[j]) · negatives[j]), raised by words to
    max(match, min(limit, 1 − (1 − match) · (1 − lift))) where the limit is `ceiling` below strong and 1 above, averaged
    with `judged` where that is no null; score = match · boost. w: weights of the parts, v: those of the negatives.
    """
    row, space, count = found.row(place), _space(found, place), len(query.parts)
    matches = [_exact(one) for one in placed(found.parts[place], space["lines"])]
    matched = row.match
    return {
        "parts": matches[:count],
        "negatives": matches[count:],
        "penalty": PENALTY,
        "lift": _exact(row.lift),
        "judged": _exact(row.judged) if np.isfinite(row.judged) else None,
        "boost": _exact(row.score / matched) if matched else 1.0,
        "strong": space["strong"],
        "possible": space["possible"],
        "ceiling": space["ceiling"],
    }


def named(part: Part) -> dict[str, str]:
    if isinstance(part, TextPart):
        return {"text": part.text}
    return {"image_id": str(part.image_id)} if isinstance(part, StoredImagePart) else {"upload": part.name}


def _space(found: Frozen, place: int) -> dict[str, Any]:
    spaces: list[dict[str, Any]] = found.about["spaces"]
    return spaces[found.row(place).space]


def _short(value: Any) -> float | None:
    return round(float(value), 3) if np.isfinite(value) else None


def _exact(value: Any) -> float:
    """Enough digits to keep the order of a page."""
    return float(f"{float(value):.7g}")
