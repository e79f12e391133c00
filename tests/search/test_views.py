"""The search page and its neighbours on the real engine: chips, filters, honesty, paging, rights."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse

from images.models import Job
from search import box as boxes
from search.query_text import parse
from tests.search.axes import WORDS, ColourEncoder, installed

pytestmark = pytest.mark.django_db
HOME = "/"
HTMX = {"HX-Request": "true"}


@pytest.fixture(autouse=True)
def encoder(monkeypatch: pytest.MonkeyPatch) -> ColourEncoder:
    return installed(monkeypatch, ColourEncoder())


def shown(answer: Any) -> list[str]:
    """Ids of the tiles, in order."""
    return re.findall(r'data-uid="([^"]+)"', answer.text)


def shown_in(text: str) -> list[str]:
    return re.findall(r'data-uid="([^"]+)"', text)


def chips(answer: Any) -> list[str]:
    """What the chips stand for, as typed."""
    return [html.unescape(one) for one in re.findall(r'type="hidden" name="q" value="([^"]+)"', answer.text)]


# ── Asking ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_best_comes_first(page, viewer, add) -> None:
    cats, dog = [add("cat") for _ in range(8)], add("dog")
    answer = page(viewer).get(HOME, {"q": "dog"})
    assert shown(answer)[0] == str(dog.uid)
    assert len(shown(answer)) == len(cats) + 1


def test_a_raw_cosine_is_never_a_percentage(page, viewer, add) -> None:
    add("dog")
    for _ in range(8):
        add("cat")
    from images.access import principal_for_user
    from search import engine

    best = engine.find(parse("dog"), principal_for_user(viewer)).results[0]
    answer = page(viewer).get(HOME, {"q": "dog"})
    assert f"{round(best.match * 100)}\u00a0%" in answer.text
    assert f"Raw cosine similarity: {best.similarity:.3f}" in answer.text


def test_parts_become_chips(page, viewer, add) -> None:
    add("dog")
    answer = page(viewer).get(HOME, {"q": 'dog "red car":0.5 -snow'})
    assert chips(answer) == ['"dog"', '"red car":0.5', '-"snow"']


def test_chips_read_back_to_the_same_question(page, viewer, add) -> None:
    image = add("dog")
    asked = f'a "say \\"cheese\\"":2 like:{image.uid}:0.25 -cat:0.5'
    again = " ".join(chips(page(viewer).get(HOME, {"q": asked})))
    assert parse(again) == parse(asked)


def test_an_answer_for_htmx_is_the_results_and_the_chips(page, viewer, add) -> None:
    add("dog")
    answer = page(viewer).get(HOME, {"q": "dog"}, headers=HTMX)
    assert answer["HX-Push-Url"] == "/?q=dog"
    assert "<html" not in answer.text
    assert ('id="parts" hx-swap-oob' in answer.text, 'id="results"' in answer.text) == (True, True)


def test_while_typing_the_chips_stay_and_the_history_too(page, viewer, add) -> None:
    add("dog")
    answer = page(viewer).get(HOME, {"q": "dog", "live": "1"}, headers=HTMX)
    assert answer["HX-Replace-Url"] == "/?q=dog"
    assert "HX-Push-Url" not in answer
    assert 'id="parts"' not in answer.text


def test_a_half_typed_question_is_told_in_words(page, viewer, add) -> None:
    add("dog")
    answer = page(viewer).get(HOME, {"q": "dog nose:long"})
    assert answer.status_code == 200
    assert "is not known" in answer.text
    assert 'value="dog nose:long"' in answer.text


def test_what_is_typed_is_never_markup(page, viewer, add) -> None:
    add("dog", title="<b>bold</b>")
    answer = page(viewer).get(HOME, {"q": '"<script>alert(1)</script>" dog'})
    assert "<script>alert" not in answer.text
    assert "<b>bold" not in answer.text


def test_more_like_a_picture_names_it(page, viewer, add) -> None:
    image = add("dog", title="Our dog")
    answer = page(viewer).get(HOME, {"q": f"like:{image.uid}"})
    assert "Our dog" in answer.text
    assert chips(answer) == [f"like:{image.uid}"]


def test_a_picture_sent_along_is_searched_with(page, viewer, add, picture) -> None:
    boat = add("boat")
    for _ in range(6):
        add("cat")
    sent = SimpleUploadedFile("mine.jpg", picture((20 * WORDS.index("boat"), 0, 0)))
    answer = page(viewer).post(HOME, {"q": "upload:picture-1", "picture-1": sent}, headers=HTMX)
    assert shown(answer)[0] == str(boat.uid)


def test_the_address_alone_does_not_bring_a_picture_back(page, viewer, add) -> None:
    add("boat")
    answer = page(viewer).get(HOME, {"q": "upload:picture-1"})
    assert answer.status_code == 200
    assert "only in the tab that sent it" in answer.text


def test_what_is_no_picture_is_told(page, viewer, add) -> None:
    add("boat")
    sent = SimpleUploadedFile("mine.jpg", b"just words")
    answer = page(viewer).post(HOME, {"q": "upload:picture-1", "picture-1": sent}, headers=HTMX)
    assert "not a picture" in answer.text


# ── Rights ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_nobody_searches_without_signing_in(page) -> None:
    assert page().get(HOME, {"q": "dog"}).url.startswith(reverse("account_login"))


def test_outsiders_find_and_browse_nothing(page, outsider, add) -> None:
    add("dog", title="Secret dog", tags=("secret",))
    for asked in ({"q": "dog"}, {}):
        answer = page(outsider).get(HOME, asked)
        assert (shown(answer), "secret" in answer.text.lower()) == ([], False)


def test_a_private_collection_offers_neither_its_name_nor_its_tags(
    page, teammate, add, make_collection
) -> None:
    add(
        "dog",
        in_collection=make_collection("Drafts", visibility="private"),
        tags=("hush",),
        title="A hushed dog",
    )
    text = page(teammate).get(HOME).text
    assert [word for word in ("Drafts", "hush") if word in text] == []


def test_the_strip_of_a_hidden_picture_is_not_there(page, outsider, viewer, add) -> None:
    image, like = add("dog"), add("dog")
    address = reverse("search:similar", args=[image.uid])
    assert shown(page(viewer).get(address)) == [str(like.uid)]
    assert page(outsider).get(address).status_code == 404


# ── Filters and order ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_filter_narrows_and_shows_itself(page, viewer, add) -> None:
    kept = add("dog", tags=("holiday",))
    add("dog")
    answer = page(viewer).get(HOME, {"q": "dog", "tags": "holiday"})
    assert shown(answer) == [str(kept.uid)]
    assert 'name="tags" value="holiday" checked' in answer.text


def test_typed_filters_move_into_the_menus(page, viewer, add) -> None:
    add("dog", tags=("holiday",))
    answer = page(viewer).get(HOME, {"q": "dog tag:holiday"}, headers=HTMX)
    assert answer["HX-Push-Url"] == "/?q=dog&tags=holiday"
    assert 'name="tags" value="holiday" checked' in answer.text


def test_filters_without_a_menu_travel_along(page, viewer, add) -> None:
    add("dog", width=2000)
    answer = page(viewer).get(HOME, {"q": "dog width:800"})
    assert 'type="hidden" name="min_width" value="800"' in answer.text


def test_browsing_takes_the_same_filters(page, viewer, add) -> None:
    kept = add("dog", tags=("holiday",))
    add("cat")
    assert shown(page(viewer).get(HOME, {"tags": "holiday"})) == [str(kept.uid)]


def test_a_foreign_collection_in_the_address_is_unknown(
    page, viewer, add, make_collection, other_team
) -> None:
    add("dog")
    foreign = make_collection("Foreign", team=other_team)
    answer = page(viewer).get(HOME, {"q": "dog", "collections": foreign.uid})
    assert shown(answer) == []
    assert "Foreign" not in answer.text


# ── Honesty ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_copies_of_a_picture_stand_above_the_similar_ones(page, viewer, add) -> None:
    from images.duplicates import HASH_BYTES

    image = add("dog", phash=bytes(HASH_BYTES))
    copy = add("dog", phash=b"\x03" + bytes(HASH_BYTES - 1))
    add("dog", phash=b"\xff" * HASH_BYTES)
    hidden = add("dog", phash=bytes(HASH_BYTES), moderation="hidden")
    text = page(viewer).get(f"/images/{image.uid}/similar/").text
    copies = text.split("Similar pictures")[0]
    assert "The same picture again" in copies
    assert shown_in(copies) == [str(copy.uid)]
    assert str(hidden.uid) not in text


def test_nothing_strong_is_said_and_ways_out_are_offered(page, viewer, add) -> None:
    for _ in range(12):
        add("cat")
    answer = page(viewer).get(HOME, {"q": "zeppelin -night"})
    assert "Nothing matches strongly" in answer.text
    assert "Without what is kept out" in answer.text


def test_the_divider_stands_before_the_weak_ones(page, viewer, add) -> None:
    dog = add("dog")
    for _ in range(12):
        add("cat")
    text = page(viewer).get(HOME, {"q": "dog"}).text
    text = text.split('<template id="divider"')[0]
    assert text.count("Weaker matches") == 1
    assert (
        text.index(f'data-uid="{dog.uid}"') < text.index("Weaker matches") < text.rindex('data-band="weak"')
    )


def test_no_result_at_all_offers_to_clear_the_filters(page, viewer, add) -> None:
    add("dog")
    answer = page(viewer).get(HOME, {"q": "dog", "tags": "never"})
    assert "No picture fits" in answer.text
    assert "Without the filters" in answer.text


def test_an_empty_library_teaches_the_next_step(page, viewer) -> None:
    assert reverse("images:upload") in page(viewer).get(HOME).text.split("No pictures yet")[1]


# ── Paging ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_pages_neither_repeat_nor_skip(page, viewer, add, monkeypatch) -> None:
    monkeypatch.setattr("search.views.PAGE_SIZE", 4)
    uids = {str(add("dog").uid) for _ in range(10)}
    client, found, cursor = page(viewer), [], ""
    for _ in range(3):
        answer = client.get(HOME, {"q": "dog", "cursor": cursor}, headers=HTMX)
        found += shown(answer)
        following = re.search(r'"cursor": "([^"]+)"', html.unescape(answer.text))
        cursor = following.group(1) if following else ""
    assert (len(found), set(found), cursor) == (10, uids, "")


def test_a_reload_brings_back_what_was_scrolled_to(page, viewer, add, monkeypatch) -> None:
    monkeypatch.setattr("search.views.PAGE_SIZE", 4)
    for _ in range(10):
        add("dog")
    assert len(shown(page(viewer).get(HOME, {"q": "dog", "show": "8"}))) == 8


def test_a_made_up_cursor_is_told(page, viewer, add) -> None:
    add("dog")
    answer = page(viewer).get(HOME, {"q": "dog", "cursor": "nonsense"}, headers=HTMX)
    assert (answer.status_code, shown(answer)) == (200, [])
    assert "note bad" in answer.text


# ── States, index, jobs ─────────────────────────────────────────────────────────────────────────────────────────


def test_states_tell_searchable_from_checked(page, teammate, outsider, add) -> None:
    found, waiting = add("dog", uploader=teammate), add("cat", uploader=teammate, embedded=False)
    address = reverse("search:states") + f"?uid={found.uid}&uid={waiting.uid}&uid=nonsense"
    told = page(teammate).get(address).json()["states"]
    assert {uid: one["state"] for uid, one in told.items()} == {
        str(found.uid): "searchable",
        str(waiting.uid): "ready",
    }
    assert page(outsider).get(address).json() == {"states": {}}


def test_the_index_page_counts_vectors_for_managers(page, owner, viewer, outsider, add) -> None:
    address = reverse("search:index", args=[add("dog").collection.uid])
    assert "Rebuild" in page(owner).get(address).text
    # The counts include what is hidden from others.
    assert page(viewer).get(address).status_code == 403
    assert page(outsider).get(address).status_code == 404


def test_a_rebuild_is_asked_for_by_managers(page, owner, teammate, add) -> None:
    address = reverse("search:reindex", args=[add("dog").collection.uid])
    assert page(teammate).post(address).status_code == 403
    assert not Job.objects.exists()
    assert page(owner).post(address).status_code == 302
    assert Job.objects.get().created_by == owner


def test_a_job_is_cancelled(page, owner, viewer, add) -> None:
    page(owner).post(reverse("search:reindex", args=[add("dog").collection.uid]))
    address = reverse("search:job-cancel", args=[Job.objects.get().uid])
    assert page(viewer).post(address).status_code == 404
    page(owner).post(address)
    assert Job.objects.get().state == "cancelled"


# ── Words of the page ───────────────────────────────────────────────────────────────────────────────────────────


def test_every_way_out_is_a_question_that_can_be_asked(page, viewer, add) -> None:
    add("dog", tags=("holiday",))
    ways = boxes.fixes(parse('dog "red car" -snow tag:holiday'))
    assert len(ways) == 4
    assert {page(viewer).get(way["url"]).status_code for way in ways} == {200}


def test_examples_come_from_the_library(page, viewer, add) -> None:
    add("dog", title="Dog in the harbour")
    assert "q=Dog%20in%20the%20harbour" in page(viewer).get(HOME).text
