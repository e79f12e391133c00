"""Invitations: what managers send, and the page behind the link."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from allauth.account.adapter import get_adapter
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from images import invitations
from images.forms_team import InvitationForm
from images.models import Invitation, Team
from images.moderation import Conflict
from images.views.managed import base_address, managed_team, team_frame
from images.views.request import Request
from images.views.teams import ROLES_EXPLAINED

MOST_CLOSED = 20


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def page(request: Request, uid: UUID) -> HttpResponse:
    """Who is invited; POST invites somebody."""
    team = managed_team(request, uid)
    form = InvitationForm(request.POST or None, most=request.principal.rank_in_team(team))
    if form.is_valid() and _invited(request, team, form):
        return redirect("images:invitations", uid=uid)
    rows = Invitation.objects.filter(team=team).select_related("invited_by", "accepted_by")
    context = {
        "form": form,
        "open": rows.open()[: invitations.MOST_OPEN],  # type: ignore[attr-defined]
        "closed": rows.exclude(pk__in=rows.open().values("pk"))[:MOST_CLOSED],  # type: ignore[attr-defined]
        "roles": ROLES_EXPLAINED,
    }
    status = 422 if form.is_bound else 200
    return render(
        request, "team/invitations.html", team_frame(request, team, "invitations") | context, status=status
    )


@require_POST
@login_required
def resend(request: Request, uid: UUID, invitation_uid: UUID) -> HttpResponse:
    team = managed_team(request, uid)
    invitation = _of(team, invitation_uid)
    try:
        invitations.renew(invitation, request.user, request.principal.rank_in_team(team))
        _send(request, invitation)
    except (Conflict, PermissionDenied) as error:
        messages.error(request, str(error))
    return redirect("images:invitations", uid=uid)


@require_POST
@login_required
def revoke(request: Request, uid: UUID, invitation_uid: UUID) -> HttpResponse:
    invitation = _of(managed_team(request, uid), invitation_uid)
    try:
        invitations.revoke(invitation, request.user)
        messages.success(request, _("The invitation for %s no longer works.") % invitation.email)
    except Conflict as error:
        messages.error(request, str(error))
    return redirect("images:invitations", uid=uid)


@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
def accept(request: Request, token: str) -> HttpResponse:
    """The page behind the link: join with the account at hand, sign in, or sign up."""
    invitation = invitations.find(token)
    if invitation is None:
        return render(request, "team/invitation_ended.html", status=404)
    if request.method == "POST" and request.user.is_authenticated:
        return _join(request, invitation)
    if not request.user.is_authenticated:
        _remember(request, invitation, token)
    context = {"invitation": invitation, "has_account": invitations.has_account(invitation.email)}
    return render(request, "team/invitation.html", context | {"fits": _fits(request, invitation)})


def _join(request: Request, invitation: Invitation) -> HttpResponse:
    try:
        invitations.accept(invitation, request.user)
    except Conflict as error:
        messages.error(request, str(error))
        return redirect(request.path)
    request.session.pop(invitations.SESSION_KEY, None)
    messages.success(request, _("Welcome to %s.") % invitation.team.name)
    return redirect("search:home")


def _remember(request: Request, invitation: Invitation, token: str) -> None:
    """Sign-up is open for this browser, and its mailbox counts as verified: the link came through it."""
    request.session[invitations.SESSION_KEY] = token
    if not invitations.has_account(invitation.email):
        get_adapter(request).stash_verified_email(request, invitation.email)


def _fits(request: Request, invitation: Invitation) -> bool:
    return request.user.is_authenticated and request.user.email.lower() == invitation.email


def _invited(request: Request, team: Team, form: InvitationForm) -> bool:
    given: dict[str, Any] = form.cleaned_data
    rank = request.principal.rank_in_team(team)
    try:
        invitation = invitations.invite(team, **given, actor=request.user, actor_rank=rank)
    except (Conflict, PermissionDenied) as error:
        form.add_error(None, str(error))
        return False
    _send(request, invitation)
    return True


def _send(request: Request, invitation: Invitation) -> None:
    if invitations.send(invitation, base_address(request)):
        messages.success(request, _("The invitation is on its way to %s.") % invitation.email)
    else:
        messages.error(request, _("The mail could not be sent. Try again from the list in a minute."))


def _of(team: Team, uid: UUID) -> Invitation:
    return get_object_or_404(Invitation.objects.filter(team=team).select_related("team"), uid=uid)
