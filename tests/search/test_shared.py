"""The search behind a read-only link: it finds what the link shows, whatever the question says."""

import pytest

from images import shares
from tests.search.test_views import encoder  # noqa: F401

pytestmark = pytest.mark.django_db


@pytest.fixture
def address(collection, owner):
    return f"/s/{shares.create(collection, owner, 'For guests')[1]}/"


def found(page, address, question, **more):
    return page().get(address, {"q": question, **more}).text


def test_a_guest_searches_the_collection(page, address, add):
    add("dog", title="Grey dog")
    assert "Grey dog" in found(page, address, "dog")


def test_an_exact_copy_elsewhere_is_never_found(page, address, add, make_collection):
    add("dog", in_collection=make_collection("Other", visibility="public"), title="Their dog")
    add("cat", title="Our cat")
    answer = found(page, address, "dog")
    assert "Their dog" not in answer and "Our cat" in answer


def test_no_question_reaches_another_collection(page, address, add, make_collection):
    other = make_collection("Other", visibility="public")
    add("dog", in_collection=other, title="Their dog")
    answer = found(page, address, f"dog collection:{other.uid}", collections=str(other.uid))
    assert "Their dog" not in answer


@pytest.mark.parametrize("fields", [{"moderation": "pending"}, {"moderation": "hidden"}])
def test_unsettled_pictures_are_not_found_even_by_a_member(page, address, add, owner, fields):
    add("dog", title="Secret dog", uploader=owner, **fields)
    assert "Secret dog" not in page(owner).get(address, {"q": "dog"}).text


def test_a_picture_of_another_collection_is_no_question(page, address, add, make_collection):
    foreign = add("dog", in_collection=make_collection("Other", visibility="public"), title="Their dog")
    answer = page().get(address, {"q": f"like:{foreign.uid}"})
    assert answer.status_code == 200 and "Their dog" not in answer.text


def test_a_revoked_link_finds_nothing(page, collection, owner, add):
    add("dog", title="Grey dog")
    share, token = shares.create(collection, owner, "For guests")
    assert "Grey dog" in found(page, f"/s/{token}/", "dog")
    shares.revoke(share, owner)
    assert page().get(f"/s/{token}/", {"q": "dog"}).status_code == 404


def test_too_many_searches_are_told_in_words(page, address, add, monkeypatch):
    monkeypatch.setattr(shares, "SEARCHES_PER_MINUTE", 0)
    add("dog", title="Grey dog")
    answer = found(page, address, "dog")
    assert "Too many searches" in answer and "Grey dog" not in answer


def test_a_question_that_cannot_be_read_is_told_in_words(page, address):
    assert page().get(address, {"q": '"never closed'}).status_code == 200
