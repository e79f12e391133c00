"""Sets of positions of a segment. Pure."""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Bitmap:
    """A set of positions of one segment, packed one bit each (least significant bit first)."""

    bits: np.ndarray
    count: int

    @classmethod
    def from_mask(cls, mask: np.ndarray) -> Bitmap:
        """`mask`: bool [n]."""
        return cls(np.packbits(mask, bitorder="little"), int(np.count_nonzero(mask)))


def mask_of(sorted_ids: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """bool [n]: which of the rising `sorted_ids` occur in `wanted` (any order, unknown ids ignored)."""
    if not len(sorted_ids) or not len(wanted):
        return np.zeros(len(sorted_ids), dtype=bool)
    low, high = int(sorted_ids[0]), int(sorted_ids[-1])
    if high - low < max(65_536, 16 * len(sorted_ids)):
        table = np.zeros(high - low + 1, dtype=bool)
        offsets = wanted - low
        table[offsets[(offsets >= 0) & (offsets <= high - low)]] = True
        return table[sorted_ids - low]
    return np.isin(sorted_ids, wanted)


def occurs(sorted_ids: np.ndarray, wanted: np.ndarray) -> bool:
    """Whether any of `wanted` is among the rising `sorted_ids`; in a time that hardly depends on how many those are."""
    if not len(sorted_ids):
        return False
    at = np.minimum(np.searchsorted(sorted_ids, wanted), len(sorted_ids) - 1)
    return bool((sorted_ids[at] == wanted).any())


class Masks:
    """Masks of allowed sets that come again with the next query of the same filter. Thread-safe.

    A set is known by its array alone, so only arrays that cannot be written to are remembered; whoever lists the
    allowed rows anew (another filter, other rights, other pictures) comes with another array.
    """

    def __init__(self, most: int = 32) -> None:
        self._most = most
        self._known: OrderedDict[tuple[int, int], tuple[weakref.ref, weakref.ref, np.ndarray]] = OrderedDict()
        self._guard = threading.Lock()

    def of(self, sorted_ids: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        """`mask_of`, remembered; not to be written to."""
        if wanted.flags.writeable or wanted.base is not None:
            return mask_of(sorted_ids, wanted)
        key = (id(sorted_ids), id(wanted))
        with self._guard:
            ids, known, mask = self._known.get(key, (None, None, None))
            if mask is not None and ids and known and ids() is sorted_ids and known() is wanted:
                self._known.move_to_end(key)
                return mask
        mask = mask_of(sorted_ids, wanted)
        mask.setflags(write=False)
        self._remember(key, (weakref.ref(sorted_ids), weakref.ref(wanted), mask))
        return mask

    def _remember(self, key: tuple[int, int], entry: tuple[weakref.ref, weakref.ref, np.ndarray]) -> None:
        with self._guard:
            self._known[key] = entry
            while len(self._known) > self._most:
                self._known.popitem(last=False)
