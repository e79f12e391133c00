"""Teams, their members and their API keys. No API key manages people or keys: that takes a person."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from django.db.models import QuerySet
from django.http import Http404
from django.utils import timezone
from django.utils.translation import gettext as _
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response

from images import keys, teams
from images.access import Action, Principal, Rank, principal_for_user, require
from images.endpoint import Endpoint, invalid, operation
from images.models import ApiKey, Collection, Membership, Team, User
from images.pagination import PARAMETERS, Order, page
from images.serializers import (
    IssuedKeySerializer,
    KeyForm,
    KeySerializer,
    MemberForm,
    MemberSerializer,
    NewMemberForm,
    TeamForm,
    TeamSerializer,
    key_json,
    listed,
    member_json,
    team_json,
)

MEMBERS = Order("members", uid="user__uid", newest_first=False)
OLDEST = Order("teams", newest_first=False)
KEYS = Order("keys")


def visible_teams(principal: Principal) -> QuerySet[Team]:
    """The teams that the principal belongs to; a superuser sees all of them, a key only its own."""
    if not principal.signed_in:
        return Team.objects.none()
    rows = (
        Team.objects.all()
        if principal.superuser
        else Team.objects.filter(pk__in=principal.teams_with(Rank.VIEWER))
    )
    return rows if principal.only_team is None else rows.filter(pk=principal.only_team)


class TeamEndpoint(Endpoint):
    def team(self, uid: UUID) -> Team:
        return self.find(visible_teams(self.principal), uid)


class Teams(Endpoint):
    @operation(
        Action.VIEW,
        "teams_list",
        "Your teams",
        responses={200: listed(TeamSerializer, "TeamPage")},
        parameters=PARAMETERS,
        tags=["teams"],
    )
    def get(self, request: Request) -> Response:
        def show(rows: Sequence[Team]) -> list[dict]:
            return [team_json(team, self.principal) for team in rows]

        return Response(page(visible_teams(self.principal), request, OLDEST, show))

    @operation(
        Action.MANAGE_TEAM,
        "teams_create",
        "Make a team",
        description="You own it. For superusers, and for everybody on a server whose sign-up is open.",
        request=TeamForm,
        responses={201: TeamSerializer},
        tags=["teams"],
    )
    def post(self, request: Request) -> Response:
        if not teams.may_found(self.principal):
            raise PermissionDenied(_("On this server teams are made by its administrators."))
        team = teams.found(self.check(TeamForm)["name"], self.user)
        return Response(team_json(team, principal_for_user(self.user)), status=201)


class TeamDetail(TeamEndpoint):
    @operation(
        Action.VIEW, "teams_get", "A team", responses={200: TeamSerializer}, tags=["teams"], errors=[404]
    )
    def get(self, request: Request, uid: UUID) -> Response:
        return Response(team_json(self.team(uid), self.principal))

    @operation(
        Action.MANAGE_TEAM,
        "teams_rename",
        "Rename a team",
        request=TeamForm,
        responses={200: TeamSerializer},
        tags=["teams"],
        errors=[404],
    )
    def patch(self, request: Request, uid: UUID) -> Response:
        team = self.team(uid)
        require(self.principal, Action.MANAGE_TEAM, team)
        teams.rename(team, self.check(TeamForm)["name"], self.user)
        return Response(team_json(team, self.principal))


class Members(TeamEndpoint):
    @operation(
        None,
        "members_list",
        "Who belongs to a team",
        description="Members see each other; email addresses are shown to managers.",
        responses={200: listed(MemberSerializer, "MemberPage")},
        parameters=PARAMETERS,
        tags=["teams"],
        errors=[404],
    )
    def get(self, request: Request, uid: UUID) -> Response:
        team = self.team(uid)
        manages = self.principal.rank_in_team(team) >= Rank.MANAGER

        def show(rows: Sequence[Membership]) -> list[dict]:
            return [member_json(one, manages or one.user_id == self.principal.user_id) for one in rows]

        return Response(page(team.memberships.select_related("user"), request, MEMBERS, show))

    @operation(
        Action.MANAGE_TEAM,
        "members_add",
        "Add somebody who has an account here",
        request=NewMemberForm,
        responses={201: MemberSerializer},
        tags=["teams"],
        errors=[404],
    )
    def post(self, request: Request, uid: UUID) -> Response:
        team = self.team(uid)
        require(self.principal, Action.MANAGE_TEAM, team)
        wanted = self.check(NewMemberForm)
        user = User.objects.filter(email__iexact=wanted["email"], is_active=True).first()
        if user is None:
            raise invalid("email", _("Nobody here has this email address."))
        rank = self.principal.rank_in_team(team)
        membership = teams.add_member(team, user, wanted["role"], wanted["trust"], self.user, rank)
        return Response(member_json(membership, with_email=True), status=201)


class MemberDetail(TeamEndpoint):
    def membership(self, uid: UUID, member: UUID) -> Membership:
        rows = Membership.objects.filter(team=self.team(uid), user__uid=member).select_related("team", "user")
        found = rows.first()
        if found is None:
            raise Http404
        return found

    @operation(
        Action.MANAGE_TEAM,
        "members_change",
        "Change a member's role or trust",
        description="Nobody gives or takes a role above their own, and the last owner stays owner.",
        request=MemberForm,
        responses={200: MemberSerializer},
        tags=["teams"],
        errors=[404],
    )
    def patch(self, request: Request, uid: UUID, member: UUID) -> Response:
        membership = self.membership(uid, member)
        require(self.principal, Action.MANAGE_TEAM, membership.team)
        wanted = self.check(MemberForm, partial=True)
        teams.change_member(membership, self.user, self.principal.rank_in_team(membership.team), **wanted)
        return Response(member_json(membership, with_email=True))

    @operation(
        None,
        "members_remove",
        "Remove a member, or leave",
        responses={204: None},
        tags=["teams"],
        errors=[404],
    )
    def delete(self, request: Request, uid: UUID, member: UUID) -> Response:
        membership = self.membership(uid, member)
        if membership.user_id != self.principal.user_id:
            require(self.principal, Action.MANAGE_TEAM, membership.team)
        teams.remove_member(membership, self.user, self.principal.rank_in_team(membership.team))
        return Response(status=204)


class KeyEndpoint(TeamEndpoint):
    def keys(self, team: Team) -> QuerySet[ApiKey]:
        """One's own keys; managers see (and may revoke) everybody's."""
        require(self.principal, Action.MANAGE_KEYS, team)
        rows = ApiKey.objects.filter(team=team).select_related("owner").prefetch_related("collections")
        manages = self.principal.rank_in_team(team) >= Rank.MANAGER
        return rows if manages else rows.filter(owner=self.principal.user_id)


class Keys(KeyEndpoint):
    @operation(
        Action.MANAGE_KEYS,
        "keys_list",
        "API keys of a team",
        description="Your own; managers see everybody's.",
        responses={200: listed(KeySerializer, "KeyPage")},
        parameters=PARAMETERS,
        tags=["keys"],
        errors=[404],
    )
    def get(self, request: Request, uid: UUID) -> Response:
        rows = self.keys(self.team(uid))
        return Response(page(rows, request, KEYS, lambda found: [key_json(key) for key in found]))

    @operation(
        Action.MANAGE_KEYS,
        "keys_issue",
        "Issue an API key",
        description="It acts in your name, within its scopes and collections, and never does more than you may.",
        request=KeyForm,
        responses={201: IssuedKeySerializer},
        tags=["keys"],
        errors=[404],
        unrepeated=["secret"],
    )
    def post(self, request: Request, uid: UUID) -> Response:
        team = self.team(uid)
        require(self.principal, Action.MANAGE_KEYS, team)
        wanted = self.check(KeyForm)
        if wanted["expires_at"] and wanted["expires_at"] <= timezone.now():
            raise invalid("expires_at", _("This lies in the past."))
        key, text = keys.issue(
            team,
            self.user,
            wanted["name"],
            wanted["scopes"],
            collections=self._collections(team, wanted["collections"]),
            expires_at=wanted["expires_at"],
            rate=wanted["rate"],
        )
        return Response({**key_json(key), "secret": text}, status=201)

    def _collections(self, team: Team, uids: list[UUID] | None) -> list[Collection] | None:
        if uids is None:
            return None
        found = list(Collection.objects.visible_to(self.principal).filter(team=team, uid__in=uids))
        if len(found) != len(set(uids)):
            raise invalid("collections", _("Not all of these are collections of this team."))
        return found


class KeyDetail(KeyEndpoint):
    @operation(
        Action.MANAGE_KEYS,
        "keys_revoke",
        "Revoke an API key at once",
        responses={204: None},
        tags=["keys"],
        errors=[404],
    )
    def delete(self, request: Request, uid: UUID, key: UUID) -> Response:
        keys.revoke(self.find(self.keys(self.team(uid)), key), self.user)
        return Response(status=204)


class KeyRotation(KeyEndpoint):
    @operation(
        Action.MANAGE_KEYS,
        "keys_rotate",
        "Replace an API key of yours",
        description="The old key goes on working for 24 hours.",
        responses={201: IssuedKeySerializer},
        tags=["keys"],
        errors=[404],
        unrepeated=["secret"],
    )
    def post(self, request: Request, uid: UUID, key: UUID) -> Response:
        old = self.find(self.keys(self.team(uid)), key)
        if old.owner_id != self.principal.user_id:
            # The new secret would let a manager act as somebody else.
            raise PermissionDenied(_("Only the owner of a key may replace it."))
        if not old.live:
            raise teams.Conflict(_("This key is expired or revoked: issue a new one."))
        successor, text = keys.rotate(old, self.user)
        return Response({**key_json(successor), "secret": text}, status=201)
