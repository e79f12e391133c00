"""Saved searches: a question under a name, and how many strong matches it has since its owner looked last.

What is new is told by comparing the strong matches of now with those of the last look, not by dates: a picture that
was approved, moved or shared with somebody is new to them although it is old, and a change of model makes nothing new.
Nothing of this is kept in the index, so every count passes the gate of whoever reads it.
"""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import parse_qs

from django.core.cache import cache
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from images.access import Principal
from images.models import Image, User
from search import query_text
from search.engine import found_ids
from search.models import SavedSearch
from search.query import Query, QueryError, UploadedImagePart
from search.ranking import STRONG
from search.retrieval import DEPTH, SpaceUnavailable, gated

MOST = 50
LONGEST_ADDRESS = 20_000
MOST_SEEN = 4 * DEPTH
COUNT_SECONDS = 60


class Refused(Exception):
    """The search cannot be saved, and the message says why. `field` is the field of the form at fault."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field, self.message = field, message


def save(owner: User, name: str, query: Query, principal: Principal) -> SavedSearch:
    """Keep a question. What it finds strongly now counts as seen. Raises Refused."""
    address = query_text.query_string(query.question())
    if any(isinstance(part, UploadedImagePart) for part in (*query.parts, *query.negatives)):
        raise Refused("", _("A picture that was only dropped here is kept nowhere. Upload it, then save."))
    if len(address) > LONGEST_ADDRESS:
        raise Refused("", _("This question is too long to be saved."))
    with transaction.atomic():
        # The owner's row is the lock: the bound and the name hold for requests that come at once, too.
        User.objects.select_for_update().get(pk=owner.pk)
        _check_name(owner.saved_searches.all(), name)
        if owner.saved_searches.count() >= MOST:
            raise Refused("name", _("You keep %d searches already. Delete one first.") % MOST)
        made = SavedSearch.objects.create(owner=owner, name=name, address=address)
    look(made, principal)
    return made


def rename(saved: SavedSearch, name: str) -> None:
    with transaction.atomic():
        User.objects.select_for_update().get(pk=saved.owner_id)
        _check_name(SavedSearch.objects.filter(owner=saved.owner_id).exclude(pk=saved.pk), name)
        saved.name = name
        saved.save(update_fields=["name"])


def _check_name(others: QuerySet[SavedSearch], name: str) -> None:
    if others.filter(name=name).exists():
        raise Refused("name", _("You have a saved search of this name already."))


def query_of(saved: SavedSearch) -> Query:
    """Raises QueryError where a later version of this server reads the question differently."""
    return query_text.from_url(parse_qs(saved.address))


def look(saved: SavedSearch, principal: Principal) -> None:
    """Its owner sees it now: the strong matches of now are known, those that were not are `fresh`."""
    try:
        now = _strong(saved, principal)
    except (QueryError, SpaceUnavailable):
        return  # there is no answer to look at; what was seen stays seen
    saved.fresh = _new(saved, now, principal)
    saved.seen = sorted({*saved.seen, *now})[-MOST_SEEN:]
    saved.last_seen_at = timezone.now()
    saved.save(update_fields=["seen", "fresh", "last_seen_at"])


def news(saved: SavedSearch, principal: Principal) -> int | None:
    """How many strong matches are new since the last look; None where the question has no answer at the moment.
    Kept for a minute, under the rights of the reader and the moment of the last look."""
    key = f"loupe:saved:{saved.pk}:{saved.last_seen_at.timestamp()}:{principal.rights_key}"
    known = cache.get(key)
    if known is None:
        known = _count(saved, principal)
        cache.set(key, known, COUNT_SECONDS)
    return known if known >= 0 else None


def _count(saved: SavedSearch, principal: Principal) -> int:
    try:
        return len(_new(saved, _strong(saved, principal), principal))
    except (QueryError, SpaceUnavailable):
        return -1


def _strong(saved: SavedSearch, principal: Principal) -> list[int]:
    query = query_of(saved)
    return found_ids(replace(query, min_band=STRONG, sort="relevance"), principal)


def _new(saved: SavedSearch, now: list[int], principal: Principal) -> list[int]:
    """Row ids among `now` that the last look did not know, asked of the gate once more."""
    rows = gated(query_of(saved), principal).filter(pk__in=set(now) - set(saved.seen))
    if len(now) >= DEPTH:
        # The list was cut off: what moves up as others leave is not new, only what was uploaded since.
        rows = rows.filter(uploaded_at__gt=saved.last_seen_at)
    return list(rows.order_by("pk").values_list("pk", flat=True))


def fresh_images(saved: SavedSearch, images: list[Image]) -> set[int]:
    """Row ids of those of `images` that the last look found new."""
    return {image.pk for image in images} & set(saved.fresh)
