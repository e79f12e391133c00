"""Exports: what is in them, for whom, for how long, and that a crash leaves nothing half done."""

import hashlib
import io
import json
import os
import zipfile
from datetime import UTC, datetime, timedelta

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.utils import timezone

from images import exporting, faults, ingest, moderation, storage, transfer
from images.access import principal_for_user
from images.exporting import safe_name
from images.models import AuditEvent, Image, Job

pytestmark = pytest.mark.django_db
PLACE = {"latitude": 54.5, "longitude": 10.1}


@pytest.fixture
def add(collection, owner, picture):
    """A checked and approved picture whose stored bytes are those that its row tells of."""

    def make(uploader=None, *, name="pier.jpg", place=None, tags=(), **fields):
        content = picture()
        image = ingest.ingest(
            place or collection, uploader or owner, io.BytesIO(content), file_name=name, tags=tags
        ).image
        preview = storage.new_key("renditions", ".webp")
        storage.put(preview, io.BytesIO(b"preview of " + content), "image/webp")
        known = {
            "state": "ready",
            "moderation": "approved",
            "preview_key": preview,
            "rendition_type": "image/webp",
            "holds_place": bool(fields.get("gps")),
        }
        Image.objects.filter(pk=image.pk).update(**{**known, **fields})
        return Image.objects.get(pk=image.pk)

    return make


@pytest.fixture
def exports(collection):
    return f"/api/v1/collections/{collection.uid}/exports/"


@pytest.fixture
def export(api, exports):
    """`export(user)`: ask, work, download; returns the open archive."""

    def go(user, **wanted):
        client = api(user)
        job = client.post(exports, wanted, "json")
        assert job.status_code == 202, job.json()
        while transfer.run_due():
            pass
        return zipfile.ZipFile(io.BytesIO(download(client, Job.objects.get(uid=job.json()["id"]))))

    return go


def result(job):
    return f"/api/v1/jobs/{job.uid}/result/"


def download(client, job):
    answer = client.get(result(job))
    assert answer.status_code == 302, answer.content
    return b"".join(client.get(answer["Location"]).streaming_content)


def rows(archive):
    return [json.loads(line) for line in archive.read("metadata.jsonl").splitlines()]


def finished(user, collection, **options):
    job = transfer.request_export(collection, principal_for_user(user), user, **options)
    transfer.run_due()
    return Job.objects.get(pk=job.pk)


# ── What is in it ───────────────────────────────────────────────────────────────────────────────────────────────


def test_an_export_holds_the_originals_byte_by_byte(export, add, owner):
    image = add(tags=("sea",), title="Pier — “dusk”", taken_at=datetime(2020, 5, 1, tzinfo=UTC))
    archive = export(owner)
    (row,) = rows(archive)
    assert archive.testzip() is None
    assert archive.read(row["file"]) == storage.read(image.original_key)
    assert (row["id"], row["title"], row["tags"]) == (str(image.uid), "Pier — “dusk”", ["sea"])
    assert (row["taken_at"], row["sha256"], row["original"]) == ("2020-05-01T00:00:00Z", image.sha256, True)


def test_the_manifest_tells_counts_and_checksums(export, add, owner, collection):
    add(), add()
    archive = export(owner)
    manifest = json.loads(archive.read("manifest.json"))
    assert (manifest["format"], manifest["version"]) == ("loupe-export", 1)
    assert manifest["counts"] == {"images": 2, "originals": 2, "copies": 0, "missing": 0}
    assert manifest["collection"] == {"id": str(collection.uid), "name": "Shore"}
    told = manifest["files"]["metadata.jsonl"]["sha256"]
    assert told == hashlib.sha256(archive.read("metadata.jsonl")).hexdigest()


def test_without_originals_there_is_metadata_alone(export, add, owner):
    add(), add()
    archive = export(owner, originals=False)
    assert not [name for name in archive.namelist() if name.startswith("images/")]
    assert [row["file"] for row in rows(archive)] == [None, None]


