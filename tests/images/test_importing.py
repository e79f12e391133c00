"""Folders and archives into collections: metadata, what is known, what is refused, and jobs that survive."""

import io
import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection

from images import importing, leases, storage, transfer
from images.access import principal_for_user
from images.archives import BROWSER, COMMAND, Archive, ArchiveRefused, Limits
from images.importing import Folder, Import
from images.models import AuditEvent, Collection, Image, Job, JobKind
from images.sidecars import MetadataRefused, read_list, read_row
from tests.images.zips import linked, zipped

pytestmark = pytest.mark.django_db
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path):
    """`folder({"a.jpg": b"…"})`: these files in a folder of their own."""
    root = tmp_path / "pictures"

    def make(files):
        for name, content in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return root

    return make


@pytest.fixture
def run(collection, owner):
    """Import a source to the end; returns the report."""

    def go(source, limits=COMMAND, **options):
        source = Folder(source, limits) if isinstance(source, Path) else Archive(source, limits)
        work = Import(source, collection, owner, limits, **options)
        assert work.run(lambda done: None)
        return work.report

    return go


def counts(report):
    return report.new, report.known, report.refused


def lines(*rows):
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


# ── Folders and archives ────────────────────────────────────────────────────────────────────────────────────────


def test_a_folder_comes_in_through_the_one_door(run, folder, picture, owner):
    content = picture()
    assert counts(run(folder({"b/boat.jpg": content, "a.png": picture(kind="PNG")}))) == (2, 0, 0)
    image = Image.objects.get(file_name="boat.jpg")
    assert (image.uploader, image.state, image.bulk) == (owner, "stored", True)
    assert storage.read(image.original_key) == content


def test_again_everything_is_known_and_nothing_is_read_twice(run, folder, picture, monkeypatch):
    root = folder({f"{number}.jpg": picture() for number in range(3)})
    run(root)
    monkeypatch.setattr(importing.ingest, "ingest", lambda *args, **options: pytest.fail("ingested again"))
    assert counts(run(root)) == (0, 3, 0)


def test_the_same_bytes_under_two_names_are_one_picture(run, folder, picture):
    content = picture()
    assert counts(run(folder({"a.jpg": content, "b.jpg": content}))) == (1, 1, 0)


def test_refusals_say_which_file_and_why(run, folder, picture):
    report = run(folder({"a.jpg": picture(), "b.jpg": b"no picture", "c.jpg": b"", "notes.txt": b"x"}))
    assert counts(report) == (1, 0, 3)
    assert [error["file"] for error in report.errors] == ["notes.txt", "b.jpg", "c.jpg"]
    assert "empty" in report.errors[2]["reason"]


def test_the_list_of_refusals_is_bounded_and_the_count_is_not(run, folder):
    report = run(folder({f"{number:03}.jpg": b"no picture" for number in range(130)}))
    assert (len(report.errors), report.refused) == (100, 130)


