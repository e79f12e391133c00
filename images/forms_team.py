"""What people type into the pages about invitations, links, collection members, webhooks, the audit log, reports."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django import forms
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from images.access import Rank, rank
from images.audit_trail import Filter
from images.models import Collection, Role, Trust, User, WebhookEvent

LINK_LIVES = [("7", _("7 days")), ("30", _("30 days")), ("365", _("A year")), ("", _("Until it is revoked"))]


def roles_up_to(most: Rank) -> list[tuple[str, Any]]:
    return [(value, label) for value, label in Role.choices if rank(value) <= most]


class InvitationForm(forms.Form):
    email = forms.EmailField(label=_("Email address"), max_length=254)
    role = forms.ChoiceField(label=_("Role"), initial=Role.CONTRIBUTOR)
    trust = forms.ChoiceField(label=_("Uploads"), choices=Trust.choices, initial=Trust.CHECK)

    def __init__(self, *args: Any, most: Rank, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["role"].choices = roles_up_to(most)  # type: ignore[attr-defined]


class ShareForm(forms.Form):
    name = forms.CharField(label=_("Name"), max_length=80, help_text=_("Whom it is for; only you see it."))
    lifetime = forms.ChoiceField(label=_("It ends"), choices=LINK_LIVES, required=False, initial="30")
    password = forms.CharField(
        label=_("Password"),
        required=False,
        min_length=6,
        max_length=128,
        strip=False,
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
        help_text=_("Optional. Tell it to your guests another way than the link."),
    )

    def expires_at(self) -> datetime | None:
        days = self.cleaned_data["lifetime"]
        return timezone.now() + timedelta(days=int(days)) if days else None


class SharePasswordForm(forms.Form):
    password = forms.CharField(
        label=_("Password"),
        max_length=128,
        strip=False,
        widget=forms.PasswordInput(attrs={"autofocus": True}),
    )


class GrantForm(forms.Form):
    user = forms.ModelChoiceField(
        User.objects.none(), label=_("Member"), to_field_name="uid", empty_label=None
    )
    role = forms.ChoiceField(label=_("Role in this collection"))

    def __init__(self, *args: Any, people: Any, most: Rank, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["user"].queryset = people  # type: ignore[attr-defined]
        self.fields["role"].choices = roles_up_to(most)  # type: ignore[attr-defined]


class WebhookForm(forms.Form):
    url = forms.CharField(
        label=_("Address"), max_length=500, widget=forms.URLInput(attrs={"placeholder": "https://"})
    )
    events = forms.MultipleChoiceField(
        label=_("Tell it when"),
        choices=WebhookEvent.choices,
        widget=forms.CheckboxSelectMultiple,
        initial=[WebhookEvent.IMAGE_READY, WebhookEvent.IMAGE_DELETED],
    )


class ReportForm(forms.Form):
    reason = forms.CharField(
        label=_("What is wrong with it?"), max_length=500, widget=forms.Textarea(attrs={"rows": 3})
    )


class PromptForm(forms.Form):
    text = forms.CharField(
        label=_("Tell me when a picture might show"),
        max_length=200,
        widget=forms.TextInput(attrs={"placeholder": _("a weapon"), "autocomplete": "off"}),
    )
    collection = forms.ModelChoiceField(
        Collection.objects.none(), label=_("Where"), to_field_name="uid", required=False
    )
    percent = forms.IntegerField(
        label=_("From a match of (%)"),
        required=False,
        min_value=1,
        max_value=100,
        help_text=_("Empty: where the model itself finds it possible. Higher: fewer hints, and surer ones."),
    )

    def __init__(self, *args: Any, places: Any, whole_team: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field: Any = self.fields["collection"]
        field.queryset = places
        field.required = not whole_team
        field.empty_label = _("Everywhere in the team") if whole_team else None

    def cutoff(self) -> float | None:
        given = self.cleaned_data["percent"]
        return None if given is None else given / 100


def _day() -> forms.DateInput:
    return forms.DateInput(attrs={"type": "date", "class": "input"}, format="%Y-%m-%d")


class AuditForm(forms.Form):
    action = forms.CharField(label=_("What"), required=False, max_length=60)
    actor = forms.UUIDField(label=_("Who"), required=False)
    target = forms.CharField(label=_("Target"), required=False, max_length=120)
    after = forms.DateField(label=_("From"), required=False, widget=_day())
    before = forms.DateField(label=_("To"), required=False, widget=_day())

    def wanted(self) -> Filter:
        """The filter, without what is not valid; `before` is the last day that is shown."""
        given = self.cleaned_data if self.is_valid() else getattr(self, "cleaned_data", {})
        actor: UUID | None = given.get("actor")
        until = given.get("before")
        return Filter(
            action=given.get("action", ""),
            actor=actor,
            target=given.get("target", ""),
            after=_midnight(given.get("after")),
            before=_midnight(until + timedelta(days=1)) if until else None,
        )


def _midnight(day: Any) -> datetime | None:
    return timezone.make_aware(datetime.combine(day, datetime.min.time())) if day else None
