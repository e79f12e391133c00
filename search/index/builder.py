"""Build → verify → publish: a new generation of one collection, under the lease of its index row.

Nothing that answers is touched until the last transaction, which swaps the live pointer where the lease and the pointer
are still the ones that the build began with. A builder that dies leaves a row in state `building` and a file that the
clean-up collects; its successor begins anew.
"""

from __future__ import annotations

import array
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import numpy as np
import structlog
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from images import leases, storage
from images.faults import faultpoint
from images.models import Job, JobKind, JobState
from images.signals import index_swapped
from search.index import catalog, files, rows, sampling
from search.index.errors import BadParameters, BuildCancelled, BuildFailed, IndexFault
from search.index.manifest import SEGMENT_NAME, File, Manifest, RecallPoint, parse
from search.index.planner import kind_for
from search.index.probes import text_probes
from search.index.segment import Built, Segment, build, engine_version, open_segment
from search.index.tuning import PROBES, text_like_probes, tune
from search.models import (
    CollectionIndex,
    Embedding,
    EmbeddingState,
    Generation,
    GenerationState,
    IndexState,
    Space,
)

log = structlog.get_logger(__name__)
LEASE = timedelta(minutes=15)  # training a million vectors has no pause to renew a lease in
PAGE = 2000
SAMPLE = 4096
CHECKED = 8
SELF_SCORE = 0.99
# A live recall this far below the target, of so many queries, asks for lists that are trained anew.
DROP, ENOUGH = 0.01, 50
# And so do lists of which this many times as many must be looked into as before, to reach the same recall.
WORN = 1.5
PUBLISH_TYPE = "application/octet-stream"
# Text vectors of a space [n, d] to measure recall with; None where there are none.
ProbeSource = Callable[[Space], np.ndarray | None]


def build_due(limit: int = 1, probes: ProbeSource = text_probes) -> int:
    """Want what has outgrown its generation, then build up to `limit` wanted indexes; returns how many were taken."""
    catalog.adopt_strays()
    catalog.want_due()
    leases.quarantine_exhausted(
        CollectionIndex.objects.all(), "The process that builds this index ended repeatedly."
    )
    claimed = leases.claim(CollectionIndex.objects.order_by("not_before", "id"), limit, LEASE)
    for row in claimed:
        build_next(row, probes)
    _end_failed_jobs()
    return len(claimed)


def build_next(row: CollectionIndex, probes: ProbeSource = text_probes) -> Generation | None:
    """Build and publish one generation for a claimed row; None where it failed or was cancelled (the row says why)."""
    try:
        _clear_unfinished(row)
        work = Build(row)
    except Exception as error:  # before there is a generation to abandon
        log.exception("index_build_failed", index=row.pk)
        leases.fail(row, f"{type(error).__name__}: {error}")
        return None
    try:
        return work.run(probes)
    except leases.LostLease as error:
        work.abandon(str(error))
    except BuildCancelled as error:
        work.abandon(str(error))
        with suppress(leases.LostLease):
            leases.finish(row, state=IndexState.IDLE, attempts=0)
    except storage.StorageUnavailable as error:
        work.abandon(str(error))
        leases.postpone(row, str(error))
    except Exception as error:  # whatever it is, the lease must end with a reason that a person can read
        log.exception("index_build_failed", index=row.pk)
        work.abandon(str(error))
        leases.fail(row, f"{type(error).__name__}: {error}", permanent=isinstance(error, BadParameters))
    return None


def _clear_unfinished(row: CollectionIndex) -> None:
    """Builds of this index whose builder died: the lease is ours now, so nobody else works on them."""
    row.generations.filter(state=GenerationState.BUILDING).update(
        state=GenerationState.FAILED, error="The builder ended before it was done."
    )


def _open_jobs(row: CollectionIndex) -> QuerySet[Job]:
    return Job.objects.filter(
        collection=row.collection_id, kind=JobKind.REINDEX, state__in=(JobState.WAITING, JobState.RUNNING)
    )


