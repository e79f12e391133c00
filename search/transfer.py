"""Vectors in exports and imports: a collection comes back as it was, without its pictures being embedded again.

`vectors.npy` holds float16 [n, d] of unit norm, bit by bit as stored; the manifest names the space and, row by row, the
exported picture. They are used where the collection's space has the same SHA-256, and never instead of a vector that
is there.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from typing import IO, Any
from uuid import UUID

import numpy as np
import structlog
from django.db import transaction
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext as _

from images.access import Principal
from images.companions import VECTORS, QueryRefused, register
from images.models import Collection, Image, ImageState
from images.signals import image_ready
from search import engine, index
from search.encoders import EncoderError
from search.models import CollectionIndex, Embedding, EmbeddingState, Space
from search.query import QueryError, UploadedImagePart, from_json
from search.retrieval import SpaceUnavailable
from search.signals import vectors_changed

log = structlog.get_logger(__name__)
PAGE = 2000
SPOOL_BYTES = 8 * 1024**2
DTYPE = np.dtype("<f2")
NORM_TOLERANCE = 0.01
IDENTITY = ("name", "revision", "sha256", "dimension", "preprocessing")


class Vectors:
    """What `images.companions` asks for."""

    def select(self, query: dict[str, Any], principal: Principal, collection: Collection) -> list[int]:
        """Row ids of everything that the search finds, in this collection alone."""
        try:
            asked = from_json(query)
            if any(isinstance(part, UploadedImagePart) for part in (*asked.parts, *asked.negatives)):
                raise QueryError(
                    "/query", _("An export's query takes texts and pictures that are here already.")
                )
            return engine.found_ids(replace(asked, collections=(collection.uid,), cursor=None), principal)
        except QueryError as error:
            raise QueryRefused("invalid", error.message, error.status, f"/query{error.pointer}") from error
        except (SpaceUnavailable, EncoderError) as error:
            raise QueryRefused("model_unavailable", str(error), 503, "/query") from error

    def write(
        self, collection: Collection, images: Sequence[tuple[int, UUID]], target: IO[bytes]
    ) -> dict[str, Any] | None:
        row = CollectionIndex.objects.filter(collection=collection).select_related("space").first()
        if row is None:
            return None
        with tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES) as raw:
            ids = _collect(images, row.space, raw)
            header = {"descr": DTYPE.str, "fortran_order": False, "shape": (len(ids), row.space.dimension)}
            np.lib.format.write_array_header_1_0(target, header)
            raw.seek(0)
            shutil.copyfileobj(raw, target)
        space = {name: getattr(row.space, name) for name in IDENTITY}
        return {"file": VECTORS, "dtype": "float16", "count": len(ids), "space": space, "ids": ids}

    def restorer(self, collection: Collection, described: dict[str, Any], file: IO[bytes]) -> Restorer | None:
        try:
            return Restorer(collection, described, file)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, EncoderError) as error:
            log.warning("vectors_not_used", collection=str(collection.uid), reason=str(error)[:200])
            file.close()
            return None


class Restorer:
    """Reads vectors of an export by the ids of its manifest. Raises ValueError, TypeError, KeyError where the file is
    not what the manifest says, or of a model that this collection does not use."""

    def __init__(self, collection: Collection, described: dict[str, Any], file: IO[bytes]) -> None:
        self.collection, self.file = collection, file
        self.space = _space(collection, described["space"]["sha256"])
        self.width = self.space.dimension * DTYPE.itemsize
        ids = described["ids"]
        if _sha256(file) != described["sha256"]:
            raise ValueError("the checksum differs")
        self.start = _data_start(file, (len(ids), self.space.dimension))
        self.rows = {str(one): place for place, one in enumerate(ids)}
        if len(self.rows) != len(ids):
            raise ValueError("an id is there twice")

    def restore(self, images: Sequence[tuple[Image, str]]) -> int:
        """Pictures that are ready are found by the next query; the others as soon as they are."""
        raw = {image.pk: self._read(row_id) for image, row_id in images if row_id in self.rows}
        vectors = {pk: data for pk, data in raw.items() if data is not None}
        if not vectors:
            return 0
        with transaction.atomic():
            count = self._write(vectors)
        vectors_changed.send(Embedding, kind="index", bulk=True)
        return count

    def close(self) -> None:
        self.file.close()

    def _read(self, row_id: str) -> bytes | None:
        """One stored vector; None where it is no unit vector."""
        self.file.seek(self.start + self.rows[row_id] * self.width)
        data = self.file.read(self.width)
        norm = float(np.linalg.norm(np.frombuffer(data, DTYPE).astype(np.float64)))
        return data if abs(norm - 1.0) <= NORM_TOLERANCE else None

    def _write(self, vectors: dict[int, bytes]) -> int:
        """Locks: images, the index row, embeddings, in the order in which processing takes them: a picture cannot
        become ready between our look at it and our commit."""
        rows = Image.objects.select_for_update().filter(pk__in=vectors, collection=self.collection)
        states = dict(rows.order_by("pk").values_list("pk", "state"))
        ready = [pk for pk, state in states.items() if state == ImageState.READY]
        first = index.hand_out_seq(self.collection.pk, len(ready)) if ready else 0
        places = {pk: first + number for number, pk in enumerate(ready)}
        Embedding.objects.bulk_create(
            [
                Embedding(image_id=pk, collection=self.collection, space=self.space, bulk=True)
                for pk in states
            ],
            ignore_conflicts=True,
        )
        return sum(self._finish(pk, vectors[pk], places.get(pk)) for pk in states)

    def _finish(self, pk: int, data: bytes, seq: int | None) -> int:
        """A worker that is embedding the picture at this moment loses its lease."""
        waiting = Embedding.objects.filter(image=pk, space=self.space).exclude(state=EmbeddingState.DONE)
        return waiting.update(
            state=EmbeddingState.DONE,
            vector=data,
            seq=seq,
            embedded_at=timezone.now(),
            fence=F("fence") + 1,
            lease_until=None,
            not_before=None,
            error="",
        )


def connect() -> None:
    register(Vectors())
    image_ready.connect(_ready, dispatch_uid="search.transfer.image_ready")


def _ready(sender: object, image: Image, **kwargs: Any) -> None:
    """A vector that was here before its picture was checked takes its place in the collection's order now."""
    early = Embedding.objects.filter(image=image, state=EmbeddingState.DONE, seq__isnull=True)
    if early.exists():
        index.adopt(early)
        vectors_changed.send(Embedding, kind="index", bulk=True)


