"""The middle of a search, space by space: parts → vectors → candidates → gate → words → ranked list.

Vectors of two spaces are never compared; where the readable collections live in several, each space ranks its own
and the calibrated matches, which mean the same everywhere, are merged.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property, lru_cache
from itertools import islice
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
import structlog
from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.module_loading import import_string
from django.utils.translation import gettext as _
from numpy.typing import NDArray
from PIL import Image as Picture

from images.access import Principal
from images.models import Image, ImageState
from search import index, keywords, ranking
from search.assembly import Ranked, assemble, leaders
from search.encoders import Encoder, EncoderError, get_encoder
from search.filters import narrow_by
from search.frozen import ROW, Frozen, TextVectors, empty, fields_mask
from search.models import Space
from search.query import (
    Filters,
    Part,
    Query,
    QueryError,
    StoredImagePart,
    TextPart,
    UnknownItem,
    compose,
    normalised,
)
from search.ranking import BANDS, Background, Calibration, Curve, Floats
from search.scope import Recent, Scope, forget_samples, matrix, sample
from search.spaces import default_space

log = structlog.get_logger(__name__)
# How many candidates are ranked and frozen: what "total" can reach at most.
DEPTH = 500
HALF_LIFE_DAYS = 180.0
RERANKED = 50
# Of how many collections an answer names the generation.
MOST_NAMED = 100
# Prompt templates help names of things; a longer text is a sentence of its own.
TEMPLATED_WORDS = 3

Matrix = NDArray[np.float32]
Stage = Callable[[str], AbstractContextManager[None]]
text_vectors = TextVectors()
_gates: Recent[QuerySet[Image]] = Recent(most=256, seconds=600)
_allowed: Recent[NDArray[np.int64]] = Recent(most=16, seconds=30)


class SpaceUnavailable(Exception):
    """The model of a collection cannot be loaded on this machine, so no new question can be asked of it."""

    status = 503


@dataclass(frozen=True)
class Question:
    """A query with everything that it names looked up under the principal's rights."""

    query: Query
    principal: Principal
    stored: Mapping[UUID, int]
    uploads: Mapping[str, Picture.Image]

    @property
    def stamp(self) -> tuple[str, ...]:
        """Tells apart what the query alone does not: a picture that was sent along is never the same twice."""
        return (secrets.token_hex(8),) if self.uploads else ()

    @property
    def texts(self) -> list[str]:
        return [part.text for part in self.query.parts if isinstance(part, TextPart)]


def resolve(query: Query, principal: Principal, uploads: Mapping[str, Picture.Image]) -> Question:
    """Raises `UnknownItem` for a picture that the principal may not see, `QueryError` for one that was not sent."""
    named = {"query": query.parts, "negative": query.negatives}
    wanted = {
        part.image_id for parts in named.values() for part in parts if isinstance(part, StoredImagePart)
    }
    rows = (
        Image.objects.visible_to(principal).filter(uid__in=wanted).values_list("uid", "pk") if wanted else ()
    )
    stored = dict(rows)
    for name, parts in named.items():
        for place, part in enumerate(parts):
            if isinstance(part, StoredImagePart) and part.image_id not in stored:
                raise UnknownItem(f"/{name}/{place}/image_id", _("There is no such picture."))
            if not isinstance(part, (StoredImagePart, TextPart)) and part.name not in uploads:
                raise QueryError(f"/{name}/{place}/upload", _("No picture was sent under this name."))
    return Question(query, principal, stored, uploads)


def gated(query: Query, principal: Principal) -> QuerySet[Image]:
    """What may answer a query: visible to the principal, checked, and within the filters.

    The statement is put together once for the same rights and filters; what it finds is asked anew every time.
    """

    def narrowed() -> QuerySet[Image]:
        ready = Image.objects.visible_to(principal).filter(state=ImageState.READY)
        return narrow_by(ready, query.filters, principal)

    return _gates.get((principal.rights_key, query.filters), narrowed).all()


