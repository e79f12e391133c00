"""manage.py reconcile: does storage hold what the database says, and nothing else?"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.utils import timezone

from images import refusals, storage
from images.models import Image, ImageState

GRACE = timedelta(hours=24)
CHUNK = 1000
PREFIXES = ("originals/", "renditions/")


class Command(BaseCommand):
    help = "Name missing, damaged and stray objects. Changes nothing unless --repair is given."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--repair", action="store_true", help="remake renditions, remove strays older than 24 h"
        )
        parser.add_argument(
            "--verify", action="store_true", help="read every original and compare its SHA-256"
        )

    def handle(self, *args: Any, repair: bool, verify: bool, **options: Any) -> None:
        findings = [*missing(), *(damaged() if verify else ()), *strays()]
        for kind, key, row in findings:
            self.stdout.write(f"{kind:8} {key}{f'  ({row.uid})' if row else ''}")
            if repair:
                mend(kind, key, row)
        self.stdout.write(f"{len(findings)} findings{' (dry run)' if findings and not repair else ''}")


Finding = tuple[str, str, Image | None]


def missing() -> Iterator[Finding]:
    """Rows whose objects are not there; a refused picture has nothing to lose any more."""
    for image in Image.objects.exclude(state=ImageState.REJECTED).order_by("id").iterator(CHUNK):
        for key in (image.original_key, image.preview_key, image.thumbnail_key):
            if key and not storage.exists(key):
                yield "missing", key, image


def damaged() -> Iterator[Finding]:
    """Originals whose bytes are not those that were uploaded."""
    for image in Image.objects.exclude(state=ImageState.REJECTED).order_by("id").iterator(CHUNK):
        try:
            with storage.open(image.original_key) as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
        except storage.ObjectMissing:
            continue
        if digest != image.sha256:
            yield "damaged", image.original_key, image


def strays() -> Iterator[Finding]:
    """Objects that no row knows and that are too old to be an upload on its way."""
    before = timezone.now() - GRACE
    batch: list[str] = []
    for prefix in PREFIXES:
        for entry in storage.list(prefix):
            if entry.modified < before:
                batch.append(entry.key)
            if len(batch) >= CHUNK:
                yield from _unknown(batch)
                batch = []
    yield from _unknown(batch)


def _unknown(keys: list[str]) -> Iterator[Finding]:
    known: set[str] = set()
    for name in ("original_key", "preview_key", "thumbnail_key"):
        known.update(Image.objects.filter(**{f"{name}__in": keys}).values_list(name, flat=True))
    for key in keys:
        if key not in known:
            yield "stray", key, None


def mend(kind: str, key: str, image: Image | None) -> None:
    """Strays go; renditions are made again; a picture without its bytes is refused and says why."""
    if image is None:
        storage.delete(key)
    elif kind == "missing" and key != image.original_key:
        Image.objects.filter(pk=image.pk).update(state=ImageState.STORED, attempts=0, lease_until=None)
    else:
        Image.objects.filter(pk=image.pk).update(state=ImageState.REJECTED, reason=refusals.DAMAGED)
