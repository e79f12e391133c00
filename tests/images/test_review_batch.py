"""Deciding on many pictures at once, and taking it back."""

import pytest
from django.urls import reverse

from images import moderation
from images.models import AuditEvent, Image

pytestmark = pytest.mark.django_db


@pytest.fixture
def queue(make_image):
    return [make_image(moderation="pending") for _number in range(3)]


def states():
    return list(Image.objects.order_by("pk").values_list("moderation", "moderation_reason"))


def test_the_chosen_are_rejected_with_one_reason_and_the_others_wait(page, owner, queue):
    browser, address = page(owner), reverse("images:review-batch")
    assert browser.get(address).content.decode().count('name="uid"') == 3
    body = {"decision": "reject", "reason": "Blurred", "uid": [str(one.uid) for one in queue[:2]]}
    answer = browser.post(address, body, follow=True)
    assert states() == [("rejected", "Blurred"), ("rejected", "Blurred"), ("pending", "")]
    assert "2 pictures: done." in answer.content.decode()
    assert AuditEvent.objects.filter(action="moderation.reject").count() == 2


def test_what_was_decided_together_is_undone_together(page, owner, queue):
    browser, address = page(owner), reverse("images:review-batch")
    body = {"decision": "approve", "uid": [str(one.uid) for one in queue]}
    shown = browser.post(address, body, follow=True)
    assert {state for state, _reason in states()} == {"approved"}
    undo = list(shown.context["undone"])
    assert set(undo) == {str(one.uid) for one in queue}
    browser.post(address, {"decision": "undo", "uid": undo})
    assert {state for state, _reason in states()} == {"pending"}


def test_nothing_chosen_decides_nothing(page, owner, queue):
    answer = page(owner).post(reverse("images:review-batch"), {"decision": "approve"}, follow=True)
    assert "Choose pictures" in answer.content.decode() and {state for state, _r in states()} == {"pending"}
    assert page(owner).post(reverse("images:review-batch"), {"decision": "delete"}).status_code == 400


def test_reported_pictures_are_there_too(page, owner, viewer, make_image):
    moderation.report(make_image(title="Pier"), viewer, "Blurred")
    assert "Pier" in page(owner).get(reverse("images:review-batch")).content.decode()
