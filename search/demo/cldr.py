"""Names from Unicode's CLDR (Debian's package unicode-cldr-core): texts about things that the world does not have."""

import re
from functools import lru_cache
from pathlib import Path
from xml.etree import ElementTree

COMMON = Path("/usr/share/unicode/cldr/common")
NAMED = ("territory", "language", "script", "currency", "variant")


class MissingNames(RuntimeError):
    """Unicode's names are not installed: install Debian's package unicode-cldr-core."""


@lru_cache(maxsize=8)
def names(language: str) -> tuple[str, ...]:
    """All names and keywords of pictograms, territories, languages, scripts and currencies, lower case."""
    found: set[str] = set()
    try:
        annotations = ElementTree.parse(COMMON / "annotations" / f"{language}.xml").getroot()  # noqa: S314 - from Debian
        main = ElementTree.parse(COMMON / "main" / f"{language}.xml").getroot()  # noqa: S314
    except OSError as error:
        raise MissingNames(MissingNames.__doc__) from error
    for node in annotations.iter("annotation"):
        found.update(part.strip() for part in (node.text or "").split("|"))
    for kind in NAMED:
        found.update((node.text or "").strip() for node in main.iter(kind))
    found.update((node.text or "").strip() for node in main.iter("displayName"))
    wanted = (
        name.lower()
        for name in found
        if re.search(r"[^\W\d_]{3}", name) and len(name) <= 40 and "{" not in name
    )
    return tuple(sorted(set(wanted)))


def unknown_names(language: str, known: frozenset[str], avoid: frozenset[str]) -> tuple[str, ...]:
    """The names without any known word, and without the texts in `avoid` that evaluation keeps for itself."""
    barred = known | avoid
    return tuple(
        name for name in names(language) if name not in barred and not barred & set(re.findall(r"\w+", name))
    )
