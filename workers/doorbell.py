"""Ring after commit: "there is work of this kind". A bell that cannot ring costs latency, never work."""

import structlog
from django.db import transaction

from images.faults import faultpoint
from images.signals import deliveries_changed, images_changed, transfers_changed
from search.signals import vectors_changed

log = structlog.get_logger(__name__)


def connect() -> None:
    images_changed.connect(_images, dispatch_uid="workers.doorbell.images")
    vectors_changed.connect(_vectors, dispatch_uid="workers.doorbell.vectors")
    deliveries_changed.connect(_deliveries, dispatch_uid="workers.doorbell.deliveries")
    transfers_changed.connect(_transfers, dispatch_uid="workers.doorbell.transfers")


def ring(task_name: str, queue: str) -> None:
    """Publish once the surrounding transaction is committed; a broker that is away is logged and left to the sweep."""
    transaction.on_commit(lambda: _publish(task_name, queue))


def _publish(task_name: str, queue: str) -> None:
    from celery import current_app

    faultpoint("before_bell")
    try:
        current_app.send_task(task_name, queue=queue, ignore_result=True)
    except Exception as error:  # noqa: BLE001  (any transport's errors: the row waits, the sweep finds it)
        log.warning("doorbell_silent", task=task_name, error=str(error))


def _images(sender: object, bulk: bool = False, **kwargs: object) -> None:
    ring("workers.tasks.process", "bulk" if bulk else "interactive")


def _vectors(sender: object, kind: str, bulk: bool = False, **kwargs: object) -> None:
    if kind == "index":
        ring("workers.tasks.build_indexes", "index")
    else:
        ring("workers.tasks.embed", "bulk" if bulk else "interactive")


def _deliveries(sender: object, **kwargs: object) -> None:
    ring("workers.tasks.deliver_webhooks", "maintenance")


def _transfers(sender: object, **kwargs: object) -> None:
    ring("workers.tasks.transfer_archives", "maintenance")
