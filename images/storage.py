"""Where the bytes are: a local folder, or S3-compatible object storage, behind the same functions.

Keys are random and never come from file names. Nothing is public: bytes leave through links that live minutes,
signed per request after the caller's permission check. The only module that imports boto3 or storages.
"""

import os
import re
import secrets
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from django.conf import settings
from django.core import signing
from django.core.files.storage import FileSystemStorage, Storage, storages
from django.urls import get_script_prefix
from django.utils.http import content_disposition_header
from django.utils.translation import gettext as _

from images.presign import Signer

MAX_LINK_SECONDS = 300
CHUNK_BYTES = 128 * 1024  # stays in the processor cache between reading, hashing and writing
WIRE = {
    "ResponseContentDisposition": "response-content-disposition",
    "ResponseContentType": "response-content-type",
}
# Object storage is first asked whether it will take a larger body ("Expect: 100-continue"): a way there and back more.
ASK_FIRST_BYTES = 1024 * 1024
SPOOL_BYTES = 8 * 1024 * 1024
PAGE_SIZE = 1000
PARTIAL = ".partial-"
SALT = "images.storage"
KEY = re.compile(r"[a-z0-9][a-z0-9_-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)+", re.ASCII)
KIND = re.compile(r"[a-z0-9][a-z0-9_-]*(/[a-z0-9_-]+)*", re.ASCII)
SUFFIX = re.compile(r"(\.[a-z0-9]{1,12})?", re.ASCII)
CONTROL = re.compile(r"[\x00-\x1f\x7f/\\]")
MISSING_CODES = {"NoSuchKey", "404", "NotFound"}


class StorageError(Exception):
    """File storage could not do what was asked."""

    permanent = True


class ObjectMissing(StorageError):
    """There is no object under this key."""


class BadKey(StorageError):
    """The key or prefix is not one that this module makes."""


class BadLink(StorageError):
    """The link is not one of ours, was changed, or has expired."""


class StorageUnavailable(StorageError):
    """File storage does not answer, refuses, or is full: worth another try later."""

    permanent = False


@dataclass(frozen=True, slots=True)
class Entry:
    key: str
    size: int
    modified: datetime


@dataclass(frozen=True, slots=True)
class SignedFile:
    """What a link of `sign` allows; with a download name the file must go out as an attachment."""

    key: str
    download_name: str | None


def new_key(kind: str, suffix: str = "") -> str:
    """A fresh random key such as `originals/4f/4f09…`; `kind` may hold slashes, `suffix` starts with a dot."""
    if not KIND.fullmatch(kind) or not SUFFIX.fullmatch(suffix):
        raise BadKey(
            _("Not a storage kind or suffix: “%(kind)s”, “%(suffix)s”.") % {"kind": kind, "suffix": suffix}
        )
    name = secrets.token_hex(16)
    return f"{kind}/{name[:2]}/{name}{suffix}"


def put(key: str, file: IO[bytes], content_type: str, disposition: str | None = None) -> None:
    """Stores the whole of a seekable `file`, which stays open. All or nothing: no reader sees a part of it.

    `content_type` and `disposition` are kept by S3; a local folder has no place for them, its view sets them.
    """
    _check(key)
    file.seek(0)
    if folder := _folder():
        _write(folder / key, file)
        return
    extra = {"ContentDisposition": disposition} if disposition else {}
    small = file.seek(0, os.SEEK_END) <= ASK_FIRST_BYTES
    file.seek(0)
    with _s3_errors(key):
        # One PUT, never multipart: it is atomic and leaves no parts behind when the process dies.
        body = file.read() if small else file
        _client().put_object(Bucket=_bucket(), Key=key, Body=body, ContentType=content_type, **extra)


def open(key: str) -> IO[bytes]:
    """The object as a seekable binary file to close; from S3 it is fetched whole first (to disk beyond 8 MiB)."""
    _check(key)
    if folder := _folder():
        with _local_errors(key):
            return (folder / key).open("rb")
    spool = tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES)  # noqa: SIM115  (the caller closes it)
    try:
        with _s3_errors(key):
            body = _client().get_object(Bucket=_bucket(), Key=key)["Body"]
            for chunk in body.iter_chunks(CHUNK_BYTES):
                spool.write(chunk)
    except BaseException:
        spool.close()
        raise
    spool.seek(0)
    return spool


