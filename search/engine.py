"""From a question to a page: scope → vectors → candidates → gate → rank → frozen list → page.

The index proposes, the database decides: `Image.objects.visible_to(principal)` under the query's filters is asked
for every candidate list and again for every page cut from it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

import numpy as np
from django.db import connection
from django.db.models import QuerySet
from django.utils.translation import gettext as _
from PIL import Image as Picture
from prometheus_client import Histogram

from images.access import Principal
from images.models import Collection, Image, Tag, User
from search import languages
from search.explaining import explain, rescoring
from search.frozen import Frozen, digest, follow, freeze, latest, make_cursor, masked
from search.keywords import FIELDS
from search.query import Query, StoredImagePart, TextPart, to_json
from search.ranking import BANDS
from search.retrieval import answer, gated, resolve, warm
from search.scope import Place, Scope, scope_of

__all__ = ["Page", "Result", "find", "found_ids", "similar", "warm"]

seconds = Histogram(
    "loupe_search_seconds",
    "Time of one search by stage",
    ["stage"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)


PLACE: Any = Image._meta.get_field("collection")
UPLOADER: Any = Image._meta.get_field("uploader")
NO_TAGS = Tag.objects.none()


class Clock:
    """Milliseconds per stage of one search."""

    def __init__(self) -> None:
        self.started = time.perf_counter()
        self.took = dict.fromkeys(("encode", "candidates", "gate", "rank"), 0.0)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.took[name] += (time.perf_counter() - began) * 1000

    def finish(self) -> dict[str, float]:
        took = self.took | {"total": (time.perf_counter() - self.started) * 1000}
        for name, milliseconds in took.items():
            seconds.labels(name).observe(milliseconds / 1000)
        return {name: round(milliseconds, 2) for name, milliseconds in took.items()}


@dataclass(slots=True)
class Result:
    """One tile. `similarity` is the raw cosine (None where a picture was found by its words alone and has no vector);
    `copies` counts the near-duplicates folded into it; `why` names what spoke for it, `rescore`
    is for the page (see `search.explaining`)."""

    image: Image
    similarity: float | None
    match: float
    band: str
    score: float
    why: tuple[str, ...]
    copies: int = 0
    explain: dict[str, Any] | None = None
    rescore: dict[str, Any] | None = None


@dataclass(frozen=True)
class Page:
    results: tuple[Result, ...]
    total: int
    has_more: bool
    next_cursor: str | None
    bands: dict[str, int]
    meta: dict[str, Any] = field(default_factory=dict)


def find(query: Query, principal: Principal, *, uploads: Mapping[str, Picture.Image] | None = None) -> Page:
    """A page of what `principal` may see, best first. Raises `QueryError` (400, 404 as `UnknownItem`, 410 as
    `CursorExpired`) with the field at fault, `SpaceUnavailable` (503) where the model is not at hand."""
    clock = Clock()
    asked = digest(to_json(query.question()))
    if query.cursor:
        found, place = follow(query.cursor, asked, principal.rights_key)
        return _page(found, place, query, principal, asked, clock, {"vector": "hit", "results": "hit"}, {})
    scope = scope_of(query.collections, principal)
    found, cached = _frozen(query, principal, uploads or {}, asked, scope, clock)
    return _page(found, 0, query, principal, asked, clock, cached, scope.places)


def similar(
    image: Image, principal: Principal, *, limit: int = 50, cursor: str | None = None, **options: Any
) -> Page:
    """More like `image`, over everything the principal may read; `options` are further fields of `Query`."""
    return find(Query((StoredImagePart(image.uid),), limit=limit, cursor=cursor, **options), principal)


def found_ids(query: Query, principal: Principal) -> list[int]:
    """Row ids of everything that a search of words and stored pictures has found, for counts over its results."""
    scope = scope_of(query.collections, principal)
    found, _cached = _frozen(query, principal, {}, digest(to_json(query.question())), scope, Clock())
    return [int(one) for one in found.rows["id"]]


def _frozen(
    query: Query,
    principal: Principal,
    uploads: Mapping[str, Picture.Image],
    asked: str,
    scope: Scope,
    clock: Clock,
) -> tuple[Frozen, dict[str, str]]:
    """The frozen list that answers a query: a moments-old one where nothing has changed, else a new one."""
    question = resolve(query, principal, uploads)
    key = digest(asked, scope.stamp, principal.rights_key, *question.stamp)
    if found := latest(key):
        return found, {"vector": "hit", "results": "hit"}
    made, vectors_known = answer(question, scope, clock.stage)
    return freeze(key, made), {"vector": "hit" if vectors_known else "miss", "results": "miss"}


# -- pages --------------------------------------------------------------------------------------------------


def _page(
    found: Frozen,
    place: int,
    query: Query,
    principal: Principal,
    asked: str,
    clock: Clock,
    cached: dict[str, str],
    places: Mapping[int, Place],
) -> Page:
    """Tiles from `place` on that are still visible; what vanished meanwhile is skipped, so nothing repeats and
    nothing is missed."""
    starts: list[int] = np.flatnonzero(np.diff(found.rows["group"], prepend=-1)).tolist()
    ends, ids = [*starts[1:], len(found.rows)], found.rows["id"].tolist()
    results: list[Result] = []
    while place < len(starts) and len(results) < query.limit:
        upto = min(len(starts), place + query.limit)
        with clock.stage("gate"):
            rows = _shown(ids[starts[place] : ends[upto - 1]], query, principal, places)
        while place < upto and len(results) < query.limit:
            tile = _tile(found, range(starts[place], ends[place]), ids, rows, query)
            results += [tile] if tile else []
            place += 1
    more = place < len(starts)
    cursor = make_cursor(found.name, place, asked, principal.rights_key) if more else None
    meta = {
        **found.about["meta"],
        "cache": cached,
        "warnings": _warnings(query, found),
        "took_ms": clock.finish(),
    }
    return Page(tuple(results), found.tiles, more, cursor, found.about["bands"], meta)


def _shown(
    ids: list[int], query: Query, principal: Principal, known: Mapping[int, Place]
) -> dict[int, Image]:
    """The last gate, and the rows that a page shows, with collection, uploader and tags at hand.

    Few collections and people stand behind many pictures, so each is read once and shared, which a join would not do.
    """
    rows = gated(query, principal).order_by().in_bulk(ids)
    wanted = {row.collection_id for row in rows.values()}
    places = {pk: known[pk].collection() for pk in wanted & known.keys()}
    if others := wanted - known.keys():
        places |= Collection.objects.order_by().in_bulk(others)
    people = User.objects.order_by().in_bulk({row.uploader_id for row in rows.values() if row.uploader_id})
    # A collection that was deleted between two of these reads took its pictures with it.
    rows = {pk: row for pk, row in rows.items() if row.collection_id in places}
    tags = _tags(list(rows))
    for row in rows.values():
        # As `select_related` leaves them; assigning would check every row's relation anew.
        PLACE.set_cached_value(row, places[row.collection_id])
        UPLOADER.set_cached_value(row, people.get(row.uploader_id))
        row._prefetched_objects_cache = {"tags": tags.get(row.pk, NO_TAGS)}  # type: ignore[attr-defined]
    return rows


def _tags(ids: list[int]) -> dict[int, QuerySet[Tag]]:
    """What `image.tags.all()` answers, as `prefetch_related` would fill it, but only for pictures that have tags."""
    pairs = _tag_ids(ids) if ids else []
    known = (
        {tag.pk: tag for tag in Tag.objects.filter(pk__in={tag for _image, tag in pairs})} if pairs else {}
    )
    found: dict[int, QuerySet[Tag]] = {}
    for image in {image for image, _tag in pairs}:
        own = sorted((known[tag] for one, tag in pairs if one == image), key=lambda tag: tag.name)
        found[image] = Tag.objects.all()
        found[image]._result_cache = own
    return found


def _tag_ids(ids: list[int]) -> list[tuple[int, int]]:
    """(image, tag) of pictures. By hand: putting this together for 50 ids costs the ORM five times the statement."""
    table = connection.ops.quote_name(Image.tags.through._meta.db_table)
    places = ", ".join(["%s"] * len(ids))
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT image_id, tag_id FROM {table} WHERE image_id IN ({places})", ids)  # noqa: S608
        return list(cursor.fetchall())


def _tile(
    found: Frozen, places: range, ids: list[int], rows: Mapping[int, Image], query: Query
) -> Result | None:
    """The first visible picture of a group, with the count of its visible near-duplicates."""
    visible = [place for place in places if ids[place] in rows]
    if not visible:
        return None
    row = found.row(visible[0])
    words = masked(row.fields, FIELDS)
    meant = row.match >= 2 * row.words
    known = isfinite(row.similarity)
    return Result(
        image=rows[row.id],
        similarity=round(row.similarity, 4) if known else None,
        match=round(row.match, 4),
        band=BANDS[row.band],
        score=round(row.score, 4),
        why=(("meaning",) if known and meant else ()) + words,
        copies=len(visible) - 1,
        explain=explain(found, visible[0], query) if query.explain else None,
        rescore=rescoring(found, visible[0], query) if query.explain else None,
    )


def _warnings(query: Query, found: Frozen) -> list[dict[str, str]]:
    """What a person should know about an answer: a language that the model does not read."""
    texts = [part.text for part in (*query.parts, *query.negatives) if isinstance(part, TextPart)]
    reads = found.about.get("languages") or []
    unread = next((one for text in texts if (one := languages.unread(text, reads))), None)
    if unread is None:
        return []
    said = _(
        "This collection's model reads %(reads)s; the question seems to be in another language (%(unread)s)."
    )
    return [{"code": "language", "detail": said % {"reads": ", ".join(reads), "unread": unread}}]
