"""Roles in one collection that replace the member's role in the team there. Membership itself is in `teams`."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import F
from django.utils.translation import gettext as _

from images import audit
from images.access import Rank, rank
from images.models import Collection, CollectionGrant, Membership, Role, Team, User, Visibility
from images.moderation import Conflict

MOST_GRANTS = 500


def grant(collection: Collection, user: User, role: str, actor: User, actor_rank: Rank) -> CollectionGrant:
    """Give a member of the team a role in this collection, in place of any before.

    Raises PermissionDenied for a role above the actor's own there, Conflict for somebody outside the team and where
    a private collection would be left without an owner.
    """
    _refuse_above(actor_rank, role)
    if not Membership.objects.filter(team=collection.team_id, user=user).exists():
        raise Conflict(_("Only members of the team get a role in its collections."))
    with transaction.atomic():
        _lock(collection)
        held = CollectionGrant.objects.filter(collection=collection, user=user).first()
        if held is not None:
            _refuse_above(actor_rank, held.role)
            _keep_an_owner(held, role)
        elif CollectionGrant.objects.filter(collection=collection).count() >= MOST_GRANTS:
            raise Conflict(_("A collection has at most %d own members.") % MOST_GRANTS)
        row, _made = CollectionGrant.objects.update_or_create(
            collection=collection, user=user, defaults={"role": role}
        )
        before = {"role": held.role} if held else {}
        _rights_changed("grant.set", collection, actor, before, {"user": str(user.uid), "role": role})
    return row


def withdraw(row: CollectionGrant, actor: User, actor_rank: Rank) -> None:
    """Back to the role in the team, which in a private collection is none."""
    _refuse_above(actor_rank, row.role)
    with transaction.atomic():
        _lock(row.collection)
        _keep_an_owner(row, "")
        before = {"user": str(row.user.uid), "role": row.role}
        CollectionGrant.objects.filter(pk=row.pk).delete()
        _rights_changed("grant.withdrawn", row.collection, actor, before, {})


def _lock(collection: Collection) -> None:
    Collection.objects.select_for_update(of=("self",)).get(pk=collection.pk)


def _keep_an_owner(row: CollectionGrant, role: str) -> None:
    """A private collection is reached by grants alone: without an owner among them nobody could open the door."""
    if row.collection.visibility != Visibility.PRIVATE or rank(role) >= Rank.OWNER:
        return
    owners = CollectionGrant.objects.filter(collection=row.collection_id, role=Role.OWNER)
    if list(owners.values_list("pk", flat=True)) == [row.pk]:
        raise Conflict(_("A private collection needs an owner: make somebody else owner first."))


def _refuse_above(actor_rank: Rank, role: str) -> None:
    if role not in Role.values or rank(role) > actor_rank:
        raise PermissionDenied(_("Your role in this collection is below that one."))


def _rights_changed(
    action: str, collection: Collection, actor: User, before: dict[str, Any], after: dict[str, Any]
) -> None:
    Collection.objects.filter(pk=collection.pk).update(permission_epoch=F("permission_epoch") + 1)
    Team.objects.filter(pk=collection.team_id).update(permission_epoch=F("permission_epoch") + 1)
    audit.record(action, collection, team=collection.team, actor=actor, before=before, after=after)
