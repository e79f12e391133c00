"""From stored bytes to a checked picture: claimed rows go through a killable decoder, outcomes are fenced.

Threads fetch, decode and store renditions; the database is spoken to by the calling thread alone, so a worker holds one
connection however many pictures it has in hand.
"""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import structlog
from django.conf import settings
from django.db import InterfaceError, OperationalError, transaction
from django.db.models import DateTimeField, Value
from django.db.models.functions import Coalesce
from django.utils import timezone

from images import leases, refusals, storage
from images.faults import faultpoint
from images.models import Image, ImageState
from images.outcome import Limits, Outcome, Rejected
from images.sandbox import SandboxError, SandboxPool
from images.signals import image_failed, image_ready, images_changed

log = structlog.get_logger(__name__)
BATCH = 8  # what a single upload may have to wait for while an import goes on
STRAGGLER_SECONDS = 1.0
# Pictures in hand for each decoding child: while one is decoded, another comes from storage or goes there.
IN_HAND = 2


class DamagedInStorage(Exception):
    """The stored object is not what was uploaded."""


@dataclass(frozen=True)
class Checked:
    """What a picture turned out to be, with its renditions already in storage under `keys`."""

    outcome: Outcome
    keys: dict[str, str]
    seconds: float


def process_pending(limit: int = BATCH) -> int:
    """Claim waiting images and decode them, as many at once as there are decoding children, while others are fetched
    and stored. Returns how many were claimed: 0 means that the queue is empty.

    A file that keeps a child busy does not hold up the others: the free children go on with what waits.
    """
    rows = _claim(limit)
    with leases.kept(rows), ThreadPoolExecutor(settings.DECODE_PROCESSES * IN_HAND) as threads:
        pending = _submit(threads, rows)
        while pending:
            finished, _rest = wait(pending, STRAGGLER_SECONDS, FIRST_COMPLETED)
            for future in finished:
                _settle(pending.pop(future), future.result)
            if not finished and len(pending) < settings.DECODE_PROCESSES:
                more = _claim(limit)
                rows += more
                pending |= _submit(threads, more)
    return len(rows)


def _claim(limit: int) -> list[Image]:
    waiting = Image.objects.present().select_related("collection")
    reason = refusals.FAILED
    for dead in leases.due(waiting).filter(attempts__gte=leases.MAX_DEATHS)[:limit]:
        _fail(dead, reason, reason, permanent=True)
    fresh, tried = leases.claim_batch(waiting, limit, "collection__team", exhausted=reason, reason=reason)
    faultpoint("after_claim")
    return fresh + tried


def _submit(threads: ThreadPoolExecutor, rows: Iterable[Image]) -> dict[Future[Checked], Image]:
    return {threads.submit(_check, image): image for image in rows}


def process(image: Image) -> None:
    """Decode one claimed image and write the outcome; every failure is recorded on the row."""
    _settle(image, lambda: _check(image))


def _check(image: Image) -> Checked:
    """Everything that needs no database."""
    started = time.monotonic()
    outcome = _decode(image)
    keys = {}
    for name, rendition in (("preview", outcome.preview), ("thumbnail", outcome.thumbnail)):
        keys[name] = storage.new_key(f"renditions/{name}", ".jpg")
        storage.put(keys[name], io.BytesIO(rendition.data), rendition.content_type)
    faultpoint("after_renditions")
    return Checked(outcome, keys, time.monotonic() - started)


def _decode(image: Image) -> Outcome:
    """Raises DamagedInStorage unless the stored bytes have the SHA-256 of those that were uploaded."""
    local = storage.local_path(image.original_key)
    with storage.open(image.original_key) as file:
        content = b"" if local else file.read()
        digest = hashlib.sha256(content) if not local else hashlib.file_digest(file, "sha256")  # type: ignore[arg-type]
    if digest.hexdigest() != image.sha256:
        raise DamagedInStorage
    return pool().process(local or content)


