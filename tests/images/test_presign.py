"""Our links are byte for byte those of botocore."""

from datetime import UTC, datetime
from unittest import mock

import boto3
import pytest
from botocore.config import Config
from hypothesis import given, settings
from hypothesis import strategies as st

from images.presign import Signer

NOW = datetime(2026, 3, 5, 7, 9, 11, tzinfo=UTC)
ENDPOINTS = (
    "http://127.0.0.1:9000",
    "https://s3.example.org",
    "https://s3.eu-central-1.amazonaws.com",
    "http://files.test:80",
)
KEYS = {"access_key": "AKIDEXAMPLE", "secret_key": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"}
keys = st.text("abcXYZ019-_.~ +=&%/é", min_size=1, max_size=40).filter(lambda key: not key.startswith("/"))


@pytest.fixture(scope="module")
def clients():
    options = Config(
        signature_version="s3v4",
        s3={"addressing_style": "path"},
        request_checksum_calculation="when_required",
    )
    session = boto3.session.Session(KEYS["access_key"], KEYS["secret_key"], region_name="eu-central-1")
    return {one: session.client("s3", endpoint_url=one, config=options) for one in ENDPOINTS}


def theirs(client, operation, parameters, ttl):
    with mock.patch("botocore.auth.get_current_datetime", return_value=NOW.replace(tzinfo=None)):
        return client.generate_presigned_url(operation, Params=parameters, ExpiresIn=ttl)


@given(st.sampled_from(ENDPOINTS), keys, st.integers(1, 300))
@settings(max_examples=60, deadline=None)
def test_a_link_is_what_botocore_signs(clients, endpoint, key, ttl):
    ours = Signer(endpoint, "eu-central-1", **KEYS).url("GET", "pictures", key, ttl, now=NOW)
    assert ours == theirs(clients[endpoint], "get_object", {"Bucket": "pictures", "Key": key}, ttl)


def test_a_download_with_a_name_is_signed_with_it(clients):
    named = "attachment; filename*=UTF-8''caf%C3%A9 \"1\".jpg"
    ours = Signer(ENDPOINTS[0], "eu-central-1", **KEYS).url(
        "GET", "pictures", "originals/1", 300,
        {"response-content-disposition": named, "response-content-type": "application/octet-stream"}, NOW,
    )  # fmt: skip
    asked = {"Bucket": "pictures", "Key": "originals/1", "ResponseContentDisposition": named,
             "ResponseContentType": "application/octet-stream"}  # fmt: skip
    assert ours == theirs(clients[ENDPOINTS[0]], "get_object", asked, 300)


def test_an_upload_link_is_what_botocore_signs(clients):
    ours = Signer(ENDPOINTS[1], "eu-central-1", **KEYS).url("PUT", "pictures", "incoming/1", 60, now=NOW)
    assert ours == theirs(
        clients[ENDPOINTS[1]], "put_object", {"Bucket": "pictures", "Key": "incoming/1"}, 60
    )


def test_another_secret_signs_another_link():
    first, second = (
        Signer(ENDPOINTS[0], "r", "a", secret).url("GET", "b", "k", 60, now=NOW) for secret in "xy"
    )
    assert first[:-64] == second[:-64]
    assert first != second
