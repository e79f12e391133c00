"""The gate of the admin: permissions say what staff may do, this says to what.

A superuser reaches everything. Anybody else on the staff reaches, of what their permissions name, the collections that
they moderate and the teams that they manage; people, groups and models without a team are for superusers.
"""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest

from images.access import Principal, Rank, principal_for_user
from images.admin_audit import Told


def principal_of(request: HttpRequest) -> Principal:
    return getattr(request, "principal", None) or principal_for_user(request.user)


class Gated(Told):
    """`collection`: the way from a row to its collection (`""` for the collection itself), or `team`: to its team.
    Without either, the rows are for superusers."""

    collection: str | None = None
    team: str | None = None

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows = super().get_queryset(request)
        principal = principal_of(request)
        return rows if principal.superuser else rows.filter(self.reach(principal))

    def reach(self, principal: Principal) -> Q:
        if self.collection is not None:
            return principal.moderated_q(f"{self.collection}__" if self.collection else "")
        if self.team is not None:
            return Q(**{f"{self.team}__in": principal.teams_with(Rank.MANAGER)})
        return Q(pk__in=[])

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """What can be chosen is what can be reached."""
        model_admin = self.admin_site._registry.get(db_field.related_model)
        if isinstance(model_admin, Gated) and "queryset" not in kwargs:
            kwargs["queryset"] = model_admin.get_queryset(request)
        return super().formfield_for_foreignkey(db_field, request, **kwargs)


class ReadOnly(Gated):
    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class ReachedFilter(admin.RelatedFieldListFilter):
    """A filter by team or collection that names only those that can be reached."""

    def field_choices(self, field: Any, request: HttpRequest, model_admin: Any) -> list[Any]:
        reached = model_admin.admin_site._registry[field.related_model].get_queryset(request)
        ordering = self.field_admin_ordering(field, request, model_admin)
        limit = {"pk__in": reached.order_by().values("pk")}
        return field.get_choices(include_blank=False, ordering=ordering, limit_choices_to=limit)


class ForSuperusers:
    """Whoever edits people, roles, groups or second factors could make themselves anything."""

    def has_module_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.is_active and request.user.is_superuser)  # type: ignore[union-attr]

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_module_permission(request)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_module_permission(request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_module_permission(request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_module_permission(request)


def close_to_staff(*models: Any) -> None:
    """Models that other apps brought to the admin: for superusers alone."""
    for model in models:
        if registered := admin.site._registry.get(model):
            own = type(registered)
            admin.site.unregister(model)
            admin.site.register(model, type(own.__name__, (ForSuperusers, Told, own), {}))
