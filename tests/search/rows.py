"""Rows as the embedding worker leaves them, without a model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from django.db import transaction
from django.utils import timezone

from images.models import Collection, Image
from search import index
from search.models import Embedding, Space


def finish(
    collection: Collection, images: Sequence[Image], vectors: Sequence[np.ndarray], space: Space
) -> None:
    """A finished embedding for each image, with its place in the collection's order."""
    with transaction.atomic():
        first = index.hand_out_seq(collection.pk, len(images))
        Embedding.objects.bulk_create(
            Embedding(
                image=image,
                collection=collection,
                space=space,
                state="done",
                vector=np.asarray(vector, "<f2").tobytes(),
                seq=seq,
                embedded_at=timezone.now(),
            )
            for seq, (image, vector) in enumerate(zip(images, vectors, strict=True), first)
        )