def test_equal_names_are_told_apart(export, add, owner):
    for name in ("a.jpg", "A.JPG", "a.jpg", "a-2.jpg"):
        add(name=name)
    names = [row["file"] for row in rows(export(owner))]
    assert len({name.casefold() for name in names}) == 4


@pytest.mark.parametrize(
    ("given", "kind", "kept"),
    [
        ("pier.jpeg", "image/jpeg", "pier.jpeg"),
        ("run me.exe", "image/jpeg", "run me.exe.jpg"),
        ("../../x:y|z?.png", "image/png", "_.._x_y_z_.png"),
        ("con.jpg", "image/jpeg", "_con.jpg"),
        ("aux.tar.gif", "image/gif", "_aux.tar.gif"),
        ("…", "image/gif", "….gif"),
        (" . ", "image/webp", "picture.webp"),
        ("é" * 200 + ".jpg", "image/jpeg", "é" * 60 + ".jpg"),
        ("a\u202egpj.png", "image/png", "agpj.png"),
    ],
)
def test_names_are_safe_on_every_system(given, kind, kept):
    assert safe_name(given, kind) == kept


def test_a_damaged_original_is_named_and_left_out(add, owner, collection):
    good, bad = add(), add(name="bad.jpg")
    storage.put(bad.original_key, io.BytesIO(b"other"), "image/jpeg")
    job = finished(owner, collection)
    assert (job.state, job.summary["images"], job.summary["missing"]) == ("done", 1, 1)
    assert job.errors[0]["file"] == "bad.jpg" and good.pk


# ── For whom ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_only_settled_pictures_are_exported_even_for_their_moderators(export, add, owner):
    shown = add()
    for state in ("pending", "rejected", "hidden"):
        add(moderation=state)
    add(state="stored"), add(trashed_at=timezone.now())
    assert [row["id"] for row in rows(export(owner))] == [str(shown.uid)]


def test_other_collections_stay_out(export, add, owner, make_collection):
    mine, other = add(), add(place=make_collection("Other"))
    assert [row["id"] for row in rows(export(owner))] == [str(mine.uid)]
    assert Image.objects.filter(pk=other.pk).exists()


@pytest.mark.parametrize(("who", "status"), [("viewer", 202), ("outsider", 404), (None, 401)])
def test_who_may_look_may_export(request, api, exports, add, who, status):
    add()
    client = api(request.getfixturevalue(who) if who else None)
    assert (client.post(exports, {}, "json").status_code, Job.objects.count()) == (status, int(status == 202))


def test_a_key_needs_the_scope(key_client, owner, exports, add):
    add()
    assert key_client(owner, "images:write").post(exports, {}, "json").status_code == 403


def test_a_selection_by_ids(export, add, owner):
    first, _second = add(), add()
    assert [row["id"] for row in rows(export(owner, images=[str(first.uid)]))] == [str(first.uid)]


def test_ids_of_elsewhere_select_nothing(api, exports, add, owner, make_collection):
    other = add(place=make_collection("Other"))
    assert api(owner).post(exports, {"images": [str(other.uid)]}, "json").status_code == 409


def test_a_query_and_ids_together_are_refused(api, exports, owner):
    answer = api(owner).post(exports, {"images": [], "query": {"query": [{"text": "x"}]}}, "json")
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (400, "/images")


def test_unknown_fields_are_refused(api, exports, owner):
    assert api(owner).post(exports, {"include_hidden": True}, "json").status_code == 400


def test_the_place_is_told_to_managers(export, add, owner, teammate):
    image = add(teammate, gps=PLACE)
    archive = export(owner)
    (row,) = rows(archive)
    assert (row["gps"], row["original"]) == (PLACE, True)
    assert archive.read(row["file"]) == storage.read(image.original_key)