def _end_failed_jobs() -> None:
    """Whoever asked for a build that failed for good learns the reason, and may ask again."""
    asked = Job.objects.filter(kind=JobKind.REINDEX, state__in=(JobState.WAITING, JobState.RUNNING))
    for row in CollectionIndex.objects.filter(
        state=IndexState.FAILED, collection__in=asked.values("collection")
    ):
        _open_jobs(row).update(
            state=JobState.FAILED, finished_at=timezone.now(), error=row.error, errors=[row.error]
        )


class Build:
    """One build: its row, its generation, its temporary files and the job of whoever asked for it."""

    def __init__(self, row: CollectionIndex) -> None:
        self.row, self.live_id = row, row.live_id
        self.space = self._space()
        self.job = _open_jobs(row).first()
        self.generation = self._announce()

    def _space(self) -> Space:
        """The next space once every picture that answers now has its vector there, else the present one."""
        row = self.row
        if row.next_space is None:
            return row.space
        answering = Embedding.objects.filter(catalog.eligible(), collection=row.collection_id)
        done = answering.filter(space=row.next_space, seq__isnull=False).values("image_id")
        waiting = answering.filter(space=row.space, seq__isnull=False).exclude(image_id__in=done)
        return row.space if waiting.exists() else row.next_space

    def _announce(self) -> Generation:
        now = timezone.now()
        if self.job:
            Job.objects.filter(pk=self.job.pk).update(state=JobState.RUNNING, started_at=now, done=0)
        with transaction.atomic():
            return Generation.objects.create(
                index=self.row,
                number=catalog.next_number(self.row.pk),
                space=self.space,
                key=storage.new_key(catalog.PREFIX, ".segment"),
            )

    def run(self, probes: ProbeSource) -> Generation:
        with tempfile.TemporaryDirectory(prefix=files.BUILD_PREFIX, dir=files.folder()) as name:
            folder = Path(name)
            upto = self._upto()
            ids, vectors = self._snapshot(folder, upto)
            path = folder / SEGMENT_NAME
            manifest = self._built(path, upto, ids, vectors, probes)
            faultpoint("after_segment_build")
            with path.open("rb") as file:
                storage.put(self.generation.key, file, PUBLISH_TYPE)
            faultpoint("after_segment_put")
            _verify(files.fetch(self.generation.key, manifest.segment), ids, vectors)
            self.tick(len(ids))
            faultpoint("before_publish")
            return self._publish(manifest)

    def _built(
        self, path: Path, upto: int, ids: np.ndarray, vectors: np.ndarray, probes: ProbeSource
    ) -> Manifest:
        """The segment at `path`, measured: a copy of the live one with what is new, or trained anew where there is
        nothing to copy, the collection has doubled, or the copy finds less than the live one did."""
        kind = self.row.kind or kind_for(len(ids))

        def halfway(done: int) -> None:
            self.tick((len(ids) + done) // 2)

        for like in dict.fromkeys((self._like(kind, len(ids)), None)):
            path.unlink(missing_ok=True)
            threads = os.cpu_count() or 1
            built = build(path, kind, vectors, ids, like=like, threads=threads, tick=halfway)
            if "nlist" in built.parameters:
                built.parameters["trained"] = _trained(self.row.live) if like else len(ids)
            segment = open_segment(path, built.sha256, verified=True)
            manifest = self._measure(segment, built, kind, upto, vectors, probes)
            if like and not self._worn(manifest):
                break
        return manifest

    def _worn(self, copy: Manifest) -> bool:
        """Whether the copied lists fit no longer: what was enough before falls short of the target by far."""
        before = parse(self.row.live.manifest).effort if self.row.live else None
        return copy.effort is None or before is None or copy.effort > WORN * before

    def _like(self, kind: str, count: int) -> Segment | None:
        """The live segment, where a merge may add to a copy of it. Who asks for a rebuild gets one from scratch."""
        row, live = self.row, self.row.live
        if self.job or live is None or (live.kind, live.space_id) != (kind, self.space.pk):
            return None
        measured = row.live_recall if row.live_recall_count >= ENOUGH else None
        sound = measured is None or measured >= row.target_recall - DROP
        if not sound or not count / 2 < _trained(live) < 2 * count:
            return None
        try:
            about = parse(live.manifest)
            return files.fetch(live.key, about.segment) if about.effort else None
        except (IndexFault, storage.StorageError) as error:
            log.warning("live_segment_not_copied", index=row.pk, error=str(error))
            return None

    def _upto(self) -> int:
        catalog.forget(self.row)
        return CollectionIndex.objects.values_list("last_seq", flat=True).get(pk=self.row.pk)

    def _snapshot(self, folder: Path, upto: int) -> tuple[np.ndarray, np.ndarray]:
        """(ids int64 [n] rising, vectors fp16 [n, d] in a file) of everything placed up to `upto`.

        Rows come a page at a time in the order of `seq`: no long transaction, and never more than a page in memory.
        """
        ids, raw = array.array("q"), folder / "rows.f2"
        with raw.open("wb") as file:
            for page in rows.pages(self.row.collection_id, self.space, 0, upto, PAGE):
                self._set_aside(page.damaged)
                ids.extend(page.ids.tolist())
                file.write(page.vectors.tobytes())
                self.tick(len(ids) // 2)  # the other half is the building
        return _sorted(np.frombuffer(ids, np.int64), raw, self.space.dimension)

    def _set_aside(self, damaged: list[int]) -> None:
        """A stored vector that is cut short or not finite enters no segment; its picture waits for a new one."""
        if not damaged:
            return
        log.error("vectors_damaged", images=damaged, space=self.space.pk)
        Embedding.objects.filter(image_id__in=damaged, space=self.space).update(
            state=EmbeddingState.QUARANTINED, seq=None, error="The stored vector is damaged: embed it again."
        )

    def tick(self, done: int) -> None:
        """Prolong the lease and show progress. Raises LostLease, or BuildCancelled where the job was."""
        mine = CollectionIndex.objects.filter(pk=self.row.pk, fence=self.row.fence)
        if not mine.update(lease_until=timezone.now() + LEASE):
            raise leases.LostLease(f"index {self.row.pk} is held by another builder")
        if self.job:
            open_ = Job.objects.filter(pk=self.job.pk, state=JobState.RUNNING)
            if not open_.update(done=done):
                raise BuildCancelled("The rebuild was cancelled.")

    def _measure(
        self,
        segment: Segment,
        built: Built,
        kind: str,
        upto: int,
        vectors: np.ndarray,
        probes: ProbeSource,
    ) -> Manifest:
        text = None if kind == "exact" else probes(self.space)  # what needs no tuning needs no model either
        asked = _probes(vectors) if text is None else text[:PROBES]
        effort, curve = tune(segment, asked, self.row.target_recall)
        return Manifest(
            space=self.space.sha256,
            dimension=self.space.dimension,
            kind=kind,
            count=built.count,
            upto_seq=upto,
            engine=engine_version(),
            segment=File(SEGMENT_NAME, built.sha256, built.byte_size),
            parameters=built.parameters,
            effort=effort,
            recall=_reached(effort, curve),
            target=self.row.target_recall,
            probes="perturbed" if text is None else "text",
            curve=curve,
        )

    def _publish(self, manifest: Manifest) -> Generation:
        """The swap: one transaction, valid only under our fence and over the generation that we began with."""
        row, now, generation = self.row, timezone.now(), self.generation
        shown = dict(manifest.parameters) | ({"effort": manifest.effort} if manifest.effort else {})
        with transaction.atomic():
            mine = CollectionIndex.objects.filter(pk=row.pk, live_id=self.live_id)
            if not mine.update(live=generation, **sampling.forgotten()):
                raise leases.LostLease("another generation was published meanwhile")
            leases.finish(row, **self._finished_row())
            Generation.objects.filter(pk=generation.pk).update(
                state=GenerationState.LIVE,
                kind=manifest.kind,
                parameters=shown,
                count=manifest.count,
                upto_seq=manifest.upto_seq,
                manifest=manifest.as_json(),
                byte_size=manifest.segment.byte_size,
                recall=manifest.recall,
                published_at=now,
            )
            catalog.retire(row, generation)
            self._end_job()
            index_swapped.send(
                Generation, collection=row.collection, generation=generation.number, count=manifest.count
            )
        generation.refresh_from_db()
        return generation

    def _finished_row(self) -> dict[str, object]:
        """Idle, unless somebody asked for something else while this was built."""
        now = CollectionIndex.objects.get(pk=self.row.pk)
        same = (now.kind, now.target_recall) == (self.row.kind, self.row.target_recall)
        values: dict[str, object] = {"attempts": 0, "state": IndexState.IDLE if same else IndexState.WANTED}
        if self.space.pk == now.next_space_id:
            values |= {"space": self.space, "next_space": None}
        return values

    def abandon(self, reason: str) -> None:
        """What was live goes on answering; the file is the clean-up's."""
        Generation.objects.filter(pk=self.generation.pk).exclude(state=GenerationState.LIVE).update(
            state=GenerationState.FAILED, error=reason[:2000]
        )

    def _end_job(self) -> None:
        if self.job:
            running = Job.objects.filter(pk=self.job.pk, state=JobState.RUNNING)
            running.update(state=JobState.DONE, finished_at=timezone.now())


def _trained(live: Generation | None) -> int:
    """How many rows the lists of this generation were trained for; 0 where it has none."""
    known = live.manifest.get("parameters", {}).get("trained", 0) if live and live.manifest else 0
    return known if isinstance(known, int) and live and live.kind.startswith("ivf") else 0


def _sorted(ids: np.ndarray, raw: Path, dimension: int) -> tuple[np.ndarray, np.ndarray]:
    if not len(ids):
        return ids.astype(np.int64), np.empty((0, dimension), np.float16)
    vectors = np.memmap(raw, "<f2", "r", shape=(len(ids), dimension))
    order = np.argsort(ids, kind="stable")
    if (order == np.arange(len(ids))).all():
        return ids, vectors
    result = np.memmap(raw.with_name("sorted.f2"), "<f2", "w+", shape=vectors.shape)
    for start in range(0, len(ids), PAGE):
        result[start : start + PAGE] = vectors[order[start : start + PAGE]]
    return ids[order], result


def _probes(vectors: np.ndarray) -> np.ndarray:
    step = max(1, len(vectors) // SAMPLE)
    return text_like_probes(np.asarray(vectors[::step][:SAMPLE], dtype=np.float32))


def _reached(effort: int | None, curve: tuple[RecallPoint, ...]) -> float:
    return next((point.recall for point in curve if point.effort == effort), 1.0)


def _verify(segment: Segment, ids: np.ndarray, vectors: np.ndarray) -> None:
    """What storage gave back holds these ids, these vectors, and finds them. Raises BuildFailed."""
    if not np.array_equal(segment.ids, ids):
        raise BuildFailed("the stored segment holds other ids than were written")
    if not len(ids):
        return
    at = np.unique(np.linspace(0, len(ids) - 1, CHECKED).astype(np.int64))
    if not np.array_equal(segment.vectors(at), vectors[at].astype(np.float32)):
        raise BuildFailed("the stored segment holds other vectors than were written")
    for place in at:
        probe = np.asarray(vectors[place], dtype=np.float32)
        best = segment.search(probe, 1)[1][0, 0]
        if best < SELF_SCORE * float(probe @ probe):
            raise BuildFailed("the stored segment does not find its own vectors")
