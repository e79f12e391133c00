"""The admin: every page opens, actions change rows and say so, only staff come in."""

from typing import Any

import pytest
from django.contrib import admin as django_admin
from django.urls import reverse

from images.models import AuditEvent, Image, Job
from search.models import CollectionIndex, Embedding, Space

pytestmark = pytest.mark.django_db
MODELS = [model for model in django_admin.site._registry if model._meta.app_label in {"images", "search"}]


@pytest.fixture
def desk(page: Any, admin: Any) -> Any:
    return page(admin)


@pytest.fixture
def index(collection: Any) -> CollectionIndex:
    space = Space.objects.create(name="tiny", sha256="a" * 64, dimension=4)
    return CollectionIndex.objects.create(collection=collection, space=space)


def act(desk: Any, model: Any, action: str, *rows: Any) -> Any:
    address = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
    data = {"action": action, "_selected_action": [row.pk for row in rows]}
    return desk.post(address, data, follow=True)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model._meta.label)
def test_every_list_opens(model: Any, desk: Any, make_image: Any, index: Any) -> None:
    image = make_image(tags=("sea",))
    Embedding.objects.create(image=image, collection=image.collection, space=index.space)
    address = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
    assert desk.get(address).status_code == 200


def test_a_picture_opens(desk: Any, make_image: Any) -> None:
    image = make_image()
    page = desk.get(reverse("admin:images_image_change", args=[image.pk]))
    assert page.status_code == 200 and image.sha256 in page.content.decode()


def test_the_admin_is_for_staff(page: Any, owner: Any) -> None:
    answer = page(owner).get(reverse("admin:images_image_changelist"))
    assert answer.status_code in (302, 403)


def test_a_stranger_is_sent_to_the_one_sign_in(page: Any) -> None:
    answer = page().get(reverse("admin:index"), follow=True)
    assert answer.redirect_chain[-1][0].startswith(reverse("account_login"))


@pytest.mark.parametrize(
    ("action", "state"),
    [("approve", "approved"), ("reject", "rejected"), ("hide", "hidden"), ("restore", "approved")],
)
def test_decisions_are_actions(action: str, state: str, desk: Any, make_image: Any) -> None:
    image = make_image(moderation="pending")
    answer = act(desk, Image, action, image)
    image.refresh_from_db()
    assert image.moderation == state and AuditEvent.objects.filter(action=f"moderation.{action}").exists()
    assert "1 picture" in answer.content.decode()


def test_pictures_go_to_the_trash_not_away(desk: Any, make_image: Any) -> None:
    image = make_image()
    act(desk, Image, "to_trash", image)
    image.refresh_from_db()
    assert image.trashed_at is not None


def test_reindex_is_an_action_with_a_job(desk: Any, index: CollectionIndex) -> None:
    answer = act(desk, CollectionIndex, "reindex", index)
    index.refresh_from_db()
    assert index.state == "wanted" and Job.objects.get().collection_id == index.collection_id
    assert "see Jobs" in answer.content.decode()


def test_rolling_back_to_nothing_says_so(desk: Any, index: CollectionIndex) -> None:
    assert "No earlier generation" in act(desk, CollectionIndex, "roll_back", index).content.decode()


def test_secrets_are_not_shown(desk: Any, owner: Any, team: Any) -> None:
    from images import keys

    key, _text = keys.issue(team, owner, "k", ["images:read"])
    page = desk.get(reverse("admin:images_apikey_change", args=[key.pk]))
    assert page.status_code == 200 and key.secret_hash not in page.content.decode()