def answer(question: Question, scope: Scope, stage: Stage) -> tuple[Frozen, bool]:
    """The ranked list of a question, and whether all vectors were known without the model."""
    runs = [_Run(question, scope, space, stage) for space in scope.spaces]
    lists = [run.ranked() for run in runs]
    with stage("rank"):
        width = len(question.query.parts) + len(question.query.negatives)
        about: dict[str, Any] = {"meta": _meta(runs, scope), "languages": _languages(scope)}
        if not lists:
            return empty({**about, "bands": ranking.band_counts(())}, width), True
        about["spaces"] = [_reading(one) for one in lists]
        for place, one in enumerate(lists):
            one.rows["space"] = min(place, 255)
        rows, parts = assemble(lists, question.query, DEPTH)
        bands = ranking.band_counts(BANDS[code] for code in leaders(rows)["band"])
        return Frozen(rows, parts, {**about, "bands": bands}), all(run.known for run in runs)


def warm() -> None:
    """Load the model of new collections and answer once, so that the first search does not wait for it."""
    _encoder(default_space()).encode_texts(["a picture"])


def forget() -> None:
    """Drop what this process remembers of texts, filters and samples (for tests, and after a change of calibration)."""
    text_vectors.clear()
    _allowed.clear()
    forget_samples()


# -- one space ----------------------------------------------------------------------------------------------


class _Facts(NamedTuple):
    """What the gate reads of a picture besides that it may be shown."""

    collection_id: int
    taken_at: datetime | None
    uploaded_at: datetime
    quality: float | None