def read(key: str) -> bytes:
    with open(key) as file:
        return file.read()


def size(key: str) -> int:
    """Bytes; raises ObjectMissing."""
    _check(key)
    if folder := _folder():
        with _local_errors(key):
            return (folder / key).stat().st_size
    with _s3_errors(key):
        return int(_client().head_object(Bucket=_bucket(), Key=key)["ContentLength"])


def exists(key: str) -> bool:
    try:
        size(key)
    except ObjectMissing:
        return False
    return True


def delete(key: str) -> None:
    """Deleting what is not there is no error, so a repeated clean-up is harmless."""
    _check(key)
    if folder := _folder():
        with _local_errors(key):
            (folder / key).unlink(missing_ok=True)
        return
    try:
        with _s3_errors(key):
            _client().delete_object(Bucket=_bucket(), Key=key)
    except ObjectMissing:
        return


def list(prefix: str = "") -> Iterator[Entry]:
    """Every object whose key starts with `prefix` (empty, or ending in a slash), a bounded page at a time."""
    if prefix and not (prefix.endswith("/") and KIND.fullmatch(prefix[:-1])):
        raise BadKey(_("Not a storage prefix: “%(prefix)s”.") % {"prefix": prefix})
    if folder := _folder():
        yield from _walk(folder, folder / prefix)
        return
    with _s3_errors(prefix):
        pages = _client().get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=_bucket(), Prefix=prefix, PaginationConfig={"PageSize": PAGE_SIZE}):
            for item in page.get("Contents", ()):
                yield Entry(item["Key"], item["Size"], item["LastModified"])


def local_path(key: str) -> Path | None:
    """The file itself where files are local (to map or to hand to the web server); None on S3."""
    _check(key)
    folder = _folder()
    return folder / key if folder else None


def signed_url(
    key: str, ttl: int = MAX_LINK_SECONDS, download_name: str | None = None, method: str = "GET"
) -> str:
    """A link for `ttl` seconds (at most 300). Check the reader's permission first: the link is the permission.

    With `download_name` the browser saves the file instead of showing it. `PUT` is for S3 alone.
    """
    _check(key)
    ttl = max(1, min(ttl, MAX_LINK_SECONDS))
    if _folder():
        if method != "GET":
            raise BadLink(_("Local storage signs links for reading only."))
        return f"{get_script_prefix()}files/{sign(key, ttl, download_name)}"
    named = {} if download_name is None else {
        "ResponseContentDisposition": attachment(download_name), "ResponseContentType": "application/octet-stream",
    }  # fmt: skip
    if signer := _own_signer():
        return signer.url(method, _bucket(), key, ttl, {WIRE[name]: value for name, value in named.items()})
    operation = {"GET": "get_object", "PUT": "put_object"}[method]
    parameters = {"Bucket": _bucket(), "Key": key, **named}
    url: str = _signer().generate_presigned_url(operation, Params=parameters, ExpiresIn=ttl)
    return url


def _own_signer() -> Signer | None:
    """Signs 40 times as fast as boto3; it needs an address and keys, which boto3 can also find by itself."""
    storage: Any = _storage()
    endpoint = settings.S3_PUBLIC_ENDPOINT_URL or settings.S3_ENDPOINT_URL
    if not (endpoint and storage.access_key and storage.secret_key):
        return None
    return Signer(endpoint, storage.region_name, storage.access_key, storage.secret_key)


def attachment(download_name: str) -> str:
    """The Content-Disposition header that saves a file under a name which a user chose."""
    safe = CONTROL.sub("_", download_name).strip(". ")[:150] or "file"
    header = content_disposition_header(True, safe)
    assert header is not None
    return header


