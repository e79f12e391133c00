"""A process that changes a collection without pause: `python -m tests.faults.changing COLLECTION LOG`.

Uploads (rows and vectors as the embedding worker leaves them), trashes, hides, empties the trash and rebuilds the index
until it is killed; one line in LOG for each change.
"""

# ruff: noqa: E402
from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import django

django.setup()

import numpy as np
from django.db import transaction

from images import moderation
from images.models import Collection, Image
from search import encoders, index
from search.models import Embedding, Space
from tests.search.axes import NAME, WORDS, AxesEncoder, vector
from tests.search.rows import finish

LEAST, MOST = 150, 450  # below the depth of a search, so that a list holds everything


def register() -> None:
    encoders.REGISTRY[NAME] = encoders.replace(encoders.DEMO, name=NAME)
    encoders._encoders[NAME] = AxesEncoder()


def upload(collection: Collection, space: Space, words: list[str]) -> list[Image]:
    """Pictures of one word each, placed in the collection's order."""
    known = {
        "byte_size": 1,
        "state": "ready",
        "width": 48,
        "height": 32,
        "quality": 0.7,
        "file_name": "picture.jpg",
    }
    with transaction.atomic():
        rows = Image.objects.bulk_create(
            Image(collection=collection, sha256=f"{uuid4().int:064x}", **known) for _word in words
        )
        Embedding.objects.filter(image__in=rows).delete()
        shown = [vector(word, noise=0.6, seed=row.pk) for row, word in zip(rows, words, strict=True)]
        finish(collection, rows, shown, space)
    return rows


def change(collection: Collection, space: Space, noise: np.random.Generator) -> str:
    there = list(Image.objects.searchable().filter(collection=collection).values_list("pk", flat=True))
    action = noise.choice(["upload", "trash", "hide", "empty", "merge"], p=[0.45, 0.25, 0.15, 0.05, 0.1])
    if action == "merge":
        index.request_rebuild(collection)
        index.build_due()
    elif action == "empty":
        moderation.empty_trash(timedelta(0))
    elif len(there) < LEAST or (action == "upload" and len(there) < MOST):
        upload(collection, space, list(noise.choice(WORDS, int(noise.integers(1, 12)))))
        action = "upload"
    else:
        image = Image.objects.select_related("collection").get(pk=int(noise.choice(there)))
        if action == "hide":
            moderation.decide(image, "hide", None, "test")
        else:
            moderation.trash(image, None)
            action = "trash"
    return str(action)


def main() -> None:
    register()
    collection, noise = Collection.objects.get(pk=int(sys.argv[1])), np.random.default_rng(3)
    space = Space.objects.get(name=NAME)
    with Path(sys.argv[2]).open("w", buffering=1) as log:
        while True:
            log.write(change(collection, space, noise) + "\n")


if __name__ == "__main__":
    main()
