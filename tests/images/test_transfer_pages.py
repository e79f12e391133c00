"""Import and export in the browser: the forms make the same jobs as the API, and results are one's own."""

import hashlib
import io
import zipfile

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse

from images import storage, transfer
from images.access import principal_for_user
from images.models import Image, Job
from images.signals import transfers_changed
from tests.images.zips import zipped

pytestmark = pytest.mark.django_db


@pytest.fixture
def make_image(make_image):
    """With the checksum of its very bytes, which an export compares."""

    def make(**fields):
        image = make_image(**fields)
        image.sha256 = hashlib.sha256(storage.read(image.original_key)).hexdigest()
        image.save(update_fields=["sha256"])
        return image

    return make


def address(name, collection):
    return reverse(f"images:{name}", args=[collection.uid])


def archive(files):
    return {"file": SimpleUploadedFile("trip.zip", zipped(files).read(), "application/zip")}


def test_a_zip_is_brought_in_by_the_form(page, teammate, collection, picture):
    browser = page(teammate)
    answer = browser.post(address("import", collection), archive({"a.jpg": picture(), "b.jpg": b"x"}))
    assert (answer.status_code, answer["Location"]) == (302, address("transfer", collection))
    transfer.run_due()
    assert Image.objects.get().uploader == teammate
    shown = browser.get(address("transfer", collection)).content.decode()
    assert "b.jpg" in shown and "1 file was left out" in shown


def test_an_unsound_archive_says_why(page, teammate, collection):
    answer = page(teammate).post(
        address("import", collection), {"file": SimpleUploadedFile("a.zip", b"nothing")}
    )
    assert answer.status_code == 422 and not Job.objects.exists()
    assert 'class="error"' in answer.content.decode()


def test_an_archive_without_pictures_is_refused(page, teammate, collection):
    answer = page(teammate).post(address("import", collection), archive({"a.txt": b"x"}))
    assert answer.status_code == 422 and "no picture in this archive" in answer.content.decode()


def test_viewers_take_out_and_do_not_bring_in(page, viewer, collection, picture, make_image):
    make_image()
    browser = page(viewer)
    assert 'id="import"' not in browser.get(address("transfer", collection)).content.decode()
    assert browser.post(address("import", collection), archive({"a.jpg": picture()})).status_code == 403
    assert browser.post(address("export", collection), {"originals": "on"}).status_code == 302


def test_an_export_is_made_and_downloaded(page, owner, collection, make_image):
    image, browser = make_image(title="Pier"), page(owner)
    browser.post(address("export", collection), {"originals": "on"})
    transfer.run_due()
    job = Job.objects.get()
    link = reverse("images:job-result", args=[job.uid])
    assert link in browser.get(address("transfer", collection)).content.decode()
    assert link in browser.get(reverse("images:jobs")).content.decode()
    signed = browser.get(link)
    content = b"".join(browser.get(signed["Location"]).streaming_content)
    names = zipfile.ZipFile(io.BytesIO(content)).namelist()
    assert f"images/{image.file_name}" in names and "metadata.jsonl" in names


def test_without_originals_only_what_is_known_of_them_goes(page, owner, collection, make_image):
    make_image()
    page(owner).post(address("export", collection), {})
    assert Job.objects.get().parameters["originals"] is False


def test_a_search_chooses_what_is_exported(page, owner, collection, make_image, monkeypatch):
    first, _second = make_image(), make_image()
    asked = []

    class Companion:
        def select(self, query, principal, place):
            asked.append((query, place))
            return [first.pk]

    monkeypatch.setattr("images.companions._companions", [Companion()])
    page(owner).post(address("export", collection), {"query": "a pier"})
    assert Job.objects.get().parameters["only"] == [first.pk]
    assert asked == [({"query": [{"text": "a pier"}]}, collection)]


def test_nothing_to_export_is_said(page, owner, collection):
    answer = page(owner).post(address("export", collection), {})
    assert answer.status_code == 422 and "no picture to export" in answer.content.decode()


def test_a_result_is_for_whoever_asked(page, owner, viewer, collection, make_image, member):
    make_image()
    job = transfer.request_export(collection, principal_for_user(viewer), viewer)
    transfer.run_due()
    link = reverse("images:job-result", args=[job.uid])
    for somebody in (owner, member("editor")):
        assert page(somebody).get(link).status_code == 404
        assert link not in page(somebody).get(reverse("images:jobs")).content.decode()
    assert page(viewer).get(link).status_code == 302


def test_a_result_with_something_hidden_since_is_not_given_out(page, viewer, collection, make_image):
    image = make_image()
    job = transfer.request_export(collection, principal_for_user(viewer), viewer)
    transfer.run_due()
    Image.objects.filter(pk=image.pk).update(moderation="hidden")
    answer = page(viewer).get(reverse("images:job-result", args=[job.uid]), follow=True)
    assert "lost sight" in answer.content.decode()


# ── Who sees and who ends a job ─────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def job(collection, teammate, picture):
    return transfer.request_import(
        collection, principal_for_user(teammate), teammate, zipped({"a.jpg": picture()})
    )


def test_a_job_of_somebody_else_is_listed_for_moderators_alone(job, page, teammate, viewer, owner):
    name = str(teammate)
    told = {
        user.name: page(user).get(reverse("images:jobs")).content.decode()
        for user in (teammate, viewer, owner)
    }
    assert {who: f'<span class="muted small">{name}' in text for who, text in told.items()} == {
        "teammate": True, "viewer": False, "owner": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("who", "status"), [("teammate", 302), ("owner", 302), ("viewer", 404), ("outsider", 404)]
)
def test_ones_own_job_is_cancelled_by_oneself_or_a_manager(request, job, page, who, status):
    answer = page(request.getfixturevalue(who)).post(reverse("search:job-cancel", args=[job.uid]))
    assert answer.status_code == status
    assert Job.objects.get().state == ("cancelled" if status == 302 else "waiting")


@pytest.mark.parametrize(
    ("scope", "status"),
    [("images:write", 200), ("images:read", 200), ("search:read", 403), ("index:admin", 200)],
)
def test_a_key_that_may_ask_for_it_may_cancel_it(job, key_client, teammate, scope, status):
    assert key_client(teammate, scope).post(f"/api/v1/jobs/{job.uid}/cancel/").status_code == status


def test_a_key_without_the_scope_for_indexes_leaves_rebuilds_alone(key_client, owner, collection):
    job = Job.objects.create(team=collection.team, collection=collection, kind="reindex", created_by=owner)
    answer = key_client(owner, "images:write", "images:read").post(f"/api/v1/jobs/{job.uid}/cancel/")
    assert answer.status_code == 403 and "index:admin" in answer.json()["detail"]


def test_asking_rings(collection, owner, make_image):
    make_image()
    rung = []
    listen = lambda sender, **kwargs: rung.append(sender)  # noqa: E731
    transfers_changed.connect(listen)
    transfer.request_export(collection, principal_for_user(owner), owner)
    assert rung == [Job]
