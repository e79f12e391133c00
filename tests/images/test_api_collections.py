"""Collections over HTTP: who sees, makes, changes and deletes them."""

import pytest

from images.models import AuditEvent, Collection, CollectionGrant

COLLECTIONS = "/api/v1/collections/"


@pytest.fixture
def url(collection):
    return f"{COLLECTIONS}{collection.uid}/"


@pytest.fixture
def vault(make_collection):
    return make_collection("Vault", visibility="private")


def names(answer):
    return [one["name"] for one in answer.json()["data"]]


def test_members_see_the_collections_of_their_team(api, viewer, outsider, collection):
    assert names(api(viewer).get(COLLECTIONS)) == ["Shore"]
    assert names(api(outsider).get(COLLECTIONS)) == []


def test_strangers_are_asked_to_sign_in(api, collection):
    answer = api().get(COLLECTIONS)
    assert (answer.status_code, answer["WWW-Authenticate"]) == (401, 'Bearer realm="loupe"')


def test_a_private_collection_is_for_its_members_alone(api, owner, viewer, vault):
    vault.grants.create(user=viewer, role="viewer")
    assert names(api(viewer).get(COLLECTIONS)) == ["Vault"]
    assert api(owner).get(f"{COLLECTIONS}{vault.uid}/").status_code == 404


def test_everybody_with_an_account_sees_a_public_collection(api, outsider, make_collection):
    public = make_collection("Street", visibility="public")
    assert api(outsider).get(f"{COLLECTIONS}{public.uid}/").json()["role"] == "viewer"


def test_a_count_tells_of_visible_pictures_only(api, owner, viewer, url, make_image):
    make_image()
    make_image(uploader=owner, moderation="hidden")
    assert [api(one).get(url).json()["images"] for one in (viewer, owner)] == [1, 2]


def test_collections_of_one_team(api, member, other_team, collection, make_collection):
    user = member("both", "viewer")
    user.memberships.create(team=other_team, role="viewer")
    make_collection("There", team=other_team)
    assert names(api(user).get(COLLECTIONS, {"team": str(other_team.uid)})) == ["There"]


def test_an_editor_makes_a_collection_in_the_only_team(api, member, team):
    answer = api(member("editor")).post(COLLECTIONS, {"name": "Dunes"})
    made = Collection.objects.get()
    assert (answer.status_code, made.team, answer["Location"]) == (201, team, f"{COLLECTIONS}{made.uid}/")
    assert AuditEvent.objects.filter(action="collection.created").exists()


def test_members_of_two_teams_say_which(api, member, other_team):
    user = member("both", "editor")
    user.memberships.create(team=other_team, role="editor")
    answer = api(user).post(COLLECTIONS, {"name": "Dunes"})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (400, "/team")


def test_a_foreign_team_gets_no_collection(api, owner, other_team):
    answer = api(owner).post(COLLECTIONS, {"name": "Dunes", "team": str(other_team.uid)})
    assert (answer.status_code, Collection.objects.count()) == (400, 0)


def test_a_contributor_makes_no_collection(api, teammate):
    assert api(teammate).post(COLLECTIONS, {"name": "Dunes"}).status_code == 403
    assert not Collection.objects.exists()


def test_who_makes_a_private_collection_sees_it(api, member):
    client = api(member("editor"))
    made = client.post(COLLECTIONS, {"name": "Vault", "visibility": "private"})
    assert (made.json()["role"], names(client.get(COLLECTIONS))) == ("owner", ["Vault"])


def test_a_name_is_taken_once_per_team(api, owner, collection):
    assert api(owner).post(COLLECTIONS, {"name": "Shore"}).status_code == 409


def test_a_limited_key_makes_no_collection(key_client, owner, collection):
    answer = key_client(owner, "collections:admin", collections=[collection]).post(
        COLLECTIONS, {"name": "Dunes"}
    )
    assert (answer.status_code, Collection.objects.count()) == (403, 1)


def test_a_manager_changes_a_collection(api, member, collection, url):
    answer = api(member("manager")).patch(url, {"moderation": "everyone", "rerank_recency": 0.25})
    collection.refresh_from_db()
    assert (answer.status_code, collection.moderation, collection.rerank_recency) == (200, "everyone", 0.25)
    assert collection.permission_epoch == 1


@pytest.mark.parametrize(("who", "status"), [("viewer", 403), ("teammate", 403), ("outsider", 404)])
def test_nobody_below_manager_changes_a_collection(api, request, collection, url, who, status):
    answer = api(request.getfixturevalue(who)).patch(url, {"visibility": "public"})
    collection.refresh_from_db()
    assert (answer.status_code, collection.visibility) == (status, "team")


def test_a_key_without_the_scope_changes_nothing(key_client, owner, collection, url):
    answer = key_client(owner, "images:read", "images:write").patch(url, {"name": "Mine"})
    collection.refresh_from_db()
    assert (answer.status_code, collection.name) == (403, "Shore")


def test_a_key_with_the_scope_changes_a_collection(key_client, owner, collection, url):
    assert key_client(owner, "collections:admin").patch(url, {"name": "Coast"}).status_code == 200


@pytest.mark.parametrize(
    "body", [{"rerank_quality": 2}, {"rerank_quality": "nan"}, {"visibility": "all"}, {"name": ""}]
)
def test_a_bad_value_names_its_field(api, owner, url, body):
    answer = api(owner).patch(url, body)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (400, f"/{next(iter(body))}")


@pytest.mark.parametrize("field", ["team", "id", "permission_epoch", "cover", "images"])
def test_a_collection_keeps_what_is_not_to_be_assigned(api, owner, other_team, collection, url, field):
    assert api(owner).patch(url, {field: str(other_team.uid)}).status_code == 400
    collection.refresh_from_db()
    assert (collection.team.slug, collection.permission_epoch) == ("harbour", 0)


def test_an_edit_of_an_older_version_is_refused(api, owner, collection, url):
    client = api(owner)
    etag = client.get(url)["ETag"]
    client.patch(url, {"name": "Coast"}, HTTP_IF_MATCH=etag)
    answer = client.patch(url, {"name": "Cliffs"}, HTTP_IF_MATCH=etag)
    collection.refresh_from_db()
    assert (answer.status_code, collection.name) == (412, "Coast")


def test_whoever_makes_a_collection_private_keeps_it(api, owner, collection, url):
    assert api(owner).patch(url, {"visibility": "private"}).json()["role"] == "owner"
    assert CollectionGrant.objects.get().user == owner


def test_going_private_ends_everybody_elses_access(api, owner, viewer, url):
    api(owner).patch(url, {"visibility": "private"})
    assert api(viewer).get(url).status_code == 404


def test_an_empty_collection_is_deleted(api, owner, url):
    assert api(owner).delete(url).status_code == 204
    assert not Collection.objects.exists()


def test_a_collection_with_pictures_stays(api, owner, url, make_image):
    make_image()
    assert (api(owner).delete(url).status_code, Collection.objects.count()) == (409, 1)


def test_a_teammate_deletes_no_collection(api, teammate, url):
    assert (api(teammate).delete(url).status_code, Collection.objects.count()) == (403, 1)
