"""Pictures over HTTP: upload, detail, edit, move, trash, files, moderation."""

import hashlib

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from images import storage
from images.models import Image
from search.models import CollectionIndex, Space


def send(content, name="beach.jpg"):
    return SimpleUploadedFile(name, content, "image/jpeg")


def at(image, rest=""):
    return f"/api/v1/images/{image.uid}/{rest}"


@pytest.fixture
def uploads(collection):
    return f"/api/v1/collections/{collection.uid}/images/"


@pytest.fixture
def theirs(make_image, teammate):
    return make_image(uploader=teammate, title="Pier", tags=("sea",))


# ── Upload ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_contributor_uploads(api, teammate, uploads, picture):
    content = picture()
    answer = api(teammate).post(
        uploads, {"file": send(content), "title": "Beach", "tags": "Sea, sand"}, "multipart"
    )
    image = Image.objects.get()
    assert (answer.status_code, answer.json()["state"], answer.json()["duplicate"]) == (201, "stored", False)
    assert (image.uploader, image.title, sorted(tag.name for tag in image.tags.all())) == (
        teammate,
        "Beach",
        ["sand", "sea"],
    )
    assert storage.read(image.original_key) == content


def test_an_upload_tells_where_it_is(api, teammate, uploads, picture):
    client = api(teammate)
    answer = client.post(uploads, {"file": send(picture())}, "multipart")
    assert client.get(answer["Location"]).json()["id"] == answer.json()["id"]


def test_the_same_bytes_answer_with_the_picture_that_is_there(api, teammate, uploads, picture):
    content, client = picture(), api(teammate)
    first = client.post(uploads, {"file": send(content)}, "multipart").json()
    answer = client.post(uploads, {"file": send(content, "again.jpg")}, "multipart")
    assert (answer.status_code, answer.json()["duplicate"], answer.json()["id"]) == (200, True, first["id"])
    assert Image.objects.count() == 1


def test_a_duplicate_of_an_unseen_picture_is_not_shown(api, owner, teammate, uploads, picture):
    content = picture()
    hidden = api(owner).post(uploads, {"file": send(content)}, "multipart").json()["id"]
    Image.objects.update(moderation="hidden", state="ready")
    answer = api(teammate).post(uploads, {"file": send(content)}, "multipart")
    assert (answer.status_code, hidden in answer.content.decode()) == (409, False)


@pytest.mark.parametrize(("who", "status"), [("viewer", 403), ("outsider", 404)])
def test_who_may_not_upload_leaves_nothing(api, request, uploads, picture, who, status):
    answer = api(request.getfixturevalue(who)).post(uploads, {"file": send(picture())}, "multipart")
    assert (answer.status_code, Image.objects.count(), list(storage.list())) == (status, 0, [])


def test_a_key_uploads_with_the_scope_alone(key_client, teammate, uploads, picture):
    without = key_client(teammate, "images:read").post(uploads, {"file": send(picture())}, "multipart")
    granted = key_client(teammate, "images:write").post(uploads, {"file": send(picture())}, "multipart")
    assert (without.status_code, granted.status_code, Image.objects.count()) == (403, 201, 1)


def test_a_wrong_checksum_refuses_the_upload(api, teammate, uploads, picture):
    answer = api(teammate).post(uploads, {"file": send(picture()), "sha256": "0" * 64}, "multipart")
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/sha256")
    assert not Image.objects.exists()


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [(b"", 400, "empty"), (b"<svg/>", 415, "unsupported_format"), (b"hello", 415, "unsupported_format")],
)
def test_what_is_no_picture_is_refused_with_the_field(api, teammate, uploads, content, status, code):
    answer = api(teammate).post(uploads, {"file": send(content)}, "multipart")
    assert (answer.status_code, answer.json()["code"], answer.json()["errors"][0]["pointer"]) == (
        status,
        code,
        "/file",
    )


def test_a_declared_size_over_the_limit_is_refused_unread(api, teammate, uploads, settings):
    settings.MAX_UPLOAD_BYTES = 1000
    answer = api(teammate).post(uploads, {"file": send(b"\xff\xd8\xff" + bytes(1024**2 + 2000))}, "multipart")
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (413, "/file")


