"""What the search page shows around an answer: chips, filters, examples, ways out, reasons. Reads, never decides."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.db.models import Count
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from images import moments
from images.access import Principal
from images.models import Collection, Image, Tag, User
from search import query_text
from search.engine import Result
from search.query import Filters, Part, Query, QueryError, StoredImagePart, TextPart, UploadedImagePart
from search.ranking import WEAK
from search.values import parse_moment, parse_number, show_number

# Parameters of the page itself, which are no part of the question.
OWN = frozenset({"live", "show", "divided", "saved", "csrfmiddlewaretoken"})
# Filters with a menu of their own; what else narrows a question is shown as a chip and travels in hidden fields.
MENUS = frozenset(
    {
        "q",
        "collections",
        "tags",
        "taken_after",
        "taken_before",
        "uploader",
        "orientation",
        "min_quality",
        "sort",
    }
)
QUALITIES = ("0.4", "0.6", "0.8")
MOST_COLLECTIONS = 200
MOST_TAGS = 40
MOST_PEOPLE = 50
RECENT = 300
EAGER = 12
BLANK = {"kind": "upload", "value": "", "label": "", "weight": 1.0, "negative": False, "typed": ""}


class Box:
    """The question in the address of a request, and everything that the page says about it."""

    def __init__(self, parameters: Mapping[str, Sequence[str]], principal: Principal) -> None:
        self.parameters = parameters
        self.principal = principal
        self.asked = any(text.strip() for text in parameters.get("q", ()))
        self.problem: QueryError | None = None
        self.base: Query | None = None
        if self.asked:
            try:
                self.base = replace(query_text.from_url(parameters, ignored=OWN), limit=50, explain=False)
            except QueryError as error:
                self.problem = error

    def first(self, name: str) -> str:
        return next((value for value in self.parameters.get(name, ()) if value.strip()), "")

    def query(self, **page: Any) -> Query:
        """The question to ask, for one page of its answer. Raises the QueryError that the address holds."""
        if self.base is None:
            raise self.problem or QueryError("/q", _("Say what to look for: a few words or a picture."))
        return replace(self.base, **page)

    # -- the address ------------------------------------------------------------------------------------------

    @cached_property
    def pairs(self) -> list[tuple[str, str]]:
        """The question as parameters of an address, without what belongs to one page of its answer."""
        if self.base is not None:
            return query_text.to_url(replace(self.base, cursor=None))
        names = [name for name in self.parameters if name not in OWN | {"q", "cursor"}]
        return [(name, value) for name in names for value in self.parameters[name] if value.strip()]

    @property
    def address(self) -> str:
        pairs = self.pairs if self.problem is None else [("q", self.rest), *self.pairs]
        return address_of(pairs)

    @property
    def parameters_only(self) -> str:
        """What stands behind the question mark of the address."""
        return self.address.partition("?")[2]

    @property
    def question(self) -> str:
        """One line for the title of the page."""
        return " ".join(("−" if part["negative"] else "") + part["label"] for part in self.parts) or self.rest

    # -- chips ------------------------------------------------------------------------------------------------

    @property
    def rest(self) -> str:
        """What stays in the text field: everything, where it could not be read."""
        return " ".join(self.parameters.get("q", ())).strip() if self.problem else ""

    @cached_property
    def parts(self) -> list[dict[str, Any]]:
        if self.base is None:
            return []
        titles = self._titles()
        signed = [(part, False) for part in self.base.parts] + [(part, True) for part in self.base.negatives]
        return [_chip(part, negative, titles) for part, negative in signed]

    def _titles(self) -> dict[UUID, str]:
        assert self.base is not None
        every = (*self.base.parts, *self.base.negatives)
        uids = [part.image_id for part in every if isinstance(part, StoredImagePart)]
        found = Image.objects.visible_to(self.principal).filter(uid__in=uids) if uids else ()
        return {image.uid: str(image) for image in found}

    # -- filters ----------------------------------------------------------------------------------------------

    @cached_property
    def filters(self) -> dict[str, Any]:
        """The state of every menu."""
        given = dict(self.pairs)
        chosen = {
            name: [value for key, value in self.pairs if key == name] for name in ("collections", "tags")
        }
        quality = parse_number(given.get("min_quality", ""))
        return {
            **chosen,
            "taken_after": given.get("taken_after", ""),
            "taken_before": given.get("taken_before", ""),
            "uploader": given.get("uploader", ""),
            "orientation": given.get("orientation", ""),
            "min_quality": show_number(quality) if quality is not None else "",
            "sort": given.get("sort", "relevance"),
            "others": [self._other(name, value) for name, value in self.pairs if name not in MENUS],
            "any": any(name not in ("q", "sort") for name, _value in self.pairs),
            "clear_url": address_of([(name, value) for name, value in self.pairs if name in ("q", "sort")]),
        }

    def _other(self, name: str, value: str) -> dict[str, str]:
        rest = [pair for pair in self.pairs if pair != (name, value)]
        return {
            "name": name,
            "value": value,
            "label": f"{name.replace('_', ' ')}: {value}",
            "url": address_of(rest),
        }

    @cached_property
    def pills(self) -> dict[str, dict[str, Any]]:
        """The face of every menu: its icon, what it is set to, whether it narrows."""
        state = self.filters
        taken = _span(state["taken_after"], state["taken_before"])
        quality = parse_number(state["min_quality"])
        faces = {
            "collections": ("images", self._collection_label(), _("Collection")),
            "taken": ("calendar", taken, _("Date")),
            "tags": ("tag", ", ".join(state["tags"]), _("Tags")),
            "uploader": ("user", self._uploader_label(), _("Uploader")),
            "orientation": (
                "shape",
                dict(orientations()).get(state["orientation"], state["orientation"]),
                _("Shape"),
            ),
            "min_quality": (
                "star",
                _("Quality from %d %%") % (quality * 100) if quality else "",
                _("Quality"),
            ),
            "sort": (
                "sort",
                dict(sorts())[state["sort"]] if state["sort"] != "relevance" else "",
                _("Best match"),
            ),
        }
        return {
            name: {"name": name, "icon": icon, "label": said or unset, "on": bool(said)}
            for name, (icon, said, unset) in faces.items()
        }

    def _collection_label(self) -> str:
        uids = self.filters["collections"]
        if len(uids) != 1:
            return ngettext("%d collection", "%d collections", len(uids)) % len(uids) if uids else ""
        visible = Collection.objects.visible_to(self.principal)
        names = [one.name for one in visible if str(one.uid) == uids[0]]
        return names[0] if names else _("Unknown collection")

    def _uploader_label(self) -> str:
        asked = self.filters["uploader"]
        if not asked:
            return ""
        people = [str(one) for one in self._people() if str(one.uid) == asked]
        return people[0] if people else (_("Me") if asked == "me" else asked)

    def choices(self) -> dict[str, Any]:
        """What the menus offer: only what the reader may see."""
        tags = [tag for tag in self._tags() if tag not in self.filters["tags"]]
        visible = Collection.objects.visible_to(self.principal)
        return {
            "collections": [(str(one.uid), one) for one in visible.order_by("name")[:MOST_COLLECTIONS]],
            "tags": [*self.filters["tags"], *tags],
            "uploaders": [(str(one.uid), one) for one in self._people()],
            "orientations": [("", _("Any shape")), *orientations()],
            "qualities": [
                ("", _("Any quality")),
                *((one, _("From %d %%") % (float(one) * 100)) for one in QUALITIES),
            ],
            "sorts": sorts(),
        }

    def _tags(self) -> list[str]:
        searchable = Image.objects.visible_to(self.principal).searchable()
        used = Tag.objects.filter(images__in=searchable.values("pk")).values("name")
        return [row["name"] for row in used.annotate(n=Count("images")).order_by("-n", "name")[:MOST_TAGS]]

    def _people(self) -> list[User]:
        searchable = Image.objects.visible_to(self.principal).searchable()
        people = User.objects.filter(pk__in=searchable.order_by().values("uploader").distinct())
        return list(people.order_by("name", "email")[:MOST_PEOPLE])

    def examples(self, most: int = 6) -> list[str]:
        """Questions that this library can answer: titles and tags of its own pictures, spread over the recent ones."""
        searchable = Image.objects.visible_to(self.principal).searchable()
        titles = searchable.exclude(title="").order_by("-id").values_list("title", flat=True)[:RECENT]
        short = list(dict.fromkeys(title for title in titles if 6 <= len(title) <= 42))
        spread = short[:: max(1, len(short) // most)][:most]
        return spread or self._tags()[:most]

    def suggestions(self, most: int = 4) -> list[dict[str, str]]:
        """Other questions, for when there is nothing to take away from this one."""
        return [
            {"label": one, "icon": "search", "url": address_of([("q", one)])} for one in self.examples(most)
        ]


# -- pieces -----------------------------------------------------------------------------------------------------


def orientations() -> list[tuple[str, str]]:
    return [("landscape", _("Landscape")), ("portrait", _("Portrait")), ("square", _("Square"))]


def sorts() -> list[tuple[str, str]]:
    return [
        ("relevance", _("Best match")),
        ("newest", _("Newest first")),
        ("oldest", _("Oldest first")),
        ("quality", _("Best quality")),
    ]


def address_of(pairs: Sequence[tuple[str, str]]) -> str:
    home = reverse("search:home")
    return f"{home}?{urlencode(pairs)}" if pairs else home


def _span(after: str, before: str) -> str:
    """“from 1 May 2026”, “before …”, or both."""
    first, last = (_day(value) for value in (after, before))
    if first and last:
        return f"{first} – {last}"
    return _("from %s") % first if first else _("before %s") % last if last else ""


def _day(value: str) -> str:
    try:
        return moments.day(parse_moment(value, "")) if value else ""
    except QueryError:
        return value


def _chip(part: Part, negative: bool, titles: Mapping[UUID, str]) -> dict[str, Any]:
    if isinstance(part, TextPart):
        kind, value, label = "text", part.text, part.text
        escaped = part.text.replace("\\", "\\\\").replace('"', '\\"')
        core = f'"{escaped}"'
    elif isinstance(part, StoredImagePart):
        kind, value, label = "like", str(part.image_id), titles.get(part.image_id, _("a picture"))
        core = f"like:{value}"
    else:
        kind, value, label = "upload", part.name, _("your picture")
        core = f"upload:{value}"
    weight = "" if part.weight == 1 else f":{show_number(part.weight)}"
    typed = ("-" if negative else "") + core + weight
    return {
        "kind": kind,
        "value": value,
        "label": label,
        "weight": part.weight,
        "negative": negative,
        "typed": typed,
    }


def fixes(query: Query) -> list[dict[str, str]]:
    """One click each: the question with less asked of the pictures."""
    found = []
    if query.filters != Filters():
        found.append((_("Without the filters"), "close", replace(query, filters=Filters())))
    if query.collections:
        found.append((_("In all collections"), "images", replace(query, collections=())))
    if query.negatives:
        found.append((_("Without what is kept out"), "minus", replace(query, negatives=())))
    if len(query.parts) > 1:
        for part in query.parts[:3]:
            alone = replace(query, parts=(replace(part, weight=1.0),), negatives=())
            found.append((_("Only “%s”") % _short(part), "search", alone))
    plain = [(label, icon, replace(one, cursor=None, explain=False, limit=50)) for label, icon, one in found]
    return [
        {"label": label, "icon": icon, "url": address_of(query_text.to_url(one))}
        for label, icon, one in plain
    ]


def _short(part: Part) -> str:
    if isinstance(part, TextPart):
        return part.text if len(part.text) <= 24 else f"{part.text[:23]}…"
    return _("your picture") if isinstance(part, UploadedImagePart) else _("the picture")


# -- results ----------------------------------------------------------------------------------------------------


def hits_of(results: Sequence[Result], *, ranked: bool, first: bool, divided: bool) -> list[dict[str, Any]]:
    """Tiles with their words. The divider stands before the first weak one, unless everything on the page is weak."""
    hits: list[dict[str, Any]] = []
    for place, result in enumerate(results):
        weak = result.band == WEAK
        divides = ranked and weak and not divided and (place > 0 or not first)
        divided = divided or weak
        hits.append(
            {
                "result": result,
                "image": result.image,
                "band": result.band,
                "band_label": band_label(result.band),
                "match": result.match,
                "similarity": result.similarity,
                "copies": result.copies,
                "divider": divides,
                "eager": first and place < EAGER,
                "fresh": False,
                "shares": shares_of(result),
                "rescore": json.dumps(result.rescore) if result.rescore else "",
            }
        )
    return hits


def band_label(band: str) -> str:
    labels = {"strong": _("strong match"), "possible": _("possible match"), "weak": _("weak match")}
    return labels.get(band, band)


def shares_of(result: Result) -> list[dict[str, Any]]:
    """The rows of “Why this?”: what the place in the list is made of, then how near every part is."""
    told = result.explain
    if not told:
        return []
    recency, quality = told["recency"], told["quality"]
    whole = max(result.score, 1e-9)
    rows = [_share(_("What it shows"), (result.score - recency - quality) / whole)]
    rows += [
        _share(label, value / whole)
        for label, value in ((_("Date"), recency), (_("Quality"), quality))
        if value
    ]
    if told["words"]["fields"]:
        rows.append({"label": _("Words found"), "fill": None, "shown": ", ".join(told["words"]["fields"])})
    if len(told["parts"]) > 1 or told["negatives"]:
        rows += [_nearness(part, "") for part in told["parts"]] + [
            _nearness(part, "− ") for part in told["negatives"]
        ]
    return rows


def _share(label: str, share: float) -> dict[str, Any]:
    share = min(1.0, max(0.0, share))
    return {"label": label, "fill": share, "shown": f"{round(share * 100)}\u00a0%", "good": True}


def _nearness(part: Mapping[str, Any], sign: str) -> dict[str, Any]:
    label = part.get("text") or (_("your picture") if "upload" in part else _("the picture"))
    near = part["similarity"]
    return {
        "label": sign + label,
        "fill": max(0.0, near or 0.0),
        "shown": "–" if near is None else f"{near:.2f}",
    }
