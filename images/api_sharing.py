"""Invitations to a team, read-only links to a collection, and roles in it."""

from __future__ import annotations

from uuid import UUID

from django.http import Http404
from django.utils import timezone
from django.utils.translation import gettext as _
from rest_framework.request import Request
from rest_framework.response import Response

from images import invitations, members, shares
from images.access import Action, require
from images.api_collections import CollectionEndpoint
from images.api_teams import TeamEndpoint
from images.endpoint import invalid, operation
from images.models import Collection, CollectionGrant, Invitation, ShareLink, Team, User
from images.pagination import PARAMETERS, Order, page
from images.serializers import listed
from images.serializers_team import (
    GrantForm,
    GrantSerializer,
    InvitationForm,
    InvitationSerializer,
    MadeShareSerializer,
    ShareForm,
    ShareSerializer,
    grant_json,
    invitation_json,
    share_json,
)

INVITATIONS = Order("invitations")
SHARES = Order("shares")
GRANTS = Order("grants", uid="user__uid", newest_first=False)


class InvitationEndpoint(TeamEndpoint):
    def managed(self, uid: UUID) -> Team:
        team = self.team(uid)
        require(self.principal, Action.MANAGE_TEAM, team)
        return team

    def mail(self, invitation: Invitation, status: int) -> Response:
        invitations.send(invitation, self.request._request.build_absolute_uri("/"))
        invitation.refresh_from_db()
        return Response(invitation_json(invitation), status=status)


class Invitations(InvitationEndpoint):
    @operation(
        Action.MANAGE_TEAM,
        "invitations_list",
        "Invitations to a team",
        responses={200: listed(InvitationSerializer, "InvitationPage")},
        parameters=PARAMETERS,
        tags=["teams"],
        errors=[404],
    )
    def get(self, request: Request, uid: UUID) -> Response:
        rows = Invitation.objects.filter(team=self.managed(uid)).select_related("invited_by")
        return Response(
            page(rows, request, INVITATIONS, lambda found: [invitation_json(one) for one in found])
        )

    @operation(
        Action.MANAGE_TEAM,
        "invitations_create",
        "Invite somebody by mail",
        description="The mail's link works once, for seven days, and needs no account here. Inviting an address again "
        "replaces its open invitation. Nobody invites to a role above their own.",
        request=InvitationForm,
        responses={201: InvitationSerializer},
        tags=["teams"],
        errors=[404],
    )
    def post(self, request: Request, uid: UUID) -> Response:
        team = self.managed(uid)
        wanted = self.check(InvitationForm)
        rank = self.principal.rank_in_team(team)
        return self.mail(invitations.invite(team, **wanted, actor=self.user, actor_rank=rank), 201)


class InvitationDetail(InvitationEndpoint):
    @operation(
        Action.MANAGE_TEAM,
        "invitations_revoke",
        "Revoke an invitation",
        responses={204: None},
        tags=["teams"],
        errors=[404],
    )
    def delete(self, request: Request, uid: UUID, invitation: UUID) -> Response:
        rows = Invitation.objects.filter(team=self.managed(uid)).select_related("team")
        invitations.revoke(self.find(rows, invitation), self.user)
        return Response(status=204)


class InvitationResend(InvitationEndpoint):
    @operation(
        Action.MANAGE_TEAM,
        "invitations_resend",
        "Send an invitation again",
        description="With a new link for seven more days; the former one ends.",
        responses={200: InvitationSerializer},
        tags=["teams"],
        errors=[404],
    )
    def post(self, request: Request, uid: UUID, invitation: UUID) -> Response:
        team = self.managed(uid)
        rows = Invitation.objects.filter(team=team).select_related("team", "invited_by")
        found = self.find(rows, invitation)
        invitations.renew(found, self.user, self.principal.rank_in_team(team))
        return self.mail(found, 200)