def test_a_file_over_the_limit_is_refused(api, teammate, uploads, settings):
    settings.MAX_UPLOAD_BYTES = 1000
    answer = api(teammate).post(uploads, {"file": send(b"\xff\xd8\xff" + bytes(2000))}, "multipart")
    assert (answer.status_code, answer.json()["code"], Image.objects.count()) == (413, "too_large", 0)


def test_a_missing_file_names_the_field(api, teammate, uploads):
    answer = api(teammate).post(uploads, {"title": "Beach"}, "multipart")
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (400, "/file")


@pytest.mark.parametrize(
    "field", ["uploader", "state", "sha1", "quality", "moderation", "original_key", "collection"]
)
def test_an_upload_assigns_nothing_else(api, teammate, uploads, picture, field):
    answer = api(teammate).post(uploads, {"file": send(picture()), field: "x"}, "multipart")
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (400, f"/{field}")
    assert not Image.objects.exists()


def test_check_tells_new_hashes_from_known_ones(api, teammate, uploads, theirs):
    fresh = hashlib.sha256(b"new").hexdigest()
    answer = api(teammate).post(f"{uploads}check/", {"sha256": [theirs.sha256.upper(), fresh]})
    assert answer.json() == {"known": [{"sha256": theirs.sha256, "id": str(theirs.uid)}], "new": [fresh]}


def test_check_names_no_picture_that_one_may_not_see(api, owner, teammate, uploads, make_image):
    hidden = make_image(uploader=owner, moderation="hidden")
    answer = api(teammate).post(f"{uploads}check/", {"sha256": [hidden.sha256]})
    assert answer.json()["known"] == [{"sha256": hidden.sha256, "id": None}]


@pytest.mark.parametrize(("who", "status"), [("viewer", 403), ("outsider", 404)])
def test_check_is_for_those_who_upload(api, request, uploads, theirs, who, status):
    assert api(request.getfixturevalue(who)).post(f"{uploads}check/", {"sha256": []}).status_code == status


# ── Detail and edit ─────────────────────────────────────────────────────────────────────────────────────────────


def test_members_see_a_picture_and_outsiders_do_not(api, viewer, outsider, theirs):
    body = api(viewer).get(at(theirs)).json()
    assert (body["title"], body["tags"], body["uploader"]["name"]) == ("Pier", ["sea"], "teammate")
    assert api(outsider).get(at(theirs)).status_code == 404


def test_missing_and_forbidden_answer_alike(api, outsider, theirs):
    missing = api(outsider).get("/api/v1/images/00000000-0000-7000-8000-000000000000/").json()
    forbidden = api(outsider).get(at(theirs)).json()
    assert {**missing, "request_id": ""} == {**forbidden, "request_id": ""}


def test_no_internal_name_leaves_the_server(api, owner, theirs):
    shown = api(owner).get(at(theirs)).content.decode()
    assert not [name for name in (theirs.original_key, theirs.thumbnail_key, "phash", "gps") if name in shown]


@pytest.mark.parametrize(
    "fields", [{"moderation": "pending"}, {"moderation": "hidden"}, {"state": "rejected"}]
)
def test_what_is_not_public_is_for_its_uploader_and_moderators(
    api, owner, viewer, teammate, make_image, fields
):
    image = make_image(uploader=teammate, **fields)
    assert [api(one).get(at(image)).status_code for one in (owner, teammate, viewer)] == [200, 200, 404]


def test_the_uploader_edits(api, teammate, theirs):
    body = {"title": "Jetty", "tags": ["Sea", "wood"], "taken_at": "2024-05-01T12:00:00+02:00"}
    answer = api(teammate).patch(at(theirs), body)
    theirs.refresh_from_db()
    assert (answer.status_code, theirs.title, answer.json()["taken_at"]) == (
        200,
        "Jetty",
        "2024-05-01T10:00:00Z",
    )
    assert answer.json()["tags"] == ["sea", "wood"]


