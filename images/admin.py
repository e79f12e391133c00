"""The admin: people and rights, pictures and moderation, keys, jobs and the audit log."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.forms import BaseUserCreationForm
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from images import keys, moderation, processing
from images.models import (
    ApiKey,
    AuditEvent,
    Collection,
    CollectionGrant,
    Image,
    ImageState,
    Job,
    Membership,
    Tag,
    Team,
    User,
)  # fmt: skip


class UserCreation(BaseUserCreationForm):
    class Meta:
        model = User
        fields = ("email",)


class MembershipInline(admin.TabularInline):
    model = Membership
    extra = 0
    autocomplete_fields = ["user", "team"]


class GrantInline(admin.TabularInline):
    model = CollectionGrant
    extra = 0
    autocomplete_fields = ["user"]


@admin.register(User)
class UserAdmin(DjangoUserAdmin):
    ordering = ["email"]
    list_display = ["email", "name", "is_active", "is_staff", "last_login"]
    list_filter = ["is_active", "is_staff"]
    search_fields = ["email", "name"]
    inlines = [MembershipInline]
    add_form = UserCreation
    fieldsets = [
        (None, {"fields": ["email", "name", "password"]}),
        (_("Rights"), {"fields": ["is_active", "is_staff", "is_superuser", "groups", "user_permissions"]}),
        (_("Dates"), {"fields": ["last_login"]}),
    ]
    add_fieldsets = [(None, {"fields": ["email", "password1", "password2"]})]


@admin.register(Team)
class TeamAdmin(admin.ModelAdmin):
    list_display = ["name", "slug", "member_count", "created_at"]
    search_fields = ["name", "slug"]
    prepopulated_fields = {"slug": ["name"]}
    inlines = [MembershipInline]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Team]:
        return super().get_queryset(request).annotate(n=Count("memberships"))

    @admin.display(description=_("members"), ordering="n")
    def member_count(self, team: Any) -> int:
        return team.n


@admin.register(Collection)
class CollectionAdmin(admin.ModelAdmin):
    list_display = ["name", "team", "visibility", "moderation", "image_count", "created_at"]
    list_filter = ["visibility", "moderation", "team"]
    list_select_related = ["team"]
    search_fields = ["name", "team__name"]
    autocomplete_fields = ["team"]
    raw_id_fields = ["cover"]
    inlines = [GrantInline]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Collection]:
        return super().get_queryset(request).annotate(n=Count("images"))

    @admin.display(description=_("pictures"), ordering="n")
    def image_count(self, collection: Any) -> int:
        return collection.n


def decision(name: str, description: Any) -> Callable[..., None]:
    """An admin action that applies one moderation decision to every chosen picture and says how many changed."""

    @admin.action(description=description, permissions=["change"])
    def act(modeladmin: admin.ModelAdmin, request: HttpRequest, queryset: QuerySet[Image]) -> None:
        count = 0
        for image in queryset.select_related("collection__team"):
            moderation.decide(image, name, request.user)  # type: ignore[arg-type]
            count += 1
        text = ngettext("%d picture: %s.", "%d pictures: %s.", count) % (count, DONE[name])
        modeladmin.message_user(request, text, messages.SUCCESS)

    act.__name__ = name
    return act


DONE = {"approve": _("approved"), "reject": _("rejected"), "hide": _("hidden"), "restore": _("shown again")}


@admin.register(Image)
class ImageAdmin(admin.ModelAdmin):
    list_display = [
        "thumbnail", "file_name", "collection", "uploader", "state", "reason", "moderation", "quality", "uploaded_at",
    ]  # fmt: skip
    list_display_links = ["thumbnail", "file_name"]
    list_filter = ["state", "moderation", ("trashed_at", admin.EmptyFieldListFilter), "collection"]
    list_select_related = ["collection", "uploader"]
    list_per_page = 50
    show_full_result_count = False
    search_fields = ["file_name", "title", "caption", "uid", "sha256"]
    date_hierarchy = "uploaded_at"
    raw_id_fields = ["collection", "uploader"]
    readonly_fields = [
        "uid", "thumbnail", "state", "reason", "error", "attempts", "moderation", "moderation_reason", "sha256",
        "byte_size", "content_type", "width", "height", "quality", "uploaded_at", "processed_at", "trashed_at",
    ]  # fmt: skip
    fields = ["collection", "uploader", "title", "caption", "alt_text", "taken_at", *readonly_fields]
    actions = [
        decision("approve", _("Approve")),
        decision("reject", _("Reject")),
        decision("hide", _("Hide")),
        decision("restore", _("Show again")),
        "check_again",
        "to_trash",
    ]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False  # Pictures come through the one door for bytes, images.ingest.

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # Through the trash, so that bytes and vectors go together.

    @admin.display(description="")
    def thumbnail(self, image: Image) -> str:
        if image.state != ImageState.READY or image.trashed_at:
            return "–"
        source = reverse("images:rendition", args=[image.uid, "thumbnail"])
        return format_html('<img src="{}" alt="{}" height="48" loading="lazy">', source, image.description)

    @admin.action(description=_("Check again"), permissions=["change"])
    def check_again(self, request: HttpRequest, queryset: QuerySet[Image]) -> None:
        count = processing.retry(queryset)
        self.message_user(request, ngettext("%d picture waits.", "%d pictures wait.", count) % count)

    @admin.action(description=_("Move to the trash"), permissions=["change"])
    def to_trash(self, request: HttpRequest, queryset: QuerySet[Image]) -> None:
        chosen = queryset.present().select_related("collection__team")  # type: ignore[attr-defined]
        for image in chosen:
            moderation.trash(image, request.user)  # type: ignore[arg-type]


@admin.register(Tag)
class TagAdmin(admin.ModelAdmin):
    list_display = ["name", "team"]
    list_filter = ["team"]
    search_fields = ["name"]


class ReadOnly(admin.ModelAdmin):
    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(ApiKey)
class ApiKeyAdmin(ReadOnly):
    list_display = [
        "name",
        "prefix",
        "team",
        "owner",
        "created_at",
        "expires_at",
        "revoked_at",
        "last_used_at",
    ]
    list_filter = ["team", ("revoked_at", admin.EmptyFieldListFilter)]
    list_select_related = ["team", "owner"]
    search_fields = ["name", "prefix", "owner__email"]
    exclude = ["secret_hash"]
    actions = ["revoke"]

    @admin.action(description=_("Revoke"))
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        for key in queryset.filter(revoked_at__isnull=True).select_related("team"):
            keys.revoke(key, request.user)  # type: ignore[arg-type]


@admin.register(Job)
class JobAdmin(ReadOnly):
    list_display = [
        "kind",
        "collection",
        "state",
        "done",
        "total",
        "created_by",
        "created_at",
        "finished_at",
        "error",
    ]
    list_filter = ["kind", "state"]
    list_select_related = ["collection", "created_by"]


@admin.register(AuditEvent)
class AuditEventAdmin(ReadOnly):
    list_display = ["at", "actor", "action", "target", "team", "request_id"]
    list_filter = ["action", "team"]
    list_select_related = ["actor", "team"]
    search_fields = ["target", "actor__email", "request_id"]
    date_hierarchy = "at"


admin.site.disable_action("delete_selected")