def test_links_are_named_and_not_followed(run, folder, picture, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.jpg").write_bytes(picture())
    root = folder({"a.jpg": picture()})
    (root / "file.jpg").symlink_to(outside / "secret.jpg")
    (root / "folder").symlink_to(outside)
    report = run(root)
    assert counts(report) == (1, 0, 2)
    assert {error["file"] for error in report.errors} == {"file.jpg", "folder"}


def test_a_file_that_became_a_link_is_not_followed(folder, picture, tmp_path):
    source = Folder(folder({"a.jpg": picture()}), COMMAND)
    (tmp_path / "pictures" / "a.jpg").unlink()
    (tmp_path / "pictures" / "a.jpg").symlink_to("/etc/hostname")
    with pytest.raises(importing.EntryRefused):
        source.open("a.jpg", 1000)


def test_pipes_are_not_waited_for(run, folder, picture):
    root = folder({"a.jpg": picture()})
    os.mkfifo(root / "pipe.jpg")
    assert counts(run(root)) == (1, 0, 0)


def test_a_folder_of_too_many_files_is_refused(folder):
    with pytest.raises(ArchiveRefused, match="more than 2"):
        Folder(folder({f"{number}.jpg": b"" for number in range(3)}), Limits(2, 100))


def test_a_damaged_member_costs_only_itself(run, picture):
    good, bad = picture(), picture()
    file = io.BytesIO(zipped({"a.jpg": bad, "b.jpg": good}).read().replace(bad[-40:], bytes(40), 1))
    report = run(file)
    assert counts(report) == (1, 0, 1) and "damaged" in report.errors[0]["reason"]


def test_a_full_team_ends_the_import(run, folder, picture, team):
    team.quota_bytes = 1
    with pytest.raises(importing.UploadRefused, match="storage is full"):
        run(folder({"a.jpg": picture(), "b.jpg": picture()}))


# ── Metadata ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_list_describes_pictures(run, folder, picture):
    row = {
        "file": "sub/a.jpg",
        "title": "Pier",
        "caption": "At dusk",
        "alt_text": "A pier",
        "tags": ["Sea", "pier"],
    }
    run(
        folder(
            {
                "sub/a.jpg": picture(),
                "metadata.jsonl": lines({**row, "taken_at": "2020-05-01T10:00:00+02:00"}),
            }
        )
    )
    image = Image.objects.get()
    assert (image.title, image.caption, image.alt_text) == ("Pier", "At dusk", "A pier")
    assert image.taken_at == datetime(2020, 5, 1, 8, tzinfo=UTC)
    assert sorted(image.tags.values_list("name", flat=True)) == ["pier", "sea"]


def test_a_table_describes_pictures(run, picture):
    table = '﻿file,title,tags,taken_at\na.jpg,"Pier, at dusk",Sea; pier,2020-05-01\n'.encode()
    run(zipped({"trip/a.jpg": picture(), "trip/metadata.csv": table}))
    image = Image.objects.get()
    assert (image.title, image.taken_at) == ("Pier, at dusk", datetime(2020, 5, 1, tzinfo=UTC))
    assert image.tags.count() == 2


def test_a_file_beside_the_picture_goes_before_the_list(run, folder, picture):
    listed = lines({"file": "a.jpg", "title": "From the list"})
    beside = json.dumps({"title": "From beside"}).encode()
    report = run(folder({"a.jpg": picture(), "a.jpg.json": beside, "metadata.jsonl": listed}))
    assert (counts(report), Image.objects.get().title) == ((1, 0, 0), "From beside")


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ({"title": "x" * 201}, "title"),
        ({"caption": 5}, "caption"),
        ({"tags": "a," * 40 + "b" * 61}, "tag"),
        ({"tags": {"a": 1}}, "tags"),
        ({"taken_at": "yesterday"}, "taken_at"),
        ({"taken_at": "0001-01-01T00:00:00+10:00"}, "taken_at"),
        ({"taken_at": 5}, "taken_at"),
    ],
)
def test_a_value_that_does_not_fit_is_named(row, field):
    with pytest.raises(importing.UploadRefused, match=field):
        read_row(row)


def test_control_characters_and_half_surrogates_do_not_reach_the_database():
    assert read_row({"title": "a\x00b\ud800c 👩‍🚀"}).title == "abc 👩‍🚀"


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("metadata.jsonl", b'{"file": "a.jpg"}\n{"file":', "line 2.*JSON"),
        ("metadata.jsonl", b"[" * 100_000, "line 1"),
        ("metadata.jsonl", b"[1]", "line 1.*object"),
        ("metadata.jsonl", b'{"file": "a"}\n{"file": "a"}', "line 2.*twice"),
        ("metadata.jsonl", b'{"file": "a"}\n{"file": "b"}\n{"file": "c"}', "more than 2"),
        ("metadata.jsonl", b"x" * 200_000, "too long"),
        ("metadata.csv", b"name,title\na.jpg,x\n", "line 2.*names no file"),
        ("metadata.csv", b"file\n\xff\xfe\n", "metadata.csv, line"),
    ],
)
def test_a_list_that_cannot_be_read_names_the_line(name, content, complaint):
    with pytest.raises(MetadataRefused, match=complaint):
        read_list(name, io.BytesIO(content), 2)


