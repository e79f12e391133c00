"""manage.py reindex: want a new generation for one or all collections."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from images.models import Collection
from search import index, reindexing


class Command(BaseCommand):
    help = "Rebuild the index of a collection (by id or name) or of all of them, in the index worker."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("collection", nargs="*", help="ids or names; none: all collections")
        parser.add_argument(
            "--now", action="store_true", help="build in this process instead of in the worker"
        )

    def handle(self, *args: Any, collection: list[str], now: bool, **options: Any) -> None:
        for chosen in self._chosen(collection):
            job = reindexing.request(chosen, None)
            self.stdout.write(f"{chosen.team} / {chosen}: job {job.uid}")
        while now and index.build_due():
            pass
        if now:
            self._report(collection)

    def _chosen(self, wanted: list[str]) -> list[Collection]:
        if not wanted:
            return list(Collection.objects.select_related("team"))
        found = [c for c in Collection.objects.select_related("team") if {str(c.uid), c.name} & set(wanted)]
        if missing := set(wanted) - {str(c.uid) for c in found} - {c.name for c in found}:
            raise CommandError(f"There is no collection {', '.join(sorted(missing))}.")
        return found

    def _report(self, wanted: list[str]) -> None:
        for chosen in self._chosen(wanted):
            state = index.status(chosen)
            self.stdout.write(
                f"{chosen}: generation {state.generation}, {state.kind}, {state.vectors} vectors"
            )
