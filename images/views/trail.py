"""The audit log of a team, with filters, and as CSV."""

from __future__ import annotations

from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from images import audit, audit_trail
from images.forms_team import AuditForm
from images.models import AuditEvent, User
from images.views.managed import managed_team, team_frame
from images.views.request import Request

PAGE_SIZE = 50
MOST_PEOPLE = 200
MOST_ACTIONS = 200


@require_safe
@login_required
def page(request: Request, uid: UUID) -> HttpResponse:
    team = managed_team(request, uid)
    form = AuditForm(request.GET)
    rows = Paginator(audit_trail.events(team, form.wanted()), PAGE_SIZE).get_page(request.GET.get("page"))
    every = AuditEvent.objects.filter(team=team).order_by()
    context = {
        "events": rows,
        "form": form,
        "actions": sorted(every.values_list("action", flat=True).distinct()[:MOST_ACTIONS]),
        "people": User.objects.filter(pk__in=every.values("actor"))[:MOST_PEOPLE],
        "filtered": any(form.data.get(name) for name in form.fields),
    }
    return render(request, "team/audit.html", team_frame(request, team, "audit") | context)


@require_safe
@login_required
def export(request: Request, uid: UUID) -> HttpResponseBase:
    """What the filters leave, as a file; that somebody took it is a row of the log as well."""
    team = managed_team(request, uid)
    rows = audit_trail.events(team, AuditForm(request.GET).wanted())
    audit.record("audit.exported", team, team=team, actor=request.user, after={"filter": request.GET.dict()})
    response = StreamingHttpResponse(audit_trail.as_csv(rows), content_type="text/csv; charset=utf-8")
    name = f"audit-{team.slug}-{timezone.now():%Y-%m-%d}.csv"
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    response["Cache-Control"] = "private, no-store"
    return response
