"""The test services are what they claim to be: above all, the S3 server refuses what a real one refuses."""

import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import boto3
import psycopg
import pytest
import redis
from botocore.config import Config

from tests import services

pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def s3():
    with services.scratch_folder("loupe-s3-") as folder, services.running(services.s3(folder)) as server:
        services.create_bucket(server.env)
        client(server).put_object(Bucket=services.BUCKET, Key="kept/secret", Body=b"secret bytes")
        yield server


def client(server, **changes):
    env = server.env | changes
    return boto3.client(
        "s3",
        endpoint_url=env["S3_ENDPOINT_URL"],
        aws_access_key_id=env["S3_ACCESS_KEY"],
        aws_secret_access_key=env["S3_SECRET_KEY"],
        region_name=env["S3_REGION"],
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    )


def link(server, seconds=60, **changes):
    parameters = {"Bucket": services.BUCKET, "Key": "kept/secret"}
    return client(server, **changes).generate_presigned_url(
        "get_object", Params=parameters, ExpiresIn=seconds
    )


def get(url):
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_s3_serves_a_good_link(s3):
    assert get(link(s3)) == (200, b"secret bytes")


@pytest.mark.parametrize(
    "part, other", [("kept/secret", "kept/other"), ("Expires=60", "Expires=61"), ("us-east-1", "us-east-2")]
)
def test_s3_refuses_a_tampered_link(s3, part, other):
    status, body = get(link(s3).replace(part, other))
    assert status in (400, 403) and b"secret bytes" not in body


def test_s3_refuses_a_changed_signature(s3):
    url = link(s3)
    assert get(url[:-1] + ("0" if url[-1] != "0" else "1"))[0] == 403


def test_s3_refuses_an_expired_link(s3):
    url = link(s3, seconds=1)
    time.sleep(2.1)
    assert get(url)[0] == 403


def test_s3_refuses_a_link_signed_with_another_key(s3):
    assert get(link(s3, S3_SECRET_KEY="guessed"))[0] == 403


def test_s3_refuses_an_unknown_access_key(s3):
    assert get(link(s3, S3_ACCESS_KEY="loupe:stranger"))[0] == 403


def test_postgres_keeps_its_rows_over_a_restart():
    with (
        services.scratch_folder("loupe-pg-") as folder,
        services.running(services.postgres(folder)) as server,
    ):
        url = server.env["DATABASE_URL"]
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 7 AS number")
        server.restart()
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT number FROM kept").fetchone() == (7,)


def test_redis_comes_back_empty_after_a_kill():
    with (
        services.scratch_folder("loupe-redis-") as folder,
        services.running(services.redis(folder)) as server,
    ):
        connection = redis.Redis.from_url(server.env["REDIS_URL"])
        connection.set("key", "value")
        server.kill()
        server.start()
        assert connection.get("key") is None


def run(*command, **options):
    return subprocess.run(
        [sys.executable, "-m", "tests.services", "--only", "redis", "--", *command],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=services.ROOT,
        **options,
    )


def test_the_runner_passes_on_the_exit_status_and_the_environment():
    result = run(sys.executable, "-c", "import os, sys; print(os.environ['REDIS_URL']); sys.exit(7)")
    assert (result.returncode, result.stdout.startswith("redis://127.0.0.1:")) == (7, True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_however_the_runner_ends_its_servers_end_too(number):
    script = "import os, time; print(os.environ['REDIS_URL'].split(':')[2][:-2], flush=True); time.sleep(30)"
    command = [sys.executable, "-m", "tests.services", "--only", "redis", "--", sys.executable, "-c", script]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, cwd=services.ROOT, start_new_session=True
    ) as runner:
        port = int(runner.stdout.readline())
        folder = Path(redis.Redis(port=port).config_get("dir")["dir"]).parent
        os.kill(runner.pid, number)
        deadline = time.monotonic() + 20
        while services.listens(port) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not services.listens(port)
        if number == signal.SIGKILL:
            os.killpg(runner.pid, signal.SIGKILL)  # the sleeping command
            shutil.rmtree(folder)


def test_a_server_that_cannot_start_says_why():
    with services.scratch_folder("loupe-broken-") as folder:
        server = services.redis(folder)
        server.command += ["--no-such-option", "x"]
        with pytest.raises(services.ServiceFailed, match="no-such-option"):
            server.start()


def test_the_data_of_an_interrupted_run_are_removed():
    with pytest.raises(KeyboardInterrupt), services.scratch_folder("loupe-cut-") as folder:
        (folder / "data").write_text("x")
        raise KeyboardInterrupt
    assert not folder.exists()
