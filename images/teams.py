"""Who belongs to a team with which role, and which collections it has. Every change is audited and raises the
permission epoch, so that no cache outlives it. Callers have checked that the actor may manage the team."""

from __future__ import annotations

import secrets
from typing import Any

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils.text import slugify
from django.utils.translation import gettext as _

from images import audit
from images.access import Principal, Rank, rank
from images.models import Collection, CollectionGrant, Image, Membership, Role, Team, Trust, User, Visibility
from images.moderation import Conflict

MOST_OWNED = 20
COLLECTION_FIELDS = ("name", "description", "visibility", "moderation", "rerank_recency", "rerank_quality")


def may_found(principal: Principal) -> bool:
    """Who may make a new team: superusers, and where sign-up is open everybody. No key and no link does."""
    person = principal.signed_in and principal.scopes is None
    return person and (principal.superuser or bool(settings.SIGNUP_OPEN))


def found(name: str, actor: User) -> Team:
    """A new team with `actor` as its owner. Raises Conflict for somebody who owns 20; the caller asked `may_found`."""
    with transaction.atomic():
        # The user's row is the lock: the bound holds for requests that come at once, too.
        User.objects.select_for_update().get(pk=actor.pk)
        if not actor.is_superuser and actor.memberships.filter(role=Role.OWNER).count() >= MOST_OWNED:
            raise Conflict(_("You own %d teams; that is enough for one person.") % MOST_OWNED)
        slug = f"{slugify(name)[:40] or 'team'}-{secrets.token_hex(3)}"
        team = Team.objects.create(name=name, slug=slug)
        Membership.objects.create(team=team, user=actor, role=Role.OWNER, trust=Trust.TRUSTED)
        audit.record("team.created", team, team=team, actor=actor, after={"name": name})
    return team


def rename(team: Team, name: str, actor: User) -> None:
    with transaction.atomic():
        before = {"name": team.name}
        team.name = name
        team.save(update_fields=["name"])
        audit.record("team.renamed", team, team=team, actor=actor, before=before, after={"name": name})


def add_member(team: Team, user: User, role: str, trust: str, actor: User, actor_rank: Rank) -> Membership:
    """Raises PermissionDenied for a role above the actor's own, Conflict for somebody who is a member already."""
    _refuse_above(actor_rank, role)
    try:
        with transaction.atomic():
            membership = Membership.objects.create(team=team, user=user, role=role, trust=trust)
            _rights_changed("member.added", membership, actor, {}, {"role": role, "trust": trust})
    except IntegrityError:
        raise Conflict(_("This person is a member already.")) from None
    return membership


def change_member(membership: Membership, actor: User, actor_rank: Rank, **fields: str) -> None:
    """Set `role` or `trust`. Only owners make, change or unmake owners; the last one stays."""
    role = fields.get("role", membership.role)
    _refuse_above(actor_rank, membership.role)
    _refuse_above(actor_rank, role)
    with transaction.atomic():
        if role != Role.OWNER:
            _keep_an_owner(membership)
        before = {name: getattr(membership, name) for name in fields}
        Membership.objects.filter(pk=membership.pk).update(**fields)
        _rights_changed("member.changed", membership, actor, before, fields)
    membership.refresh_from_db()


def remove_member(membership: Membership, actor: User, actor_rank: Rank) -> None:
    """Out of the team, with every grant in its collections. Members may leave by themselves; the last owner not."""
    if membership.user_id != actor.pk:
        _refuse_above(actor_rank, membership.role)
    with transaction.atomic():
        _keep_an_owner(membership)
        CollectionGrant.objects.filter(collection__team=membership.team, user=membership.user).delete()
        _rights_changed("member.removed", membership, actor, {"role": membership.role}, {})
        membership.delete()


def create_collection(team: Team, actor: User, **fields: Any) -> Collection:
    """A new collection; whoever makes a private one owns it, else nobody could open it."""
    with transaction.atomic():
        collection = _unique_name(lambda: Collection.objects.create(team=team, **fields))
        if collection.visibility == Visibility.PRIVATE:
            CollectionGrant.objects.create(collection=collection, user=actor, role=Role.OWNER)
        audit.record("collection.created", collection, team=team, actor=actor, after=fields)
    return collection


def edit_collection(collection: Collection, actor: User, **fields: Any) -> None:
    if unknown := set(fields) - set(COLLECTION_FIELDS):
        raise ValueError(f"not editable: {', '.join(sorted(unknown))}")
    with transaction.atomic():
        before = {name: getattr(collection, name) for name in fields}
        mine = Collection.objects.filter(pk=collection.pk)
        _unique_name(lambda: mine.update(permission_epoch=F("permission_epoch") + 1, **fields))
        if fields.get("visibility") == Visibility.PRIVATE:
            # Going private ends the team's access, the actor's too: leave a way back in.
            CollectionGrant.objects.get_or_create(
                collection=collection, user=actor, defaults={"role": Role.OWNER}
            )
        audit.record(
            "collection.changed", collection, team=collection.team, actor=actor, before=before, after=fields
        )
    collection.refresh_from_db()


def delete_collection(collection: Collection, actor: User) -> None:
    """Only an empty collection goes: pictures leave through the trash, where they can be had back for 30 days."""
    with transaction.atomic():
        Collection.objects.select_for_update().get(pk=collection.pk)
        if count := Image.objects.filter(collection=collection).count():
            raise Conflict(_("The collection still holds %d pictures, those in its trash included.") % count)
        before = {"name": collection.name}
        audit.record("collection.deleted", collection, team=collection.team, actor=actor, before=before)
        collection.delete()


def _unique_name(write: Any) -> Any:
    try:
        with transaction.atomic():
            return write()
    except IntegrityError:
        raise Conflict(_("The team has a collection of this name already.")) from None


def _refuse_above(actor_rank: Rank, role: str) -> None:
    if rank(role) > actor_rank:
        raise PermissionDenied(_("Your role in this team is below that one."))


def _keep_an_owner(membership: Membership) -> None:
    # The team's row is the lock: of two owners who leave at once, the second sees that the first has gone.
    Team.objects.select_for_update().get(pk=membership.team_id)
    owners = Membership.objects.filter(team=membership.team_id, role=Role.OWNER)
    if list(owners.values_list("pk", flat=True)) == [membership.pk]:
        raise Conflict(_("A team needs an owner: make somebody else owner first."))


def _rights_changed(action: str, membership: Membership, actor: User, before: dict, after: dict) -> None:
    team = membership.team
    Team.objects.filter(pk=team.pk).update(permission_epoch=F("permission_epoch") + 1)
    audit.record(action, membership.user, team=team, actor=actor, before=before, after=dict(after))
