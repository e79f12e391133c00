"""Imports and exports as jobs: asked for over HTTP, done by a worker, taken up again after a crash.

An import goes on at the position it reached and yields to other work every minute; an export is written anew. Rights
are compiled afresh while a job runs: what its owner may no longer do ends it. Results are for whoever asked, for seven
days, and only while they may still see every picture in it.
"""

from __future__ import annotations

import io
import tempfile
import time
from array import array
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import timedelta
from typing import IO, Any

import structlog
from django.db import transaction
from django.db.models import Q, QuerySet, Sum
from django.db.models.functions import Coalesce
from django.utils import timezone
from django.utils.translation import gettext as _

from images import audit, leases, storage
from images.access import ANONYMOUS, Action, Principal, allowed, principal_for_key, principal_for_user
from images.archives import BROWSER, GIB, Archive, ArchiveRefused
from images.exporting import Export, chosen
from images.faults import faultpoint
from images.importing import Import, Report, is_picture
from images.ingest import UploadRefused
from images.models import ApiKey, Collection, Job, JobKind, JobState, User
from images.moderation import Conflict
from images.signals import transfers_changed

log = structlog.get_logger(__name__)
KINDS = (JobKind.IMPORT, JobKind.EXPORT)
OPEN = (JobState.WAITING, JobState.RUNNING)
LEASE = timedelta(seconds=60)
KEPT = timedelta(days=7)
STRAY = timedelta(days=1)
LINK_SECONDS = 60
SLICE_SECONDS = 60.0
SAVE_SECONDS = 1.0
MAX_OPEN = 3
ARCHIVE_BYTES = GIB // 2
EXPORT_BYTES = 4 * GIB  # one PUT to object storage takes at most 5 GB
EXPORT_IMAGES = 50_000
PAGE = 1000
ZIP = "application/zip"


class TransferRefused(UploadRefused):
    """An import or export that cannot be done, or a result that is not given out."""

    def __init__(self, code: str, message: str, status: int = 400, pointer: str = "") -> None:
        super().__init__(code, message, status, pointer)


class Cancelled(Exception):
    """Somebody cancelled the job while it ran."""


# ── Asking ──────────────────────────────────────────────────────────────────────────────────────────────────────


def request_import(collection: Collection, principal: Principal, user: User, file: IO[bytes]) -> Job:
    """Take in a zip whose pictures a worker will upload; the caller has checked that they may be.

    Raises ArchiveRefused for an archive that breaks a rule, Conflict where the user has jobs enough.
    """
    with Archive(file, BROWSER) as archive:
        total = sum(is_picture(name) for name in archive.names)
    if not total:
        raise ArchiveRefused("archive_no_images", _("There is no picture in this archive."), 422)
    _refuse_too_many(user)
    key = storage.new_key("imports", ".zip")
    storage.put(key, file, ZIP)
    faultpoint("after_import_put")
    try:
        return _ask(JobKind.IMPORT, collection, principal, user, source_key=key, total=total)
    except BaseException:
        storage.delete(key)
        raise