def test_two_lists_are_one_too_many(run, folder):
    with pytest.raises(MetadataRefused, match="two lists"):
        run(folder({"metadata.jsonl": b"", "metadata.csv": b""}))


# ── The command ─────────────────────────────────────────────────────────────────────────────────────────────────


def command(path, *options, **named):
    out = io.StringIO()
    call_command("import_images", str(path), *options, stdout=out, verbosity=0, **named)
    return out.getvalue()


def test_the_command_imports_and_can_be_run_again(collection, owner, folder, picture):
    root = folder({"a.jpg": picture(), "b.jpg": picture()})
    assert command(root, collection="Shore").startswith("2 new, 0 known, 0 refused")
    assert command(root, collection=str(collection.uid)).startswith("0 new, 2 known")
    assert set(Image.objects.values_list("uploader", flat=True)) == {owner.pk}


def test_the_command_takes_an_archive_and_makes_the_collection(owner, teammate, tmp_path, picture):
    path = tmp_path / "trip.zip"
    path.write_bytes(zipped({"a.jpg": picture()}).read())
    with pytest.raises(CommandError, match="--create"):
        command(path, collection="Trip")
    assert command(path, collection="Trip", create=True, user=teammate.email).startswith("1 new")
    assert Image.objects.get().collection.name == "Trip"


def test_a_dry_run_changes_nothing(owner, folder, picture):
    root = folder(
        {"a.jpg": picture(), "b.jpg": b"x" * 10, "metadata.jsonl": lines({"file": "a.jpg", "title": 1})}
    )
    said = command(root, "--dry-run", collection="New", create=True)
    assert said.startswith("1 would be new, 0 known, 1 refused") and "title" in said
    assert not Image.objects.exists() and not Collection.objects.exists()


def test_strict_ends_with_an_error_where_something_was_refused(collection, owner, folder, picture):
    root = folder({"a.jpg": picture(), "b.jpg": b"no picture"})
    with pytest.raises(CommandError) as caught:
        command(root, "--strict", collection="Shore")
    assert caught.value.returncode == 2 and Image.objects.count() == 1


def test_the_command_refuses_people_who_may_not_upload(collection, owner, viewer, folder, picture):
    with pytest.raises(CommandError, match="may not upload"):
        command(folder({"a.jpg": picture()}), collection="Shore", user=viewer.email)


# ── Jobs ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def imports(collection):
    return f"/api/v1/collections/{collection.uid}/imports/"


def send(client, address, file):
    upload = SimpleUploadedFile("trip.zip", file.read(), "application/zip")
    return client.post(address, {"file": upload}, "multipart")


@pytest.fixture
def ask(collection, teammate):
    """A waiting import job of these files."""

    def make(files, user=None):
        user = user or teammate
        return transfer.request_import(collection, principal_for_user(user), user, zipped(files))

    return make


def again(job):
    return Job.objects.get(pk=job.pk)


def test_a_zip_becomes_pictures(api, teammate, imports, picture):
    client = api(teammate)
    answer = send(client, imports, zipped({"a.jpg": picture(), "b.jpg": picture(), "c.jpg": b"x"}))
    assert (answer.status_code, answer.json()["kind"], answer.json()["total"]) == (202, "import", 3)
    assert transfer.run_due() == 1 and transfer.run_due() == 0
    job = Job.objects.get()
    assert (job.state, job.done, job.summary["new"], job.errors[0]["file"]) == ("done", 3, 2, "c.jpg")
    assert set(Image.objects.values_list("uploader", flat=True)) == {teammate.pk}
    assert AuditEvent.objects.filter(action="collection.import", actor=teammate).exists()


def test_the_archive_is_deleted_once_it_is_in(ask, picture):
    job = ask({"a.jpg": picture()})
    assert storage.exists(job.source_key)
    transfer.run_due()
    assert (again(job).source_key, storage.exists(job.source_key)) == ("", False)


@pytest.mark.parametrize(("who", "status"), [("viewer", 403), ("outsider", 404), (None, 401)])
def test_who_may_not_upload_may_not_import(request, api, imports, picture, who, status):
    client = api(request.getfixturevalue(who) if who else None)
    answer = send(client, imports, zipped({"a.jpg": picture()}))
    assert (answer.status_code, Job.objects.count()) == (status, 0)


