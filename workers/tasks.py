"""Tasks only call and, where more is left, ring again: rows carry the work, leases guard it."""

from celery import shared_task

from images import direct, moderation, transfer, webhooks
from search import embedding, index
from workers import doorbell, lanes


@shared_task
def process() -> None:
    if lanes.step("process"):
        doorbell.ring("workers.tasks.process", "bulk")


@shared_task
def embed() -> None:
    if lanes.step("embed"):
        doorbell.ring("workers.tasks.embed", "bulk")


@shared_task
def build_indexes() -> None:
    if lanes.step("build_indexes"):
        doorbell.ring("workers.tasks.build_indexes", "index")


@shared_task
def deliver_webhooks() -> None:
    if lanes.step("webhooks"):
        doorbell.ring("workers.tasks.deliver_webhooks", "maintenance")


@shared_task
def transfer_archives() -> None:
    if lanes.step("transfer"):
        doorbell.ring("workers.tasks.transfer_archives", "maintenance")


@shared_task
def sweep() -> None:
    embedding.enlist_missing(uploaded_after=embedding.recently())
    doorbell.ring("workers.tasks.process", "bulk")
    doorbell.ring("workers.tasks.embed", "bulk")
    doorbell.ring("workers.tasks.build_indexes", "index")


@shared_task
def clean() -> None:
    moderation.empty_trash()
    transfer.clean()
    direct.clean()
    embedding.enlist_missing()
    index.collect_garbage()
    webhooks.forget_old()
