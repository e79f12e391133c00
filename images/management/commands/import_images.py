"""manage.py import_images: a folder or a zip of pictures into a collection; run it again and it goes on."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.core.validators import MaxLengthValidator
from django.db.models import QuerySet
from tqdm import tqdm

from images import storage, teams
from images.access import Action, allowed, principal_for_user
from images.archives import COMMAND, Archive
from images.importing import Folder, Import, Report
from images.ingest import UploadRefused
from images.models import Collection, Role, Team, User


class Command(BaseCommand):
    help = "Import a folder or zip of pictures, with their metadata. What is there already is skipped."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("source", type=Path, help="a folder, or a zip archive")
        parser.add_argument("--collection", required=True, help="name or id")
        parser.add_argument("--team", help="short name, name or id; may be left out where there is only one")
        parser.add_argument("--user", help="email of whoever uploads; the team's first owner by default")
        parser.add_argument(
            "--create", action="store_true", help="make the collection where it does not exist"
        )
        parser.add_argument("--dry-run", action="store_true", help="look and count, change nothing")
        parser.add_argument(
            "--strict", action="store_true", help="end with an error where a file was refused"
        )

    def handle(
        self, *args: Any, source: Path, collection: str, user: str | None, strict: bool, **options: Any
    ) -> None:
        team = find_team(options["team"], collection)
        uploader = find_user(team, user)
        place = self._collection(team, uploader, collection, options)
        if place is not None and not allowed(principal_for_user(uploader), Action.UPLOAD, place):
            raise CommandError(f"{uploader.email} may not upload to {team} / {place}.")
        try:
            report = self._import(source, place, uploader, options)
        except (UploadRefused, storage.StorageUnavailable) as error:
            raise CommandError(f"{error} What came in stays; run the command again to go on.") from error
        self._tell(report, dry_run=options["dry_run"])
        if strict and report.refused:
            raise CommandError(f"{report.refused} files were refused.", returncode=2)

    def _collection(self, team: Team, user: User, name: str, options: dict[str, Any]) -> Collection | None:
        """None: it does not exist, and a dry run makes none."""
        found = find_collections(name).filter(team=team).first()
        if found is not None:
            return found
        if not options["create"]:
            raise CommandError(f"There is no collection “{name}” in {team}; --create makes it.")
        if options["dry_run"]:
            return None
        MaxLengthValidator(120)(name)
        return teams.create_collection(team, user, name=name)

    def _import(
        self, path: Path, collection: Collection | None, user: User, options: dict[str, Any]
    ) -> Report:
        with ExitStack() as stack:
            if path.is_dir():
                source: Folder | Archive = Folder(path, COMMAND)
            elif path.is_file():
                file = stack.enter_context(path.open("rb"))
                source = stack.enter_context(Archive(file, COMMAND))
            else:
                raise CommandError(f"There is no folder or archive {path}.")
            work = Import(source, collection, user, COMMAND, trusted=True, dry_run=options["dry_run"])
            stack.callback(work.close)
            silent = options["verbosity"] == 0
            bar = stack.enter_context(
                tqdm(total=work.total, desc="Importing", unit=" pictures", ncols=80, disable=silent)
            )
            work.run(shown_on(bar))
        return work.report

    def _tell(self, report: Report, *, dry_run: bool) -> None:
        verb = "would be new" if dry_run else "new"
        self.stdout.write(f"{report.new} {verb}, {report.known} known, {report.refused} refused")
        if report.vectors:
            self.stdout.write(f"{report.vectors} vectors restored")
        for error in report.errors:
            self.stdout.write(f"refused  {error['file']}: {error['reason']}")
        if (more := report.refused - len(report.errors)) > 0:
            self.stdout.write(f"… and {more} more")


def shown_on(bar: tqdm) -> Callable[[int], None]:
    def show(done: int) -> None:
        bar.update(done - bar.n)

    return show


def by_id_or(queryset: QuerySet[Any], given: str, *names: str) -> QuerySet[Any]:
    """Rows with this public id, else with this name."""
    try:
        if (rows := queryset.filter(uid=given)).exists():
            return rows
    except (ValueError, ValidationError):
        pass
    for name in names:
        if (rows := queryset.filter(**{name: given})).exists():
            return rows
    return queryset.none()


def find_collections(given: str) -> QuerySet[Collection]:
    return by_id_or(Collection.objects.select_related("team"), given, "name")


def find_team(given: str | None, collection: str) -> Team:
    """The named team, else the one that has this collection, else the only one."""
    if given:
        rows = by_id_or(Team.objects.all(), given, "slug", "name")
    else:
        rows = Team.objects.filter(pk__in=find_collections(collection).values("team"))
        rows = rows if rows.exists() else Team.objects.all()
    found = list(rows[:2])
    if len(found) != 1:
        raise CommandError("There is no such team." if not found else "Say which team: --team.")
    return found[0]


def find_user(team: Team, email: str | None) -> User:
    if email:
        user = User.objects.filter(email__iexact=email).first()
    else:
        user = (
            User.objects.filter(memberships__team=team, memberships__role=Role.OWNER).order_by("pk").first()
        )
    if user is None:
        raise CommandError(
            f"There is no user {email}." if email else f"{team} has no owner: say who with --user."
        )
    return user
