"""The text form of a query, as typed into the search box, and the URL form around it.

    mountains:0.7 lake:0.3 -snow "a red car" like:<image id> tag:holiday after:2026-01-01 is:landscape min:0.5

Plain words without weights are ONE concept: `dog on the beach` is one part. A weighted word, a quoted
phrase and a negative are parts of their own. One pass over the characters, no regular expressions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from django.utils.translation import gettext as _

from search.query import (
    SCALARS,
    Filters,
    Part,
    Query,
    QueryError,
    Rerank,
    Scalar,
    StoredImagePart,
    TextPart,
    UploadedImagePart,
    is_set,
)
from search.values import clean, parse_id, parse_number, read_word, show_number, show_word

MAX_TYPED = 50_000
POINTER = "/q"
_WORDS: dict[str, list[Scalar]] = {}
for _scalar in SCALARS:
    _WORDS.setdefault(_scalar.word, []).append(_scalar)
_LISTS = {"tag": "tags", "collection": "collections"}
_KEYS = frozenset(_WORDS) | frozenset(_LISTS) | {"like", "upload"}


@dataclass(frozen=True, slots=True)
class Token:
    value: str
    key: str = ""
    negative: bool = False
    quoted: bool = False
    weight: float | None = None

    @property
    def plain(self) -> bool:
        return not (self.key or self.negative or self.quoted) and self.weight is None


@dataclass(slots=True)
class _Draft:
    parts: list[Part] = field(default_factory=list)
    negatives: list[Part] = field(default_factory=list)
    lists: dict[str, list[Any]] = field(
        default_factory=lambda: {"tags": [], "tags_none": [], "collections": []}
    )
    groups: dict[str, dict[str, Any]] = field(default_factory=lambda: {"": {}, "filters": {}, "rerank": {}})
    words: list[str] = field(default_factory=list)
    words_at: int = 0

    def set(self, scalar: Scalar, value: Any) -> None:
        group = self.groups[scalar.group]
        if scalar.name in group:
            raise QueryError(POINTER, _("“%(key)s:” is given twice.") % {"key": scalar.word})
        group[scalar.name] = value

    def query(self) -> Query:
        parts = list(self.parts)
        if self.words:
            parts.insert(self.words_at, TextPart(" ".join(self.words)))
        tags, none = tuple(self.lists["tags"]), tuple(self.lists["tags_none"])
        return Query(
            parts=tuple(parts),
            negatives=tuple(self.negatives),
            collections=tuple(self.lists["collections"]),
            filters=Filters(**self.groups["filters"], tags=tags, tags_none=none),
            rerank=Rerank(**self.groups["rerank"]),
            **self.groups[""],
        )


def parse(text: str) -> Query:
    """The query that the text form stands for. Raises `QueryError` with the pointer `/q` or the part's."""
    return _draft(text).query()


def show(query: Query) -> str:
    """The text form of a query: `parse(show(query)) == query`."""
    return " ".join([*_show_parts(query), *_show_settings(query)])


def show_parts(query: Query) -> str:
    """Only what is looked for and what is not wanted: what the search box shows beside its filters."""
    return " ".join(_show_parts(query))


def from_url(parameters: Mapping[str, Sequence[str]], ignored: frozenset[str] = frozenset()) -> Query:
    """The query of URL parameters (name → values): `q` in the text form, everything else under its own name.
    Blank values are fields that nobody filled in; a parameter that is neither known nor ignored is an error."""
    draft = _draft(" ".join(parameters.get("q", ())))
    known = {scalar.parameter: scalar for scalar in SCALARS}
    for name, values in parameters.items():
        given = [value for value in values if value.strip()]
        if name == "q" or name in ignored or not given:
            continue
        if name in draft.lists:
            draft.lists[name] += [_entry(name, value) for value in given]
        elif name in known and len(given) == 1:
            draft.set(known[name], read_word(given[0], known[name]))
        else:
            said = _("This is given twice.") if name in known else _("Nobody knows this parameter.")
            raise QueryError(f"/{name}", said)
    return draft.query()


def to_url(query: Query) -> list[tuple[str, str]]:
    """The URL parameters of a query, in a fixed order."""
    pairs = [("q", show_parts(query))]
    pairs += [("collections", str(one)) for one in query.collections]
    pairs += [("tags", tag) for tag in query.filters.tags]
    pairs += [("tags_none", tag) for tag in query.filters.tags_none]
    set_ones = (scalar for scalar in SCALARS if is_set(scalar, query))
    return pairs + [(scalar.parameter, show_word(scalar.of(query))) for scalar in set_ones]


def query_string(query: Query) -> str:
    return urlencode(to_url(query))


# -- reading ------------------------------------------------------------------------------------------------


def _draft(text: str) -> _Draft:
    if len(text) > MAX_TYPED:
        raise QueryError(POINTER, _("This is longer than %(longest)d characters.") % {"longest": MAX_TYPED})
    draft = _Draft()
    for token in scan(clean(text)):
        _take(token, draft)
    return draft


def _take(token: Token, draft: _Draft) -> None:
    if token.plain:
        if not draft.words:
            draft.words_at = len(draft.parts)
        draft.words.append(token.value)
    elif token.key in ("", "like", "upload"):
        (draft.negatives if token.negative else draft.parts).append(_part(token))
    elif token.key == "tag" or (token.key == "collection" and not token.negative):
        name = "tags_none" if token.negative else _LISTS[token.key]
        draft.lists[name].append(_entry(name, token.value))
    else:
        _take_setting(token, draft)


