"""Folders and archives into collections: metadata, what is known, what is refused; the command."""

import io
import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from images import importing, storage
from images.archives import COMMAND, Archive, ArchiveRefused, Limits
from images.importing import Folder, Import
from images.models import Collection, Image
from images.sidecars import MetadataRefused, read_list, read_row
from tests.images.zips import zipped

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
