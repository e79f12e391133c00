"""What can go wrong in the index. The docstring says it to an operator; the message names the field or file."""

from __future__ import annotations


class IndexFault(Exception):
    """Base of every error that the index raises on purpose."""


class DamagedSegment(IndexFault):
    """The file is not the one that was built: checksum, size or layout differ. It was not handed to the engine."""


class ForeignManifest(IndexFault):
    """The manifest holds something that this version did not write."""


class WrongDimension(IndexFault):
    """A vector has another number of components than the space."""


class NotFinite(IndexFault):
    """A vector holds NaN or infinity."""


class UnorderedIds(IndexFault):
    """Row ids must rise strictly: an id occurs twice or out of order."""


class BadParameters(IndexFault):
    """An index kind or one of its parameters is unknown or out of range."""


class BuildFailed(IndexFault):
    """What came back from storage does not answer like what was built."""


class BuildCancelled(IndexFault):
    """Somebody cancelled the build while it ran."""


class NothingToRollBackTo(IndexFault):
    """No earlier generation of this collection is kept."""
