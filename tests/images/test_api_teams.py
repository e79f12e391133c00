"""Teams, members and keys: who may see and change them, status and row."""

import pytest

from images import teams
from images.models import ApiKey, AuditEvent, Membership

TEAMS = "/api/v1/teams/"


@pytest.fixture
def team_url(team):
    return f"{TEAMS}{team.uid}/"


@pytest.fixture
def members_url(team_url):
    return f"{team_url}members/"


@pytest.fixture
def keys_url(team_url):
    return f"{team_url}keys/"


def test_people_see_their_own_teams_alone(api, owner, outsider, team):
    assert [one["id"] for one in api(owner).get(TEAMS).json()["data"]] == [str(team.uid)]
    assert str(team.uid) not in api(outsider).get(TEAMS).content.decode()


def test_a_superuser_sees_every_team(api, admin, team, other_team):
    assert len(api(admin).get(TEAMS).json()["data"]) == 2


def test_a_key_sees_its_own_team_alone(key_client, member, team, other_team):
    user = member("both", "editor")
    user.memberships.create(team=other_team, role="editor")
    assert [one["id"] for one in key_client(user).get(TEAMS).json()["data"]] == [str(team.uid)]


def test_a_foreign_team_is_not_found(api, outsider, team_url):
    assert api(outsider).get(team_url).status_code == 404


def test_the_owner_renames_the_team(api, owner, team, team_url):
    answer = api(owner).patch(team_url, {"name": "Pier"})
    team.refresh_from_db()
    assert (answer.status_code, answer.json()["name"], team.name) == (200, "Pier", "Pier")
    assert AuditEvent.objects.get(action="team.renamed").actor == owner


@pytest.mark.parametrize(("who", "status"), [("teammate", 403), ("viewer", 403), ("outsider", 404)])
def test_nobody_below_manager_renames_the_team(api, request, team, team_url, who, status):
    answer = api(request.getfixturevalue(who)).patch(team_url, {"name": "Mine"})
    team.refresh_from_db()
    assert (answer.status_code, team.name) == (status, "Harbour")


def test_where_sign_up_is_open_everybody_makes_teams_and_owns_them(api, viewer, settings):
    settings.SIGNUP_OPEN = True
    answer = api(viewer).post(TEAMS, {"name": "Pier"})
    assert (answer.status_code, answer.json()["role"]) == (201, "owner")
    made = viewer.memberships.get(team__uid=answer.json()["id"])
    assert (made.role, AuditEvent.objects.get(action="team.created").team) == ("owner", made.team)


def test_where_sign_up_is_closed_superusers_make_teams(api, admin, owner):
    assert api(admin).post(TEAMS, {"name": "Pier"}).status_code == 201
    assert api(owner).post(TEAMS, {"name": "Pier"}).status_code == 403


def test_one_person_owns_so_many_teams_and_no_more(api, owner, settings, monkeypatch):
    settings.SIGNUP_OPEN = True
    monkeypatch.setattr(teams, "MOST_OWNED", 2)
    assert [api(owner).post(TEAMS, {"name": "Pier"}).status_code for _n in range(2)] == [201, 409]


def test_the_page_makes_a_team_of_any_name(page, admin):
    answer = page(admin).post("/teams/new/", {"name": "船 & Söhne"}, follow=True)
    assert answer.status_code == 200 and admin.memberships.get().team.name == "船 & Söhne"


@pytest.mark.parametrize("field", ["slug", "quota_bytes", "id", "permission_epoch"])
def test_other_fields_of_a_team_are_refused_by_name(api, owner, team, team_url, field):
    answer = api(owner).patch(team_url, {"name": "Pier", field: 1})
    team.refresh_from_db()
    assert (answer.status_code, answer.json()["errors"][0]["pointer"], team.name) == (
        400,
        f"/{field}",
        "Harbour",
    )


