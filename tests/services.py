"""Private, real services for tests: Postgres, Redis and an S3 server that verifies signatures.

    python -m tests.services [--only postgres,redis,s3] -- COMMAND...

starts each on a free loopback port with its data in a temporary folder, runs COMMAND with the environment variables
that point Loupe at them, and stops exactly the processes that it started, also after Ctrl-C. The exit status is the
command's. Tests of outages start servers of their own with `postgres`, `redis` and `s3`, and stop or kill them.
"""

import argparse
import ctypes
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 60
STOP_SECONDS = 15
BUCKET = "loupe-tests"
REGION = "us-east-1"
PR_SET_PDEATHSIG = 1


class ServiceFailed(RuntimeError):
    """A service could not be started; the message carries the end of its log."""


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@dataclass
class Server:
    """One server process. `env` is what Loupe needs to reach it; `stop_signal` ends it in good order."""

    name: str
    command: list[str]
    folder: Path
    env: dict[str, str]
    answers: Callable[[], bool]
    stop_signal: signal.Signals = signal.SIGTERM
    user: str | None = None
    process_env: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.log"

    def start(self) -> None:
        """Returns when the server answers; raises ServiceFailed when it ends or stays silent instead."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self.process_env},
                # A session of its own: Ctrl-C must reach the tests first, and the servers after them.
                start_new_session=True,
                preexec_fn=lambda: end_with_parent(self.stop_signal),
                **as_user(self.user),
            )
        deadline = time.monotonic() + START_SECONDS
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise ServiceFailed(
                    f"{self.name} did not start:\n{self.log.read_text(errors='replace')[-2000:]}"
                )
            time.sleep(0.05)

    def stop(self) -> None:
        self._end(self.stop_signal)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        self.stop()
        self.start()

    def _end(self, how: signal.Signals) -> None:
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None


def as_user(name: str | None) -> dict[str, object]:
    """Popen's arguments for another account; Postgres refuses to run as root."""
    if name is None:
        return {}
    account = pwd.getpwnam(name)
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def end_with_parent(how: signal.Signals) -> None:
    """Linux: the kernel signals the server when its starter dies, however that dies."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(how))


@contextmanager
def running(server: Server) -> Iterator[Server]:
    try:
        server.start()
        yield server
    finally:
        server.stop()


@contextmanager
def scratch_folder(prefix: str) -> Iterator[Path]:
    """Short path (Unix sockets allow 107 bytes) that other accounts may walk through but not list."""
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir="/tmp"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def listens(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def program(*names: str) -> str:
    """The first of the named programs, on the path or where Debian keeps Postgres."""
    for name in names:
        found = shutil.which(name)
        if found:
            return found
        installed = sorted(
            Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: path.parts[4].zfill(3)
        )
        if installed:
            return str(installed[-1])
    raise ServiceFailed(f"{' or '.join(names)} is not installed; scripts/system-packages names the package.")


def postgres_answers(url: str) -> bool:
    import psycopg

    try:
        with psycopg.connect(url, connect_timeout=2):
            return True
    except psycopg.OperationalError:
        return False


def postgres(folder: Path) -> Server:
    """A new cluster. Durability is off: these data live as long as the run."""
    user = "postgres" if os.geteuid() == 0 else None
    data, sockets, secret = folder / "pg", folder / "pg-sockets", folder / "pg-password"
    password = secrets.token_hex(16)
    secret.write_text(password)
    for path in (data, sockets):
        path.mkdir(mode=0o700)
    if user:
        for path in (data, sockets, secret):
            shutil.chown(path, user, user)
    subprocess.run(
        [
            *(program("initdb"), "--pgdata", str(data), "--username", "loupe", "--pwfile", str(secret)),
            *("--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync"),
        ],
        check=True,
        cwd="/",
        stdout=subprocess.DEVNULL,
        **as_user(user),
    )
    port = free_port()
    options = {
        "port": port,
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": sockets,
        "fsync": "off",
        "synchronous_commit": "off",
        "full_page_writes": "off",
        "max_connections": 100,
    }
    command = [program("postgres"), "-D", str(data)]
    for name, value in options.items():
        command += ["-c", f"{name}={value}"]
    url = f"postgres://loupe:{password}@127.0.0.1:{port}/postgres"
    # SIGINT is Postgres's fast shutdown: it ends sessions instead of waiting for them.
    return Server(
        "postgres", command, folder, {"DATABASE_URL": url}, lambda: postgres_answers(url), signal.SIGINT, user
    )


def redis(folder: Path) -> Server:
    """Keeps nothing on disk: a restart comes back empty."""
    port = free_port()
    data = folder / "redis"
    data.mkdir()
    command = [program("redis-server", "valkey-server"), "--port", str(port), "--bind", "127.0.0.1"]
    command += ["--save", "", "--appendonly", "no", "--dir", str(data)]
    return Server(
        "redis", command, folder, {"REDIS_URL": f"redis://127.0.0.1:{port}/0"}, lambda: listens(port)
    )


def s3(folder: Path) -> Server:
    """The bucket exists once `create_bucket` ran; its objects survive a restart."""
    python = ROOT / ".venv-swift" / "bin" / "python"
    if not python.exists():
        raise ServiceFailed("The S3 server is not installed; run scripts/bootstrap-swift.")
    port = free_port()
    data = folder / "s3"
    data.mkdir()
    access_key, secret_key = "loupe:tests", secrets.token_hex(20)
    keys = {"S3_ACCESS_KEY": access_key, "S3_SECRET_KEY": secret_key}
    env = {"S3_ENDPOINT_URL": f"http://127.0.0.1:{port}", "S3_BUCKET": BUCKET, "S3_REGION": REGION, **keys}
    command = [str(python), "-W", "ignore", str(ROOT / "scripts" / "swift_s3.py")]
    command += ["--port", str(port), "--folder", str(data), "--region", REGION]
    return Server("s3", command, folder, env, lambda: listens(port), process_env=keys)


def create_bucket(env: Mapping[str, str]) -> None:
    import boto3
    from botocore.config import Config

    client = boto3.client(
        "s3",
        endpoint_url=env["S3_ENDPOINT_URL"],
        aws_access_key_id=env["S3_ACCESS_KEY"],
        aws_secret_access_key=env["S3_SECRET_KEY"],
        region_name=env["S3_REGION"],
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    )
    client.create_bucket(Bucket=env["S3_BUCKET"])


KINDS: dict[str, Callable[[Path], Server]] = {"postgres": postgres, "redis": redis, "s3": s3}


@contextmanager
def services(kinds: list[str]) -> Iterator[dict[str, str]]:
    """The environment variables that reach the started services."""
    with ExitStack() as stack:
        folder = stack.enter_context(scratch_folder("loupe-services-"))
        env: dict[str, str] = {}
        for kind in kinds:
            env |= stack.enter_context(running(KINDS[kind](folder))).env
        if "s3" in kinds:
            create_bucket(env)
        yield env


def run_command(command: list[str], env: Mapping[str, str]) -> int:
    """The command's exit status. Ctrl-C reaches it from the terminal; it gets the time to end by itself."""
    child = subprocess.Popen(command, env={**os.environ, **env})
    try:
        return child.wait()
    except (KeyboardInterrupt, SystemExit):
        child.terminate()
        try:
            child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        raise


def end_on_sigterm(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.services", description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=",".join(KINDS), help="comma-separated: postgres, redis, s3")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="after --: what to run")
    options = parser.parse_args(arguments)
    kinds = options.only.split(",")
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    unknown = set(kinds) - set(KINDS)
    if unknown or not command:
        parser.error(
            f"unknown service: {', '.join(sorted(unknown))}" if unknown else "name a command after --"
        )
    signal.signal(signal.SIGTERM, end_on_sigterm)
    # A shell that starts us in the background leaves SIGINT ignored, for us and for the command.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with services(kinds) as env:
            return run_command(command, env)
    except KeyboardInterrupt:
        return 130
    except ServiceFailed as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