@pytest.mark.parametrize(("who", "status"), [("viewer", 403), ("outsider", 404)])
def test_nobody_else_edits(api, request, theirs, who, status):
    answer = api(request.getfixturevalue(who)).patch(at(theirs), {"title": "Mine"})
    theirs.refresh_from_db()
    assert (answer.status_code, theirs.title) == (status, "Pier")


def test_a_key_without_the_scope_edits_nothing(key_client, teammate, theirs):
    assert key_client(teammate, "images:read").patch(at(theirs), {"title": "Mine"}).status_code == 403
    theirs.refresh_from_db()
    assert theirs.title == "Pier"


@pytest.mark.parametrize("field", ["uploader", "state", "sha256", "quality", "moderation", "id", "version"])
def test_an_edit_assigns_nothing_else(api, owner, theirs, field):
    before = Image.objects.values().get()
    answer = api(owner).patch(at(theirs), {"title": "Jetty", field: "x"})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (400, f"/{field}")
    assert Image.objects.values().get() == before


def test_an_edit_of_an_older_version_is_refused(api, teammate, theirs):
    client = api(teammate)
    etag = client.get(at(theirs))["ETag"]
    assert client.patch(at(theirs), {"title": "Jetty"}, HTTP_IF_MATCH=etag).status_code == 200
    assert client.patch(at(theirs), {"title": "Quay"}, HTTP_IF_MATCH=etag).status_code == 412
    theirs.refresh_from_db()
    assert theirs.title == "Jetty"


def test_a_move_needs_rights_at_both_ends(api, teammate, make_collection, theirs):
    public = make_collection("Street", visibility="public", team=theirs.collection.team)
    public.grants.create(user=teammate, role="viewer")
    answer = api(teammate).patch(at(theirs), {"collection": str(public.uid)})
    theirs.refresh_from_db()
    assert (answer.status_code, theirs.collection.name) == (403, "Shore")


def test_a_move_to_an_unseen_collection_is_not_found(api, teammate, make_collection, other_team, theirs):
    foreign = make_collection("There", team=other_team)
    answer = api(teammate).patch(at(theirs), {"title": "Gone", "collection": str(foreign.uid)})
    theirs.refresh_from_db()
    assert (answer.status_code, theirs.title, theirs.collection.name) == (404, "Pier", "Shore")


def test_a_move_does_not_go_round_approval(api, teammate, make_collection, theirs):
    checked = make_collection("Checked", moderation="everyone")
    space = Space.objects.create(name="test", sha256="0" * 64, dimension=8)
    CollectionIndex.objects.bulk_create(
        CollectionIndex(collection=one, space=space) for one in (checked, theirs.collection)
    )
    answer = api(teammate).patch(at(theirs), {"collection": str(checked.uid)})
    theirs.refresh_from_db()
    assert (answer.status_code, theirs.collection, theirs.moderation) == (200, checked, "pending")


# ── Trash ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_deleted_picture_is_gone_at_once_and_can_be_had_back(api, teammate, theirs):
    client = api(teammate)
    assert client.delete(at(theirs)).status_code == 204
    assert client.get(at(theirs)).status_code == 404
    assert client.post(at(theirs, "restore/")).json()["tags"] == ["sea"]
    assert client.get(at(theirs)).status_code == 200


@pytest.mark.parametrize(("who", "status"), [("viewer", 403), ("outsider", 404)])
def test_nobody_else_deletes(api, request, theirs, who, status):
    answer = api(request.getfixturevalue(who)).delete(at(theirs))
    theirs.refresh_from_db()
    assert (answer.status_code, theirs.trashed_at) == (status, None)


@pytest.mark.parametrize("who", ["viewer", "outsider"])
def test_nobody_else_restores(api, request, teammate, theirs, who):
    api(teammate).delete(at(theirs))
    answer = api(request.getfixturevalue(who)).post(at(theirs, "restore/"))
    theirs.refresh_from_db()
    assert (answer.status_code, theirs.trashed_at is None) == (404, False)


