"""What the pages of teams and collections look up before anything else: missing and foreign are both 404."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from allauth.account.adapter import get_adapter
from django.shortcuts import get_object_or_404

from images.access import Action, Rank, allowed, require
from images.models import Collection, Team
from images.views.request import Request


def managed_team(request: Request, uid: UUID, action: Action = Action.MANAGE_TEAM) -> Team:
    """A team in which the reader may do `action`; 404 where they do not belong to it, 403 where they may not."""
    every = Team.objects.all()
    if not request.principal.superuser:
        every = every.filter(pk__in=request.principal.teams_with(Rank.VIEWER))
    team = get_object_or_404(every, uid=uid)
    require(request.principal, action, team)
    return team


def managed_collection(request: Request, uid: UUID, action: Action = Action.MANAGE) -> Collection:
    visible = Collection.objects.visible_to(request.principal).select_related("team")  # type: ignore[attr-defined]
    collection: Collection = get_object_or_404(visible, uid=uid)
    require(request.principal, action, collection)
    return collection


def team_frame(request: Request, team: Team, tab: str) -> dict[str, Any]:
    """What the head of every page of a team needs."""
    may_manage = allowed(request.principal, Action.MANAGE_TEAM, team)
    may_moderate = allowed(request.principal, Action.MODERATE, team)
    return {
        "team": team,
        "may_manage": may_manage,
        "may_moderate": may_moderate,
        "section": "team",
        "tab": tab,
    }


def base_address(request: Request) -> str:
    return request.build_absolute_uri("/").rstrip("/")


def visitor_address(request: Request) -> str:
    """Whose tries are counted: the same address as for sign-in, so one setting tells both about proxies in front."""
    return str(get_adapter(request).get_client_ip(request))


def is_uid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
