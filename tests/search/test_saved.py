"""Saved searches and the question as code: whose they are, what counts as new, what a program would send."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pytest
from django.core.cache import cache
from django.urls import reverse

from images import moderation
from images.access import principal_for_user as for_user
from images.models import Moderation
from search import retrieval, saved, snippets
from search.models import SavedSearch
from search.query import from_json
from search.query_text import parse
from tests.search.axes import AxesEncoder, installed

pytestmark = pytest.mark.django_db
ASKED = "/saved/new/?q=dog"


@pytest.fixture(autouse=True)
def encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, AxesEncoder())


@pytest.fixture
def library(add: Any) -> None:
    """Enough other pictures for a match to stand out."""
    for word in ("boat", "tree", "apple", "city", "night", "car") * 3:
        add(word)


@pytest.fixture
def keep(owner: Any) -> Any:
    """`keep("dog")`: the owner's saved search for it."""

    def make(asked: str, name: str = "Mine", user: Any = None) -> SavedSearch:
        user = user or owner
        return saved.save(user, name, parse(asked), for_user(user))

    return make


def count(kept: SavedSearch, user: Any) -> int | None:
    kept.refresh_from_db()
    retrieval.forget()
    cache.clear()
    return saved.news(kept, for_user(user))


def test_saving_from_the_search_page(page: Any, owner: Any, add: Any) -> None:
    add("dog")
    answer = page(owner).post(ASKED, {"name": "Dogs"})
    kept = owner.saved_searches.get()
    assert (kept.name, kept.address) == ("Dogs", "q=dog")
    assert answer["Location"] == f"/?q=dog&saved={kept.uid}"
    assert "Dogs" in page(owner).get(answer["Location"]).text


def test_filters_and_weights_are_kept(page: Any, owner: Any) -> None:
    page(owner).post("/saved/new/?q=dog:0.5+-snow&orientation=landscape&live=1", {"name": "Wide dogs"})
    assert owner.saved_searches.get().address == "q=dog%3A0.5+-snow&orientation=landscape"


def test_a_new_strong_match_counts_once(library: None, owner: Any, add: Any, keep: Any) -> None:
    add("dog")
    kept = keep("dog")
    assert count(kept, owner) == 0
    fresh = add("dog")
    add("boat")
    assert count(kept, owner) == 1
    saved.look(kept, for_user(owner))
    assert kept.fresh == [fresh.pk]
    assert count(kept, owner) == 0


def test_what_was_approved_later_is_new(library: None, owner: Any, viewer: Any, add: Any, keep: Any) -> None:
    """Old by its date, new to somebody who could not see it before."""
    waiting = add("dog", moderation=Moderation.PENDING)
    kept = keep("dog", user=viewer)
    moderation.decide(waiting, "approve", None)
    assert count(kept, viewer) == 1


def test_what_may_not_be_seen_is_not_counted(library: None, viewer: Any, add: Any, keep: Any) -> None:
    kept = keep("dog", user=viewer)
    add("dog", moderation=Moderation.HIDDEN)
    assert count(kept, viewer) == 0


def test_a_question_without_an_answer_says_so(page: Any, owner: Any, add: Any, keep: Any) -> None:
    image = add("dog")
    kept = keep(f"like:{image.uid}")
    image.delete()
    assert saved.news(kept, for_user(owner)) is None
    assert "no answer at the moment" in page(owner).get("/saved/").text


def test_opening_marks_what_is_new(library: None, page: Any, owner: Any, add: Any, keep: Any) -> None:
    add("dog")
    kept = keep("dog")
    add("dog")
    retrieval.forget()
    answer = page(owner).get(f"/saved/{kept.uid}/", follow=True)
    assert "1 strong match is new" in answer.text
    assert answer.text.count('class="badge new"') == 1
    assert "1 new" not in page(owner).get("/saved/").text


def test_the_search_page_counts_beside_the_chips(
    library: None, page: Any, owner: Any, add: Any, keep: Any
) -> None:
    kept = keep("dog")
    add("dog")
    assert f'id="news-{kept.uid}"' in page(owner).get("/").text
    assert f'id="news-{kept.uid}" hx-swap-oob="true">1<' in page(owner).get("/saved/news/").text