def test_restoring_beside_a_new_copy_is_a_conflict(api, teammate, theirs, make_image):
    api(teammate).delete(at(theirs))
    make_image(sha256=theirs.sha256)
    assert api(teammate).post(at(theirs, "restore/")).status_code == 409


# ── Files ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_file_is_a_short_lived_redirect(api, viewer, theirs):
    answer = api(viewer).get(at(theirs, "file/"), HTTP_ACCEPT="image/*")
    assert (answer.status_code, answer["Cache-Control"]) == (302, "private, no-store")
    fetched = b"".join(api().get(answer["Location"]).streaming_content)
    assert fetched == storage.read(theirs.original_key)


@pytest.mark.parametrize("rest", ["file/", "thumbnail/", "thumbnail/?size=preview"])
def test_outsiders_get_no_link(api, outsider, theirs, rest):
    answer = api(outsider).get(at(theirs, rest))
    assert (answer.status_code, answer.has_header("Location")) == (404, False)


def test_a_place_leaves_with_the_original_for_uploader_and_editors_alone(
    api, owner, teammate, viewer, theirs
):
    Image.objects.update(gps={"latitude": 1.0, "longitude": 2.0}, holds_place=True)
    links = {one: api(one).get(at(theirs, "file/"))["Location"] for one in (owner, teammate, viewer)}
    keys = {one: storage.unsign(link.removeprefix("/files/")).key for one, link in links.items()}
    assert keys == {owner: theirs.original_key, teammate: theirs.original_key, viewer: theirs.preview_key}


def test_an_unknown_size_is_refused(api, viewer, theirs):
    assert api(viewer).get(at(theirs, "thumbnail/?size=huge")).status_code == 400


def test_there_is_no_thumbnail_before_the_check(api, teammate, make_image):
    image = make_image(uploader=teammate, state="stored", thumbnail_key="")
    assert api(teammate).get(at(image, "thumbnail/")).status_code == 404


# ── Moderation ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def pending(make_image, teammate):
    return make_image(uploader=teammate, moderation="pending")


def test_the_queue_is_for_moderators(api, owner, teammate, outsider, pending):
    shown = [api(one).get("/api/v1/moderation/").json()["data"] for one in (owner, teammate, outsider)]
    assert [len(one) for one in shown] == [1, 0, 0]


def test_an_editor_approves(api, member, viewer, pending):
    answer = api(member("editor")).post(at(pending, "moderation/"), {"decision": "approve"})
    pending.refresh_from_db()
    assert (answer.status_code, pending.moderation, api(viewer).get(at(pending)).status_code) == (
        200,
        "approved",
        200,
    )


def test_uploaders_do_not_approve_themselves(api, teammate, pending):
    answer = api(teammate).post(at(pending, "moderation/"), {"decision": "approve"})
    pending.refresh_from_db()
    assert (answer.status_code, pending.moderation) == (403, "pending")


@pytest.mark.parametrize("who", ["viewer", "outsider"])
def test_who_does_not_see_it_does_not_decide(api, request, pending, who):
    answer = api(request.getfixturevalue(who)).post(at(pending, "moderation/"), {"decision": "approve"})
    pending.refresh_from_db()
    assert (answer.status_code, pending.moderation) == (404, "pending")


def test_a_hidden_picture_is_gone_for_viewers(api, owner, viewer, theirs):
    api(owner).post(at(theirs, "moderation/"), {"decision": "hide", "reason": "Faces"})
    assert api(viewer).get(at(theirs)).status_code == 404
    assert api(owner).get(at(theirs)).json()["moderation_reason"] == "Faces"


def test_a_key_moderates_with_the_scope_alone(key_client, owner, pending):
    body = {"decision": "approve"}
    assert key_client(owner, "images:write").post(at(pending, "moderation/"), body).status_code == 403
    assert key_client(owner, "moderation:write").post(at(pending, "moderation/"), body).status_code == 200


def test_an_unknown_decision_is_refused(api, owner, pending):
    assert api(owner).post(at(pending, "moderation/"), {"decision": "delete"}).status_code == 400