class ManagedCollection(CollectionEndpoint):
    def managed(self, uid: UUID) -> Collection:
        collection = self.collection(uid)
        require(self.principal, Action.MANAGE, collection)
        return collection


class Shares(ManagedCollection):
    @operation(
        Action.MANAGE,
        "shares_list",
        "Read-only links to a collection",
        responses={200: listed(ShareSerializer, "SharePage")},
        parameters=PARAMETERS,
        tags=["sharing"],
        errors=[404],
    )
    def get(self, request: Request, uid: UUID) -> Response:
        rows = ShareLink.objects.filter(collection=self.managed(uid)).select_related("created_by")
        return Response(page(rows, request, SHARES, lambda found: [share_json(one) for one in found]))

    @operation(
        Action.MANAGE,
        "shares_create",
        "Make a read-only link",
        description="Whoever has it may look at and search the collection, without an account.",
        request=ShareForm,
        responses={201: MadeShareSerializer},
        tags=["sharing"],
        errors=[404],
        unrepeated=["url"],
    )
    def post(self, request: Request, uid: UUID) -> Response:
        collection = self.managed(uid)
        wanted = self.check(ShareForm)
        if wanted["expires_at"] and wanted["expires_at"] <= timezone.now():
            raise invalid("expires_at", _("This lies in the past."))
        share, token = shares.create(
            collection,
            self.user,
            wanted["name"],
            expires_at=wanted["expires_at"],
            password=wanted["password"] or "",
        )
        url = self.request._request.build_absolute_uri(f"/s/{token}/")
        return Response({**share_json(share), "url": url}, status=201)


class ShareDetail(ManagedCollection):
    @operation(
        Action.MANAGE,
        "shares_revoke",
        "Revoke a read-only link at once",
        responses={204: None},
        tags=["sharing"],
        errors=[404],
    )
    def delete(self, request: Request, uid: UUID, share: UUID) -> Response:
        rows = ShareLink.objects.filter(collection=self.managed(uid)).select_related("collection__team")
        shares.revoke(self.find(rows, share), self.user)
        return Response(status=204)


class Grants(ManagedCollection):
    @operation(
        None,
        "grants_list",
        "Roles in a collection",
        description="They replace the role in the team, in this collection alone.",
        responses={200: listed(GrantSerializer, "GrantPage")},
        parameters=PARAMETERS,
        tags=["sharing"],
        errors=[404],
    )
    def get(self, request: Request, uid: UUID) -> Response:
        rows = CollectionGrant.objects.filter(collection=self.managed(uid)).select_related("user")
        return Response(page(rows, request, GRANTS, lambda found: [grant_json(one) for one in found]))

    @operation(
        None,
        "grants_set",
        "Give a member a role in a collection",
        description="In place of any role that they had there. A private collection keeps an owner.",
        request=GrantForm,
        responses={201: GrantSerializer},
        tags=["sharing"],
        errors=[404],
    )
    def post(self, request: Request, uid: UUID) -> Response:
        collection = self.managed(uid)
        wanted = self.check(GrantForm)
        user = User.objects.filter(uid=wanted["user"], memberships__team=collection.team_id).first()
        if user is None:
            raise invalid("user", _("The team has no such member."))
        rank = self.principal.rank_in(collection)
        return Response(
            grant_json(members.grant(collection, user, wanted["role"], self.user, rank)), status=201
        )


class GrantDetail(ManagedCollection):
    @operation(
        None,
        "grants_withdraw",
        "Take a role in a collection away",
        responses={204: None},
        tags=["sharing"],
        errors=[404],
    )
    def delete(self, request: Request, uid: UUID, user: UUID) -> Response:
        collection = self.managed(uid)
        rows = CollectionGrant.objects.filter(collection=collection).select_related(
            "user", "collection__team"
        )
        found = rows.filter(user__uid=user).first()
        if found is None:
            raise Http404
        members.withdraw(found, self.user, self.principal.rank_in(collection))
        return Response(status=204)