@pytest.mark.parametrize(("name", "method"), [("open", "get"), ("rename", "post"), ("delete", "post")])
def test_others_are_missing(name: str, method: str, page: Any, teammate: Any, keep: Any) -> None:
    kept = keep("dog")
    answer = getattr(page(teammate), method)(
        reverse(f"search:saved-{name}", args=[kept.uid]), {"name": "Taken"}
    )
    assert answer.status_code == 404
    assert SavedSearch.objects.get().name == "Mine"


def test_renaming_and_deleting(page: Any, owner: Any, keep: Any) -> None:
    kept = keep("dog")
    page(owner).post(f"/saved/{kept.uid}/rename/", {"name": "Dogs"})
    assert owner.saved_searches.get().name == "Dogs"
    page(owner).post(f"/saved/{kept.uid}/delete/")
    assert not owner.saved_searches.exists()


def test_a_name_is_taken_once(page: Any, owner: Any, keep: Any) -> None:
    keep("dog", "Dogs")
    answer = page(owner).post(ASKED, {"name": "Dogs"})
    assert answer.status_code == 422
    assert "of this name already" in answer.text
    assert owner.saved_searches.count() == 1


def test_there_is_a_bound(page: Any, owner: Any, keep: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saved, "MOST", 1)
    keep("dog")
    assert page(owner).post(ASKED, {"name": "Second"}).status_code == 422
    assert owner.saved_searches.count() == 1


def test_a_picture_that_was_only_dropped_is_not_saved(page: Any, owner: Any) -> None:
    answer = page(owner).post("/saved/new/?q=upload:picture-1", {"name": "Mine"})
    assert (answer.status_code, owner.saved_searches.count()) == (422, 0)


def test_a_form_without_a_question_is_refused(page: Any, owner: Any) -> None:
    assert page(owner).post("/saved/new/", {"name": "Nothing"}).status_code == 422


# -- code ---------------------------------------------------------------------------------------------------

QUESTIONS = ['dog:0.5 -snow "it\'s \\"red\\""', "dog tag:holiday after:2026-01-01 sort:newest", "größer –"]


@pytest.mark.parametrize("asked", QUESTIONS)
def test_curl_sends_exactly_the_question(asked: str) -> None:
    words = shlex.split(snippets.curl(parse(asked), "https://pictures.example").replace("\\\n", ""))
    assert words[0] == "curl"
    assert words[-1] == "https://pictures.example/api/v1/search/"
    assert from_json(json.loads(words[words.index("-d") + 1])) == parse(asked)


def test_curl_brings_the_picture_along() -> None:
    words = shlex.split(snippets.curl(parse("dog upload:picture-1"), "http://x").replace("\\\n", ""))
    assert "picture-1=@picture.jpg" in words
    (payload,) = [word for word in words if word.startswith("payload=")]
    assert from_json(json.loads(payload[8:])) == parse("dog upload:picture-1")


@pytest.mark.parametrize("asked", [*QUESTIONS, "dog upload:picture-1"])
def test_python_sends_exactly_the_question(asked: str, monkeypatch: Any, tmp_path: Any) -> None:
    import requests

    sent: dict[str, Any] = {}

    class Answer:
        raise_for_status = staticmethod(lambda: None)
        json = staticmethod(lambda: {"results": []})

    monkeypatch.chdir(tmp_path)
    (tmp_path / "picture.jpg").write_bytes(b"a picture")
    monkeypatch.setenv("LOUPE_KEY", "lp_key")
    monkeypatch.setattr(requests, "post", lambda address, **more: sent.update(more) or Answer())
    exec(snippets.python(parse(asked), "http://x"), {})
    body = sent.get("json") or json.loads(sent["data"]["payload"])
    assert from_json(body) == parse(asked)
    assert sent["headers"] == {"Authorization": "Bearer lp_key"}
    for file in (sent.get("files") or {}).values():
        file.close()


def test_the_page_shows_both(page: Any, owner: Any) -> None:
    text = page(owner).get("/search/code/?q=dog").text
    assert "curl -sS" in text
    assert "import requests" in text
    assert "http://testserver/api/v1/search/" in text
