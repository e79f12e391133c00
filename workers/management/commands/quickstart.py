"""manage.py quickstart: set up, serve and watch Loupe with its sample gallery on this machine."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser

READY_SECONDS = 120
SEARCHES = ("a dog on the beach", "snowy mountains at night", "bateau au coucher du soleil")


class Command(BaseCommand):
    help = "Set up and serve Loupe on this machine with sample pictures. Ctrl-C ends everything."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--port", type=int, default=8000)
        parser.add_argument("--data", default="var/demo", help="where everything is kept")
        parser.add_argument(
            "--samples", type=int, default=None, help="only so many sample pictures; all by default"
        )
        parser.add_argument("--once", action="store_true", help="end as soon as everything is searchable")

    def handle(
        self, *args: Any, port: int, data: str, samples: int | None, once: bool, **options: Any
    ) -> None:
        folder = Path(os.environ.get("LOUPE_QUICKSTART") or data).resolve()
        self._enter(folder)
        refuse_taken(port)
        from workers.quickstart import demo, supervisor

        call_command("migrate", verbosity=0)
        collect_static()
        team = demo.ensure_team()
        key_file = folder / "demo_api_key"
        demo.ensure_key(team, key_file)
        tree = supervisor.Supervisor(supervisor.children(port, folder / "logs", folder))
        for ending in (signal.SIGTERM, signal.SIGINT):
            # Also where a shell started us in the background, with SIGINT ignored.
            signal.signal(ending, _interrupt)
        try:
            tree.start()
            demo.upload_missing(team, samples)
            for _look in demo.wait_until_searchable(team):
                tree.check()
            self._wait_ready(tree, port)
            self._welcome(port, key_file)
            while not once:
                tree.check()
                time.sleep(1)
        except KeyboardInterrupt:
            self.stdout.write("\nStopping …")
        except supervisor.ChildKeepsDying as error:
            raise CommandError(str(error)) from error
        finally:
            for ending in (signal.SIGTERM, signal.SIGINT):
                signal.signal(ending, signal.SIG_IGN)
            tree.stop()

    def _enter(self, folder: Path) -> None:
        """Settings come from the environment, so start again inside the right one."""
        if "LOUPE_QUICKSTART" in os.environ:
            return
        folder.mkdir(parents=True, exist_ok=True)
        secret = folder / "secret_key"
        if not secret.exists():
            secret.touch(mode=0o600)
            secret.write_text(secrets.token_urlsafe(50))
        environment = {
            **os.environ,
            "LOUPE_QUICKSTART": str(folder),
            "LOUPE_DATA": str(folder),
            "SECRET_KEY": secret.read_text(),
            "DEBUG": "0",
            "LOG_LEVEL": os.environ.get("LOG_LEVEL", "WARNING"),
            "ALLOWED_HOSTS": "127.0.0.1,localhost",
            "OMP_NUM_THREADS": "1",
        }
        command = [sys.executable, str(settings.BASE_DIR / "manage.py"), *sys.argv[1:]]
        os.chdir(settings.BASE_DIR)
        os.execve(sys.executable, command, environment)  # noqa: S606  (ourselves again)

    def _wait_ready(self, tree: Any, port: int) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not answers(port):
            tree.check()
            if time.monotonic() > deadline:
                raise CommandError("The server did not become ready; see web.log in the data folder.")
            time.sleep(0.5)

    def _welcome(self, port: int, key_file: Path) -> None:
        from workers.quickstart import demo

        roles = ", ".join(demo.ROLES[1:])
        self.stdout.write(
            f"\n  Loupe is ready:  http://127.0.0.1:{port}/"
            f"\n  Sign in:         {demo.email('owner')}  ·  password: {demo.PASSWORD}"
            f"\n                   (other people with the same password: {roles} @loupe.example)"
            f"\n  API key:         {_shown(key_file)}"
            f"\n  Try:             {'   ·   '.join(SEARCHES)}"
            "\n\n  Ctrl-C ends it.\n"
        )
        self.stdout.flush()


def _shown(path: Path) -> str:
    with contextlib.suppress(ValueError):
        return str(path.relative_to(Path.cwd()))
    return str(path)


def collect_static() -> None:
    """Collect and compress the static files unless nothing changed since the last start: it takes seconds."""
    manifest = Path(settings.STATIC_ROOT) / "staticfiles.json"
    sources = [settings.BASE_DIR / "requirements.txt"]
    for folder in settings.STATICFILES_DIRS:
        sources += [path for path in Path(folder).rglob("*") if path.is_file()]
    if not manifest.exists() or manifest.stat().st_mtime < max(path.stat().st_mtime for path in sources):
        call_command("collectstatic", verbosity=0, interactive=False)


def refuse_taken(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise CommandError(f"Port {port} is taken; choose another: make demo PORT={port + 1}") from error


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def _interrupt(signum: int, frame: Any) -> None:
    raise KeyboardInterrupt
