"""`manage.py make_demo_gallery`: draws the sample gallery anew."""

from argparse import ArgumentParser
from pathlib import Path

from django.core.management.base import BaseCommand, CommandError

from search.demo import gallery
from search.demo.painting import MissingFont


class Command(BaseCommand):
    """Draws the sample gallery with its manifest and its labelled queries; the result is always the same."""

    help = "Draw the sample gallery (needs Debian's package fonts-noto-color-emoji)"
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--out", type=Path, default=gallery.GALLERY, help="folder to replace")

    def handle(self, *args: object, out: Path, **options: object) -> None:
        try:
            count = gallery.make(out)
        except (MissingFont, gallery.ForeignFolder) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(self.style.SUCCESS(f"Drew {count} pictures into {out}"))
