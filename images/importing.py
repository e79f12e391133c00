"""Many pictures at once from a folder or an archive: what is there already is skipped, the rest goes through
`images.ingest`, and every refusal is told with its reason.

The order of files is fixed (sorted names), so an interrupted import goes on at the position it reached.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol

from django.conf import settings
from django.utils.translation import gettext as _

from images import ingest, sidecars
from images.archives import ArchiveRefused, EntryRefused, Limits, is_junk, shown
from images.companions import VECTORS, Restorer, companion
from images.faults import faultpoint
from images.ingest import UploadRefused
from images.models import Collection, Image, User
from images.sidecars import LIST_BYTES, SIDECAR_BYTES, Metadata

FORMAT = "loupe-export"
VERSION = 1
MANIFEST = "manifest.json"
LISTS = ("metadata.jsonl", "metadata.csv")
CHUNK = 50
MAX_ERRORS = 100
SUFFIXES = {
    "image/jpeg": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "image/png": (".png", ".apng"),
    "image/gif": (".gif",),
    "image/webp": (".webp",),
    "image/avif": (".avif",),
    "image/bmp": (".bmp", ".dib"),
    "image/tiff": (".tif", ".tiff"),
}
PICTURE = tuple(suffix for suffixes in SUFFIXES.values() for suffix in suffixes)


class Source(Protocol):
    names: list[str]
    links: list[str]

    def digest(self, name: str, limit: int) -> str: ...

    def open(self, name: str, limit: int) -> IO[bytes]: ...


class Folder:
    """The plain files below a folder, by sorted relative name. Links are named in `links` and never followed."""

    def __init__(self, root: Path, limits: Limits) -> None:
        self.root = root
        self.names: list[str] = []
        self.links: list[str] = []
        for folder, folders, files in os.walk(root):
            folders.sort()
            for name in files + folders:
                self._note(Path(folder, name))
            if len(self.names) > limits.entries:
                message = _("The folder holds more than %d files. Import it in parts.") % limits.entries
                raise ArchiveRefused("folder_too_many", message, 413)
        self.names.sort()

    def _note(self, path: Path) -> None:
        name, mode = path.relative_to(self.root).as_posix(), path.lstat().st_mode
        if is_junk(name):
            return
        if stat.S_ISLNK(mode):
            self.links.append(name)
        elif stat.S_ISREG(mode):
            self.names.append(name)

    def digest(self, name: str, limit: int) -> str:
        with self.open(name, limit) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]

    def open(self, name: str, limit: int) -> IO[bytes]:
        """Raises EntryRefused; what became a link since the folder was read is not followed either."""
        try:
            file = os.fdopen(os.open(self.root / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb")
        except OSError as error:
            raise EntryRefused("unreadable", _("The file cannot be read: %s.") % error.strerror) from error
        if os.fstat(file.fileno()).st_size > limit:
            file.close()
            raise EntryRefused("too_large", _("The file is larger than %d MB.") % (limit // 1024**2), 413)
        return file


@dataclass
class Report:
    """How an import stands. `position`: files done for good; `errors` holds the first hundred refusals."""

    position: int = 0
    new: int = 0
    known: int = 0
    refused: int = 0
    vectors: int = 0
    errors: list[dict[str, str]] = field(default_factory=list)

    def refuse(self, name: str, reason: str) -> None:
        self.refused += 1
        if len(self.errors) < MAX_ERRORS:
            self.errors.append({"file": shown(name), "reason": reason})

    @property
    def counts(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in ("position", "new", "known", "refused", "vectors")}


@dataclass(frozen=True)
class Plan:
    """`pictures`: names in order; `others`: files that are neither picture nor metadata; `rows`: what the metadata list
    says, by name; `base`: the one folder above it all."""

    pictures: list[str]
    others: list[str]
    rows: dict[str, dict[str, Any]]
    sidecars: frozenset[str]
    base: str


def plan(source: Source, limits: Limits) -> Plan:
    """Tell pictures from what describes them. Raises MetadataRefused, EntryRefused."""
    base = _base(source.names)
    named = [name for name in LISTS if base + name in source.names]
    if len(named) > 1:
        raise sidecars.MetadataRefused(
            "metadata", _("There are two lists, metadata.jsonl and metadata.csv."), 422
        )
    rows: dict[str, dict[str, Any]] = {}
    if named:
        with source.open(base + named[0], LIST_BYTES) as file:
            rows = sidecars.read_list(named[0], file, limits.entries)
    names = set(source.names)
    beside = frozenset(n for n in names if n.endswith(".json") and n.removesuffix(".json") in names)
    apart = {base + name for name in (*LISTS, MANIFEST, VECTORS)}
    rest = [name for name in source.names if name not in beside and name not in apart]
    pictures = [name for name in rest if is_picture(name)]
    return Plan(pictures, [name for name in rest if not is_picture(name)], rows, beside, base)


def is_picture(name: str) -> bool:
    """By its suffix: other files are not even read, however large they are."""
    return name.lower().endswith(PICTURE)


def _base(names: Sequence[str]) -> str:
    """`holiday/` where everything lies in that one folder."""
    first = names[0].partition("/")[0] + "/" if names else ""
    return first if all(name.startswith(first) for name in names) else ""


class Import:
    """One import into `collection` (None: as if into an empty one), a chunk at a time.

    `trusted`: vectors of an export are believed; those of strangers could lead any search to any picture.
    """

    def __init__(
        self,
        source: Source,
        collection: Collection | None,
        uploader: User,
        limits: Limits,
        *,
        trusted: bool = False,
        dry_run: bool = False,
        report: Report | None = None,
    ) -> None:
        self.source, self.collection, self.uploader = source, collection, uploader
        self.dry_run = dry_run or collection is None
        self.report = report or Report()
        self.plan = plan(source, limits)
        if not self.report.position:
            self._refuse_others()
        self.restorer = self._restorer(limits) if trusted and not self.dry_run else None

    def _refuse_others(self) -> None:
        for name in self.source.links:
            self.report.refuse(name, _("Links are not followed."))
        for name in self.plan.others:
            self.report.refuse(name, _("The name does not end like that of a picture."))

    @property
    def total(self) -> int:
        return len(self.plan.pictures)

    def run(self, tick: Callable[[int], None], until: Callable[[], bool] = lambda: False) -> bool:
        """Go on from `report.position`; `tick(done)` after every picture may raise to stop, `until` is asked after
        every chunk. Returns whether everything is done. Raises UploadRefused where nothing more can come in (quota)."""
        while (start := self.report.position) < self.total:
            self._chunk(self.plan.pictures[start : start + CHUNK], tick)
            self.report.position = min(start + CHUNK, self.total)
            faultpoint("after_import_chunk")
            tick(self.report.position)
            if until():
                break
        return self.report.position >= self.total

    def close(self) -> None:
        if self.restorer is not None:
            self.restorer.close()

    def _chunk(self, names: Sequence[str], tick: Callable[[int], None]) -> None:
        wanted = self._described(self._digests(names))
        known = ingest.known(self.collection, [d for d, _m in wanted.values()]) if self.collection else {}
        for done, (name, (digest, metadata)) in enumerate(wanted.items(), self.report.position + 1):
            if digest in known:
                self.report.known += 1
            else:
                self._take(name, digest, metadata)
            tick(done)
        if self.restorer is not None:
            self._restore(self.restorer, list(wanted.values()))

    def _digests(self, names: Sequence[str]) -> dict[str, str]:
        found = {}
        for name in names:
            try:
                found[name] = self.source.digest(name, settings.MAX_UPLOAD_BYTES)
            except UploadRefused as error:
                self.report.refuse(name, error.message)
        return found

    def _described(self, digests: dict[str, str]) -> dict[str, tuple[str, Metadata]]:
        found = {}
        for name, digest in digests.items():
            try:
                found[name] = (digest, self._metadata(name))
            except UploadRefused as error:
                self.report.refuse(name, error.message)
        return found

    def _metadata(self, name: str) -> Metadata:
        """The file beside the picture, else its row in the list."""
        if f"{name}.json" in self.plan.sidecars:
            with self.source.open(f"{name}.json", SIDECAR_BYTES) as file:
                return sidecars.read_sidecar(file)
        return sidecars.read_row(self.plan.rows.get(name.removeprefix(self.plan.base), {}))

    def _take(self, name: str, digest: str, metadata: Metadata) -> None:
        if self.dry_run or self.collection is None:
            self.report.new += 1
            return
        try:
            with self.source.open(name, settings.MAX_UPLOAD_BYTES) as file:
                done = ingest.ingest(
                    self.collection,
                    self.uploader,
                    file,
                    file_name=metadata.file_name or name,
                    sha256=digest,
                    bulk=True,
                    **metadata.fields(),
                )
        except UploadRefused as error:
            if error.code == "quota":
                raise
            self.report.refuse(name, error.message)
            return
        self.report.known += done.duplicate
        self.report.new += not done.duplicate

    def _restore(self, restorer: Restorer, wanted: Sequence[tuple[str, Metadata]]) -> None:
        """Only where the file that came in is the very one that the export describes."""
        rows = {digest: m.row_id for digest, m in wanted if m.original and m.row_id and m.sha256 == digest}
        images = Image.objects.present().filter(collection=self.collection, sha256__in=rows)
        self.report.vectors += restorer.restore([(image, rows[image.sha256]) for image in images])

    def _restorer(self, limits: Limits) -> Restorer | None:
        described = self._manifest().get("vectors")
        search, name = companion(), self.plan.base + VECTORS
        if search is None or not isinstance(described, dict) or name not in self.source.names:
            return None
        assert self.collection is not None
        try:
            return search.restorer(self.collection, described, self.source.open(name, limits.total_bytes))
        except EntryRefused as error:
            self.report.refuse(VECTORS, error.message)
            return None

    def _manifest(self) -> dict[str, Any]:
        """Empty where there is none of this format and version."""
        name = self.plan.base + MANIFEST
        if name not in self.source.names:
            return {}
        try:
            with self.source.open(name, LIST_BYTES) as file:
                found = json.load(file)
        except (UploadRefused, ValueError, RecursionError):
            return {}
        ours = isinstance(found, dict) and (found.get("format"), found.get("version")) == (FORMAT, VERSION)
        return found if ours else {}
