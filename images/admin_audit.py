"""What the admin changes is told in the audit log too: Django writes a LogEntry for each change, this copies it with
the values before and after. Changes of rights are told to the team besides, as those of its own pages are."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from django.apps import apps
from django.contrib import admin
from django.db.models import F, Model, QuerySet
from django.db.models.signals import post_save
from django.http import HttpRequest

from images import audit
from images.models import Collection, CollectionGrant, Membership, Team, User

VERBS = {1: "added", 2: "changed", 3: "deleted"}
MOST_CHARACTERS = 500
Change = tuple[dict[str, Any], dict[str, Any]]
# What the form of the present request changes, on its way from the form to the LogEntry.
_change: ContextVar[Change] = ContextVar("admin_change", default=({}, {}))


def connect() -> None:
    post_save.connect(_logged, apps.get_model("admin", "LogEntry"), dispatch_uid="images.admin_audit")


class Told(admin.ModelAdmin):
    """An admin whose changes are told with the values before and after."""

    def construct_change_message(
        self, request: HttpRequest, form: Any, formsets: Any, add: bool = False
    ) -> Any:
        _change.set(_values(form))
        return super().construct_change_message(request, form, formsets, add)

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        super().save_formset(request, form, formset, change)
        if formset.model in RIGHTS:
            _rights_changed(formset, request.user)


def suspended(user: User, actor: Any) -> None:
    """Tell every team of `user` that they were suspended, or may come back."""
    action = "member.suspended" if not user.is_active else "member.reinstated"
    teams = Team.objects.filter(memberships__user=user)
    for team in teams:
        audit.record(action, user, team=team, actor=actor)
    teams_touched(teams)


def teams_touched(teams: QuerySet[Team]) -> None:
    """No cache of theirs outlives a change of rights."""
    Team.objects.filter(pk__in=teams.values("pk")).update(permission_epoch=F("permission_epoch") + 1)


def _values(form: Any) -> Change:
    """The changed fields of an admin form, as text; of a password, that it changed."""
    if not hasattr(form, "cleaned_data"):
        return {}, {}
    names = [name for name in form.changed_data if name in form.cleaned_data]
    before = {name: _text(name, form.initial.get(name)) for name in names}
    return before, {name: _text(name, form.cleaned_data[name]) for name in names}


def _text(name: str, value: Any) -> Any:
    if "password" in name or "secret" in name:
        return "…"
    if isinstance(value, list | tuple | QuerySet):
        return [_text(name, one) for one in value][:50]
    if isinstance(value, Model):
        return getattr(value, "pk", None)
    return value if value is None or isinstance(value, bool | int | float) else str(value)[:MOST_CHARACTERS]


def _logged(sender: type[Model], instance: Any, created: bool, **kwargs: Any) -> None:
    target = instance.get_edited_object() if created and instance.action_flag != 3 else None
    if not created or (target is None and instance.action_flag != 3):
        return
    before, after = _change.get()
    _change.set(({}, {}))
    kind = instance.content_type.model if instance.content_type else "object"
    action = f"admin.{kind}.{VERBS.get(instance.action_flag, 'changed')}"
    told = {"object": instance.object_repr[:120], "fields": instance.get_change_message()[:MOST_CHARACTERS]}
    if target is None:
        audit.record(action, instance, team=None, actor=instance.user, before=told)
    else:
        audit.record(
            action, target, team=_team_of(target), actor=instance.user, before=before, after={**told, **after}
        )


def _team_of(target: Any) -> Team | None:
    if isinstance(target, Team):
        return target
    holder = getattr(target, "collection", None) or target
    team = getattr(holder, "team", None)
    return team if isinstance(team, Team) else None


# ── Rights that are edited beside something else ────────────────────────────────────────────────────────────────


def _rights_changed(formset: Any, actor: Any) -> None:
    tell, names = RIGHTS[formset.model]
    for form in formset.initial_forms:
        held = {name: form.initial.get(name) for name in names}
        if form in formset.deleted_forms:
            tell("removed", form.instance, held, {}, actor)
        elif form.has_changed():
            tell("changed", form.instance, held, _held(form.instance, names), actor)
    for row in formset.new_objects:
        tell("added", row, {}, _held(row, names), actor)


def _held(row: Any, names: tuple[str, ...]) -> dict[str, str]:
    return {name: str(getattr(row, name)) for name in names}


def _member(verb: str, row: Membership, before: dict[str, Any], after: dict[str, Any], actor: Any) -> None:
    teams_touched(Team.objects.filter(pk=row.team_id))
    audit.record(f"member.{verb}", row.user, team=row.team, actor=actor, before=before, after=after)


def _grant(
    verb: str, row: CollectionGrant, before: dict[str, Any], after: dict[str, Any], actor: Any
) -> None:
    place, who = row.collection, {"user": str(row.user.uid)}
    Collection.objects.filter(pk=place.pk).update(permission_epoch=F("permission_epoch") + 1)
    teams_touched(Team.objects.filter(pk=place.team_id))
    action = "grant.withdrawn" if verb == "removed" else "grant.set"
    audit.record(action, place, team=place.team, actor=actor, before=who | before, after=who | after)


RIGHTS: dict[type[Model], Any] = {
    Membership: (_member, ("role", "trust")),
    CollectionGrant: (_grant, ("role",)),
}