def test_members_see_each_other_without_addresses(api, owner, viewer, members_url):
    seen = api(viewer).get(members_url).json()["data"]
    assert {one["name"]: one["email"] for one in seen} == {"owner": None, "viewer": "viewer@example.org"}


def test_owners_see_the_addresses_of_members(api, owner, viewer, members_url):
    seen = api(owner).get(members_url).json()["data"]
    assert {one["email"] for one in seen} == {"owner@example.org", "viewer@example.org"}


def test_no_key_lists_members(key_client, owner, members_url):
    assert key_client(owner).get(members_url).status_code == 403


def test_the_owner_adds_somebody_with_an_account(api, owner, outsider, team, members_url):
    answer = api(owner).post(members_url, {"email": "OUTSIDER@example.org", "role": "editor"})
    assert answer.status_code == 201
    assert Membership.objects.get(team=team, user=outsider).role == "editor"


def test_adding_raises_the_permission_epoch(api, owner, outsider, team, members_url):
    api(owner).post(members_url, {"email": outsider.email})
    team.refresh_from_db()
    assert team.permission_epoch == 1


def test_adding_an_unknown_address_names_the_field(api, owner, members_url):
    answer = api(owner).post(members_url, {"email": "nobody@example.org"})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (400, "/email")


def test_adding_a_member_twice_is_a_conflict(api, owner, viewer, members_url):
    assert api(owner).post(members_url, {"email": viewer.email}).status_code == 409


@pytest.mark.parametrize(("who", "status"), [("teammate", 403), ("outsider", 404)])
def test_nobody_below_manager_adds_members(api, request, make_user, team, members_url, who, status):
    other = make_user("other")
    answer = api(request.getfixturevalue(who)).post(members_url, {"email": other.email})
    assert (answer.status_code, Membership.objects.filter(user=other).exists()) == (status, False)


def test_a_manager_makes_nobody_owner(api, member, viewer, owner, members_url):
    answer = api(member("manager")).patch(f"{members_url}{viewer.uid}/", {"role": "owner"})
    assert (answer.status_code, viewer.memberships.get().role) == (403, "viewer")


def test_a_manager_does_not_demote_an_owner(api, member, owner, members_url):
    answer = api(member("manager")).patch(f"{members_url}{owner.uid}/", {"role": "viewer"})
    assert (answer.status_code, owner.memberships.get().role) == (403, "owner")


def test_the_last_owner_stays_owner(api, owner, members_url):
    answer = api(owner).patch(f"{members_url}{owner.uid}/", {"role": "viewer"})
    assert (answer.status_code, owner.memberships.get().role) == (409, "owner")


def test_the_last_owner_does_not_leave(api, owner, members_url):
    answer = api(owner).delete(f"{members_url}{owner.uid}/")
    assert (answer.status_code, owner.memberships.count()) == (409, 1)


def test_one_of_two_owners_may_leave(api, owner, member, members_url):
    member("second", "owner")
    assert api(owner).delete(f"{members_url}{owner.uid}/").status_code == 204
    assert not owner.memberships.exists()


def test_a_viewer_may_leave(api, owner, viewer, members_url):
    assert api(viewer).delete(f"{members_url}{viewer.uid}/").status_code == 204
    assert not viewer.memberships.exists()


def test_a_teammate_removes_nobody_else(api, teammate, viewer, members_url):
    answer = api(teammate).delete(f"{members_url}{viewer.uid}/")
    assert (answer.status_code, viewer.memberships.count()) == (403, 1)


def test_who_leaves_loses_their_grants_too(api, owner, viewer, make_collection, members_url):
    private = make_collection("Vault", visibility="private")
    private.grants.create(user=viewer, role="editor")
    api(owner).delete(f"{members_url}{viewer.uid}/")
    assert not viewer.grants.exists()


def test_a_removed_member_sees_nothing_at_the_next_request(api, owner, viewer, collection, members_url):
    theirs = api(viewer)
    assert theirs.get(f"/api/v1/collections/{collection.uid}/").status_code == 200
    api(owner).delete(f"{members_url}{viewer.uid}/")
    assert theirs.get(f"/api/v1/collections/{collection.uid}/").status_code == 404


