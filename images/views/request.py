"""What a view gets to see."""

from __future__ import annotations

from django.http import HttpRequest
from django_htmx.middleware import HtmxDetails

from images.access import Principal
from images.models import User


class Request(HttpRequest):
    """A request behind `login_required`, as our middleware leaves it."""

    principal: Principal
    htmx: HtmxDetails
    user: User  # type: ignore[assignment]
