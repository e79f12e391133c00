"""Who may see and do what.

A request is compiled once into a `Principal`; `Collection.objects.visible_to(principal)` and
`Image.objects.visible_to(principal)` turn it into SQL, and `require` guards every write. Nothing else decides rights.
This module imports no models, so that the models can use it: rights are read through the user's own relations.

Everything fails closed: an unknown role, scope or action allows nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, Any

from django.core.exceptions import PermissionDenied
from django.db.models import Q
from django.http import Http404
from django.utils.translation import gettext as _

if TYPE_CHECKING:
    from images.models import ApiKey, Collection, Image, ShareLink, Team, User


class Rank(IntEnum):
    """Roles in order; each may do all that the ones before it may."""

    NONE = 0
    VIEWER = 1
    CONTRIBUTOR = 2
    EDITOR = 3
    MANAGER = 4
    OWNER = 5


class Action(StrEnum):
    VIEW = "view"
    SEARCH = "search"
    UPLOAD = "upload"
    EDIT = "edit"
    DELETE = "delete"
    MODERATE = "moderate"
    MANAGE = "manage"
    REINDEX = "reindex"
    CREATE_COLLECTION = "create-collection"
    MANAGE_TEAM = "manage-team"
    MANAGE_KEYS = "manage-keys"
    MANAGE_WEBHOOKS = "manage-webhooks"


NEEDS = {
    Action.VIEW: Rank.VIEWER,
    Action.SEARCH: Rank.VIEWER,
    Action.UPLOAD: Rank.CONTRIBUTOR,
    Action.EDIT: Rank.EDITOR,
    Action.DELETE: Rank.EDITOR,
    Action.MODERATE: Rank.EDITOR,
    Action.MANAGE: Rank.MANAGER,
    Action.REINDEX: Rank.MANAGER,
    Action.CREATE_COLLECTION: Rank.EDITOR,
    Action.MANAGE_TEAM: Rank.MANAGER,
    Action.MANAGE_KEYS: Rank.VIEWER,
    Action.MANAGE_WEBHOOKS: Rank.MANAGER,
}

# What an API key must carry; None: no key may do it, whatever its scopes.
SCOPES: dict[Action, str | None] = {
    Action.VIEW: "images:read",
    Action.SEARCH: "search:read",
    Action.UPLOAD: "images:write",
    Action.EDIT: "images:write",
    Action.DELETE: "images:write",
    Action.MODERATE: "moderation:write",
    Action.MANAGE: "collections:admin",
    Action.REINDEX: "index:admin",
    Action.CREATE_COLLECTION: "collections:admin",
    Action.MANAGE_TEAM: None,
    Action.MANAGE_KEYS: None,
    Action.MANAGE_WEBHOOKS: "webhooks:write",
}

# What whoever holds a share link may do, in its one collection.
SHARED = frozenset({Action.VIEW, Action.SEARCH})


def rank(role: str | None) -> Rank:
    return Rank.__members__.get((role or "").upper(), Rank.NONE)


@dataclass(frozen=True)
class Principal:
    """The rights of one request. `scopes` is None for a person's session, a set for an API key; `share_id` is set for
    a share link, which is nobody and reads the settled pictures of `only_collections`."""

    user_id: int | None = None
    superuser: bool = False
    team_roles: Mapping[int, str] = field(default_factory=dict)
    grants: Mapping[int, str] = field(default_factory=dict)
    scopes: frozenset[str] | None = None
    only_team: int | None = None
    only_collections: frozenset[int] | None = None
    key_id: int | None = None
    share_id: int | None = None

    @property
    def signed_in(self) -> bool:
        return self.user_id is not None

    @property
    def rights_key(self) -> str:
        """A digest of everything above: part of every cache key, so a changed right misses the cache at once."""
        parts = (
            self.user_id,
            self.superuser,
            sorted(self.team_roles.items()),
            sorted(self.grants.items()),
            sorted(self.scopes) if self.scopes is not None else None,
            self.only_team,
            sorted(self.only_collections) if self.only_collections is not None else None,
            self.share_id,
        )
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:24]

    def has_scope(self, action: Action) -> bool:
        if self.scopes is None:
            return True
        return SCOPES[action] is not None and SCOPES[action] in self.scopes

    def teams_with(self, least: Rank) -> list[int]:
        return [team for team, role in self.team_roles.items() if rank(role) >= least]

    def collections_q(self, prefix: str = "") -> Q:
        """SQL for "collections this principal may read", with `prefix` for use across a relation."""
        if self.share_id is not None:
            return Q(**{f"{prefix}pk__in": sorted(self.only_collections or ())})
        if not self.signed_in:
            return Q(pk__in=[])
        return self._limits(prefix) & self._reach(prefix)

    def _reach(self, prefix: str) -> Q:
        if self.superuser:
            return Q(**{f"{prefix}pk__isnull": False})
        return (
            Q(**{f"{prefix}visibility": "public"})
            | Q(**{f"{prefix}visibility": "team", f"{prefix}team__in": self.teams_with(Rank.VIEWER)})
            | Q(**{f"{prefix}pk__in": self._granted(Rank.VIEWER)})
        )

    def _limits(self, prefix: str) -> Q:
        limits = Q()
        if self.only_team is not None:
            limits &= Q(**{f"{prefix}team": self.only_team})
        if self.only_collections is not None:
            limits &= Q(**{f"{prefix}pk__in": sorted(self.only_collections)})
        return limits

    def _granted(self, least: Rank) -> list[int]:
        return [collection for collection, role in self.grants.items() if rank(role) >= least]

    def moderated_q(self, prefix: str = "") -> Q:
        """SQL for "collections where this principal moderates": sees pending, hidden and refused pictures too."""
        if not self.signed_in:
            return Q(pk__in=[])
        if self.superuser:
            return self._limits(prefix) & Q(**{f"{prefix}pk__isnull": False})
        lowered = [pk for pk, role in self.grants.items() if rank(role) < Rank.EDITOR]
        by_team = Q(
            **{
                f"{prefix}visibility__in": ["team", "public"],
                f"{prefix}team__in": self.teams_with(Rank.EDITOR),
            }
        ) & ~Q(**{f"{prefix}pk__in": lowered})
        return self._limits(prefix) & (by_team | Q(**{f"{prefix}pk__in": self._granted(Rank.EDITOR)}))

    def images_q(self) -> Q:
        """SQL for "images this principal may see": readable, not trashed, and approved, its own, or moderated."""
        settled = Q(state="ready", moderation="approved")
        mine = Q(uploader=self.user_id) if self.signed_in else Q(pk__in=[])
        concealed = mine | self.moderated_q("collection__")
        return self.collections_q("collection__") & Q(trashed_at__isnull=True) & (settled | concealed)

    def rank_in(self, collection: Collection) -> Rank:
        """The role that counts in `collection`: a grant replaces the team's role there."""
        if not self._within(collection.team_id, collection.pk):
            return Rank.NONE
        if self.share_id is not None:
            return Rank.VIEWER if self.only_collections else Rank.NONE
        if self.superuser:
            return Rank.OWNER
        if collection.pk in self.grants:
            return rank(self.grants[collection.pk])
        if collection.visibility == "private":
            return Rank.NONE
        floor = Rank.VIEWER if self.signed_in and collection.visibility == "public" else Rank.NONE
        return max(floor, rank(self.team_roles.get(collection.team_id)))

    def rank_in_team(self, team: Team) -> Rank:
        """The role in the team itself. What is limited to some collections changes nothing that concerns all."""
        if self.only_team not in (None, team.pk):
            return Rank.NONE
        held = Rank.OWNER if self.superuser else rank(self.team_roles.get(team.pk))
        return held if self.only_collections is None else min(held, Rank.VIEWER)

    def _within(self, team_id: int, collection_id: int) -> bool:
        in_team = self.only_team in (None, team_id)
        return in_team and (self.only_collections is None or collection_id in self.only_collections)


