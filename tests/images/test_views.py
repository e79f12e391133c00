"""The pages about pictures, collections, review and teams: who gets in, what changes, what is shown."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
from django.urls import reverse

from images import storage
from images.models import Collection, CollectionGrant, Image, Moderation

pytestmark = pytest.mark.django_db
ROOT = Path(__file__).resolve().parents[2]


def url(name: str, *args: Any) -> str:
    return reverse(f"images:{name}", args=args)


# ── One picture ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_teammate_opens_a_picture(page, teammate, make_image) -> None:
    image = make_image(title="Red boat")
    answer = page(teammate).get(url("image", image.uid))
    assert answer.status_code == 200
    assert "Red boat" in answer.text


def test_an_outsider_gets_the_same_answer_as_for_no_picture(page, outsider, make_image) -> None:
    image, client = make_image(), page(outsider)
    there = client.get(url("image", image.uid))
    nowhere = client.get(url("image", "01890000-0000-7000-8000-000000000000"))
    assert (there.status_code, there.text.split("data-csrf")[0]) == (404, nowhere.text.split("data-csrf")[0])


def test_nobody_is_sent_to_sign_in(page, make_image) -> None:
    answer = page().get(url("image", make_image().uid))
    assert answer.status_code == 302
    assert answer.url.startswith(reverse("account_login"))


def test_an_owner_edits_title_text_and_tags(page, owner, make_image) -> None:
    image = make_image(tags=("old",))
    fields = {"title": "Lighthouse", "alt_text": "A white tower", "caption": "", "tags": "Sea,  Night sea"}
    assert page(owner).post(url("image-edit", image.uid), fields).status_code == 302
    image.refresh_from_db()
    assert (image.title, image.alt_text) == ("Lighthouse", "A white tower")
    assert sorted(tag.name for tag in image.tags.all()) == ["night sea", "sea"]


def test_a_refused_edit_shows_the_form_with_its_error(page, owner, make_image) -> None:
    image = make_image(title="Before")
    answer = page(owner).post(url("image-edit", image.uid), {"title": "After", "tags": "x" * 61})
    image.refresh_from_db()
    assert (answer.status_code, image.title) == (422, "Before")
    assert "60 characters" in answer.text


def test_a_teammate_may_not_edit_what_others_uploaded(page, teammate, owner, make_image) -> None:
    image = make_image(uploader=owner, title="Before")
    assert page(teammate).post(url("image-edit", image.uid), {"title": "After"}).status_code == 403
    image.refresh_from_db()
    assert image.title == "Before"


@pytest.mark.parametrize("name", ["image-edit", "image-trash", "decide"])
def test_an_outsider_changes_nothing(page, outsider, make_image, name: str) -> None:
    image = make_image(title="Before")
    answer = page(outsider).post(url(name, image.uid), {"title": "After", "decision": "hide"})
    image.refresh_from_db()
    assert answer.status_code == 404
    assert (image.title, image.trashed_at, image.moderation) == ("Before", None, "approved")


def test_the_trash_and_back(page, owner, make_image) -> None:
    image, client = make_image(), page(owner)
    assert client.post(url("image-trash", image.uid)).status_code == 302
    image.refresh_from_db()
    assert image.trashed_at is not None
    assert image.file_name in client.get(url("trash", image.collection.uid)).text
    client.post(url("image-restore", image.uid))
    image.refresh_from_db()
    assert image.trashed_at is None


def test_a_viewer_does_not_see_what_others_threw_away(page, viewer, owner, make_image) -> None:
    image = make_image(title="Thrown away")
    page(owner).post(url("image-trash", image.uid))
    assert "Thrown away" not in page(viewer).get(url("trash", image.collection.uid)).text


def test_history_tells_those_who_may_edit_what_happened(page, owner, viewer, make_image) -> None:
    image = make_image(uploader=owner)
    page(owner).post(url("image-edit", image.uid), {"title": "Red boat"})
    page(owner).post(url("decide", image.uid), {"decision": "hide", "reason": "Faces"})
    text = page(owner).get(url("image-history", image.uid)).text
    assert [text.index(said) for said in ("Hidden", "Faces", "edited", "Uploaded")] == sorted(
        text.index(said) for said in ("Hidden", "Faces", "edited", "Uploaded")
    )
    assert page(viewer).get(url("image-history", image.uid)).status_code == 404


def test_history_is_not_for_those_who_only_look(page, viewer, make_image) -> None:
    assert page(viewer).get(url("image-history", make_image().uid)).status_code == 403


# ── Many pictures ───────────────────────────────────────────────────────────────────────────────────────────────


def test_bulk_tags_keep_the_old_ones(page, owner, make_image) -> None:
    images = [make_image(tags=("boat",)), make_image()]
    answer = page(owner).post(url("bulk"), {"do": "tag", "tags": "Harbour", "uid": [i.uid for i in images]})
    assert answer.json() == {"done": [str(i.uid) for i in images], "refused": 0}
    assert [tag.name for tag in images[0].tags.all()] == ["boat", "harbour"]


def test_bulk_leaves_out_what_is_not_allowed(page, teammate, owner, make_image) -> None:
    mine, theirs = make_image(uploader=teammate), make_image(uploader=owner)
    answer = page(teammate).post(url("bulk"), {"do": "trash", "uid": [mine.uid, theirs.uid]})
    assert answer.json() == {"done": [str(mine.uid)], "refused": 1}
    assert list(Image.objects.present().values_list("pk", flat=True)) == [theirs.pk]


def test_bulk_without_a_known_change_is_refused(page, owner, make_image) -> None:
    image = make_image()
    assert page(owner).post(url("bulk"), {"do": "delete-for-good", "uid": [image.uid]}).status_code == 400


def test_bulk_moves_and_tells_where_from(page, owner, make_image, make_collection) -> None:
    image, target = make_image(), make_collection("Harbour")
    answer = (
        page(owner).post(url("bulk"), {"do": "move", "collection": target.uid, "uid": [image.uid]}).json()
    )
    assert answer == {
        "done": [str(image.uid)],
        "refused": 0,
        "from": {str(image.uid): str(image.collection.uid)},
    }
    assert Image.objects.get().collection == target


def test_bulk_move_into_another_team_is_left_out(
    page, owner, make_image, make_collection, other_team
) -> None:
    owner.memberships.create(team=other_team, role="owner")
    image, target = make_image(), make_collection("Elsewhere", team=other_team)
    answer = page(owner).post(url("bulk"), {"do": "move", "collection": target.uid, "uid": [image.uid]})
    assert answer.json()["refused"] == 1
    assert Image.objects.get().collection == image.collection


def test_bulk_move_to_a_place_nobody_sees_is_missing(
    page, owner, make_image, make_collection, other_team
) -> None:
    image, target = make_image(), make_collection("Elsewhere", team=other_team)
    sent = {"do": "move", "collection": target.uid, "uid": [image.uid]}
    assert page(owner).post(url("bulk"), sent).status_code == 404
    assert page(owner).post(url("bulk"), {**sent, "collection": "x"}).status_code == 404


def test_bulk_move_offers_places_for_uploads(page, owner, viewer, collection) -> None:
    assert collection.name in page(owner).get(url("bulk-move")).text
    assert collection.name not in page(viewer).get(url("bulk-move")).text


def zip_of(answer) -> zipfile.ZipFile:
    return zipfile.ZipFile(io.BytesIO(b"".join(answer.streaming_content)))


def test_bulk_download_is_a_zip_of_originals(page, viewer, make_image) -> None:
    images = [make_image(file_name="boat.jpg"), make_image(file_name="Boat.jpg")]
    answer = page(viewer).post(url("bulk-download"), {"uid": ",".join(str(one.uid) for one in images)})
    archive = zip_of(answer)
    assert archive.testzip() is None
    assert archive.namelist() == ["boat.jpg", "Boat-2.jpg"]
    assert archive.read("boat.jpg") == storage.open(images[0].original_key).read()


def test_bulk_download_hides_the_place_from_those_who_may_not_know_it(
    page, viewer, make_image, picture
) -> None:
    image = make_image(gps={"latitude": 1, "longitude": 2})
    storage.put(image.preview_key, io.BytesIO(copy := picture()), "image/jpeg")
    archive = zip_of(page(viewer).post(url("bulk-download"), {"uid": image.uid}))
    assert archive.read(archive.namelist()[0]) == copy


def test_bulk_download_names_what_is_gone(page, viewer, make_image) -> None:
    gone, there = make_image(file_name="gone.jpg"), make_image(file_name="there.jpg")
    storage.delete(gone.original_key)
    archive = zip_of(page(viewer).post(url("bulk-download"), {"uid": [gone.uid, there.uid]}))
    assert archive.namelist() == ["there.jpg", "missing.txt"]
    assert b"gone.jpg" in archive.read("missing.txt")


def test_bulk_download_is_bounded_and_only_of_what_is_visible(page, owner, outsider, make_image) -> None:
    image = make_image(byte_size=2 * 1024**3)
    for user in (owner, outsider):
        answer = page(user).post(
            url("bulk-download"), {"uid": image.uid}, HTTP_REFERER="https://evil.example/"
        )
        assert (answer.status_code, answer["Location"]) == (302, "/")


# ── Bytes ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_thumbnail_is_private_and_lasting(page, viewer, make_image) -> None:
    answer = page(viewer).get(url("rendition", make_image().uid, "thumbnail"))
    assert answer.status_code == 200
    assert answer["Cache-Control"] == "private, max-age=31536000, immutable"
    assert answer["Content-Security-Policy"] == "default-src 'none'; sandbox"


@pytest.mark.parametrize("kind", ["thumbnail", "preview"])
def test_an_outsider_gets_no_bytes(page, outsider, make_image, kind: str) -> None:
    assert page(outsider).get(url("rendition", make_image().uid, kind)).status_code == 404


def test_the_original_leaves_as_an_attachment(page, owner, make_image) -> None:
    client = page(owner)
    link = client.get(url("original", make_image(file_name="boat.jpg").uid))
    answer = client.get(link.url)
    assert (link.status_code, answer.status_code) == (302, 200)
    assert answer["Content-Disposition"] == 'attachment; filename="boat.jpg"'
    assert answer["X-Content-Type-Options"] == "nosniff"


def test_who_may_not_know_the_place_downloads_a_copy_without_it(page, viewer, owner, make_image) -> None:
    from images import storage
    from images.access import principal_for_user
    from images.views.files import download_key

    image = make_image(gps={"latitude": 1.0, "longitude": 2.0})
    assert download_key(image, principal_for_user(owner)) == image.original_key
    assert download_key(image, principal_for_user(viewer)) == image.preview_key
    assert storage.exists(image.preview_key)


@pytest.mark.parametrize("token", ["nonsense", "WyJhIiwxXQ:1:2"])
def test_a_made_up_link_leads_nowhere(page, owner, token: str) -> None:
    assert page(owner).get(url("file", token)).status_code == 404


# ── Collections ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_list_holds_only_what_one_may_see(page, teammate, make_collection, other_team) -> None:
    make_collection("Shared")
    make_collection("Hidden drafts", visibility="private")
    make_collection("Foreign", team=other_team)
    text = page(teammate).get(url("collections")).text
    assert ("Shared" in text, "Hidden drafts" in text, "Foreign" in text) == (True, False, False)


def test_a_collection_page_shows_its_pictures(page, viewer, make_image) -> None:
    image = make_image(title="Pier")
    text = page(viewer).get(url("collection", image.collection.uid)).text
    assert f'data-uid="{image.uid}"' in text


def test_the_grid_goes_on_where_it_stopped(page, viewer, make_image, monkeypatch) -> None:
    monkeypatch.setattr("images.views.collections.PAGE_SIZE", 2)
    uids = [str(make_image().uid) for _ in range(3)]
    address = url("collection", Collection.objects.get().uid)
    client = page(viewer)
    first = re.findall(r'data-uid="([^"]+)"', client.get(address).text)
    second = re.findall(
        r'data-uid="([^"]+)"', client.get(address, {"start": 2}, headers={"HX-Request": "true"}).text
    )
    assert first + second == uids[::-1]


def test_an_editor_creates_a_collection(page, member) -> None:
    fields = {"name": "Winter", "visibility": "team", "moderation": "off"}
    editor = member("editor")
    team = editor.memberships.get().team
    answer = page(editor).post(url("collection-new"), fields | {"team": team.pk})
    assert answer.status_code == 302
    assert Collection.objects.get(name="Winter").team == team


def test_a_private_collection_belongs_to_whoever_made_it(page, owner, team) -> None:
    fields = {"name": "Mine", "visibility": "private", "moderation": "off", "team": team.pk}
    page(owner).post(url("collection-new"), fields)
    assert CollectionGrant.objects.get(collection__name="Mine").user == owner
    assert page(owner).get(url("collections")).text.count("Mine") == 1


def test_nobody_creates_in_a_foreign_team(page, owner, other_team) -> None:
    fields = {"name": "Winter", "visibility": "team", "moderation": "off", "team": other_team.pk}
    assert page(owner).post(url("collection-new"), fields).status_code == 422
    assert not Collection.objects.filter(name="Winter").exists()


def test_settings_are_for_managers(page, owner, teammate, collection) -> None:
    fields = {
        "name": "Coast",
        "visibility": "team",
        "moderation": "everyone",
        "rerank_recency": 0,
        "rerank_quality": 0,
    }
    address = url("collection-settings", collection.uid)
    assert page(teammate).post(address, fields).status_code == 403
    assert page(owner).post(address, fields).status_code == 302
    collection.refresh_from_db()
    assert (collection.name, collection.moderation) == ("Coast", "everyone")


def test_a_change_of_rights_raises_the_epoch(page, owner, collection) -> None:
    fields = {
        "name": "Shore",
        "visibility": "private",
        "moderation": "off",
        "rerank_recency": 0,
        "rerank_quality": 0,
    }
    before = collection.permission_epoch
    page(owner).post(url("collection-settings", collection.uid), fields)
    collection.refresh_from_db()
    assert (collection.visibility, collection.permission_epoch > before) == ("private", True)


def test_the_upload_page_offers_only_where_one_may(page, viewer, teammate, collection) -> None:
    offered = f'value="{collection.uid}"'
    assert offered in page(teammate).get(url("upload")).text
    assert offered not in page(viewer).get(url("upload")).text


# ── Review ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_queue_shows_the_oldest_first(page, owner, make_image) -> None:
    oldest = make_image(moderation="pending", title="First in line")
    make_image(moderation="pending", title="Second in line")
    text = page(owner).get(url("moderation")).text
    assert oldest.title in text
    assert "2 pictures wait" in text


def test_a_decision_leads_to_the_next(page, owner, make_image) -> None:
    first, second = make_image(moderation="pending"), make_image(moderation="pending", title="Second in line")
    answer = page(owner).post(
        url("decide", first.uid), {"decision": "approve"}, headers={"HX-Request": "true"}
    )
    first.refresh_from_db()
    assert first.moderation == Moderation.APPROVED
    assert second.title in answer.text
    assert url("decide", first.uid) in answer.text  # the undo


def test_a_rejection_keeps_its_reason_and_can_be_undone(page, owner, make_image) -> None:
    image, client = make_image(moderation="pending"), page(owner)
    client.post(url("decide", image.uid), {"decision": "reject", "reason": "A stranger's face"})
    image.refresh_from_db()
    assert (image.moderation, image.moderation_reason) == ("rejected", "A stranger's face")
    client.post(url("decide", image.uid), {"decision": "undo"})
    image.refresh_from_db()
    assert image.moderation == "pending"


def test_contributors_do_not_decide(page, teammate, make_image) -> None:
    image = make_image(moderation="pending", uploader=teammate)
    assert page(teammate).post(url("decide", image.uid), {"decision": "approve"}).status_code == 403
    image.refresh_from_db()
    assert image.moderation == "pending"


def test_an_unknown_decision_is_refused(page, owner, make_image) -> None:
    assert page(owner).post(url("decide", make_image().uid), {"decision": "burn"}).status_code == 400
