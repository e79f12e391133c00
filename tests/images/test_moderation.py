"""What people do to pictures, and that every change is told."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from images import moderation, storage
from images.models import AuditEvent, Image

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("decision", "state"),
    [
        ("approve", "approved"),
        ("reject", "rejected"),
        ("hide", "hidden"),
        ("restore", "approved"),
        ("undo", "pending"),
    ],
)
def test_a_decision_changes_state_and_epoch_and_is_told(
    decision: str, state: str, make_image: Any, owner: Any
) -> None:
    image = make_image(moderation="pending")
    before = image.collection.permission_epoch
    moderation.decide(image, decision, owner, "too dark")
    image.refresh_from_db()
    image.collection.refresh_from_db()
    assert (image.moderation, image.moderation_reason) == (state, "too dark")
    assert image.collection.permission_epoch == before + 1
    assert AuditEvent.objects.get().action == f"moderation.{decision}"


def test_an_unknown_decision_changes_nothing(make_image: Any, owner: Any) -> None:
    image = make_image()
    with pytest.raises(ValueError, match="burn"):
        moderation.decide(image, "burn", owner)
    assert Image.objects.get().moderation == "approved"


def test_trash_and_back(make_image: Any, owner: Any) -> None:
    image = make_image(tags=("sea",))
    moderation.trash(image, owner)
    assert not Image.objects.present().exists()
    moderation.restore(image, owner)
    assert Image.objects.present().get().tags.get().name == "sea"


def test_restore_refuses_where_the_picture_was_uploaded_again(make_image: Any, owner: Any) -> None:
    image = make_image()
    moderation.trash(image, owner)
    make_image(sha256=image.sha256)
    with pytest.raises(moderation.Conflict):
        moderation.restore(image, owner)


def test_the_trash_is_emptied_after_its_time_bytes_and_all(make_image: Any, owner: Any) -> None:
    old = make_image(trashed_at=timezone.now() - timedelta(days=31))
    young = make_image(trashed_at=timezone.now() - timedelta(days=29))
    assert moderation.empty_trash() == 1
    assert not storage.exists(old.original_key) and storage.exists(young.original_key)
    assert list(Image.objects.all()) == [young]


def test_a_move_stays_within_the_team(
    make_image: Any, make_collection: Any, other_team: Any, owner: Any
) -> None:
    image = make_image()
    with pytest.raises(moderation.Conflict):
        moderation.move(image, make_collection("Far", team=other_team), owner)
    assert Image.objects.get().collection_id == image.collection_id


def test_edit_takes_only_what_is_editable(make_image: Any, owner: Any) -> None:
    image = make_image()
    with pytest.raises(ValueError, match="sha256"):
        moderation.edit(image, owner, sha256="0" * 64)
    moderation.edit(image, owner, title="Harbour", tags=["Boat"])
    stored = Image.objects.get()
    assert stored.title == "Harbour" and stored.tags.get().name == "boat" and stored.version == 2


def test_the_audit_log_is_append_only(make_image: Any, owner: Any) -> None:
    from django.core.exceptions import PermissionDenied

    moderation.trash(make_image(), owner)
    event = AuditEvent.objects.get()
    with pytest.raises(PermissionDenied):
        event.save()
