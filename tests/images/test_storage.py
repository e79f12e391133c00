"""One contract for both storages; the S3 half runs where `python -m tests.services` provides a server."""

import io
import os
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

import pytest
from django.conf import settings
from django.core import signing
from django.core.files.base import ContentFile

from images import storage

PIXEL = b"\x89PNG fourteen by"


@pytest.fixture
def local(settings, tmp_path):
    settings.STORAGES = {
        **settings.STORAGES,
        "default": {
            "BACKEND": "django.core.files.storage.FileSystemStorage",
            "OPTIONS": {"location": str(tmp_path / "media")},
        },
    }
    return tmp_path / "media"


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.services)])
def either(request):
    if request.param == "local":
        request.getfixturevalue("local")
    elif not settings.S3_BUCKET:
        pytest.skip("no S3 server: run through python -m tests.services")
    return request.param


@pytest.fixture
def s3():
    if not settings.S3_BUCKET:
        pytest.skip("no S3 server: run through python -m tests.services")


def stored(data=PIXEL, kind="originals"):
    key = storage.new_key(kind)
    storage.put(key, io.BytesIO(data), "image/png")
    return key


def fetch(url, method="GET", data=None, headers=None):
    """(status, body, headers) of a plain HTTP request, as a browser would send it."""
    request = urllib.request.Request(url, method=method, data=data, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read(), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, error.read(), error.headers


class TestKeys:
    def test_keys_are_random_and_spread_over_folders(self):
        keys = {storage.new_key("originals") for _ in range(100)}
        assert len(keys) == 100
        assert all(key.split("/")[1] == key.split("/")[2][:2] for key in keys)

    def test_a_suffix_is_kept(self):
        assert storage.new_key("renditions", ".webp").endswith(".webp")

    @pytest.mark.parametrize(
        "kind, suffix", [("../x", ""), ("/x", ""), ("x", "/../y"), ("x", ".P/"), ("", "")]
    )
    def test_kind_and_suffix_cannot_escape(self, kind, suffix):
        with pytest.raises(storage.BadKey):
            storage.new_key(kind, suffix)

    @pytest.mark.parametrize(
        "key",
        [
            "",
            "/etc/passwd",
            "originals/../../etc/passwd",
            "originals/..",
            "originals//x",
            "a/.hidden",
            "a/b\0c",
            "a\\b",
        ],
    )
    @pytest.mark.parametrize(
        "call", [storage.read, storage.delete, storage.size, storage.local_path, storage.signed_url]
    )
    def test_every_function_refuses_a_key_that_is_not_ours(self, local, call, key):
        with pytest.raises(storage.BadKey):
            call(key)


class TestContract:
    def test_what_is_put_is_read(self, either):
        assert storage.read(stored()) == PIXEL

    def test_a_large_object_is_read_in_pieces(self, either):
        data = os.urandom(storage.SPOOL_BYTES + 12345)
        with storage.open(stored(data)) as file:
            file.seek(storage.SPOOL_BYTES)
            assert file.read() == data[storage.SPOOL_BYTES :]

    def test_put_stores_the_whole_file_and_leaves_it_open(self, either):
        file = io.BytesIO(PIXEL)
        file.read(5)
        key = storage.new_key("originals")
        storage.put(key, file, "image/png")
        assert (storage.read(key), file.closed) == (PIXEL, False)

    def test_a_django_file_is_accepted(self, either):
        key = storage.new_key("originals")
        storage.put(key, ContentFile(PIXEL), "image/png")
        assert storage.size(key) == len(PIXEL)

    def test_an_empty_file_is_an_object(self, either):
        assert storage.size(stored(b"")) == 0

    def test_a_second_put_replaces_the_first(self, either):
        key = stored()
        storage.put(key, io.BytesIO(b"second"), "image/png")
        assert storage.read(key) == b"second"

    @pytest.mark.parametrize("call", [storage.read, storage.size])
    def test_a_missing_object_has_its_own_error(self, either, call):
        with pytest.raises(storage.ObjectMissing):
            call(storage.new_key("originals"))

    def test_deleted_is_gone_and_deleting_again_is_harmless(self, either):
        key = stored()
        storage.delete(key)
        storage.delete(key)
        assert not storage.exists(key)

    def test_list_names_key_size_and_time_below_the_prefix_only(self, either):
        kind = storage.new_key("lists").replace("/", "-")
        key = stored(kind=kind)
        stored(kind="others")
        (entry,) = storage.list(f"{kind}/")
        assert (entry.key, entry.size) == (key, len(PIXEL))
        assert abs(entry.modified.timestamp() - time.time()) < 60

    def test_list_goes_past_one_page(self, either, monkeypatch):
        monkeypatch.setattr(storage, "PAGE_SIZE", 2)
        kind = storage.new_key("pages").replace("/", "-")
        keys = {stored(kind=kind) for _ in range(5)}
        assert {entry.key for entry in storage.list(f"{kind}/")} == keys

    @pytest.mark.parametrize("prefix", ["originals", "../", "/", "a//"])
    def test_a_prefix_is_empty_or_a_folder(self, either, prefix):
        with pytest.raises(storage.BadKey):
            [*storage.list(prefix)]


class TestLocal:
    def test_a_failed_write_leaves_nothing(self, local):
        class Breaks(io.BytesIO):
            def read(self, size=-1):
                raise OSError(28, "No space left on device")

        with pytest.raises(storage.StorageUnavailable, match="No space left"):
            storage.put(storage.new_key("originals"), Breaks(), "image/png")
        assert [path for path in local.rglob("*") if path.is_file()] == []

    def test_unfinished_writes_are_not_listed(self, local):
        path = storage.local_path(stored())
        (path.parent / f"{storage.PARTIAL}1").write_bytes(b"half")
        assert len([*storage.list()]) == 1

    def test_readers_see_the_old_or_the_new_file_and_never_a_part(self, local):
        blobs = [bytes([number]) * 300_000 for number in range(2)]
        key = stored(blobs[0])
        stop = threading.Event()

        def rewrite():
            while not stop.is_set():
                for blob in blobs:
                    storage.put(key, io.BytesIO(blob), "image/png")

        thread = threading.Thread(target=rewrite)
        thread.start()
        try:
            seen = {storage.read(key) for _ in range(200)}
        finally:
            stop.set()
            thread.join()
        assert seen <= set(blobs)

    def test_the_local_path_is_the_file(self, local):
        assert storage.local_path(stored()).read_bytes() == PIXEL

    def test_a_link_carries_key_and_name_to_our_own_view(self, local):
        key = stored()
        url = storage.signed_url(key, download_name="cat.png")
        assert url.startswith("/files/")
        assert storage.unsign(url.removeprefix("/files/")) == storage.SignedFile(key, "cat.png")

    def test_an_expired_link_is_refused(self, local, monkeypatch):
        token = storage.sign(storage.new_key("originals"), ttl=10)
        now = time.time()
        monkeypatch.setattr("images.storage.time.time", lambda: now + 11)
        with pytest.raises(storage.BadLink):
            storage.unsign(token)

    def test_no_link_outlives_five_minutes(self, local, monkeypatch):
        token = storage.sign(storage.new_key("originals"), ttl=86_400)
        now = time.time()
        monkeypatch.setattr("images.storage.time.time", lambda: now + storage.MAX_LINK_SECONDS + 1)
        with pytest.raises(storage.BadLink):
            storage.unsign(token)

    def test_a_tampered_link_is_refused(self, local):
        token = storage.sign(storage.new_key("originals"))
        for changed in (
            token[:-1] + ("A" if token[-1] != "A" else "B"),
            "x" + token,
            token.split(":")[0],
            "",
        ):
            with pytest.raises(storage.BadLink):
                storage.unsign(changed)

    def test_a_signature_made_for_something_else_is_refused(self, local):
        with pytest.raises(storage.BadLink):
            storage.unsign(signing.dumps(["originals/ab/ab", int(time.time()) + 60, None], salt="elsewhere"))

    def test_links_for_writing_are_not_made(self, local):
        with pytest.raises(storage.BadLink):
            storage.signed_url(storage.new_key("originals"), method="PUT")


class TestAttachment:
    @pytest.mark.parametrize(
        "name", ["a\r\nSet-Cookie: x=1", '"; filename="b', "../../etc/passwd", "", "猫.png", "x" * 900]
    )
    def test_any_name_makes_one_short_harmless_header(self, name):
        header = storage.attachment(name)
        assert header.startswith("attachment; filename")
        assert not set("\r\n/\\\0") & set(header.replace('\\"', ""))
        assert len(urllib.parse.unquote(header)) < 200


@pytest.mark.services
class TestS3:
    def test_a_signed_link_works_and_keeps_the_content_type(self, s3):
        status, body, headers = fetch(storage.signed_url(stored()))
        assert (status, body, headers["Content-Type"]) == (200, PIXEL, "image/png")

    def test_without_signature_nothing_is_readable(self, s3):
        status, body, _ = fetch(storage.signed_url(stored()).split("?")[0])
        assert status in (400, 403)
        assert PIXEL not in body

    def test_a_link_does_not_open_another_object(self, s3):
        mine, other = stored(), stored(b"secret")
        status, body, _ = fetch(storage.signed_url(mine).replace(mine, other))
        assert (status, b"secret" in body) == (403, False)

    def test_a_changed_signature_is_refused(self, s3):
        url = storage.signed_url(stored())
        assert fetch(url[:-1] + ("0" if url[-1] != "0" else "1"))[0] == 403

    def test_an_expired_link_is_refused(self, s3):
        url = storage.signed_url(stored(), ttl=1)
        time.sleep(2.1)
        assert fetch(url)[0] == 403

    def test_the_lifetime_is_capped_and_part_of_the_signature(self, s3):
        url = storage.signed_url(stored(), ttl=86_400)
        assert "X-Amz-Expires=300" in url
        assert fetch(url.replace("X-Amz-Expires=300", "X-Amz-Expires=86400"))[0] == 403

    def test_a_download_name_makes_an_attachment(self, s3):
        _, _, headers = fetch(storage.signed_url(stored(), download_name="cat.png"))
        assert headers["Content-Disposition"] == 'attachment; filename="cat.png"'
        assert headers["Content-Type"] == "application/octet-stream"

    def test_a_link_for_reading_cannot_write(self, s3):
        key = stored()
        assert fetch(storage.signed_url(key), method="PUT", data=b"overwritten")[0] == 403
        assert storage.read(key) == PIXEL

    def test_a_link_for_writing_writes_that_object(self, s3):
        key = storage.new_key("originals")
        status, _, _ = fetch(storage.signed_url(key, method="PUT"), method="PUT", data=PIXEL)
        assert (status, storage.read(key)) == (200, PIXEL)

    def test_links_name_the_address_that_browsers_use(self, s3, settings):
        settings.S3_PUBLIC_ENDPOINT_URL = "https://pictures.example.org"
        assert storage.signed_url(stored()).startswith("https://pictures.example.org/")

    def test_files_are_never_local(self, s3):
        assert storage.local_path(storage.new_key("originals")) is None

    def test_a_server_that_is_down_is_a_passing_failure(self, s3, settings):
        settings.S3_ENDPOINT_URL = "http://127.0.0.1:9"
        with pytest.raises(storage.StorageUnavailable) as caught:
            storage.read(storage.new_key("originals"))
        assert not caught.value.permanent

    def test_a_wrong_key_is_an_outage_and_not_a_missing_file(self, s3, settings):
        options = {**settings.STORAGES["default"]["OPTIONS"], "secret_key": "wrong"}
        settings.STORAGES = {
            **settings.STORAGES,
            "default": {**settings.STORAGES["default"], "OPTIONS": options},
        }
        with pytest.raises(storage.StorageUnavailable):
            storage.read(storage.new_key("originals"))