def sign(key: str, ttl: int = MAX_LINK_SECONDS, download_name: str | None = None) -> str:
    """The token of a local link; `unsign` turns it back while it lives."""
    _check(key)
    payload = [key, int(time.time()) + min(ttl, MAX_LINK_SECONDS), download_name]
    return signing.dumps(payload, salt=SALT, compress=False)


def unsign(token: str) -> SignedFile:
    """Raises BadLink for anything that `sign` did not make, and after its time."""
    try:
        key, expires, download_name = signing.loads(token, salt=SALT, max_age=MAX_LINK_SECONDS)
    except signing.BadSignature as error:
        raise BadLink(_("This link is not valid or has expired.")) from error
    if time.time() >= expires:
        raise BadLink(_("This link is not valid or has expired."))
    return SignedFile(_check(key), download_name)


def _check(key: str) -> str:
    # Every part starts with a letter, digit, dash or underscore, so neither `..` nor an absolute path can be spelt.
    if not KEY.fullmatch(key):
        raise BadKey(_("Not a storage key: “%(key)s”.") % {"key": key[:200]})
    return key


def _storage() -> Storage:
    return storages["default"]


def _folder() -> Path | None:
    storage = _storage()
    return Path(storage.base_location) if isinstance(storage, FileSystemStorage) else None


@contextmanager
def _local_errors(key: str) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise ObjectMissing(_("There is no stored file “%(key)s”.") % {"key": key}) from error
    except OSError as error:
        raise StorageUnavailable(_("File storage failed: %(reason)s") % {"reason": error.strerror}) from error


def _write(path: Path, file: IO[bytes]) -> None:
    """Temporary name → fsync → rename → fsync of the folder: after a power cut the file is whole or absent."""
    partial = path.with_name(f"{PARTIAL}{secrets.token_hex(8)}")
    with _local_errors(path.name):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with partial.open("xb") as target:
                while chunk := file.read(CHUNK_BYTES):
                    target.write(chunk)
                target.flush()
                os.fsync(target.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        _sync_folder(path.parent)


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _walk(root: Path, top: Path) -> Iterator[Entry]:
    for folder, names, files in os.walk(top):
        names.sort()
        for name in sorted(files):
            path = Path(folder, name)
            if name.startswith(PARTIAL):
                continue
            try:
                found = path.stat()
            except FileNotFoundError:
                continue  # deleted since the folder was read
            modified = datetime.fromtimestamp(found.st_mtime, UTC)
            yield Entry(path.relative_to(root).as_posix(), found.st_size, modified)


def _bucket() -> str:
    return str(settings.S3_BUCKET)


def _client() -> Any:
    return _connect(_storage(), settings.S3_ENDPOINT_URL, os.getpid())


def _signer() -> Any:
    """Signs for the address that browsers use, which need not be the one that this server uses."""
    return _connect(_storage(), settings.S3_PUBLIC_ENDPOINT_URL or settings.S3_ENDPOINT_URL, os.getpid())


@lru_cache(maxsize=4)
def _connect(storage: Any, endpoint: str, process: int) -> Any:
    """One client for all threads of a process: making one takes 0.4 s, and a fork must not share its sockets."""
    import boto3
    from botocore.config import Config

    options = Config(
        signature_version="s3v4",
        s3={"addressing_style": "path"},
        # Newer checksums are refused by several S3-compatible servers.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        connect_timeout=3,
        read_timeout=20,
        retries={"mode": "standard", "total_max_attempts": 3},
        max_pool_connections=20,
    )
    session = boto3.session.Session(
        aws_access_key_id=storage.access_key,
        aws_secret_access_key=storage.secret_key,
        region_name=storage.region_name,
    )
    return session.client("s3", endpoint_url=endpoint or None, config=options)


@contextmanager
def _s3_errors(key: str) -> Iterator[None]:
    from botocore.exceptions import BotoCoreError, ClientError
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code in MISSING_CODES:
            raise ObjectMissing(_("There is no stored file “%(key)s”.") % {"key": key}) from error
        raise StorageUnavailable(_("Object storage refused: %(code)s") % {"code": code}) from error
    except (BotoCoreError, HTTPError, ConnectionError) as error:
        raise StorageUnavailable(_("Object storage does not answer.")) from error