def test_a_member_of_another_team_is_not_found_here(api, owner, outsider, members_url):
    assert api(owner).patch(f"{members_url}{outsider.uid}/", {"role": "viewer"}).status_code == 404


def test_a_key_is_shown_once_and_works(api, viewer, keys_url):
    answer = api(viewer).post(keys_url, {"name": "Script", "scopes": ["images:read"]})
    secret = answer.json()["secret"]
    bearer = api()
    bearer.credentials(HTTP_AUTHORIZATION=f"Bearer {secret}")
    assert (answer.status_code, bearer.get(TEAMS).status_code) == (201, 200)
    assert secret.rsplit("_", 1)[1] not in api(viewer).get(keys_url).content.decode()


def test_a_key_of_an_unknown_scope_is_refused(api, viewer, keys_url):
    answer = api(viewer).post(keys_url, {"name": "Script", "scopes": ["everything"]})
    assert (answer.status_code, ApiKey.objects.count()) == (400, 0)


def test_a_key_is_limited_only_to_collections_that_one_sees(api, viewer, make_collection, keys_url):
    vault = make_collection("Vault", visibility="private")
    body = {"name": "Script", "scopes": ["images:read"], "collections": [str(vault.uid)]}
    answer = api(viewer).post(keys_url, body)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (400, "/collections")


def test_a_limited_key_sees_its_collections_alone(api, owner, collection, make_collection, keys_url):
    make_collection("Other")
    body = {"name": "Script", "scopes": ["images:read"], "collections": [str(collection.uid)]}
    bearer = api()
    bearer.credentials(HTTP_AUTHORIZATION=f"Bearer {api(owner).post(keys_url, body).json()['secret']}")
    assert [one["id"] for one in bearer.get("/api/v1/collections/").json()["data"]] == [str(collection.uid)]


def test_teammates_do_not_see_each_others_keys(api, key_client, owner, teammate, keys_url):
    key_client(owner)
    assert api(teammate).get(keys_url).json()["data"] == []


def test_no_key_issues_keys(key_client, owner, keys_url):
    client = key_client(owner)
    answer = client.post(keys_url, {"name": "More", "scopes": ["images:read"]})
    assert (answer.status_code, ApiKey.objects.count()) == (403, 1)


def test_a_revoked_key_stops_at_once(api, key_client, viewer, keys_url):
    client = key_client(viewer)
    assert api(viewer).delete(f"{keys_url}{client.key.uid}/").status_code == 204
    assert client.get(TEAMS).status_code == 401


def test_a_teammate_revokes_no_key_of_others(api, key_client, owner, teammate, keys_url):
    client = key_client(owner)
    assert api(teammate).delete(f"{keys_url}{client.key.uid}/").status_code == 404
    assert client.get(TEAMS).status_code == 200


def test_a_rotated_key_and_its_successor_both_work(api, key_client, viewer, keys_url):
    client = key_client(viewer)
    answer = api(viewer).post(f"{keys_url}{client.key.uid}/rotate/")
    successor = api()
    successor.credentials(HTTP_AUTHORIZATION=f"Bearer {answer.json()['secret']}")
    assert [answer.status_code, client.get(TEAMS).status_code, successor.get(TEAMS).status_code] == [
        201,
        200,
        200,
    ]


def test_an_owner_gets_no_secret_of_somebody_elses_key(api, key_client, owner, viewer, keys_url):
    client = key_client(viewer)
    assert api(owner).post(f"{keys_url}{client.key.uid}/rotate/").status_code == 403
    assert ApiKey.objects.count() == 1


def test_a_suspended_owner_ends_the_key(key_client, viewer):
    client = key_client(viewer)
    viewer.is_active = False
    viewer.save()
    assert client.get(TEAMS).status_code == 401
