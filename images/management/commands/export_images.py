"""manage.py export_images: a collection as one zip, with metadata and vectors, that import_images reads again."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from tqdm import tqdm

from images import audit, storage
from images.access import Principal, principal_for_user
from images.exporting import Export, Exported, chosen
from images.management.commands.import_images import find_collections, shown_on
from images.models import Collection, User


class Command(BaseCommand):
    help = "Export a collection as a zip with originals, metadata and vectors."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("collection", help="name or id")
        parser.add_argument("--to", type=Path, required=True, metavar="FILE.zip")
        parser.add_argument("--team", help="short name, where several teams have a collection of that name")
        parser.add_argument("--user", help="email: only what this person may see; everything by default")
        parser.add_argument("--no-originals", action="store_true", help="metadata and vectors alone")

    def handle(self, *args: Any, collection: str, to: Path, team: str | None, **options: Any) -> None:
        place = self._find(collection, team)
        if to.exists():
            raise CommandError(f"{to} exists already.")
        if not to.parent.is_dir():
            raise CommandError(f"There is no folder {to.parent}.")
        principal = self._principal(options["user"])
        try:
            done = self._write(place, principal, to, options)
        except storage.StorageUnavailable as error:
            raise CommandError(str(error)) from error
        counts = {"pictures": len(done.ids), "file": to.name}
        audit.record("collection.export", place, team=place.team, actor=None, after=counts)
        self.stdout.write(f"{len(done.ids)} pictures in {to}")
        for missing in done.errors:
            self.stdout.write(f"missing  {missing['file']}: {missing['reason']}")

    def _find(self, given: str, team: str | None) -> Collection:
        rows = find_collections(given)
        found = list((rows.filter(team__slug=team) if team else rows)[:2])
        if len(found) != 1:
            raise CommandError(
                f"There is no collection “{given}”." if not found else "Say which team's: --team."
            )
        return found[0]

    def _principal(self, email: str | None) -> Principal:
        if email is None:
            return Principal(user_id=0, superuser=True)  # whoever runs commands reads the database anyway
        user = User.objects.filter(email__iexact=email).first()
        if user is None:
            raise CommandError(f"There is no user {email}.")
        return principal_for_user(user)

    def _write(self, place: Collection, principal: Principal, to: Path, options: dict[str, Any]) -> Exported:
        """Whole under its name, or not there."""
        total, silent = chosen(place, principal).count(), options["verbosity"] == 0
        if not total:
            raise CommandError("There is no picture to export.")
        work = Export(place, lambda: principal, originals=not options["no_originals"])
        with tempfile.TemporaryDirectory(dir=to.parent, prefix=".export-") as folder:
            unfinished = Path(folder, to.name)
            with (
                unfinished.open("xb") as target,
                tqdm(total=total, desc="Exporting", unit=" pictures", ncols=80, disable=silent) as bar,
            ):
                done = work.write(target, shown_on(bar))
                target.flush()
                os.fsync(target.fileno())
            unfinished.replace(to)
        return done
