"""Teams: members and API keys; and the list of long jobs."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from images import keys, teams
from images.access import Action, Principal, Rank, allowed, require
from images.forms import KeyForm, MemberForm, NewMemberForm, TeamForm
from images.models import ApiKey, Collection, Job, JobState, Membership, Role, Scope, Team, Trust, User
from images.moderation import Conflict
from images.views.managed import team_frame
from images.views.request import Request

MOST_MEMBERS = 500
MOST_JOBS = 100
ROLES_EXPLAINED = [
    (Role.VIEWER, gettext_lazy("Sees and searches the team's pictures.")),
    (Role.CONTRIBUTOR, gettext_lazy("Also uploads, and edits what they uploaded.")),
    (
        Role.EDITOR,
        gettext_lazy("Also edits, deletes and reviews everyone's pictures, and creates collections."),
    ),
    (Role.MANAGER, gettext_lazy("Also manages collections, members and indexes.")),
    (Role.OWNER, gettext_lazy("Everything; a team keeps at least one owner.")),
]


@require_safe
@login_required
def index(request: Request) -> HttpResponse:
    found = list(_teams(request.principal)[:MOST_MEMBERS])
    if len(found) == 1 and "all" not in request.GET:
        return redirect("images:team", uid=found[0].uid)
    context = {"teams": found, "may_found": teams.may_found(request.principal), "section": "team"}
    return render(request, "images/teams.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def new(request: Request) -> HttpResponse:
    if not teams.may_found(request.principal):
        raise PermissionDenied(_("On this server teams are made by its administrators."))
    form = TeamForm(request.POST or None)
    if form.is_valid():
        try:
            team = teams.found(form.cleaned_data["name"], request.user)
            return redirect("images:team", uid=team.uid)
        except Conflict as error:
            form.add_error(None, str(error))
    status = 422 if form.is_bound else 200
    return render(request, "images/team_new.html", {"form": form, "section": "team"}, status=status)


@require_safe
@login_required
def page(request: Request, uid: UUID) -> HttpResponse:
    team = _visible(request, uid)
    return _members_page(request, team, NewMemberForm())


def _members_page(request: Request, team: Team, form: NewMemberForm) -> HttpResponse:
    members = team.memberships.select_related("user").order_by("user__name", "user__email")[:MOST_MEMBERS]
    context = {
        "members": members,
        "roles": ROLES_EXPLAINED,
        "trusts": Trust.choices,
        "form": form,
        "tab": "members",
    }
    status = 422 if form.is_bound else 200
    return render(request, "images/team.html", _frame(request, team) | context, status=status)


@require_POST
@login_required
def add_member(request: Request, uid: UUID) -> HttpResponse:
    """Somebody who has an account joins the team."""
    team = _visible(request, uid)
    require(request.principal, Action.MANAGE_TEAM, team)
    form = NewMemberForm(request.POST)
    if form.is_valid():
        user = User.objects.filter(email__iexact=form.cleaned_data["email"], is_active=True).first()
        if user is None:
            form.add_error("email", _("Nobody with this address has an account on this server."))
        elif _tried(request, form, lambda: _add(request, team, user, form.cleaned_data)):
            return redirect("images:team", uid=uid)
    return _members_page(request, team, form)


def _add(request: Request, team: Team, user: User, cleaned: dict[str, Any]) -> None:
    rank = request.principal.rank_in_team(team)
    teams.add_member(team, user, cleaned["role"], cleaned["trust"], request.user, rank)


def _tried(request: Request, form: NewMemberForm, change: Any) -> bool:
    try:
        change()
    except (Conflict, PermissionDenied) as error:
        form.add_error(None, str(error))
        return False
    messages.success(request, _("Welcome to the team."))
    return True


@require_POST
@login_required
def change_member(request: Request, uid: UUID, user_uid: UUID) -> HttpResponse:
    membership = _membership(request, uid, user_uid)
    require(request.principal, Action.MANAGE_TEAM, membership.team)
    form = MemberForm(request.POST)
    if not form.is_valid():
        return _members_page(request, membership.team, NewMemberForm())
    rank = request.principal.rank_in_team(membership.team)
    try:
        teams.change_member(membership, request.user, rank, **form.cleaned_data)
        messages.success(request, _("Saved."))
    except (Conflict, PermissionDenied) as error:
        messages.error(request, str(error))
    return redirect("images:team", uid=uid)


@require_POST
@login_required
def remove_member(request: Request, uid: UUID, user_uid: UUID) -> HttpResponse:
    """Managers remove, members leave."""
    membership = _membership(request, uid, user_uid)
    if membership.user_id != request.principal.user_id:
        require(request.principal, Action.MANAGE_TEAM, membership.team)
    try:
        teams.remove_member(membership, request.user, request.principal.rank_in_team(membership.team))
    except (Conflict, PermissionDenied) as error:
        messages.error(request, str(error))
        return redirect("images:team", uid=uid)
    messages.success(request, _("No longer in the team."))
    return redirect("images:teams")


def _membership(request: Request, uid: UUID, user_uid: UUID) -> Membership:
    found = Membership.objects.filter(team__in=_teams(request.principal)).select_related("team", "user")
    return get_object_or_404(found, team__uid=uid, user__uid=user_uid)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
@never_cache
def api_keys(request: Request, uid: UUID) -> HttpResponse:
    """One's own keys in the team; a new one's secret is in the answer to its creation and nowhere else."""
    team = _visible(request, uid)
    require(request.principal, Action.MANAGE_KEYS, team)
    form, secret = _key_form(request, team, request.POST or None), ""
    if form.is_valid():
        name, scopes = form.cleaned_data["name"], form.cleaned_data["scopes"]
        _key, secret = keys.issue(team, request.user, name, scopes, **form.terms())
        form = _key_form(request, team)
    return _keys_page(request, team, form, secret)


def _key_form(request: Request, team: Team, data: Any = None) -> KeyForm:
    places = Collection.objects.visible_to(request.principal).filter(team=team)  # type: ignore[attr-defined]
    return KeyForm(data, places=places)


def _keys_page(request: Request, team: Team, form: KeyForm, secret: str) -> HttpResponse:
    status = 422 if form.is_bound else 200
    context = {
        "keys": _keys(request, team),
        "form": form,
        "secret": secret,
        "tab": "keys",
        "scopes": Scope.choices,
        "base": _base(request),
    }
    return render(request, "images/keys.html", _frame(request, team) | context, status=status)


@require_POST
@login_required
@never_cache
def rotate_key(request: Request, uid: UUID) -> HttpResponse:
    """A successor for one of one's own keys; its secret is in this answer and nowhere else."""
    held = ApiKey.objects.select_related("team", "owner").filter(team__in=_teams(request.principal))
    key = get_object_or_404(held, uid=uid, owner=request.user)
    if not key.live:
        messages.error(request, _("This key is expired or revoked: issue a new one."))
        return redirect("images:keys", uid=key.team.uid)
    _key, secret = keys.rotate(key, request.user)
    return _keys_page(request, key.team, _key_form(request, key.team), secret)


