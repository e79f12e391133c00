"""The real Celery application as `celery -A tests.faults.worker worker` runs it, with waits of seconds.

FAULTS_ENCODER=pixels puts a picture's coarse pixels in the model's place: a worker that is killed every other second
must not spend its life importing torch. The long runs use the model.
"""

# ruff: noqa: E402
from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import timedelta
from functools import lru_cache
from typing import Any

import django
import numpy as np
from PIL import Image as Picture

from config.celery import app

django.setup()

from images import leases, processing, sandbox
from search import embedding, encoders
from workers import idle

__all__ = ["app", "pixel_encoder"]
SIDE = 16


class PixelEncoder:
    """A fixed random projection of the picture at 16 × 16 px, in the space of the model `name`."""

    def __init__(self, name: str) -> None:
        identity = encoders.identify(name)
        self.sha256, self.dimension = identity.sha256, identity.dimension
        self.geometry = encoders.model_files(encoders.spec_for(name)).geometry
        self.matrix = np.random.default_rng(1).standard_normal((SIDE * SIDE * 3, self.dimension))

    def encode_images(self, images: Sequence[Picture.Image]) -> np.ndarray:
        small = [
            np.asarray(image.resize((SIDE, SIDE), Picture.Resampling.BOX), dtype=np.float32)
            for image in images
        ]
        vectors = (np.stack(small).reshape(len(small), -1) / 127.5 - 1) @ self.matrix
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@lru_cache(maxsize=1)
def pixel_encoder(name: str) -> Any:
    return PixelEncoder(name)


def hostile_pool() -> sandbox.SandboxPool:
    return sandbox.SandboxPool(2, seconds=2.0, memory_bytes=1 << 30, module="tests.faults.hostile_decoder")


if os.environ.get("FAULTS_WAITS") == "short":
    leases.LEASE, leases.OUTAGE_DELAY = timedelta(seconds=2), timedelta(seconds=1)
    leases.BACKOFF, idle.IDLE_SECONDS = timedelta(seconds=0.5), 0.4
if os.environ.get("FAULTS_ENCODER") == "pixels":
    embedding.get_encoder = pixel_encoder
if os.environ.get("FAULTS_DECODER") == "hostile":
    processing.pool = lru_cache(maxsize=1)(hostile_pool)