def _settle(image: Image, checked: Callable[[], Checked]) -> None:
    """Write what became of one picture. A database that is away ends the batch: the leases run out."""
    try:
        _finish(image, checked())
    except Rejected as fault:
        _reject(image, fault.message)
    except DamagedInStorage:
        _reject(image, refusals.DAMAGED)
    except storage.ObjectMissing:
        _reject(image, refusals.GONE)
    except leases.LostLease:
        log.info("lease_lost", image=str(image.uid))
    except SandboxError as fault:
        _try_again(image, str(fault), permanent=fault.permanent)
    except (storage.StorageUnavailable, OSError) as fault:
        leases.postpone(image, str(fault))
        log.warning("storage_unavailable", image=str(image.uid), error=str(fault))
    except (OperationalError, InterfaceError):
        raise
    except Exception as fault:  # one picture's surprise must not stop the others
        log.exception("check_failed", image=str(image.uid))
        _try_again(image, f"{type(fault).__name__}: {fault}", permanent=False)


def retry(images: Any) -> int:
    """Put refused images (a queryset) back into the queue, attempts forgotten."""
    count = leases.retry(images)
    images.filter(state=ImageState.STORED).update(reason="")
    images_changed.send(Image, bulk=count > 1)
    return count


@lru_cache(maxsize=1)
def pool() -> SandboxPool:
    """This process's decoding children, started on first use and reused."""
    limits = Limits(settings.MAX_UPLOAD_BYTES, settings.MAX_PIXELS, settings.ALLOW_TIFF)
    return SandboxPool(settings.DECODE_PROCESSES, limits=limits)


def close_pool() -> None:
    """End the decoding children (a worker that shuts down); the next picture starts new ones."""
    if pool.cache_info().currsize:
        pool().close()
        pool.cache_clear()


def _finish(image: Image, checked: Checked) -> None:
    """Write everything learnt in one fenced transaction that also tells listeners.

    Files are deleted only where it is certain that no row names them: after any other failure (a commit whose answer
    was lost) they stay as strays for `manage.py reconcile`.
    """
    replaced = [key for key in (image.preview_key, image.thumbnail_key) if key]
    try:
        with transaction.atomic():
            leases.finish(image, **_facts(checked))
            # Whoever moved or edited the picture meanwhile has committed, or waits for us: its row is locked by now.
            image.refresh_from_db(fields=["collection", "taken_at"])
            image_ready.send(Image, image=image)
            faultpoint("before_ready_commit")
    except leases.LostLease:
        _discard(checked.keys.values())
        raise
    _discard(replaced)
    log.info("checked", image=str(image.uid), ms=round(checked.seconds * 1000))


def _discard(keys: Iterable[str]) -> None:
    for key in keys:
        try:
            storage.delete(key)
        except storage.StorageUnavailable as error:
            log.warning("stray_left", key=key, error=str(error))


def _facts(checked: Checked) -> dict[str, Any]:
    outcome, keys = checked.outcome, checked.keys
    return {
        "state": ImageState.READY,
        "reason": "",
        "processed_at": timezone.now(),
        "content_type": outcome.content_type,
        "width": outcome.width,
        "height": outcome.height,
        "preview_key": keys["preview"],
        "thumbnail_key": keys["thumbnail"],
        "rendition_type": outcome.thumbnail.content_type,
        "preview_width": outcome.preview.width,
        "preview_height": outcome.preview.height,
        "thumbnail_width": outcome.thumbnail.width,
        "thumbnail_height": outcome.thumbnail.height,
        "taken_at": Coalesce("taken_at", Value(outcome.taken_at, DateTimeField())),
        "quality": outcome.quality,
        "quality_parts": outcome.quality_parts,
        "phash": outcome.phash,
        "colours": outcome.colours,
        "exif": outcome.exif,
        "gps": outcome.gps,
        "holds_place": outcome.holds_place,
    }


def _reject(image: Image, reason: str) -> None:
    _fail(image, reason, reason, permanent=True)
    log.info("refused", image=str(image.uid), reason=reason)


def _try_again(image: Image, error: str, *, permanent: bool) -> None:
    if _fail(image, error, refusals.FAILED, permanent=permanent):
        log.warning("quarantined", image=str(image.uid), error=error)


def _fail(image: Image, error: str, reason: str, *, permanent: bool) -> bool:
    """`leases.fail`, told to listeners in the same transaction where the picture is refused for good."""
    with transaction.atomic():
        refused = leases.fail(
            image, error, permanent=permanent, reason=reason[:300], processed_at=timezone.now()
        )
        mine = Image.objects.filter(pk=image.pk, fence=image.fence, state=ImageState.REJECTED)
        if refused and mine.exists():
            image_failed.send(Image, image=image, reason=reason)
    return refused
