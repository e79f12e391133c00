"""Archives from the browser: they wait, yield, stop, are taken over, and leave nothing behind."""

import io
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection

from images import importing, leases, storage, transfer
from images.access import principal_for_user
from images.archives import BROWSER
from images.models import AuditEvent, Image, Job, JobKind
from tests.images.zips import linked, zipped

pytestmark = pytest.mark.django_db
ROOT = Path(__file__).resolve().parents[2]


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
