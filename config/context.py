"""What every page knows about this server."""

from typing import Any

from django.http import HttpRequest

from search.encoders import EncoderError, default_model_name, spec_for


def product(request: HttpRequest) -> dict[str, Any]:
    """`demo_model`: the bundled model serves, which knows drawings only (the banner says so)."""
    return {"demo_model": knows_drawings_only(), "principal": getattr(request, "principal", None)}


def knows_drawings_only() -> bool:
    try:
        return spec_for(default_model_name()).knows == "drawings"
    except EncoderError:
        return False
