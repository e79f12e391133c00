"""Queues and the clock. Four queues, so that no bulk import delays a single upload:

interactive   one person waits: process, embed          ┐ the embedding worker
bulk          imports, what is left over                ┘
index         merges and rebuilds                       ┐ the index worker
maintenance   sweep, clean-up, archives, webhooks       ┘
"""

from typing import Any

from kombu import Exchange, Queue

QUEUES = [
    Queue(name, Exchange(name), routing_key=name) for name in ("interactive", "bulk", "index", "maintenance")
]

ROUTES = {
    "workers.tasks.process": {"queue": "interactive"},
    "workers.tasks.embed": {"queue": "interactive"},
    "workers.tasks.build_indexes": {"queue": "index"},
    "workers.tasks.deliver_webhooks": {"queue": "maintenance"},
    "workers.tasks.transfer_archives": {"queue": "maintenance"},
    "workers.tasks.sweep": {"queue": "maintenance"},
    "workers.tasks.clean": {"queue": "maintenance"},
}

# A message that waited longer than its period is worth nothing: the next one says the same.
BEAT: dict[str, dict[str, Any]] = {
    "sweep": {"task": "workers.tasks.sweep", "schedule": 15.0, "options": {"expires": 15}},
    "clean": {"task": "workers.tasks.clean", "schedule": 600.0, "options": {"expires": 600}},
}

LANES = {
    "interactive": ("process", "embed"),
    "bulk": ("process", "embed"),
    "index": ("build_indexes",),
    "maintenance": ("transfer", "webhooks", "live_recall"),
}
# Looked after by a thread of its own: a message to another server waits for no build and no archive.
BESIDE = ("webhooks",)
IDLE_SECONDS = 5.0