@dataclass
class _Run:
    """One question in one space, step by step."""

    question: Question
    scope: Scope
    space: Space
    stage: Stage
    known: bool = True
    hits: Any = None
    proposed: list[int] = field(default_factory=list)
    facts: dict[int, _Facts] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.query = self.question.query
        self.collections = self.scope.spaces[self.space]
        self.calibration = _calibration(self.space)

    def ranked(self) -> Ranked:
        with self.stage("encode"):
            vectors = self._vectors((*self.query.parts, *self.query.negatives))
        with self.stage("rank"):
            drawn = sample(self.space, self.scope)
            backgrounds = [Background.of(drawn @ vector) for vector in vectors]
            probe = self._probe(vectors, backgrounds)
        similarities = self._candidates(probe)
        words = self._words()
        with self.stage("rank"):
            ids = list(ranking.rrf([list(similarities), list(words)]))[:DEPTH]
            return self._rank(ids, similarities, words, vectors, backgrounds, probe)

    # vectors

    def _vectors(self, parts: Sequence[Part]) -> Matrix:
        """Unit vectors [p + q, d] of the positive parts and then the negative ones."""
        texts = [normalised(part.text) for part in parts if isinstance(part, TextPart)]
        made = iter(self._texts(texts) if texts else ())
        return np.stack([next(made) if isinstance(part, TextPart) else self._picture(part) for part in parts])

    def _texts(self, texts: list[str]) -> Matrix:
        variant = "templates" if self.query.templates else ""
        vectors, self.known = text_vectors.get(self.space.sha256, texts, self._encode, variant)
        return vectors

    def _encode(self, texts: list[str]) -> Matrix:
        """The mean of a text's prompts, or the text as it stands."""
        encoder = _encoder(self.space)
        asked = [prompts(text, encoder) if self.query.templates else [text] for text in texts]
        vectors = iter(encoder.encode_texts([prompt for some in asked for prompt in some]))
        groups = [np.stack([next(vectors) for _prompt in some]) for some in asked]
        return np.stack([compose(group, [1.0] * len(group)) for group in groups])

    def _picture(self, part: Part) -> Matrix:
        if isinstance(part, StoredImagePart):
            known, vectors = matrix([self.question.stored[part.image_id]], self.space)
            if not known:
                raise QueryError("/query", _("This picture is not searchable yet. Try again in a moment."))
            return vectors[0]
        assert not isinstance(part, TextPart)
        self.known = False
        return np.asarray(_encoder(self.space).encode_images([self.question.uploads[part.name]]), np.float32)[
            0
        ]

    def _probe(self, vectors: Matrix, backgrounds: Sequence[Background]) -> Matrix:
        """The one vector [d] that the index is asked with."""
        count = len(self.query.parts)
        weights = [part.weight for part in self.query.parts]
        if self.query.kind == "mixed":
            weights = ranking.balance(weights, backgrounds[:count])
        away = [part.weight for part in self.query.negatives]
        return compose(vectors[:count], weights, vectors[count:], away, self.query.subtraction)

    # candidates and the gate

    def _candidates(self, probe: Matrix) -> dict[int, float]:
        """Similarity by id of up to `DEPTH` pictures that passed the gate, best first."""
        allowed = self._allowed_ids() if self.query.filters != Filters() else None
        found = self._asked(probe, allowed)
        if allowed is None and len(found) < DEPTH <= len(self.proposed):
            # Pictures that this principal may not see took places: ask again among those that it may.
            # What the answer says of itself stays that of the first time: it must not tell that there are such.
            told = self.hits
            found = self._asked(probe, self._allowed_ids())
            self.hits = told
        return found

    def _asked(self, probe: Matrix, allowed: NDArray[np.int64] | None) -> dict[int, float]:
        if allowed is not None and not len(allowed):
            return {}
        denied = sorted(self.question.stored.values())
        with self.stage("candidates"):
            self.hits = index.search(
                self.collections, self.space, probe[None], DEPTH, allowed=allowed, denied=denied or None
            )
        pairs = [
            (int(one), float(score)) for one, score in zip(self.hits.ids[0], self.hits.scores[0], strict=True)
        ]
        self.proposed = [one for one, _score in pairs if one >= 0]
        with self.stage("gate"):
            self._gate(self.proposed)
        return {one: score for one, score in pairs if one in self.facts}

    def _gate(self, ids: Sequence[int]) -> None:
        """Read what ranking needs of the pictures that may be shown; the others stay unknown."""
        if not (fresh := [one for one in ids if one not in self.facts]):
            return
        rows = self.rows.filter(pk__in=fresh)
        columns = rows.values_list("pk", "collection_id", "taken_at", "uploaded_at", "quality")
        found = {row[0]: _Facts._make(row[1:]) for row in columns}
        # A picture of a collection without index is not searchable, whatever its words say.
        self.facts |= {pk: fact for pk, fact in found.items() if fact.collection_id in self.scope.places}

    @cached_property
    def rows(self) -> QuerySet[Image]:
        """Everything of these collections that may answer."""
        rows = gated(self.query, self.question.principal)
        if self.scope.named:
            rows = rows.filter(collection__in=self.collections)
        # Everything readable may be thousands of collections: the space says the same in one join.
        return rows if len(self.scope.spaces) == 1 else rows.filter(collection__index__space=self.space)

    def _allowed_ids(self) -> NDArray[np.int64]:
        """Row ids of everything that may answer, kept for moments; the gate still asks for each candidate."""
        rights = self.question.principal.rights_key
        key = (rights, self.query.filters, self.scope.stamp, tuple(self.collections))
        with self.stage("gate"):
            return _allowed.get(key, self._list_allowed)

    def _list_allowed(self) -> NDArray[np.int64]:
        ids = np.fromiter(self.rows.order_by("pk").values_list("pk", flat=True).iterator(), np.int64)
        ids.setflags(write=False)  # so that the index may keep its bitmap
        return ids

    # words and order

    def _words(self) -> dict[int, keywords.Found]:
        if not (self.query.words and self.question.texts):
            return {}
        with self.stage("candidates"):
            found = keywords.found(self.question.texts, self.rows, self.scope.size)
            named = set(self.question.stored.values())
            words = {one.image_id: one for one in found if one.image_id not in named}
        with self.stage("gate"):
            self._gate(list(words))
        return {one: found for one, found in words.items() if one in self.facts}

    def _rank(
        self,
        ids: list[int],
        similarities: Mapping[int, float],
        words: Mapping[int, keywords.Found],
        vectors: Matrix,
        backgrounds: Sequence[Background],
        probe: Matrix,
    ) -> Ranked:
        rows = np.zeros(len(ids), ROW)
        rows["id"] = ids
        rows["group"] = np.arange(len(ids))
        parts, own = self._similarities(ids, similarities, vectors)
        rows["similarity"] = own @ probe if own is not None else parts[:, 0]
        lines = tuple(self._curve(part).line(one) for part, one in zip(self._said, backgrounds, strict=True))
        meant, lost = self._match(parts, lines)
        matched = _lifted(rows, meant, ids, words, self.calibration)
        matched = _reranked(self.question, rows, matched)
        shares = self._blend(ids, matched)
        rows["match"], rows["score"] = matched, shares.score
        rows["recency"], rows["quality"], rows["negative"] = shares.recency, shares.quality, lost
        rows["band"] = [BANDS.index(band) for band in self.calibration.bands(matched)]
        facts = [self.facts[one] for one in ids]
        when = np.array([(fact.taken_at or fact.uploaded_at).timestamp() for fact in facts])
        return Ranked(
            rows, parts, when, np.array([fact.quality or 0.0 for fact in facts]), own, self.calibration, lines
        )

    def _similarities(
        self, ids: Sequence[int], similarities: Mapping[int, float], vectors: Matrix
    ) -> tuple[NDArray[np.float32], Matrix | None]:
        """Cosines [n, p + q] to every part, NaN without a vector; and the pictures' vectors where they were read."""
        plain = len(vectors) == 1 and all(one in similarities for one in ids)
        if plain and not self.query.fold and not self.query.diversity:
            return np.array([[similarities[one]] for one in ids], np.float32).reshape(len(ids), 1), None
        known, own = matrix(ids, self.space)
        places = {one: place for place, one in enumerate(known)}
        full = np.full((len(ids), vectors.shape[1]), np.nan, np.float32)
        full[[place for place, one in enumerate(ids) if one in places]] = own
        return full @ vectors.T, full

    @property
    def _said(self) -> tuple[Part, ...]:
        return (*self.query.parts, *self.query.negatives)

    def _curve(self, part: Part) -> Curve:
        return self.calibration.of("text" if isinstance(part, TextPart) else "image")

    def _match(self, parts: Matrix, lines: Sequence[tuple[float, float]]) -> tuple[Floats, Floats]:
        """Calibrated match [n] of the positive parts together, and what the negatives took from it."""
        count = len(self.query.parts)
        each = ranking.placed(parts, lines).T
        meant = ranking.combine(each[:count], [part.weight for part in self.query.parts])
        kept = ranking.penalise(meant, each[count:], [part.weight for part in self.query.negatives])
        return kept, meant - kept

    def _blend(self, ids: Sequence[int], matched: np.ndarray) -> ranking.Shares:
        asked, facts = self.query.rerank, [self.facts[one] for one in ids]
        places = [self.scope.places[fact.collection_id] for fact in facts]
        fresh = [one.recency if asked.recency is None else asked.recency for one in places]
        good = [one.quality if asked.quality is None else asked.quality for one in places]
        ages = np.array([_age(fact, asked.by) for fact in facts])
        return ranking.blend(
            matched,
            ranking.recency(ages, asked.half_life_days or HALF_LIFE_DAYS),
            np.array([fact.quality or 0.0 for fact in facts]),
            np.array(fresh),
            np.array(good),
        )


