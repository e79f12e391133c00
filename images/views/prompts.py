"""“Might show …”: what the moderators of a team want to be told of."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from images import prompts
from images.access import Action, allowed
from images.forms_team import PromptForm
from images.models import Team
from images.moderation import Conflict
from images.views.managed import managed_team, team_frame
from images.views.request import Request


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def page(request: Request, uid: UUID) -> HttpResponse:
    """The prompts; POST adds one."""
    team = _team(request, uid)
    form = _form(request, team)
    if form.is_valid():
        try:
            prompts.add(
                team,
                form.cleaned_data["text"],
                request.user,
                collection=form.cleaned_data["collection"],
                cutoff=form.cutoff(),
            )
            messages.success(
                request, _("Pictures that might show it carry a hint in the review from now on.")
            )
            return redirect("images:prompts", uid=uid)
        except Conflict as error:
            form.add_error(None, str(error))
    context: dict[str, Any] = {"form": form, "prompts": prompts.of_team(team, request.principal)}
    status = 422 if form.is_bound else 200
    return render(request, "team/prompts.html", team_frame(request, team, "prompts") | context, status=status)


@require_POST
@login_required
def remove(request: Request, uid: UUID, prompt_uid: UUID) -> HttpResponse:
    found = get_object_or_404(prompts.of_team(_team(request, uid), request.principal), uid=prompt_uid)
    if not prompts.may_edit(found, request.principal):
        raise PermissionDenied
    prompts.remove(found, request.user)
    messages.success(request, _("No hints of “%(text)s” any more.") % {"text": found.text})
    return redirect("images:prompts", uid=uid)


def _team(request: Request, uid: UUID) -> Team:
    """A team in which the reader moderates all or some collections."""
    team = managed_team(request, uid, Action.MANAGE_KEYS)
    if not prompts.moderated(team, request.principal).exists() and not _whole(request, team):
        raise PermissionDenied
    return team


def _whole(request: Request, team: Team) -> bool:
    return allowed(request.principal, Action.MODERATE, team)


def _form(request: Request, team: Team) -> PromptForm:
    places = prompts.moderated(team, request.principal)
    return PromptForm(request.POST or None, places=places, whole_team=_whole(request, team))
