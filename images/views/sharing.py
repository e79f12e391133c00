"""Who else may see a collection: its own members' roles, and read-only links."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from images import members, shares
from images.forms_team import GrantForm, ShareForm
from images.models import Collection, CollectionGrant, ShareLink, User
from images.moderation import Conflict
from images.views.collections import frame
from images.views.managed import base_address, managed_collection
from images.views.request import Request

MOST_LINKS = 200


@require_safe
@login_required
@never_cache
def page(request: Request, uid: UUID) -> HttpResponse:
    return _page(request, managed_collection(request, uid))


def _page(request: Request, collection: Collection, status: int = 200, **context: Any) -> HttpResponse:
    grants = CollectionGrant.objects.filter(collection=collection).select_related("user")
    shown = {
        "links": collection.share_links.select_related("created_by")[:MOST_LINKS],
        "grants": grants.order_by("user__name", "user__email")[: members.MOST_GRANTS],
        "share_form": ShareForm(prefix="share"),
        "grant_form": _grant_form(request, collection),
        **frame(request, collection),
    }
    return render(request, "team/sharing.html", shown | context, status=status)


@require_POST
@login_required
@never_cache
def create_link(request: Request, uid: UUID) -> HttpResponse:
    """A new link; its address is in this answer and nowhere else."""
    collection = managed_collection(request, uid)
    form = ShareForm(request.POST, prefix="share")
    if not form.is_valid():
        return _page(request, collection, 422, share_form=form)
    name, password = form.cleaned_data["name"], form.cleaned_data["password"]
    try:
        _share, token = shares.create(
            collection, request.user, name, expires_at=form.expires_at(), password=password
        )
    except Conflict as error:
        form.add_error(None, str(error))
        return _page(request, collection, 422, share_form=form)
    return _page(request, collection, new_link=f"{base_address(request)}/s/{token}/")


@require_POST
@login_required
def revoke_link(request: Request, uid: UUID, share_uid: UUID) -> HttpResponse:
    collection = managed_collection(request, uid)
    share = get_object_or_404(ShareLink.objects.filter(collection=collection), uid=share_uid)
    try:
        shares.revoke(share, request.user)
        messages.success(request, _("The link “%s” no longer works.") % share.name)
    except Conflict as error:
        messages.error(request, str(error))
    return redirect("images:sharing", uid=uid)


@require_POST
@login_required
def grant(request: Request, uid: UUID) -> HttpResponse:
    collection = managed_collection(request, uid)
    form = _grant_form(request, collection, request.POST)
    if not form.is_valid():
        return _page(request, collection, 422, grant_form=form)
    rank = request.principal.rank_in(collection)
    try:
        members.grant(collection, form.cleaned_data["user"], form.cleaned_data["role"], request.user, rank)
    except (Conflict, PermissionDenied) as error:
        messages.error(request, str(error))
    else:
        messages.success(request, _("Saved."))
    return redirect("images:sharing", uid=uid)


@require_POST
@login_required
def withdraw(request: Request, uid: UUID, user_uid: UUID) -> HttpResponse:
    collection = managed_collection(request, uid)
    rows = CollectionGrant.objects.filter(collection=collection).select_related("user", "collection__team")
    row = get_object_or_404(rows, user__uid=user_uid)
    try:
        members.withdraw(row, request.user, request.principal.rank_in(collection))
    except (Conflict, PermissionDenied) as error:
        messages.error(request, str(error))
    # Whoever has given up their own role may not come back to the page.
    return (
        redirect("images:collections")
        if row.user_id == request.user.pk
        else redirect("images:sharing", uid=uid)
    )


def _grant_form(request: Request, collection: Collection, data: Any = None) -> GrantForm:
    people = User.objects.filter(memberships__team=collection.team_id).order_by("name", "email")
    most = request.principal.rank_in(collection)
    return GrantForm(data, people=people, most=most, prefix="grant")