ANONYMOUS = Principal()


def principal_for_user(user: User | Any) -> Principal:
    """Compile a signed-in user's rights; anyone else, and a suspended user, is anonymous."""
    if not getattr(user, "is_authenticated", False) or not user.is_active:
        return ANONYMOUS
    return Principal(
        user_id=user.pk,
        superuser=user.is_superuser,
        team_roles=dict(user.memberships.values_list("team_id", "role")),
        grants=dict(user.grants.values_list("collection_id", "role")),
    )


def principal_for_key(key: ApiKey) -> Principal:
    """The owner's rights, narrowed by the key: never more than the owner could do at this moment."""
    if not key.live or not key.owner.is_active:
        return ANONYMOUS
    owner = principal_for_user(key.owner)
    limited = frozenset(key.collections.values_list("pk", flat=True)) if key.limited else None
    return Principal(
        user_id=owner.user_id,
        superuser=owner.superuser,
        team_roles={pk: role for pk, role in owner.team_roles.items() if pk == key.team_id},
        grants=owner.grants,
        scopes=frozenset(key.scopes),
        only_team=key.team_id,
        only_collections=limited,
        key_id=key.pk,
    )


def principal_for_share(share: ShareLink) -> Principal:
    """Whoever holds the link: may look at and search the one collection while the link lives, and nothing else."""
    if not share.live:
        return ANONYMOUS
    return Principal(only_collections=frozenset({share.collection_id}), share_id=share.pk)


def allowed(principal: Principal, action: Action, target: Collection | Image | Team) -> bool:
    """Whether `principal` may do `action` to `target`; people may edit and delete what they uploaded."""
    if principal.share_id is not None:
        place = getattr(target, "collection", target)
        return action in SHARED and hasattr(place, "team_id") and principal.rank_in(place) >= NEEDS[action]  # type: ignore[arg-type]
    if not principal.signed_in or not principal.has_scope(action):
        return False
    collection = getattr(target, "collection", None)
    if collection is not None:
        held = principal.rank_in(collection)
        if action in (Action.EDIT, Action.DELETE) and target.uploader_id == principal.user_id:  # type: ignore[union-attr]
            return held >= Rank.CONTRIBUTOR
    elif hasattr(target, "team_id"):
        held = principal.rank_in(target)  # type: ignore[arg-type]
    else:
        held = principal.rank_in_team(target)  # type: ignore[arg-type]
    return held >= NEEDS[action]


def require(principal: Principal, action: Action, target: Collection | Image | Team) -> None:
    """Raise Http404 where `target` is not even visible to `principal`, PermissionDenied where it may only be seen."""
    if allowed(principal, action, target):
        return
    if not _visible(principal, target):
        raise Http404
    raise PermissionDenied(_("Your role does not allow this here."))


def require_scope(principal: Principal, action: Action) -> None:
    """Raise PermissionDenied where an API key lacks the scope that `action` needs."""
    if not principal.has_scope(action):
        needed = SCOPES[action] or _("a signed-in person")
        raise PermissionDenied(_("This API key lacks the scope %(scope)s.") % {"scope": needed})


def _visible(principal: Principal, target: Collection | Image | Team) -> bool:
    if hasattr(target, "quota_bytes"):
        return principal.rank_in_team(target) >= Rank.VIEWER  # type: ignore[arg-type]
    return type(target).objects.visible_to(principal).filter(pk=target.pk).exists()  # type: ignore[attr-defined]