def _lifted(
    rows: NDArray[Any],
    meant: Floats,
    ids: Sequence[int],
    words: Mapping[int, keywords.Found],
    calibration: Calibration,
) -> Floats:
    """Matches raised by words found; notes the share and the fields in the rows."""
    if not words:
        return meant
    ranks = {one: rank for rank, one in enumerate(words, 1)}
    evidence = np.array([words[one].evidence if one in words else 0.0 for one in ids])
    rows["lift"] = ranking.lift(evidence, np.array([ranks.get(one, 1) for one in ids]))
    raised = ranking.lifted(meant, rows["lift"], calibration)
    rows["words"] = raised - meant
    rows["fields"] = [fields_mask(words[one].fields, keywords.FIELDS) if one in words else 0 for one in ids]
    return raised


def _reranked(question: Question, rows: NDArray[Any], matched: Floats) -> Floats:
    """The hook for a slower, closer look at the first pictures (`docs/search.md`), off by default. A reranker that
    fails costs its opinion and not the search."""
    rows["judged"] = np.nan
    path = settings.LOUPE_RERANKER
    if not (path and question.texts and len(rows)):
        return matched
    top = np.argsort(-matched, kind="stable")[:RERANKED]
    known = Image.objects.visible_to(question.principal).in_bulk(rows["id"][top].tolist())
    places = [int(place) for place in top if int(rows["id"][place]) in known]
    pictures = [known[int(rows["id"][place])] for place in places]
    try:
        said = np.asarray(_reranker(path)(question.texts, pictures), np.float64).reshape(len(places))
    except Exception:  # somebody else's code: it is logged, and the search answers without its opinion
        log.exception("reranker_failed", reranker=path)
        return matched
    rows["judged"][places] = np.clip(said, 0, 1)
    return ranking.judged(matched, rows["judged"])


