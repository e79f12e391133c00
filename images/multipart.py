"""Uploads that go straight to S3-compatible storage: links to PUT to, in one piece or in parts.

The other half of `images.storage`, whose client, bucket and error handling it uses. Local folders have no part in this.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from images.storage import _bucket, _check, _client, _folder, _s3_errors, _signer

LINK_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Part:
    """A part that storage has received."""

    number: int
    size: int
    etag: str


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A multipart upload that was begun and neither completed nor aborted."""

    key: str
    upload_id: str
    begun: datetime


def available() -> bool:
    return _folder() is None


def begin(key: str) -> str:
    """The id of a new multipart upload. Raises StorageUnavailable, as everything here."""
    with _s3_errors(_check(key)):
        return str(_client().create_multipart_upload(Bucket=_bucket(), Key=key)["UploadId"])


def put_url(key: str, size: int) -> str:
    """Where to PUT `size` bytes, no more and no less: the length is signed with the rest. Lives 300 seconds."""
    return _link("put_object", Key=_check(key), ContentLength=size)


def part_url(key: str, upload_id: str, number: int, size: int) -> str:
    """Where to PUT part `number` (from 1) of `size` bytes; as `put_url`."""
    part = {"UploadId": upload_id, "PartNumber": number}
    return _link("upload_part", Key=_check(key), ContentLength=size, **part)


def _link(operation: str, **parameters: Any) -> str:
    wanted = {"Bucket": _bucket(), **parameters}
    url: str = _signer().generate_presigned_url(operation, Params=wanted, ExpiresIn=LINK_SECONDS)
    return url


def parts(key: str, upload_id: str) -> list[Part]:
    """What has arrived, by number. Raises ObjectMissing where the upload was completed or aborted."""
    with _s3_errors(_check(key)):
        answer = _client().list_parts(Bucket=_bucket(), Key=key, UploadId=upload_id)
    return [Part(int(p["PartNumber"]), int(p["Size"]), str(p["ETag"])) for p in answer.get("Parts", ())]


def complete(key: str, upload_id: str, received: list[Part]) -> None:
    listed = [{"PartNumber": part.number, "ETag": part.etag} for part in received]
    with _s3_errors(_check(key)):
        _client().complete_multipart_upload(
            Bucket=_bucket(), Key=key, UploadId=upload_id, MultipartUpload={"Parts": listed}
        )


def abort(key: str, upload_id: str) -> None:
    """Drop the parts; aborting what is gone is no error."""
    from botocore.exceptions import ClientError

    with _s3_errors(_check(key)):
        try:
            _client().abort_multipart_upload(Bucket=_bucket(), Key=key, UploadId=upload_id)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
                raise


def unfinished(prefix: str) -> Iterator[Unfinished]:
    """At most 1,000 multipart uploads under `prefix`."""
    with _s3_errors(prefix):
        answer: Any = _client().list_multipart_uploads(Bucket=_bucket(), Prefix=prefix)
    for found in answer.get("Uploads", ()):
        yield Unfinished(found["Key"], found["UploadId"], found["Initiated"])