def _take_setting(token: Token, draft: _Draft) -> None:
    if token.negative:
        raise QueryError(POINTER, _("“%(key)s:” cannot be turned round with a minus.") % {"key": token.key})
    problem: QueryError | None = None
    numeric = parse_number(token.value) is not None
    for scalar in sorted(_WORDS[token.key], key=lambda one: numeric and one.kind == "choice"):
        try:
            value = read_word(token.value, scalar)
        except QueryError as error:
            problem = problem or error
        else:
            return draft.set(scalar, value)
    assert problem is not None
    raise problem


def _part(token: Token) -> Part:
    weight = 1.0 if token.weight is None else token.weight
    if not token.key:
        return TextPart(token.value, weight)
    if token.key == "like":
        return StoredImagePart(parse_id(token.value, POINTER), weight)
    return UploadedImagePart(token.value, weight)


def _entry(name: str, value: str) -> Any:
    return parse_id(value, f"/{name}") if name == "collections" else value


def scan(text: str) -> Iterator[Token]:
    """The tokens of a typed query; an open quote reaches to the end, as while somebody is still typing."""
    place = 0
    while place < len(text):
        if text[place].isspace():
            place += 1
            continue
        token, place = _token(text, place)
        yield token


def _token(text: str, place: int) -> tuple[Token, int]:
    negative = text[place] == "-" and place + 1 < len(text) and not text[place + 1].isspace()
    start = place + negative
    if text[start] == '"':
        value, end = _quoted(text, start)
        weight, end = _weight(text, end)
        return Token(value, "", negative, True, weight), end
    end = start
    while end < len(text) and not text[end].isspace():
        if text[end] == ":" and text[end + 1 : end + 2] == '"' and (key := text[start:end].lower()) in _KEYS:
            value, end = _quoted(text, end + 1)
            weight, end = _weight(text, end) if key in ("like", "upload") else (None, end)
            return Token(value, key, negative, True, weight), end
        end += 1
    return _word(text[start:end], negative), end


def _quoted(text: str, start: int) -> tuple[str, int]:
    """The text inside the quotes that open at `start`, and the place behind them."""
    letters: list[str] = []
    place = start + 1
    while place < len(text) and text[place] != '"':
        place += text[place] == "\\" and place + 1 < len(text)
        letters.append(text[place])
        place += 1
    return "".join(letters), min(place + 1, len(text))


def _weight(text: str, place: int) -> tuple[float | None, int]:
    """The `:0.5` behind a quoted phrase."""
    if text[place : place + 1] != ":":
        return None, place
    end = place + 1
    while end < len(text) and not text[end].isspace():
        end += 1
    number = parse_number(text[place + 1 : end])
    if number is None:
        raise QueryError(POINTER, _("“%(typed)s” is not a weight.") % {"typed": text[place + 1 : end]})
    return number, end


def _word(word: str, negative: bool) -> Token:
    head, colon, rest = word.partition(":")
    if not colon or not head or not rest:
        return Token(word, "", negative)
    if (key := head.lower()) in ("like", "upload"):
        value, mark, number = rest.partition(":")
        return Token(value, key, negative, weight=_weight(f":{number}", 0)[0] if mark else None)
    if key in _KEYS:
        return Token(rest, key, negative)
    value, _colon, last = word.rpartition(":")
    weight = parse_number(last)
    if weight is None:
        said = _("“%(key)s:” is not known. Put quotes round the words to search for them.")
        raise QueryError(POINTER, said % {"key": head})
    return Token(value, "", negative, weight=weight)


# -- printing -----------------------------------------------------------------------------------------------


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _show_parts(query: Query) -> list[str]:
    shown, bare_used = [], False
    for part in query.parts:
        bare = not bare_used and isinstance(part, TextPart) and part.weight == 1 and _reads_plain(part.text)
        bare_used |= bare
        shown.append(part.text if bare and isinstance(part, TextPart) else _show_part(part))
    return shown + ["-" + _show_part(part, "-") for part in query.negatives]


def _show_part(part: Part, sign: str = "") -> str:
    weight = "" if part.weight == 1 else f":{show_number(part.weight)}"
    if isinstance(part, StoredImagePart):
        return f"like:{part.image_id}{weight}"
    if isinstance(part, UploadedImagePart):
        return f"upload:{part.name}{weight}"
    word = f"{part.text}{weight}"
    wanted = Token(part.text, "", bool(sign), False, part.weight if weight else None)
    return word if (sign or weight) and _reads(sign + word) == [wanted] else _quote(part.text) + weight


def _reads_plain(text: str) -> bool:
    tokens = _reads(text)
    return all(token.plain for token in tokens) and " ".join(token.value for token in tokens) == text != ""


def _reads(text: str) -> list[Token]:
    try:
        return list(scan(text))
    except QueryError:
        return []


def _show_settings(query: Query) -> Iterator[str]:
    yield from (f"collection:{one}" for one in query.collections)
    yield from (f"tag:{_show_value(tag)}" for tag in query.filters.tags)
    yield from (f"-tag:{_show_value(tag)}" for tag in query.filters.tags_none)
    for scalar in SCALARS:
        if is_set(scalar, query):
            yield f"{scalar.word}:{_show_value(show_word(scalar.of(query)))}"


def _show_value(value: str) -> str:
    bare = value and '"' not in value[:1] and not any(char.isspace() for char in value)
    return value if bare else _quote(value)
