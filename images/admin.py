"""The admin: people and rights, pictures and moderation, keys, jobs and the audit log."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.forms import BaseUserCreationForm
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.db.models import Count, F, QuerySet
from django.forms import BaseInlineFormSet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from images import keys, moderation, processing
from images.access import Action, allowed
from images.admin_audit import Told, suspended
from images.admin_gate import ForSuperusers, Gated, ReachedFilter, ReadOnly, close_to_staff, principal_of
from images.models import (
    ApiKey,
    AuditEvent,
    Collection,
    CollectionGrant,
    Image,
    ImageState,
    Job,
    Membership,
    ModerationPrompt,
    Role,
    Tag,
    Team,
    User,
)  # fmt: skip


class UserCreation(BaseUserCreationForm):
    class Meta:
        model = User
        fields = ("email",)


class MembershipFormSet(BaseInlineFormSet):
    def clean(self) -> None:
        """As on the team's page: a team that has an owner keeps one."""
        super().clean()
        owners = [form for form in self.initial_forms if form.initial.get("role") == Role.OWNER]
        lost = [form.instance for form in owners if not self._owns(form)]
        won = {form.instance.team_id for form in self.forms if self._owns(form) and form.has_changed()}
        for row in lost:
            others = Membership.objects.filter(team=row.team_id, role=Role.OWNER).exclude(
                pk__in=[one.pk for one in lost]
            )
            if row.team_id not in won and not others.exists():
                raise ValidationError(_("A team needs an owner: make somebody else owner first."))

    def _owns(self, form: Any) -> bool:
        return form.cleaned_data.get("role") == Role.OWNER and not form.cleaned_data.get("DELETE")


class MembershipInline(ForSuperusers, admin.TabularInline):
    model = Membership
    formset = MembershipFormSet
    extra = 0
    autocomplete_fields = ["user", "team"]


class GrantInline(ForSuperusers, admin.TabularInline):
    model = CollectionGrant
    extra = 0
    autocomplete_fields = ["user"]


@admin.register(User)
class UserAdmin(ForSuperusers, Told, DjangoUserAdmin):
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

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if change and "is_active" in form.changed_data:
            suspended(obj, request.user)


@admin.register(Team)
class TeamAdmin(Gated):
    team = "pk"
    list_display = ["name", "slug", "member_count", "created_at"]
    search_fields = ["name", "slug"]
    prepopulated_fields = {"slug": ["name"]}
    inlines = [MembershipInline]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Team]:
        return super().get_queryset(request).annotate(n=Count("memberships"))

    def has_add_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.is_superuser)  # type: ignore[union-attr]

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Collections go first, one by one: nothing else empties their trash."""
        empty = obj is None or not obj.collections.exists()
        return empty and bool(request.user.is_superuser)  # type: ignore[union-attr]

    @admin.display(description=_("members"), ordering="n")
    def member_count(self, team: Any) -> int:
        return team.n


@admin.register(Collection)
class CollectionAdmin(Gated):
    collection = ""
    list_display = ["name", "team", "visibility", "moderation", "image_count", "created_at"]
    list_filter = ["visibility", "moderation", ("team", ReachedFilter)]
    list_select_related = ["team"]
    search_fields = ["name", "team__name"]
    autocomplete_fields = ["team"]
    raw_id_fields = ["cover"]
    inlines = [GrantInline]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Collection]:
        return super().get_queryset(request).annotate(n=Count("images"))

    def has_add_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.is_superuser) and super().has_add_permission(request)  # type: ignore[union-attr]

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        may = obj is None or allowed(principal_of(request), Action.MANAGE, obj)
        return may and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Pictures leave through the trash, so that bytes and vectors go with them."""
        empty = obj is None or not obj.images.exists()
        return (
            empty and self.has_change_permission(request, obj) and super().has_delete_permission(request, obj)
        )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        """A collection stays in its team: tags, keys and roles of its pictures are the team's."""
        return ["team"] if obj else []

    def save_model(self, request: HttpRequest, obj: Collection, form: Any, change: bool) -> None:
        """Who sees it may have changed: what is cached for it is not asked again."""
        super().save_model(request, obj, form, change)
        Collection.objects.filter(pk=obj.pk).update(permission_epoch=F("permission_epoch") + 1)

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
class ImageAdmin(Gated):
    collection = "collection"
    list_display = [
        "thumbnail", "file_name", "collection", "uploader", "state", "reason", "moderation", "quality", "uploaded_at",
    ]  # fmt: skip
    list_display_links = ["thumbnail", "file_name"]
    list_filter = [
        "state",
        "moderation",
        ("trashed_at", admin.EmptyFieldListFilter),
        ("collection", ReachedFilter),
    ]
    list_select_related = ["collection", "uploader"]
    list_per_page = 50
    show_full_result_count = False
    search_fields = ["file_name", "title", "caption", "uid", "sha256"]
    date_hierarchy = "uploaded_at"
    readonly_fields = [
        "collection", "uploader", "uid", "thumbnail", "state", "reason", "error", "attempts", "moderation",
        "moderation_reason", "sha256", "byte_size", "content_type", "width", "height", "quality", "uploaded_at",
        "processed_at", "trashed_at",
    ]  # fmt: skip
    fields = ["title", "caption", "alt_text", "taken_at", *readonly_fields]
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
class TagAdmin(Gated):
    team = "team"
    list_display = ["name", "team"]
    list_filter = [("team", ReachedFilter)]
    search_fields = ["name"]


@admin.register(ApiKey)
class ApiKeyAdmin(ReadOnly):
    team = "team"
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
    list_filter = [("team", ReachedFilter), ("revoked_at", admin.EmptyFieldListFilter)]
    list_select_related = ["team", "owner"]
    search_fields = ["name", "prefix", "owner__email"]
    exclude = ["secret_hash"]
    actions = ["revoke"]

    @admin.action(description=_("Revoke"))
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        for key in queryset.filter(revoked_at__isnull=True).select_related("team"):
            keys.revoke(key, request.user)  # type: ignore[arg-type]


@admin.register(ModerationPrompt)
class ModerationPromptAdmin(Gated):
    team = "team"
    list_display = ["text", "team", "collection", "cutoff", "created_by", "created_at"]
    list_filter = [("team", ReachedFilter)]
    list_select_related = ["team", "collection", "created_by"]
    search_fields = ["text"]
    raw_id_fields = ["team", "collection", "created_by"]


@admin.register(Job)
class JobAdmin(ReadOnly):
    collection = "collection"
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
    team = "team"
    list_display = ["at", "actor", "action", "target", "team", "request_id"]
    list_filter = ["action", ("team", ReachedFilter)]
    list_select_related = ["actor", "team"]
    search_fields = ["target", "actor__email", "request_id"]
    date_hierarchy = "at"


admin.site.disable_action("delete_selected")
close_to_staff(Group, EmailAddress, Authenticator)
