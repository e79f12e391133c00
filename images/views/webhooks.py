"""Webhooks of a team: list, make, change, rotate, remove; and what was delivered."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from images import webhooks
from images.access import Action
from images.forms_team import WebhookForm
from images.models import Team, Webhook, WebhookDelivery
from images.moderation import Conflict
from images.outbound import AddressRefused
from images.views.managed import managed_team, team_frame
from images.views.request import Request

MOST_DELIVERIES = 100


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
@never_cache
def page(request: Request, uid: UUID) -> HttpResponse:
    """The team's webhooks; POST makes one, whose secret is in that answer and nowhere else."""
    team = _team(request, uid)
    form, secret = WebhookForm(request.POST or None), ""
    if form.is_valid():
        try:
            _hook, secret = webhooks.create(team, request.user, **form.cleaned_data)
            form = WebhookForm()
        except AddressRefused as error:
            form.add_error("url", str(error))
        except Conflict as error:
            form.add_error(None, str(error))
    rows = Webhook.objects.filter(team=team).select_related("owner")[: webhooks.MOST_WEBHOOKS]
    context = {"webhooks": rows, "form": form, "secret": secret}
    status = 422 if form.is_bound else 200
    return render(
        request, "team/webhooks.html", team_frame(request, team, "webhooks") | context, status=status
    )


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
@never_cache
def detail(request: Request, uid: UUID, webhook_uid: UUID) -> HttpResponse:
    """One webhook with its deliveries; POST changes address and events."""
    team = _team(request, uid)
    hook = _of(team, webhook_uid)
    form = WebhookForm(request.POST or None, initial={"url": hook.url, "events": hook.events})
    if form.is_valid():
        try:
            webhooks.change(hook, request.user, **form.cleaned_data)
            messages.success(request, _("Saved."))
            return redirect(request.path)
        except AddressRefused as error:
            form.add_error("url", str(error))
    return _detail(request, team, hook, form)


def _detail(request: Request, team: Team, hook: Webhook, form: WebhookForm, secret: str = "") -> HttpResponse:
    deliveries = hook.deliveries.order_by("-id")[:MOST_DELIVERIES]
    context = {"webhook": hook, "form": form, "deliveries": deliveries, "secret": secret}
    template = "team/_deliveries.html" if request.htmx else "team/webhook.html"
    status = 422 if form.is_bound else 200
    return render(request, template, team_frame(request, team, "webhooks") | context, status=status)


@require_POST
@login_required
def switch(request: Request, uid: UUID, webhook_uid: UUID) -> HttpResponse:
    """Pause or go on."""
    hook = _of(_team(request, uid), webhook_uid)
    webhooks.change(hook, request.user, active=not hook.active)
    return redirect("images:webhook", uid=uid, webhook_uid=webhook_uid)


@require_POST
@login_required
@never_cache
def rotate(request: Request, uid: UUID, webhook_uid: UUID) -> HttpResponse:
    team = _team(request, uid)
    hook = _of(team, webhook_uid)
    secret = webhooks.rotate(hook, request.user)
    form = WebhookForm(initial={"url": hook.url, "events": hook.events})
    return _detail(request, team, hook, form, secret)


@require_POST
@login_required
def remove(request: Request, uid: UUID, webhook_uid: UUID) -> HttpResponse:
    webhooks.remove(_of(_team(request, uid), webhook_uid), request.user)
    messages.success(request, _("The webhook is gone, and what it had still to deliver."))
    return redirect("images:webhooks", uid=uid)


@require_POST
@login_required
def resend(request: Request, uid: UUID, webhook_uid: UUID, delivery_uid: UUID) -> HttpResponse:
    hook = _of(_team(request, uid), webhook_uid)
    rows = WebhookDelivery.objects.filter(webhook=hook).select_related("webhook__team")
    webhooks.resend(get_object_or_404(rows, uid=delivery_uid), request.user)
    messages.success(request, _("It will be sent again in a moment."))
    return redirect("images:webhook", uid=uid, webhook_uid=webhook_uid)


def _team(request: Request, uid: UUID) -> Team:
    return managed_team(request, uid, Action.MANAGE_WEBHOOKS)


def _of(team: Team, uid: UUID) -> Webhook:
    return get_object_or_404(Webhook.objects.filter(team=team).select_related("team", "owner"), uid=uid)