def test_a_key_needs_the_scope(key_client, teammate, imports, picture):
    answer = send(key_client(teammate, "images:read"), imports, zipped({"a.jpg": picture()}))
    assert (answer.status_code, Job.objects.count()) == (403, 0)


@pytest.mark.parametrize(
    ("file", "code"),
    [
        (io.BytesIO(b"GIF89a"), "archive_corrupt"),
        (linked(), "archive_link"),
        (zipped({"../a.jpg": b"x"}), "archive_bad_path"),
        (zipped({"a.txt": b"x"}), "archive_no_images"),
    ],
)
def test_an_unsound_archive_is_refused_at_the_door(api, teammate, imports, file, code):
    file.seek(0)
    answer = send(api(teammate), imports, file)
    assert (answer.status_code, answer.json()["code"], Job.objects.count()) == (422, code, 0)
    assert list(storage.list("imports/")) == []


def test_an_archive_that_is_too_large_is_refused_before_it_is_read(api, teammate, imports, monkeypatch):
    monkeypatch.setattr(transfer, "ARCHIVE_BYTES", -(1024**2) + 10)
    assert send(api(teammate), imports, zipped({"a.jpg": b"x"})).status_code == 413


def test_an_archive_without_a_picture_that_can_be_read_fails_with_its_reasons(ask):
    job = ask({"a.jpg": b"x", "b.jpg": b"y"})
    transfer.run_due()
    assert (again(job).state, len(again(job).errors)) == ("failed", 3)
    assert "no picture" in again(job).error


def test_three_at_a_time_are_enough_for_one_person(ask, api, teammate, imports, picture):
    for _number in range(transfer.MAX_OPEN):
        ask({"a.jpg": picture()})
    assert send(api(teammate), imports, zipped({"a.jpg": picture()})).status_code == 409


def test_a_right_that_ends_ends_the_job(ask, teammate, picture):
    job = ask({"a.jpg": picture()})
    teammate.memberships.update(role="viewer")
    transfer.run_due()
    assert (again(job).state, Image.objects.count()) == ("failed", 0)


def test_a_key_that_is_revoked_ends_the_job(key_client, teammate, imports, picture):
    from images import keys

    client = key_client(teammate)
    send(client, imports, zipped({"a.jpg": picture()}))
    keys.revoke(client.key, teammate)
    transfer.run_due()
    assert (Job.objects.get().state, Image.objects.count()) == ("failed", 0)


def test_a_cancelled_job_is_not_begun(ask, picture, owner):
    job = ask({"a.jpg": picture()})
    Job.objects.filter(pk=job.pk).update(state="cancelled")
    assert (transfer.run_due(), Image.objects.count()) == (0, 0)
    transfer.clean()
    assert not storage.exists(job.source_key)


def test_a_job_that_is_cancelled_while_it_runs_stops(ask, picture, monkeypatch):
    job = ask({f"{number}.jpg": picture() for number in range(5)})
    monkeypatch.setattr(transfer, "SAVE_SECONDS", 0.0)
    real = importing.ingest.ingest

    def cancelling(*args, **options):
        done = real(*args, **options)
        Job.objects.filter(pk=job.pk).update(state="cancelled")
        return done

    monkeypatch.setattr(importing.ingest, "ingest", cancelling)
    transfer.run_due()
    assert (again(job).state, Image.objects.count()) == ("cancelled", 1)


def test_storage_that_is_away_costs_no_attempt(ask, picture, monkeypatch):
    job = ask({"a.jpg": picture()})

    def away(key):
        raise storage.StorageUnavailable("away")

    monkeypatch.setattr(transfer.storage, "open", away)
    transfer.run_due()
    assert (again(job).state, again(job).attempts) == ("waiting", 0)