def test_the_place_is_told_to_whoever_uploaded_it(export, add, teammate):
    add(teammate, gps=PLACE)
    assert rows(export(teammate))[0]["gps"] == PLACE


@pytest.mark.parametrize("role", ["viewer", "editor"])
def test_others_get_a_copy_that_does_not_tell_the_place(export, add, member, role):
    image = add(gps=PLACE)
    archive = export(member(role))
    (row,) = rows(archive)
    content = archive.read(row["file"])
    assert "gps" not in row and row["original"] is False and row["file"].endswith(".webp")
    assert content == storage.read(image.preview_key)
    assert row["sha256"] == hashlib.sha256(content).hexdigest() != image.sha256


def test_a_key_without_the_scope_to_manage_is_not_told_the_place(key_client, owner, teammate, exports, add):
    add(teammate, gps=PLACE)
    client = key_client(owner, "images:read")
    client.post(exports, {}, "json")
    transfer.run_due()
    archive = zipfile.ZipFile(io.BytesIO(storage.read(Job.objects.get().result_key)))
    assert "gps" not in rows(archive)[0]


def test_what_is_hidden_after_it_was_asked_for_stays_out(api, exports, add, owner, viewer):
    shown, hidden = add(), add()
    api(viewer).post(exports, {}, "json")
    moderation.decide(hidden, "hide", owner)
    transfer.run_due()
    archive = zipfile.ZipFile(io.BytesIO(storage.read(Job.objects.get().result_key)))
    assert [row["id"] for row in rows(archive)] == [str(shown.uid)]


def test_a_right_that_ends_ends_the_job(api, exports, add, viewer):
    add()
    api(viewer).post(exports, {}, "json")
    viewer.memberships.all().delete()
    transfer.run_due()
    assert (Job.objects.get().state, list(storage.list("exports/"))) == ("failed", [])


def test_rights_are_read_again_for_every_page(add, viewer, collection, monkeypatch):
    monkeypatch.setattr(exporting, "PAGE", 1)
    first, _second = add(), add()
    work = exporting.Export(collection, lambda: principal_for_user(viewer))
    done = work.write(io.BytesIO(), lambda n: viewer.memberships.all().delete())
    assert list(done.ids) == [first.pk]


# ── For how long ────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_link_is_short_and_saves_under_a_name(api, add, owner, collection):
    add()
    job, client = finished(owner, collection), api(owner)
    answer = client.get(result(job))
    token = answer["Location"].rsplit("/", 1)[-1]
    assert storage.unsign(token).download_name.startswith("Shore ")
    assert client.get(answer["Location"])["Content-Disposition"].startswith("attachment")
    assert AuditEvent.objects.filter(action="collection.export_downloaded", actor=owner).count() == 1


@pytest.mark.parametrize("who", ["viewer", "outsider", "admin"])
def test_a_result_is_for_whoever_asked(request, api, add, owner, collection, who):
    add()
    job = finished(owner, collection)
    assert api(request.getfixturevalue(who)).get(result(job)).status_code == 404


def test_an_export_on_its_way_has_no_result(api, add, owner, exports):
    add()
    client = api(owner)
    client.post(exports, {}, "json")
    assert client.get(result(Job.objects.get())).status_code == 409


@pytest.mark.parametrize("change", ["hide", "trash", "move"])
def test_a_result_with_something_that_is_gone_since_is_not_given_out(
    api, add, owner, viewer, collection, make_collection, change
):
    add(), (gone := add())
    job = finished(viewer, collection)
    assert api(viewer).get(result(job)).status_code == 302
    if change == "hide":
        moderation.decide(gone, "hide", owner)
    elif change == "trash":
        moderation.trash(gone, owner)
    else:
        moderation.move(gone, make_collection("Other"), owner)
    assert api(viewer).get(result(job)).status_code == 410


def test_who_manages_no_more_does_not_get_the_places(api, add, member, teammate, collection):
    add(teammate, gps=PLACE)
    manager = member("manager")
    job = finished(manager, collection)
    manager.memberships.update(role="viewer")
    assert api(manager).get(result(job)).status_code == 410


