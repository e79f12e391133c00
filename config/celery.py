import os
from typing import Any

from celery import Celery
from celery.signals import setup_logging

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

app = Celery("loupe")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(["workers"])


@app.on_after_configure.connect
def _schedules(sender: Celery, **kwargs: Any) -> None:
    from workers import schedules

    sender.conf.task_queues = schedules.QUEUES
    sender.conf.task_routes = schedules.ROUTES
    sender.conf.beat_schedule = schedules.BEAT
    sender.conf.task_default_queue = "interactive"


@app.on_after_finalize.connect
def _idle(sender: Celery, **kwargs: Any) -> None:
    from workers import idle  # noqa: F401  (connects the loop that works without a broker)


@setup_logging.connect
def _keep_our_logging(**kwargs: Any) -> None:
    """Celery asks before it replaces the root logger's handlers: structlog's stay."""
