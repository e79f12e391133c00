"""Who may see and do what, row by row: the compiled principal against real rows."""

from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.http import Http404

from images import keys
from images.access import (
    ANONYMOUS,
    Action,
    Principal,
    allowed,
    principal_for_key,
    principal_for_user,
    require,
)
from images.models import Collection, Image

pytestmark = pytest.mark.django_db


def sees(user: Any, thing: Any) -> bool:
    principal = user if isinstance(user, Principal) else principal_for_user(user)
    return type(thing).objects.visible_to(principal).filter(pk=thing.pk).exists()


def test_nobody_sees_nothing(collection: Any, make_image: Any) -> None:
    make_image()
    assert not Collection.objects.visible_to(ANONYMOUS).exists()
    assert not Image.objects.visible_to(ANONYMOUS).exists()


def test_team_collections_are_for_the_team(collection: Any, viewer: Any, outsider: Any) -> None:
    assert sees(viewer, collection) and not sees(outsider, collection)


def test_private_collections_are_for_those_granted(make_collection: Any, owner: Any, viewer: Any) -> None:
    private = make_collection("Own", visibility="private")
    assert not sees(owner, private)
    private.grants.create(user=viewer, role="viewer")
    assert sees(viewer, private) and not sees(owner, private)


def test_public_collections_are_for_everyone_signed_in(make_collection: Any, outsider: Any) -> None:
    public = make_collection("Open", visibility="public")
    assert sees(outsider, public) and not sees(ANONYMOUS, public)
    assert not allowed(principal_for_user(outsider), Action.UPLOAD, public)


def test_a_suspended_user_is_nobody(collection: Any, viewer: Any) -> None:
    viewer.is_active = False
    assert principal_for_user(viewer) == ANONYMOUS


@pytest.mark.parametrize("moderation", ["pending", "rejected", "hidden"])
def test_concealed_pictures_are_for_uploader_and_moderators(
    moderation: str, make_image: Any, owner: Any, teammate: Any, viewer: Any
) -> None:
    image = make_image(uploader=teammate, moderation=moderation)
    assert sees(teammate, image) and sees(owner, image) and not sees(viewer, image)


def test_trashed_pictures_are_seen_by_nobody(make_image: Any, owner: Any, admin: Any) -> None:
    from django.utils import timezone

    image = make_image(uploader=owner, trashed_at=timezone.now())
    assert not sees(owner, image) and not sees(admin, image)


def test_a_grant_can_lower_a_role(collection: Any, make_image: Any, owner: Any, member: Any) -> None:
    editor = member("editor")
    collection.grants.create(user=editor, role="viewer")
    hidden = make_image(uploader=owner, moderation="hidden")
    assert not sees(editor, hidden)
    assert not allowed(principal_for_user(editor), Action.EDIT, hidden)


@pytest.mark.parametrize(
    ("role", "can"),
    [
        ("viewer", set()),
        ("contributor", {Action.UPLOAD}),
        ("editor", {Action.UPLOAD, Action.EDIT, Action.MODERATE}),
        ("manager", {Action.UPLOAD, Action.EDIT, Action.MODERATE, Action.MANAGE, Action.REINDEX}),
    ],
)
def test_roles_allow_what_they_say(role: str, can: set[Action], collection: Any, member: Any) -> None:
    principal = principal_for_user(member(role))
    asked = (Action.UPLOAD, Action.EDIT, Action.MODERATE, Action.MANAGE, Action.REINDEX)
    assert {action for action in asked if allowed(principal, action, collection)} == can


def test_people_may_edit_what_they_uploaded(make_image: Any, teammate: Any, owner: Any) -> None:
    principal = principal_for_user(teammate)
    assert allowed(principal, Action.EDIT, make_image(uploader=teammate))
    assert not allowed(principal, Action.EDIT, make_image(uploader=owner))


def test_missing_and_forbidden_look_the_same(collection: Any, outsider: Any, viewer: Any) -> None:
    with pytest.raises(Http404):
        require(principal_for_user(outsider), Action.UPLOAD, collection)
    with pytest.raises(PermissionDenied):
        require(principal_for_user(viewer), Action.UPLOAD, collection)


def test_a_key_is_never_wider_than_its_owner(team: Any, collection: Any, viewer: Any) -> None:
    key, _text = keys.issue(team, viewer, "k", ["images:read", "images:write"])
    assert sees(principal_for_key(key), collection)
    assert not allowed(principal_for_key(key), Action.UPLOAD, collection)
    viewer.memberships.all().delete()
    assert not sees(principal_for_key(key), collection)


def test_a_key_needs_the_scope(team: Any, collection: Any, owner: Any) -> None:
    key, _text = keys.issue(team, owner, "k", ["images:read"])
    with pytest.raises(PermissionDenied, match=r"role|scope"):
        require(principal_for_key(key), Action.UPLOAD, collection)


def test_a_limited_key_stays_in_its_collections(team: Any, make_collection: Any, owner: Any) -> None:
    inside, outside = make_collection("In"), make_collection("Out")
    key, _text = keys.issue(team, owner, "k", ["images:read"], collections=[inside])
    assert sees(principal_for_key(key), inside) and not sees(principal_for_key(key), outside)


def test_a_key_limited_to_nothing_sees_nothing(team: Any, collection: Any, owner: Any) -> None:
    key, _text = keys.issue(team, owner, "k", ["images:read"], collections=[])
    assert not sees(principal_for_key(key), collection)


def test_an_unknown_role_allows_nothing(collection: Any, member: Any) -> None:
    strange = member("strange", "emperor")
    assert not sees(strange, collection)


def test_a_changed_right_changes_the_cache_key(collection: Any, viewer: Any) -> None:
    before = principal_for_user(viewer).rights_key
    collection.grants.create(user=viewer, role="editor")
    assert principal_for_user(viewer).rights_key != before


def test_find_needs_the_whole_secret(team: Any, owner: Any) -> None:
    key, text = keys.issue(team, owner, "k", ["images:read"])
    assert keys.find(text).pk == key.pk  # type: ignore[union-attr]
    assert keys.find(text[:-1]) is None and keys.find("lp__") is None and keys.find("") is None


def test_a_revoked_key_is_dead_at_once(team: Any, owner: Any) -> None:
    key, text = keys.issue(team, owner, "k", ["images:read"])
    keys.revoke(key, owner)
    assert keys.find(text) is None


def test_a_rotated_key_overlaps(team: Any, owner: Any) -> None:
    key, old = keys.issue(team, owner, "k", ["images:read"])
    successor, new = keys.rotate(key, owner)
    assert keys.find(old) is not None and keys.find(new).pk == successor.pk  # type: ignore[union-attr]
    assert key.expires_at is not None


def test_the_secret_is_stored_nowhere(team: Any, owner: Any) -> None:
    key, text = keys.issue(team, owner, "k", ["images:read"])
    assert text.split("_", 2)[2] not in repr(vars(key))