def _collect(images: Sequence[tuple[int, UUID]], space: Space, raw: IO[bytes]) -> list[str]:
    """Write what vectors there are; returns the public ids in their order."""
    ids: list[str] = []
    for start in range(0, len(images), PAGE):
        page = images[start : start + PAGE]
        found = index.vectors([pk for pk, _uid in page], space)
        for pk, uid in page:
            if pk in found:
                raw.write(found[pk].astype(DTYPE).tobytes())
                ids.append(str(uid))
    return ids


def _space(collection: Collection, sha256: str) -> Space:
    row = index.ensure_index(collection)
    space = next((one for one in (row.space, row.next_space) if one and one.sha256 == sha256), None)
    if space is None:
        raise ValueError("the vectors are of another model")
    return space


def _sha256(file: IO[bytes]) -> str:
    file.seek(0)
    digest = hashlib.sha256()
    while chunk := file.read(1024**2):
        digest.update(chunk)
    return digest.hexdigest()


def _data_start(file: IO[bytes], shape: tuple[int, int]) -> int:
    """Where the numbers begin in a .npy file. Raises ValueError unless it holds exactly float16 of this shape."""
    file.seek(0)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("not a .npy file of version 1.0")
    found, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    start = file.tell()
    size = file.seek(0, 2) - start
    if (found, fortran, dtype) != (shape, False, DTYPE) or size != shape[0] * shape[1] * DTYPE.itemsize:
        raise ValueError(f"the vectors are not float16 {shape}")
    return start