def test_a_surprise_is_tried_three_times_and_then_told_without_its_inside(ask, picture, monkeypatch):
    job = ask({"a.jpg": picture()})
    monkeypatch.setattr(transfer, "Import", lambda *args, **options: 1 / 0)
    for _attempt in range(leases.MAX_ATTEMPTS):
        Job.objects.update(not_before=None)
        transfer.run_due()
    assert (again(job).state, again(job).attempts) == ("failed", 3)
    assert "division" not in str(again(job).errors) + again(job).error


def test_a_long_import_yields_and_goes_on_where_it_was(ask, picture, monkeypatch):
    monkeypatch.setattr(importing, "CHUNK", 2)
    monkeypatch.setattr(transfer, "SLICE_SECONDS", 0.0)
    job = ask({f"{number}.jpg": picture() for number in range(4)})
    reached = [(transfer.run_due(), again(job).state, again(job).summary["position"]) for _slice in range(2)]
    assert reached == [(0, "waiting", 2), (1, "done", 4)]
    assert again(job).summary["new"] == Image.objects.count() == 4


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor != "sqlite", reason="the child process is pointed at a database file")
def test_a_killed_worker_is_taken_over_without_loss_or_double(ask, picture, monkeypatch, tmp_path):
    monkeypatch.setattr(importing, "CHUNK", 2)
    job = ask({f"{number:02}.jpg": picture() for number in range(60)})
    died = worker(tmp_path, "after_import_chunk:kill")
    assert died.returncode == -signal.SIGKILL, died.stderr[-2000:]
    assert (again(job).state, 0 < Image.objects.count() < 60) == ("running", True)

    Job.objects.update(lease_until=datetime(2020, 1, 1, tzinfo=UTC))  # time passes
    transfer.run_due()
    job = again(job)
    assert (job.state, Image.objects.count()) == ("done", 60)
    assert job.summary["new"] + job.summary["known"] == 60
    assert len(list(storage.list("originals/"))) == 60


def worker(tmp_path, fault):
    """`run_due` in a process of its own on this test's database and files."""
    code = "import django; django.setup(); from images import transfer; transfer.run_due()"
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "DATABASE_URL": f"sqlite:///{connection.settings_dict['NAME']}",
        "LOUPE_DATA": str(tmp_path),
        "LOUPE_FAULT": fault,
    }
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )


def test_jobs_of_other_kinds_are_left_alone(collection, owner):
    job = Job.objects.create(
        team=collection.team, collection=collection, kind=JobKind.REINDEX, created_by=owner
    )
    assert (transfer.run_due(), again(job).attempts) == (0, 0)


def test_hostile_archives_over_http_leave_nothing_behind(api, teammate, imports, test_data):
    """Every archive of the shared hostile set: a refusal at the door or a failed job, never a picture or a 5xx."""
    client = api(teammate)
    for path in sorted((test_data / "hostile" / "files" / "archive").iterdir()):
        answer = send(client, imports, path.open("rb"))
        assert answer.status_code in (202, 400, 413, 422), (path.name, answer.status_code)
        while transfer.run_due():
            pass
    assert (Image.objects.count(), Job.objects.exclude(state="failed").count()) == (0, 0)


def test_what_a_crash_left_behind_is_cleaned_after_a_day(ask, picture, settings):
    if settings.S3_BUCKET:
        pytest.skip("object storage keeps its own clock")
    waiting, stray = ask({"a.jpg": picture()}), storage.new_key("imports", ".zip")
    storage.put(stray, io.BytesIO(b"x"), "application/zip")
    for key in (waiting.source_key, stray):
        os.utime(storage.local_path(key), (0, 0))
    transfer.clean()
    assert (storage.exists(waiting.source_key), storage.exists(stray)) == (True, False)


def test_browser_archives_hold_a_thousand_files(api, teammate, imports):
    answer = send(
        api(teammate), imports, zipped({f"{number}.jpg": b"" for number in range(BROWSER.entries + 1)})
    )
    assert (answer.status_code, answer.json()["code"]) == (413, "archive_too_many")


def test_the_maintenance_worker_does_it(ask, picture):
    from workers import lanes, schedules

    job = ask({"a.jpg": picture()})
    assert "transfer" in schedules.LANES["maintenance"]
    assert (lanes.step("transfer"), again(job).state) == (1, "done")
