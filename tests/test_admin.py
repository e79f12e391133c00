"""The admin: every page opens, actions change rows and say so, only staff come in."""

from typing import Any

import pytest
from django.contrib import admin as django_admin
from django.urls import reverse
from django.utils import timezone

from images.models import AuditEvent, Image, Job
from search.models import CollectionIndex, Embedding, Generation, Space

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


# ── Rights that the admin changes are told, and bounded, as on the team's own pages ─────────────────────────────


def inline(prefix: str, *rows: dict[str, Any]) -> dict[str, Any]:
    known = sum(bool(row.get("id")) for row in rows)
    form = {f"{prefix}-TOTAL_FORMS": len(rows), f"{prefix}-INITIAL_FORMS": known}
    return form | {f"{prefix}-{n}-{name}": value for n, row in enumerate(rows) for name, value in row.items()}


def save_team(desk: Any, team: Any, *rows: dict[str, Any]) -> Any:
    form = {"name": team.name, "slug": team.slug, "quota_bytes": team.quota_bytes}
    return desk.post(reverse("admin:images_team_change", args=[team.pk]), form | inline("memberships", *rows))


def row_of(membership: Any, **fields: Any) -> dict[str, Any]:
    known = {"id": membership.pk, "team": membership.team_id, "user": membership.user_id,
             "role": membership.role, "trust": membership.trust}  # fmt: skip
    return known | fields


def test_a_role_that_changes_is_told_to_the_team(
    desk: Any, admin: Any, team: Any, owner: Any, viewer: Any
) -> None:
    held, own = viewer.memberships.get(), owner.memberships.get()
    epoch = team.permission_epoch
    save_team(desk, team, row_of(own), row_of(held, role="editor"))
    event = AuditEvent.objects.get(action="member.changed")
    assert (event.actor, event.team, event.before, event.after) == (
        admin, team, {"role": "viewer", "trust": "check"}, {"role": "editor", "trust": "check"}
    )  # fmt: skip
    team.refresh_from_db()
    assert team.permission_epoch > epoch
    save_team(desk, team, row_of(own), row_of(held, DELETE="on"))
    assert AuditEvent.objects.get(action="member.removed").before["role"] == "editor"


@pytest.mark.parametrize("change", [{"role": "viewer"}, {"DELETE": "on"}])
def test_the_last_owner_stays_in_the_admin_too(
    desk: Any, team: Any, owner: Any, viewer: Any, change: Any
) -> None:
    own, other = owner.memberships.get(), viewer.memberships.get()
    answer = save_team(desk, team, row_of(own, **change), row_of(other))
    assert "A team needs an owner" in answer.content.decode() and owner.memberships.get().role == "owner"
    save_team(desk, team, row_of(own, **change), row_of(other, role="owner"))
    assert viewer.memberships.get().role == "owner"


def test_suspending_is_told_to_every_team_of_the_person(
    desk: Any, admin: Any, viewer: Any, team: Any
) -> None:
    membership = viewer.memberships.get()
    form = {"email": viewer.email, "name": viewer.name, **inline("memberships", row_of(membership))}
    address = reverse("admin:images_user_change", args=[viewer.pk])
    assert desk.post(address, form).status_code == 302
    viewer.refresh_from_db()
    event = AuditEvent.objects.get(action="member.suspended")
    assert not viewer.is_active and (event.actor, event.team) == (admin, team)
    changed = AuditEvent.objects.get(action="admin.user.changed")
    assert (changed.before["is_active"], changed.after["is_active"]) == (True, False)
    desk.post(address, form | {"is_active": "on"})
    assert AuditEvent.objects.filter(action="member.reinstated", team=team).exists()


def test_a_picture_is_not_moved_past_the_rules(
    desk: Any, make_image: Any, make_collection: Any, owner: Any
) -> None:
    image, elsewhere = make_image(uploader=owner), make_collection("Elsewhere")
    form = {"title": "New", "caption": "", "alt_text": "", "collection": elsewhere.pk, "uploader": ""}
    desk.post(reverse("admin:images_image_change", args=[image.pk]), form)
    after = Image.objects.get(pk=image.pk)
    assert (after.title, after.collection, after.uploader) == ("New", image.collection, owner)


def test_going_back_to_a_generation_is_told(desk: Any, admin: Any, index: CollectionIndex) -> None:
    live, before = (
        Generation.objects.create(
            index=index, space=index.space, number=n, kind="flat", state=state, key=f"indexes/{n}", count=0,
            upto_seq=0, published_at=timezone.now(),
        )
        for n, state in ((2, "live"), (1, "retired"))
    )  # fmt: skip
    CollectionIndex.objects.filter(pk=index.pk).update(live=live)
    act(desk, CollectionIndex, "roll_back", index)
    event = AuditEvent.objects.get(action="index.rolled_back")
    assert (event.actor, event.before, event.after) == (admin, {"generation": 2}, {"generation": 3})
    assert before.number == 1
