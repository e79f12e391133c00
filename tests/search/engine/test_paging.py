"""Frozen lists: pages neither repeat nor skip, and a cursor is good for its own search alone."""

import os
from datetime import UTC, datetime

import numpy as np
import pytest
from django.core.cache import cache

from images.access import principal_for_user
from images.models import Image
from search import engine
from search.frozen import CursorExpired
from search.query import (
    QueryError,
)
from search.query_text import parse
from tests.search.axes import WORDS
from tests.search.engine.conftest import ids

pytestmark = pytest.mark.django_db


def pages(typed, principal, between=lambda: None):
    page = engine.find(parse(typed), principal)
    yield page
    while page.next_cursor:
        between()
        page = engine.find(parse(f"{typed} cursor:{page.next_cursor}"), principal)
        yield page


def test_pages_hold_everything_once(gallery, me):
    seen = [one for page in pages("dog limit:7", me) for one in ids(page)]
    assert len(seen) == len(set(seen)) == 60
    assert seen[:7] == ids(engine.find(parse("dog limit:7"), me))


def test_pages_neither_repeat_nor_miss_while_pictures_come_and_go(gallery, add, me):
    noise = np.random.default_rng(3)
    first = set(Image.objects.values_list("pk", flat=True))
    gone = set()

    def disturb():
        add("dog", noise=0.05)
        victim = int(noise.choice(sorted(first - gone)))
        gone.add(victim)
        Image.objects.filter(pk=victim).update(trashed_at=datetime(2026, 1, 1, tzinfo=UTC))

    seen = [one for page in pages("dog limit:4", me, disturb) for one in ids(page)]
    assert len(seen) == len(set(seen))
    assert first - gone <= set(seen) <= first


def test_a_page_skips_what_vanished_and_stays_full(gallery, me):
    first = engine.find(parse("dog limit:5"), me)
    whole = ids(engine.find(parse("dog limit:60"), me))
    Image.objects.filter(pk__in=whole[5:8]).update(moderation="hidden")
    second = engine.find(parse(f"dog limit:5 cursor:{first.next_cursor}"), me)
    assert ids(second) == whole[8:13]


def test_a_lost_list_and_changed_rights_expire_the_cursor(gallery, me, owner):
    cursor = engine.find(parse("dog limit:5"), me).next_cursor
    with pytest.raises(CursorExpired):
        engine.find(parse(f"dog limit:5 cursor:{cursor}"), principal_for_user(owner))
    cache.clear()
    with pytest.raises(CursorExpired):
        engine.find(parse(f"dog limit:5 cursor:{cursor}"), me)


def test_a_cursor_of_another_search_or_of_ones_own_making_is_refused(gallery, me):
    cursor = engine.find(parse("dog limit:5"), me).next_cursor
    for typed in (f"cat cursor:{cursor}", "dog cursor:made-up", f"dog cursor:{cursor}x"):
        with pytest.raises(QueryError) as caught:
            engine.find(parse(typed), me)
        assert (caught.value.pointer, caught.value.status) == ("/cursor", 400)


@pytest.mark.slow
def test_paging_holds_through_many_random_steps(gallery, add, me):
    """Readers at random places, uploads, deletions and hiding in between: nobody sees a picture twice, and whatever
    was there from a reader's first page to the last was seen."""
    noise = np.random.default_rng(5)
    readers = {}
    for _step in range(STEPS):
        action, shown = int(noise.integers(10)), present()
        if action < 2 or len(shown) < 30:
            add(str(noise.choice(WORDS)), noise=0.5)
        elif action < 4:
            change = (
                {"moderation": "hidden"} if action == 2 else {"trashed_at": datetime(2026, 1, 1, tzinfo=UTC)}
            )
            Image.objects.filter(pk=int(noise.choice(shown))).update(**change)
        else:
            turn(readers, str(noise.choice(WORDS)), int(noise.integers(3, 25)), me)


STEPS = int(os.environ.get("PAGING_STEPS", "400"))


def present():
    return list(Image.objects.searchable().values_list("pk", flat=True))


def turn(readers, word, limit, me):
    """The next page of the reader of `word`, or the first."""
    cursor, seen, before = readers.pop(word, ("", [], set(present())))
    typed = f"{word} words:off limit:{limit}" + (f" cursor:{cursor}" if cursor else "")
    page = engine.find(parse(typed), me)
    seen = seen + ids(page)
    assert len(seen) == len(set(seen))
    if page.next_cursor:
        readers[word] = (page.next_cursor, seen, before)
    else:
        assert set(present()) & before <= set(seen)
