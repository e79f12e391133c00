"""What people choose to bring archives in and take them out."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from images import transfer


class ImportForm(forms.Form):
    file = forms.FileField(
        label=gettext_lazy("Zip archive"),
        max_length=1000,
        widget=forms.ClearableFileInput(attrs={"accept": ".zip,application/zip"}),
    )

    def clean_file(self) -> Any:
        file = self.cleaned_data["file"]
        if file.size > transfer.ARCHIVE_BYTES:
            limit = transfer.ARCHIVE_BYTES // 1024**2
            raise forms.ValidationError(_("The archive is larger than %d MB.") % limit)
        return file


class ExportForm(forms.Form):
    query = forms.CharField(
        label=gettext_lazy("Only what this search finds"),
        required=False,
        max_length=1000,
        help_text=gettext_lazy("At most 500 pictures. Empty: everything that you may see here."),
    )
    originals = forms.BooleanField(
        label=gettext_lazy("With the original files"),
        required=False,
        initial=True,
        help_text=gettext_lazy("Without them the archive holds descriptions and vectors alone."),
    )
