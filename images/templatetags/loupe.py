"""What the templates need beyond Django's own: icons, shares, sizes of pictures, addresses with a changed parameter."""

from typing import Any
from urllib.parse import urlencode

from django import template
from django.templatetags.static import static
from django.utils.html import format_html
from django.utils.safestring import SafeString

from images import audit_words, moments

register = template.Library()


@register.simple_tag
def icon(name: str, label: str = "") -> SafeString:
    """An icon of static/icons.svg; silent for screen readers unless it carries the only label."""
    address = f"{static('icons.svg')}#{name}"
    if label:
        return format_html(
            '<svg class="icon" role="img" aria-label="{}"><use href="{}"/></svg>', label, address
        )
    return format_html('<svg class="icon" aria-hidden="true"><use href="{}"/></svg>', address)


@register.filter
def percent(share: float | None) -> str:
    """0.914 → "91 %"; nothing for an unknown share."""
    return "" if share is None else f"{round(share * 100)}\u00a0%"


register.filter("day", moments.day)
register.filter("month", moments.month)
register.filter("moment", moments.moment)
register.filter("deed", audit_words.name_of)


@register.filter
def get(mapping: Any, key: Any) -> Any:
    """`mapping[key]`, or nothing."""
    return mapping.get(key) if hasattr(mapping, "get") else None


@register.filter
def initial(user: Any) -> str:
    """The letter that stands for a person in an avatar."""
    return str(user)[:1]


@register.filter
def label_of(value: str, choices: Any) -> str:
    """The words of a TextChoices value."""
    return str(dict(choices).get(value, value))


@register.filter
def listed(value: Any) -> str:
    """A list as its members with commas between; anything else as it reads."""
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


@register.filter
def at_most(number: int, limit: int) -> bool:
    return number <= limit


@register.simple_tag(takes_context=True)
def with_parameter(context: dict[str, Any], **changed: Any) -> str:
    """The present address with some query parameters set, or removed where None."""
    query = context["request"].GET.copy()
    for name, value in changed.items():
        query.pop(name, None)
        if value not in (None, ""):
            query[name] = str(value)
    query.pop("cursor", None)
    return f"{context['request'].path}?{query.urlencode()}" if query else context["request"].path


@register.simple_tag
def query_string(**parameters: Any) -> str:
    """`?a=1&b=2`, leaving out what is empty."""
    return "?" + urlencode({name: value for name, value in parameters.items() if value not in (None, "")})
