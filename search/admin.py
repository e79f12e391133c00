"""The admin: spaces, embeddings that wait or failed, indexes and their generations."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from images import leases
from images.admin_gate import Gated, ReachedFilter, ReadOnly
from search import index, reindexing
from search.models import CollectionIndex, Embedding, Generation, SavedSearch, Space
from search.signals import vectors_changed


@admin.register(Space)
class SpaceAdmin(ReadOnly):
    list_display = ["name", "dimension", "revision", "sha256", "created_at"]


@admin.register(Embedding)
class EmbeddingAdmin(ReadOnly):
    collection = "collection"
    list_display = ["image", "collection", "space", "state", "attempts", "error", "seq", "embedded_at"]
    list_filter = ["state", "space", ("collection", ReachedFilter)]
    list_select_related = ["image", "collection", "space"]
    show_full_result_count = False
    exclude = ["vector"]
    actions = ["retry"]

    @admin.action(description=_("Try again"))
    def retry(self, request: HttpRequest, queryset: QuerySet[Embedding]) -> None:
        count = leases.retry(queryset)
        vectors_changed.send(Embedding, kind="embed", bulk=True)
        self.message_user(request, ngettext("%d picture waits.", "%d pictures wait.", count) % count)


@admin.register(CollectionIndex)
class CollectionIndexAdmin(Gated):
    collection = "collection"
    list_display = [
        "collection",
        "state",
        "live_number",
        "live_kind",
        "vectors",
        "pending",
        "recall",
        "space",
        "error",
    ]
    list_filter = ["state", "space"]
    list_select_related = ["collection__team", "space", "live"]
    readonly_fields = ["collection", "state", "space", "live", "last_seq", "error"]
    fields = [*readonly_fields, "kind", "target_recall"]
    actions = ["reindex", "roll_back"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.display(description=_("generation"))
    def live_number(self, row: CollectionIndex) -> int | str:
        return row.live.number if row.live else "–"

    @admin.display(description=_("kind"))
    def live_kind(self, row: CollectionIndex) -> str:
        return row.live.kind if row.live else "–"

    @admin.display(description=_("vectors"))
    def vectors(self, row: CollectionIndex) -> int:
        return row.live.count if row.live else 0

    @admin.display(description=_("waiting"))
    def pending(self, row: CollectionIndex) -> int:
        return index.status(row.collection).pending

    @admin.display(description=_("recall@50"))
    def recall(self, row: CollectionIndex) -> str:
        return f"{row.live.recall:.3f}" if row.live and row.live.recall is not None else "–"

    @admin.action(description=_("Rebuild"))
    def reindex(self, request: HttpRequest, queryset: QuerySet[CollectionIndex]) -> None:
        jobs = [reindexing.request(row.collection, request.user) for row in queryset]  # type: ignore[arg-type]
        text = ngettext("%d rebuild is wanted; see Jobs.", "%d rebuilds are wanted; see Jobs.", len(jobs))
        self.message_user(request, text % len(jobs), messages.SUCCESS)

    @admin.action(description=_("Go back to the previous generation"))
    def roll_back(self, request: HttpRequest, queryset: QuerySet[CollectionIndex]) -> None:
        for row in queryset:
            try:
                generation = reindexing.roll_back(row.collection, request.user)  # type: ignore[arg-type]
            except index.IndexFault as error:
                self.message_user(request, f"{row}: {error}", messages.ERROR)
                continue
            self.message_user(request, f"{row}: {generation}", messages.SUCCESS)


@admin.register(Generation)
class GenerationAdmin(ReadOnly):
    collection = "index__collection"
    list_display = [
        "index",
        "number",
        "state",
        "kind",
        "count",
        "recall",
        "byte_size",
        "built_at",
        "published_at",
    ]
    list_filter = ["state", "kind"]
    list_select_related = ["index__collection"]


@admin.register(SavedSearch)
class SavedSearchAdmin(ReadOnly):
    list_display = ["name", "owner", "last_seen_at", "created_at"]
    list_select_related = ["owner"]
    search_fields = ["name", "owner__email"]
