"""The pages of a team: members, keys, audit log, jobs."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.urls import reverse
from django.utils import timezone

from images.models import ApiKey, Membership

pytestmark = pytest.mark.django_db
ROOT = Path(__file__).resolve().parents[2]


def url(name: str, *args: Any) -> str:
    return reverse(f"images:{name}", args=args)


def test_members_see_their_team_and_outsiders_do_not(page, teammate, outsider, team) -> None:
    assert page(teammate).get(url("team", team.uid)).status_code == 200
    assert page(outsider).get(url("team", team.uid)).status_code == 404


def test_a_manager_adds_somebody_with_an_account(page, owner, outsider, team) -> None:
    fields = {"email": outsider.email.upper(), "role": "viewer", "trust": "check"}
    assert page(owner).post(url("member-add", team.uid), fields).status_code == 302
    assert Membership.objects.get(team=team, user=outsider).role == "viewer"


def test_an_unknown_address_is_told(page, owner, team) -> None:
    fields = {"email": "nobody@example.org", "role": "viewer", "trust": "check"}
    answer = page(owner).post(url("member-add", team.uid), fields)
    assert answer.status_code == 422
    assert "has an account" in answer.text


def test_a_contributor_changes_no_roles(page, teammate, owner, team) -> None:
    address = url("member", team.uid, owner.uid)
    assert page(teammate).post(address, {"role": "viewer", "trust": "check"}).status_code == 403
    assert Membership.objects.get(team=team, user=owner).role == "owner"


def test_the_last_owner_stays(page, owner, team) -> None:
    answer = page(owner).post(url("member-remove", team.uid, owner.uid), follow=True)
    assert "needs an owner" in answer.text
    assert Membership.objects.filter(team=team, user=owner).exists()


def test_members_may_leave(page, teammate, owner, team) -> None:
    page(teammate).post(url("member-remove", team.uid, teammate.uid))
    assert not Membership.objects.filter(team=team, user=teammate).exists()


def test_a_key_is_shown_once(page, teammate, team) -> None:
    client = page(teammate)
    answer = client.post(
        url("keys", team.uid), {"name": "Import", "scopes": ["images:write"], "lifetime": "30"}
    )
    secret = re.search(r"lp_\w{12}_[\w-]{20,}", answer.text)
    assert secret is not None
    assert "no-store" in answer["Cache-Control"]
    assert secret.group() not in client.get(url("keys", team.uid)).text
    assert ApiKey.objects.get().scopes == ["images:write"]


def test_a_key_is_revoked_at_once(page, teammate, team, key_client) -> None:
    key = key_client(teammate).key
    page(teammate).post(url("key-revoke", key.uid))
    key.refresh_from_db()
    assert key.live is False


def test_a_key_is_narrowed_to_collections_and_a_rate(
    page, teammate, team, collection, make_collection, other_team
) -> None:
    foreign = make_collection("Theirs", team=other_team)
    form = {"name": "Robot", "scopes": ["images:read"], "collections": [collection.uid], "rate": "60"}
    assert page(teammate).post(url("keys", team.uid), form).status_code == 200
    key = ApiKey.objects.get()
    assert (key.limited, list(key.collections.all()), key.rate) == (True, [collection], 60)
    assert (
        page(teammate).post(url("keys", team.uid), form | {"collections": [foreign.uid]}).status_code == 422
    )


def test_a_key_is_replaced_and_the_old_one_works_a_day_longer(
    page, teammate, team, key_client, collection
) -> None:
    old = key_client(teammate, "images:read", collections=[collection], rate=7)
    answer = page(teammate).post(url("key-rotate", old.key.uid))
    newer = ApiKey.objects.exclude(pk=old.key.pk).get()
    assert f"lp_{newer.prefix}_" in answer.content.decode()
    assert (newer.scopes, list(newer.collections.all()), newer.rate) == (["images:read"], [collection], 7)
    assert old.get("/api/v1/collections/").status_code == 200
    ends = ApiKey.objects.get(pk=old.key.pk).expires_at
    assert timedelta(hours=23) < ends - timezone.now() <= timedelta(hours=24)


def test_nobody_replaces_the_key_of_another(page, teammate, owner, key_client) -> None:
    key = key_client(teammate).key
    assert page(owner).post(url("key-rotate", key.uid)).status_code == 404
    assert ApiKey.objects.count() == 1


def test_nobody_revokes_a_teammates_key(page, viewer, owner, key_client) -> None:
    key = key_client(owner).key
    assert page(viewer).post(url("key-revoke", key.uid)).status_code == 404
    key.refresh_from_db()
    assert key.live is True


def test_the_audit_log_is_for_managers(page, owner, teammate, team) -> None:
    assert page(owner).get(url("audit", team.uid)).status_code == 200
    assert page(teammate).get(url("audit", team.uid)).status_code == 403


def test_jobs_of_others_are_not_listed(page, owner, outsider, team, collection) -> None:
    team.jobs.create(collection=collection, kind="reindex", state="running", total=10, done=4)
    assert collection.name in page(owner).get(url("jobs")).text
    assert collection.name not in page(outsider).get(url("jobs")).text


def test_the_style_guide_is_for_staff(page, admin, owner) -> None:
    assert page(admin).get(url("styleguide")).status_code == 200
    assert page(owner).get(url("styleguide")).status_code == 404