def test_results_end_after_seven_days(api, add, owner, collection):
    add()
    job = finished(owner, collection)
    assert timedelta(days=6) < job.expires_at - timezone.now() <= timedelta(days=7)
    Job.objects.update(expires_at=timezone.now())
    assert api(owner).get(result(job)).status_code == 410
    assert transfer.clean() == 1
    assert list(storage.list("exports/")) == []


# ── Bounds and crashes ──────────────────────────────────────────────────────────────────────────────────────────


def test_an_empty_collection_has_nothing_to_export(api, exports, owner):
    assert api(owner).post(exports, {}, "json").status_code == 409


@pytest.mark.parametrize("bound", ["EXPORT_BYTES", "EXPORT_IMAGES"])
def test_an_export_is_bounded(api, exports, add, owner, monkeypatch, bound):
    add(), add()
    monkeypatch.setattr(transfer, bound, 1)
    assert api(owner).post(exports, {}, "json").status_code == 413


def test_three_at_a_time_are_enough_for_one_person(api, exports, add, owner):
    add()
    client = api(owner)
    assert [client.post(exports, {}, "json").status_code for _time in range(4)] == [202, 202, 202, 409]


@pytest.mark.parametrize("place", ["before_export_put", "after_export_put"])
def test_an_export_that_fails_half_way_is_written_anew(add, owner, collection, monkeypatch, place, settings):
    add()
    monkeypatch.setattr(faults, "FAULT", f"{place}:raise")
    job = finished(owner, collection)
    assert (job.state, job.result_key) == ("waiting", "")
    monkeypatch.setattr(faults, "FAULT", "")
    Job.objects.update(not_before=None)
    transfer.run_due()
    job.refresh_from_db()
    assert job.state == "done" and storage.exists(job.result_key)
    if not settings.S3_BUCKET:
        for entry in storage.list("exports/"):
            os.utime(storage.local_path(entry.key), (0, 0))
        transfer.clean()
        left = {entry.key for entry in storage.list("exports/")}
        assert left == {job.result_key, f"{job.result_key}.ids"}


def test_an_export_that_is_cancelled_while_it_runs_leaves_nothing(add, owner, collection, monkeypatch):
    add()
    real = storage.put

    def cancelling(key, file, content_type):
        real(key, file, content_type)
        Job.objects.update(state="cancelled")

    monkeypatch.setattr(transfer.storage, "put", cancelling)
    assert finished(owner, collection).state == "cancelled"
    assert list(storage.list("exports/")) == []


# ── The command ─────────────────────────────────────────────────────────────────────────────────────────────────


def command(*arguments, **options):
    out = io.StringIO()
    call_command("export_images", *arguments, stdout=out, verbosity=0, **options)
    return out.getvalue()


def test_the_command_writes_everything(add, collection, tmp_path):
    add(gps=PLACE), add()
    path = tmp_path / "shore.zip"
    assert "2 pictures" in command("Shore", to=path)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None and len(rows(archive)) == 2
        assert [row.get("gps") for row in rows(archive)] == [PLACE, None]
    assert AuditEvent.objects.filter(action="collection.export", actor=None).exists()


def test_the_command_for_one_person_writes_what_they_see(add, collection, viewer, tmp_path):
    add(gps=PLACE)
    path = tmp_path / "shore.zip"
    command(str(collection.uid), to=path, user=viewer.email)
    with zipfile.ZipFile(path) as archive:
        assert "gps" not in rows(archive)[0]


def test_the_command_never_overwrites(add, collection, tmp_path):
    add()
    path = tmp_path / "shore.zip"
    path.write_bytes(b"precious")
    with pytest.raises(CommandError, match="exists already"):
        command("Shore", to=path)
    assert path.read_bytes() == b"precious" and list(tmp_path.glob(".export*")) == []