def request_export(
    collection: Collection,
    principal: Principal,
    user: User,
    *,
    originals: bool = True,
    only: Sequence[int] | None = None,
) -> Job:
    """Want an archive of what the principal may see in the collection; `only`: row ids to choose from."""
    _refuse_too_many(user)
    rows = chosen(collection, principal, only).order_by()
    count, size = rows.count(), rows.aggregate(n=Sum("byte_size"))["n"] or 0
    if not count:
        raise Conflict(_("There is no picture to export."))
    if count > EXPORT_IMAGES or (originals and size > EXPORT_BYTES):
        limits = {"pictures": EXPORT_IMAGES, "size": EXPORT_BYTES // GIB}
        message = _("An export holds at most %(pictures)d pictures and %(size)d GB. Choose fewer.") % limits
        raise TransferRefused("export_too_large", message, 413)
    parameters = {"originals": originals, "only": None if only is None else list(only)}
    return _ask(JobKind.EXPORT, collection, principal, user, parameters=parameters, total=count)


def _ask(kind: JobKind, collection: Collection, principal: Principal, user: User, **fields: Any) -> Job:
    fields["parameters"] = {**fields.get("parameters", {}), "key": principal.key_id}
    with transaction.atomic():
        job = Job.objects.create(
            kind=kind, team=collection.team, collection=collection, created_by=user, bulk=True, **fields
        )
        after = {"job": str(job.uid), "pictures": job.total}
        audit.record(f"collection.{kind}", collection, team=collection.team, actor=user, after=after)
        transfers_changed.send(Job)
    return job


def _refuse_too_many(user: User) -> None:
    if Job.objects.filter(kind__in=KINDS, state__in=OPEN, created_by=user).count() >= MAX_OPEN:
        raise Conflict(_("You have %d imports and exports under way; wait for one to end.") % MAX_OPEN)


# ── Results ─────────────────────────────────────────────────────────────────────────────────────────────────────


def result_link(job: Job, principal: Principal, user: User) -> str:
    """A link to an export that lives a minute. Raises TransferRefused: 404 for anyone but whoever asked for it, 410
    where it is over or holds what they may no longer see, Conflict while it is not finished."""
    if job.kind != JobKind.EXPORT or job.collection is None or job.created_by_id != principal.user_id:
        raise TransferRefused("not_found", _("This job has no result for you."), 404)
    if job.state != JobState.DONE:
        raise Conflict(_("This export is not finished."))
    if not job.result_key or job.expires_at is None or job.expires_at <= timezone.now():
        raise TransferRefused("result_expired", _("This export is no longer kept. Ask for it again."), 410)
    if not _may_still_see(job, job.collection, principal):
        message = _("Since this export you lost sight of something in it. Ask for it again.")
        raise TransferRefused("result_withdrawn", message, 410)
    audit.record(
        "collection.export_downloaded", job.collection, team=job.team, actor=user, after={"job": str(job.uid)}
    )
    return storage.signed_url(job.result_key, LINK_SECONDS, download_name=job.result_name)


def _may_still_see(job: Job, collection: Collection, principal: Principal) -> bool:
    if job.parameters.get("places") and not allowed(principal, Action.MANAGE, collection):
        return False
    try:
        ids = array("q", storage.read(_ids_key(job.result_key)))
    except storage.ObjectMissing:
        return False
    rows = chosen(collection, principal)
    return all(
        rows.filter(pk__in=ids[start : start + PAGE]).count() == len(ids[start : start + PAGE])
        for start in range(0, len(ids), PAGE)
    )


def _ids_key(result_key: str) -> str:
    return f"{result_key}.ids"


# ── Doing ───────────────────────────────────────────────────────────────────────────────────────────────────────


def run_due() -> int:
    """Claim one waiting import or export, fairly over teams, and work on it. Returns how many came to an end: 0 where
    nothing waited, and where a long import yields, so that whoever calls turns to other work before it goes on."""
    jobs = Job.objects.filter(kind__in=KINDS)
    died = Q(lease_until__isnull=True) | Q(lease_until__lt=timezone.now())
    jobs.filter(died, state=JobState.RUNNING).update(state=JobState.WAITING)
    reason = _("The process that worked on it ended repeatedly.")
    leases.quarantine_exhausted(
        jobs, reason, finished_at=timezone.now(), errors=[{"file": "", "reason": reason}]
    )
    rows = jobs.select_related("collection__team", "created_by")
    claimed = leases.claim_fairly(rows, 1, group="team", lease=LEASE)
    for job in claimed:
        _run(job)
    waiting = Job.objects.filter(pk__in=[job.pk for job in claimed], state=JobState.WAITING)
    return len(claimed) - waiting.count()


def _run(job: Job) -> None:
    """Every outcome is recorded on the row."""
    now = timezone.now()
    if not _mine(job, JobState.WAITING).update(
        state=JobState.RUNNING, started_at=Coalesce("started_at", now)
    ):
        return  # cancelled since it was claimed
    try:
        with leases.kept([job], LEASE):
            (_import if job.kind == JobKind.IMPORT else _export)(job)
    except Cancelled:
        log.info("job_cancelled", job=str(job.uid))
    except leases.LostLease:
        log.info("lease_lost", job=str(job.uid))
    except storage.StorageUnavailable as error:
        if _mine(job).update(state=JobState.WAITING):
            leases.postpone(job, str(error))
    except (UploadRefused, storage.StorageError) as error:
        _fail(job, str(error), permanent=True)
    except Exception:  # whatever surprised this job is logged and tried again; the jobs behind it go on
        log.exception("job_failed", job=str(job.uid))
        _fail(job, _("Something went wrong here; the server's log says more."), permanent=False)


def _fail(job: Job, reason: str, *, permanent: bool) -> None:
    if _mine(job).update(state=JobState.WAITING):
        errors = [*job.errors, {"file": "", "reason": reason}]
        leases.fail(job, reason, permanent=permanent, finished_at=timezone.now(), errors=errors)


def _mine(job: Job, state: JobState = JobState.RUNNING) -> QuerySet[Job]:
    return Job.objects.filter(pk=job.pk, fence=job.fence, state=state)


def _save(job: Job, **values: Any) -> None:
    """Write to the row where it is still ours. Raises Cancelled or LostLease."""
    if _mine(job).update(**values):
        return
    if Job.objects.filter(pk=job.pk, state=JobState.CANCELLED).exists():
        raise Cancelled
    raise leases.LostLease(f"Job {job.pk} is held by another worker")


def _rights(job: Job) -> Principal:
    """What whoever asked may do now: a person, or the key that they asked with."""
    if key_id := job.parameters.get("key"):
        key = ApiKey.objects.select_related("owner").filter(pk=key_id).first()
        return principal_for_key(key) if key else ANONYMOUS
    user = User.objects.filter(pk=job.created_by_id or 0).first()
    return principal_for_user(user) if user else ANONYMOUS


def _over(**values: Any) -> dict[str, Any]:
    return {"state": JobState.DONE, "finished_at": timezone.now(), "lease_until": None, "error": "", **values}


class _Progress:
    """Tells the row how far the work is, at most once a second; raises where it must stop."""

    def __init__(self, job: Job, action: Action) -> None:
        self.job, self.action, self.saved_at = job, action, 0.0

    def __call__(self, done: int) -> None:
        if time.monotonic() - self.saved_at >= SAVE_SECONDS:
            self.save(done=done)

    def save(self, **values: Any) -> None:
        assert self.job.collection is not None
        if not allowed(_rights(self.job), self.action, self.job.collection):
            raise TransferRefused("permission_denied", _("Your role does not allow this here any more."), 403)
        _save(self.job, **values)
        self.saved_at = time.monotonic()


def _import(job: Job) -> None:
    assert job.collection is not None
    progress, report = _Progress(job, Action.UPLOAD), Report(**job.summary, errors=list(job.errors))
    trusted = allowed(_rights(job), Action.REINDEX, job.collection)
    with ExitStack() as stack:
        file = stack.enter_context(storage.open(job.source_key))
        archive = stack.enter_context(Archive(file, BROWSER))
        work = Import(archive, job.collection, _creator(job), BROWSER, trusted=trusted, report=report)
        stack.callback(work.close)
        progress.save(total=work.total, done=report.position)
        finished = _work_a_while(work, progress)
    job.errors = report.errors
    if not finished:
        _save(job, state=JobState.WAITING, lease_until=None, attempts=0)
    elif not report.new + report.known:
        raise ArchiveRefused("archive_no_images", _("There is no picture in this archive."), 422)
    else:
        _save(job, **_over(source_key="", summary=report.counts, errors=report.errors))
        storage.delete(job.source_key)


def _work_a_while(work: Import, progress: _Progress) -> bool:
    """One slice of an import. What a chunk did is saved at its end, so a chunk that is done again counts once."""
    end, saved = time.monotonic() + SLICE_SECONDS, work.report.position

    def tick(done: int) -> None:
        nonlocal saved
        if work.report.position == saved:
            progress(done)
            return
        saved = work.report.position
        progress.save(done=done, summary=work.report.counts, errors=work.report.errors)

    return work.run(tick, until=lambda: time.monotonic() > end)


def _creator(job: Job) -> User:
    if job.created_by is None:
        raise TransferRefused("permission_denied", _("Whoever asked for this is no longer here."), 403)
    return job.created_by


def _export(job: Job) -> None:
    assert job.collection is not None
    progress = _Progress(job, Action.VIEW)
    places = allowed(_rights(job), Action.MANAGE, job.collection)
    options = {name: job.parameters.get(name) for name in ("originals", "only")}
    with tempfile.TemporaryFile() as target:
        work = Export(job.collection, lambda: _rights(job), **options)  # type: ignore[arg-type]
        progress.save(done=0)
        done = work.write(target, progress)
        if not done.ids or target.seek(0, 2) > EXPORT_BYTES * 5 // 4:
            raise TransferRefused("export_failed", _("There is no picture to export, or too many."))
        faultpoint("before_export_put")
        key = storage.new_key("exports", ".zip")
        storage.put(key, target, ZIP)
    storage.put(_ids_key(key), io.BytesIO(done.ids.tobytes()), "application/octet-stream")
    faultpoint("after_export_put")
    name = f"{job.collection.name[:80]} {timezone.localdate():%Y-%m-%d}.zip"
    fields = {"summary": done.counts, "errors": done.errors, "done": len(done.ids), "total": len(done.ids)}
    kept = {"result_key": key, "result_name": name, "expires_at": timezone.now() + KEPT}
    try:
        _save(job, **_over(parameters={**job.parameters, "places": places}, **fields, **kept))
    except (Cancelled, leases.LostLease):
        _delete_result(key)
        raise


# ── Clean-up ────────────────────────────────────────────────────────────────────────────────────────────────────


def clean() -> int:
    """Delete expired results, archives that were imported, and what crashes left behind; returns how many objects."""
    now, jobs = timezone.now(), Job.objects.filter(kind__in=KINDS)
    count = 0
    for job in jobs.exclude(result_key="").filter(expires_at__lt=now)[:PAGE]:
        Job.objects.filter(pk=job.pk).update(result_key="")
        _delete_result(job.result_key)
        count += 1
    failed = Q(state=JobState.FAILED, finished_at__lt=now - KEPT)
    over = Q(state__in=(JobState.DONE, JobState.CANCELLED)) | failed
    for job in jobs.exclude(source_key="").filter(over)[:PAGE]:
        Job.objects.filter(pk=job.pk).update(source_key="")
        storage.delete(job.source_key)
        count += 1
    return count + _delete_strays()


def _delete_result(key: str) -> None:
    storage.delete(key)
    storage.delete(_ids_key(key))


def _delete_strays() -> int:
    """Objects that no job names and that are too old to be on their way into one."""
    count = 0
    for prefix, column in (("imports/", "source_key"), ("exports/", "result_key")):
        old = [e.key for e in storage.list(prefix) if e.modified < timezone.now() - STRAY]
        for start in range(0, len(old), PAGE):
            page = old[start : start + PAGE]
            names = {key.removesuffix(".ids") for key in page}
            known = set(Job.objects.filter(**{f"{column}__in": names}).values_list(column, flat=True))
            for key in page:
                if key.removesuffix(".ids") not in known:
                    storage.delete(key)
                    count += 1
    return count
