"""What people type into pages about pictures, collections, keys and members."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from images import ingest
from images.models import MOST_PER_MINUTE, Collection, Image, Role, Scope, Team, Trust

LIFETIMES = [("30", _("30 days")), ("90", _("90 days")), ("365", _("A year")), ("", _("Until it is revoked"))]


class TagsField(forms.CharField):
    """Names separated by commas, as a clean list."""

    def to_python(self, value: Any) -> list[str]:  # type: ignore[override]
        try:
            return ingest.clean_tags((super().to_python(value) or "").split(","))
        except ingest.UploadRefused as error:
            raise forms.ValidationError(error.message) from error

    def prepare_value(self, value: Any) -> Any:
        return ", ".join(value) if isinstance(value, list) else value


class ImageForm(forms.ModelForm):
    tags = TagsField(label=_("Tags"), required=False, help_text=_("Separated by commas."), max_length=2000)

    class Meta:
        model = Image
        fields = ["title", "alt_text", "caption"]
        labels = {"title": _("Title"), "alt_text": _("Alternative text"), "caption": _("Caption")}
        help_texts = {"alt_text": _("What it shows, for people who cannot see it.")}
        widgets = {"caption": forms.Textarea(attrs={"rows": 2})}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial.setdefault("tags", [tag.name for tag in self.instance.tags.all()])


class CollectionForm(forms.ModelForm):
    class Meta:
        model = Collection
        fields = ["name", "description", "visibility", "moderation", "rerank_recency", "rerank_quality"]
        labels = {
            "name": _("Name"),
            "description": _("Description"),
            "visibility": _("Who may see it"),
            "moderation": _("Review of uploads"),
            "rerank_recency": _("Prefer recent pictures"),
            "rerank_quality": _("Prefer good pictures"),
        }
        help_texts = {
            "rerank_recency": _(
                "0 leaves the order to what the pictures show; 1 lets the date count as much."
            ),
            "rerank_quality": _("0 to 1, by sharpness, exposure, contrast and resolution."),
        }
        widgets = {
            "description": forms.Textarea(attrs={"rows": 3}),
            "rerank_recency": forms.NumberInput(attrs={"min": 0, "max": 1, "step": 0.05}),
            "rerank_quality": forms.NumberInput(attrs={"min": 0, "max": 1, "step": 0.05}),
        }

    def clean_name(self) -> str:
        name = self.cleaned_data["name"].strip()
        twins = Collection.objects.filter(team_id=self.instance.team_id, name=name).exclude(
            pk=self.instance.pk
        )
        if self.instance.team_id and twins.exists():
            raise forms.ValidationError(_("The team already has a collection of this name."))
        return name


class NewCollectionForm(CollectionForm):
    """With the team, where somebody may create collections in more than one."""

    team = forms.ModelChoiceField(Team.objects.none(), label=_("Team"), empty_label=None)

    class Meta(CollectionForm.Meta):
        fields = ["name", "description", "visibility", "moderation"]

    def __init__(self, *args: Any, teams: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["team"]
        field.queryset = teams  # type: ignore[attr-defined]
        if teams.count() == 1:
            field.initial = teams.first()
            field.widget = forms.HiddenInput()

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        twins = Collection.objects.filter(team=cleaned.get("team"), name=cleaned.get("name", ""))
        if twins.exists():
            self.add_error("name", _("The team already has a collection of this name."))
        return cleaned


class KeyForm(forms.Form):
    name = forms.CharField(
        label=_("Name"), max_length=80, help_text=_("What uses it, for example “website import”.")
    )
    scopes = forms.MultipleChoiceField(
        label=_("It may"),
        choices=Scope.choices,
        widget=forms.CheckboxSelectMultiple,
        initial=["search:read", "images:read"],
    )
    collections = forms.ModelMultipleChoiceField(
        Collection.objects.none(),
        label=_("Only in these collections"),
        to_field_name="uid",
        required=False,
        widget=forms.CheckboxSelectMultiple,
    )
    rate = forms.IntegerField(
        label=_("Requests per minute"),
        required=False,
        min_value=1,
        max_value=MOST_PER_MINUTE,
        help_text=_("Empty: as many as the server allows."),
    )
    lifetime = forms.ChoiceField(label=_("It ends"), choices=LIFETIMES, required=False, initial="90")

    def __init__(self, *args: Any, places: Any = None, **kwargs: Any) -> None:
        """`places`: the team's collections that the reader sees; choosing none of them limits nothing."""
        super().__init__(*args, **kwargs)
        if places is not None:
            self.fields["collections"].queryset = places  # type: ignore[attr-defined]

    def terms(self) -> dict[str, Any]:
        """What `keys.issue` takes besides name and scopes."""
        chosen = list(self.cleaned_data["collections"]) or None
        return {"collections": chosen, "rate": self.cleaned_data["rate"], "expires_at": self.expires_at()}

    def expires_at(self) -> Any:
        days = self.cleaned_data["lifetime"]
        return timezone.now() + timedelta(days=int(days)) if days else None


class TeamForm(forms.Form):
    name = forms.CharField(label=_("Name"), max_length=120)


class MemberForm(forms.Form):
    role = forms.ChoiceField(choices=Role.choices)
    trust = forms.ChoiceField(choices=Trust.choices)


class NewMemberForm(forms.Form):
    email = forms.EmailField(label=_("Email address"))
    role = forms.ChoiceField(label=_("Role"), choices=Role.choices, initial=Role.CONTRIBUTOR)
    trust = forms.ChoiceField(label=_("Uploads"), choices=Trust.choices, initial=Trust.CHECK)
