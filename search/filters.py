"""One FilterSet for lists, search, facets and export: the same names mean the same everywhere.

Filters fail closed: an unknown name or a value that cannot be read is an error, never a wider result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import django_filters
from django import forms
from django.core.exceptions import ValidationError
from django.db.models import Exists, F, OuterRef, QuerySet
from django.utils.datastructures import MultiValueDict
from django.utils.translation import gettext as _

from images.access import Principal
from images.models import Image
from search.query import MAX_COLLECTIONS, MAX_TAGS, ORIENTATIONS, STATES, Filters
from search.values import QueryError, parse_moment, show_word

NAMES = (
    "taken_after", "taken_before", "uploaded_after", "uploaded_before", "tags", "tags_none", "uploader",
    "orientation", "min_quality", "min_width", "min_height", "state", "collections",
)  # fmt: skip


class MomentField(forms.CharField):
    """A year, a month, a day or an RFC 3339 moment, as in the text form of a query."""

    def to_python(self, value: Any) -> datetime | None:  # type: ignore[override]
        text = super().to_python(value)
        try:
            return parse_moment(text, "") if text else None
        except QueryError as error:
            raise ValidationError(error.message) from None


class NamesField(forms.Field):
    """A repeated parameter: a bounded list of texts that are not empty."""

    widget = forms.SelectMultiple

    def __init__(self, *, most: int, longest: int = 100, **options: Any) -> None:
        super().__init__(**options)
        self.most, self.longest = most, longest

    def to_python(self, value: Any) -> list[str]:
        names = [str(one).strip() for one in value or () if str(one).strip()]
        if len(names) > self.most or any(len(one) > self.longest for one in names):
            raise ValidationError(
                _("At most %(most)d values of at most %(longest)d characters.") % vars(self)
            )
        return names


class IdsField(NamesField):
    def to_python(self, value: Any) -> list[UUID]:  # type: ignore[override]
        try:
            return [UUID(one) for one in super().to_python(value)]
        except ValueError:
            raise ValidationError(_("This is not an id.")) from None


class MomentFilter(django_filters.Filter):
    field_class = MomentField


class NamesFilter(django_filters.Filter):
    field_class = NamesField


class IdsFilter(django_filters.Filter):
    field_class = IdsField


class ImageFilter(django_filters.FilterSet):
    """`queryset` has to be what the principal may see: filters narrow, they grant nothing."""

    taken_after = MomentFilter(field_name="taken_at", lookup_expr="gte")
    taken_before = MomentFilter(field_name="taken_at", lookup_expr="lt")
    uploaded_after = MomentFilter(field_name="uploaded_at", lookup_expr="gte")
    uploaded_before = MomentFilter(field_name="uploaded_at", lookup_expr="lt")
    tags = NamesFilter(method="having_all", most=MAX_TAGS)
    tags_none = NamesFilter(method="having_none", most=MAX_TAGS)
    uploader = django_filters.CharFilter(method="uploaded_by", max_length=200)
    orientation = django_filters.ChoiceFilter(choices=[(one, one) for one in ORIENTATIONS], method="turned")
    min_quality = django_filters.NumberFilter(
        field_name="quality", lookup_expr="gte", min_value=0, max_value=1
    )
    min_width = django_filters.NumberFilter(
        field_name="width", lookup_expr="gte", min_value=1, max_value=10**6
    )
    min_height = django_filters.NumberFilter(
        field_name="height", lookup_expr="gte", min_value=1, max_value=10**6
    )
    state = django_filters.ChoiceFilter(choices=[(one, one) for one in STATES], field_name="moderation")
    collections = IdsFilter(field_name="collection__uid", lookup_expr="in", most=MAX_COLLECTIONS)

    class Meta:
        model = Image
        fields: list[str] = []

    def __init__(self, *args: Any, principal: Principal, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.principal = principal

    def having_all(self, queryset: QuerySet[Image], name: str, value: list[str]) -> QuerySet[Image]:
        for tag in value:
            queryset = queryset.filter(_tagged([tag]))
        return queryset

    def having_none(self, queryset: QuerySet[Image], name: str, value: list[str]) -> QuerySet[Image]:
        return queryset.filter(~_tagged(value)) if value else queryset

    def uploaded_by(self, queryset: QuerySet[Image], name: str, value: str) -> QuerySet[Image]:
        """An id, `me`, or the whole name of a person."""
        if value == "me":
            return (
                queryset.filter(uploader=self.principal.user_id)
                if self.principal.signed_in
                else queryset.none()
            )
        try:
            return queryset.filter(uploader__uid=UUID(value))
        except ValueError:
            return queryset.filter(uploader__name__iexact=value)

    def turned(self, queryset: QuerySet[Image], name: str, value: str) -> QuerySet[Image]:
        other = {"landscape": {"width__gt": F("height")}, "portrait": {"width__lt": F("height")}}
        return queryset.filter(**other.get(value, {"width": F("height")}))


def _tagged(names: Sequence[str]) -> Exists:
    through = Image.tags.through.objects
    return Exists(through.filter(image_id=OuterRef("pk"), tag__name__in=[name.lower() for name in names]))


def narrow(
    queryset: QuerySet[Image],
    parameters: Mapping[str, Sequence[str]],
    principal: Principal,
    *,
    ignored: frozenset[str] = frozenset(),
    pointer: str = "",
) -> QuerySet[Image]:
    """`queryset` under URL parameters (name → values). Raises `QueryError` for a name that is neither known nor
    ignored and for a value that cannot be read; blank values are fields that nobody filled in."""
    given = {name: values for name, values in parameters.items() if any(value.strip() for value in values)}
    for name in given:
        if name not in NAMES and name not in ignored:
            raise QueryError(f"{pointer}/{name}", _("Nobody knows this filter."))
        if name in NAMES and len(given[name]) > 1 and name not in ("tags", "tags_none", "collections"):
            raise QueryError(f"{pointer}/{name}", _("This is given twice."))
    data = MultiValueDict({name: list(values) for name, values in given.items() if name in NAMES})
    filters = ImageFilter(data, queryset=queryset, principal=principal)
    if not filters.is_valid():
        name, problems = next(iter(filters.errors.items()))
        raise QueryError(f"{pointer}/{name}", str(problems[0]))
    return filters.qs


def narrow_by(queryset: QuerySet[Image], filters: Filters, principal: Principal) -> QuerySet[Image]:
    """`queryset` under the filters of a query."""
    if filters == Filters():
        return queryset
    return narrow(queryset, to_parameters(filters), principal, pointer="/filters")


def to_parameters(filters: Filters) -> dict[str, list[str]]:
    """The URL parameters of the filters of a query."""
    found: dict[str, list[str]] = {}
    for name in NAMES[:-1]:
        value = getattr(filters, name)
        if value not in (None, ()):
            found[name] = list(value) if isinstance(value, tuple) else [show_word(value)]
    return found