@require_POST
@login_required
def revoke_key(request: Request, uid: UUID) -> HttpResponse:
    found = ApiKey.objects.select_related("team")
    key = get_object_or_404(found.filter(team__in=_teams(request.principal)), uid=uid)
    if key.owner_id != request.principal.user_id and not allowed(
        request.principal, Action.MANAGE_TEAM, key.team
    ):
        raise Http404
    keys.revoke(key, request.user)
    messages.success(request, _("The key “%(name)s” stopped working.") % {"name": key.name})
    return redirect("images:keys", uid=key.team.uid)


@require_safe
@login_required
def jobs(request: Request) -> HttpResponse:
    """One's own long work, and everybody's where the reader moderates; asks again while something runs."""
    visible = Job.objects.visible_to(request.principal)  # type: ignore[attr-defined]
    rows = list(visible.select_related("collection", "created_by")[:MOST_JOBS])
    running = any(job.state in (JobState.WAITING, JobState.RUNNING) for job in rows)
    template = "images/_jobs.html" if request.htmx else "images/jobs.html"
    return render(request, template, {"jobs": rows, "running": running, "section": "jobs"})


def _teams(principal: Principal) -> Any:
    every = Team.objects.all()
    return every if principal.superuser else every.filter(pk__in=principal.teams_with(Rank.VIEWER))


def _base(request: Request) -> str:
    return request.build_absolute_uri("/").rstrip("/")


def _visible(request: Request, uid: UUID) -> Team:
    return get_object_or_404(_teams(request.principal), uid=uid)


def _keys(request: Request, team: Team) -> list[ApiKey]:
    """One's own, those that work first; managers see everyone's, to be able to revoke them."""
    found = ApiKey.objects.filter(team=team).select_related("owner")
    if not allowed(request.principal, Action.MANAGE_TEAM, team):
        found = found.filter(owner=request.user)
    return sorted(found.prefetch_related("collections")[:MOST_MEMBERS], key=lambda key: not key.live)


def _frame(request: Request, team: Team) -> dict[str, Any]:
    return team_frame(request, team, "")
