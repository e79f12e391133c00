"""What another app adds to imports and exports: the search app brings the vectors, which this app does not know."""

from __future__ import annotations

from collections.abc import Sequence
from typing import IO, Any, Protocol
from uuid import UUID

from images.access import Principal
from images.ingest import UploadRefused
from images.models import Collection, Image


class QueryRefused(UploadRefused):
    """The query of an export cannot be answered; `pointer` names its field."""


class Restorer(Protocol):
    def restore(self, images: Sequence[tuple[Image, str]]) -> int:
        """Give images what the archive holds for the exported ids beside them; returns for how many."""

    def close(self) -> None: ...


class Companion(Protocol):
    def select(self, query: dict[str, Any], principal: Principal, collection: Collection) -> list[int]:
        """Row ids of what a search finds in the collection. Raises QueryRefused."""

    def write(
        self, collection: Collection, images: Sequence[tuple[int, UUID]], target: IO[bytes]
    ) -> dict[str, Any] | None:
        """Write what there is for these (row id, public id), describe it for the manifest; None: nothing written."""

    def restorer(self, collection: Collection, described: dict[str, Any], file: IO[bytes]) -> Restorer | None:
        """What reads it again; None where it does not fit this server (another model) or is damaged."""


VECTORS = "vectors.npy"
_companions: list[Companion] = []


def register(companion: Companion) -> None:
    _companions[:] = [companion]


def companion() -> Companion | None:
    return _companions[0] if _companions else None
