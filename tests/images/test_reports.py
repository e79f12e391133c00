"""Reports from viewers: they reach the moderators, change nothing by themselves, and are bounded."""

import pytest
from django.urls import reverse

from images import moderation
from images.access import principal_for_user
from images.models import AuditEvent, Image, Report
from images.moderation import Conflict
from images.views.review import waiting


def queued(user, image) -> bool:
    return waiting(principal_for_user(user)).filter(pk=image.pk).exists()


def test_a_viewer_reports_from_the_page(page, viewer, make_image):
    image = make_image()
    page(viewer).post(reverse("images:image-report", args=[image.uid]), {"reason": "Not ours to show"})
    assert Report.objects.get().reporter == viewer
    assert AuditEvent.objects.get(action="image.reported").actor == viewer


def test_a_report_lands_in_the_queue_and_changes_nothing(viewer, owner, make_image):
    image = make_image()
    moderation.report(image, viewer, "Blurred face missing")
    image.refresh_from_db()
    assert queued(owner, image) and image.moderation == "approved"
    assert Image.objects.visible_to(principal_for_user(viewer)).filter(pk=image.pk).exists()


def test_the_queue_tells_who_reported_and_why(page, viewer, owner, make_image):
    moderation.report(make_image(), viewer, "Blurred face missing")
    answer = page(owner).get(reverse("images:moderation")).text
    assert "Blurred face missing" in answer and "Reported by viewer" in answer


@pytest.mark.parametrize(
    ("decision", "state"), [("approve", "approved"), ("hide", "hidden"), ("reject", "rejected")]
)
def test_a_decision_settles_the_reports(decision, state, viewer, owner, make_image):
    image = make_image()
    moderation.report(image, viewer, "Look at this")
    moderation.decide(image, decision, owner)
    image.refresh_from_db()
    assert not queued(owner, image) and image.moderation == state
    assert Report.objects.get().settled_at is not None


@pytest.mark.parametrize("decision", ["approve", "hide"])
def test_undo_opens_the_report_again_with_the_picture_as_it_was(decision, viewer, owner, make_image):
    image = make_image()
    moderation.report(image, viewer, "Look at this")
    moderation.decide(image, decision, owner)
    moderation.decide(image, "undo", owner)
    image.refresh_from_db()
    assert queued(owner, image) and image.moderation == "approved"


def test_undo_does_not_reach_back_to_an_earlier_report(viewer, owner, make_image):
    image = make_image()
    moderation.report(image, viewer, "Look at this")
    moderation.decide(image, "approve", owner)
    moderation.decide(image, "hide", owner)
    moderation.decide(image, "undo", owner)
    image.refresh_from_db()
    assert image.moderation == "pending" and not Report.objects.open().exists()


def test_reporting_again_changes_the_reason(viewer, make_image):
    image = make_image()
    moderation.report(image, viewer, "First")
    moderation.report(image, viewer, "Second")
    assert Report.objects.get().reason == "Second"


def test_reports_are_bounded_per_day(viewer, make_image, monkeypatch):
    monkeypatch.setattr(moderation, "REPORTS_PER_DAY", 2)
    for _n in range(2):
        moderation.report(make_image(), viewer, "Look")
    with pytest.raises(Conflict):
        moderation.report(make_image(), viewer, "Look")
    assert Report.objects.count() == 2


@pytest.mark.parametrize("who", ["outsider", "viewer"])
def test_what_one_does_not_see_one_does_not_report(who, page, request, owner, make_image):
    image = make_image(uploader=owner, moderation="hidden")
    address = reverse("images:image-report", args=[image.uid])
    assert page(request.getfixturevalue(who)).post(address, {"reason": "x"}).status_code == 404
    assert not Report.objects.exists()


def test_the_api_takes_reports_from_people(api, key_client, viewer, make_image):
    address = f"/api/v1/images/{make_image().uid}/report/"
    assert api(viewer).post(address, {"reason": "Look at this"}).status_code == 201
    assert key_client(viewer).post(address, {"reason": "Look at this"}).status_code == 403


def test_reports_go_with_the_picture(viewer, make_image):
    image = make_image()
    moderation.report(image, viewer, "Look")
    image.delete()
    assert not Report.objects.exists()
