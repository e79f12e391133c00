"""`{% queues %}`: how the pipeline stands, for the first page of the administration."""

from __future__ import annotations

from typing import Any

from django import template
from django.urls import reverse
from django.utils.translation import gettext as _

from images.models import ImageState
from search import metrics
from search.models import EmbeddingState, IndexState

register = template.Library()
PAGES = {
    "process": ("admin:images_image_changelist", ImageState.REJECTED),
    "embed": ("admin:search_embedding_changelist", EmbeddingState.QUARANTINED),
    "index": ("admin:search_collectionindex_changelist", IndexState.FAILED),
}


@register.inclusion_tag("admin/_queues.html")
def queues() -> dict[str, Any]:
    """What waits, for how long, what was given up (the list where it is tried again), and seconds to searchable."""
    titles = {"process": _("Check"), "embed": _("Embed"), "index": _("Build indexes")}
    waiting, failed, quantiles = metrics.queues(), metrics.given_up(), metrics.searchable_quantiles()
    rows = [
        {
            "title": titles[name],
            "depth": waiting[name].count(),
            "oldest": metrics.oldest_age(name) if name in metrics.AGED else None,
            "failed": failed[name].count(),
            "url": f"{reverse(page)}?state__exact={state.value}",
        }
        for name, (page, state) in PAGES.items()
    ]
    return {"rows": rows, "half": quantiles[0.5], "most": quantiles[0.95]}
