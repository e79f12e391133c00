"""What every page knows about this server."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest

from search.encoders import EncoderError, default_model_name, spec_for


def product(request: HttpRequest) -> dict[str, Any]:
    """`demo_model`: the bundled model serves, which knows drawings only (the banner says so). `single_sign_on`: the
    provider's name where one is set up, else empty."""
    return {
        "demo_model": knows_drawings_only(),
        "principal": getattr(request, "principal", None),
        "single_sign_on": settings.OIDC_NAME if settings.OIDC_ISSUER else "",
    }


def knows_drawings_only() -> bool:
    try:
        return spec_for(default_model_name()).knows == "drawings"
    except EncoderError:
        return False