@lru_cache(maxsize=4)
def _reranker(path: str) -> Callable[[Sequence[str], Sequence[Image]], Any]:
    """The callable of that name; a class is made once and its object called."""
    found = import_string(path)
    made: Callable[[Sequence[str], Sequence[Image]], Any] = found() if isinstance(found, type) else found
    return made


def _reading(one: Ranked) -> dict[str, Any]:
    """How similarities of a space become matches for this question."""
    cuts = one.calibration
    return {"lines": one.lines, "strong": cuts.strong, "possible": cuts.possible, "ceiling": cuts.ceiling}


def _age(fact: _Facts, by: str | None) -> float:
    """Days since the capture (the upload, where that is unknown or asked for)."""
    moment = fact.uploaded_at if by == "uploaded" else fact.taken_at or fact.uploaded_at
    return (timezone.now() - moment).total_seconds() / 86_400


def prompts(text: str, encoder: Encoder) -> list[str]:
    """What the model is asked for a text: the text in each of the model's templates where it is short."""
    if len(text.split()) > TEMPLATED_WORDS:
        return [text]
    return [template.replace("{}", text) for template in encoder.spec.templates] or [text]


def _encoder(space: Space) -> Encoder:
    try:
        encoder = get_encoder(space.name)
    except EncoderError as error:
        raise SpaceUnavailable(str(error)) from error
    if encoder.sha256 != space.sha256:
        raise SpaceUnavailable(
            _("The model on this machine is another version than the one that was indexed with.")
        )
    return encoder


def _calibration(space: Space) -> Calibration:
    try:
        return Calibration.from_json(space.calibration)
    except (ValueError, TypeError) as error:
        log.warning("calibration_unreadable", space=space.name, error=str(error))
        return Calibration()


def _meta(runs: Sequence[_Run], scope: Scope) -> dict[str, Any]:
    """What a search says about itself: the worst plan where several spaces answered."""
    hits = [run.hits for run in runs if run.hits is not None]
    answered = ((pk, number) for one in hits for pk, number in one.generations.items())
    generations = {str(scope.places[pk].uid): number for pk, number in answered}
    return {
        "space": ", ".join(run.space.name for run in runs),
        "plan": "+".join(sorted({one.plan for one in hits})) or "none",
        "exact": all(one.exact for one in hits),
        "estimated_recall": min((float(one.estimated_recall) for one in hits), default=1.0),
        "generations": dict(islice(generations.items(), MOST_NAMED)),
        "depth": DEPTH,
    }


def _languages(scope: Scope) -> list[str]:
    """The languages that every model asked can read."""
    spaces = [space.languages for space in scope.spaces if space.languages]
    return [one for one in spaces[0] if all(one in other for other in spaces)] if spaces else []
