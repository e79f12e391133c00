"""The pages of saved searches, and the present question as code. Everybody keeps their own: others' are 404."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs
from uuid import UUID

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from images.views.managed import base_address
from images.views.request import Request
from search import saved, snippets
from search.box import OWN, Box, address_of
from search.models import SavedSearch
from search.query import QueryError


class NameForm(forms.Form):
    name = forms.CharField(
        label=gettext_lazy("Name"), max_length=80, widget=forms.TextInput({"autocomplete": "off"})
    )


@require_safe
@login_required
def index(request: Request) -> HttpResponse:
    rows = [_row(one, request) for one in request.user.saved_searches.all()[: saved.MOST]]
    return render(request, "search/saved.html", {"rows": rows, "section": "saved"})


@require_safe
@login_required
def news(request: Request) -> HttpResponse:
    """The counts of the chips on the search page, as pieces that htmx puts in their places."""
    kept = request.user.saved_searches.all()[: saved.MOST]
    told = [(one, saved.news(one, request.principal)) for one in kept]
    return render(request, "search/_saved_news.html", {"told": told})


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def create(request: Request) -> HttpResponse:
    """The form that names the question in the address, and what it sends."""
    box = Box({name: request.GET.getlist(name) for name in request.GET}, request.principal)
    form = NameForm(request.POST or None, initial={"name": box.question[:80]})
    context: dict[str, Any] = {"form": form, "box": box, "section": "saved"}
    if not form.is_valid():
        return _sheet(request, "search/_saved_form.html", context)
    try:
        made = saved.save(request.user, form.cleaned_data["name"], box.query(), request.principal)
    except (saved.Refused, QueryError) as error:
        form.add_error(getattr(error, "field", "") or None, error.message)
        return _sheet(request, "search/_saved_form.html", context)
    messages.success(
        request, _("Saved. It stands on the search page and says when something new fits strongly.")
    )
    return redirect(_opened(made))


@require_safe
@login_required
def page(request: Request, uid: UUID) -> HttpResponse:
    """Open it: what is strong now counts as seen, and the results mark what was not."""
    kept = _own(request, uid)
    if request.method == "GET":
        saved.look(kept, request.principal)
    return redirect(_opened(kept))


@require_POST
@login_required
def rename(request: Request, uid: UUID) -> HttpResponse:
    kept, form = _own(request, uid), NameForm(request.POST)
    try:
        if form.is_valid():
            saved.rename(kept, form.cleaned_data["name"])
        else:
            messages.error(request, _("A name has 1 to 80 characters."))
    except saved.Refused as error:
        messages.error(request, error.message)
    return redirect("search:saved")


@require_POST
@login_required
def delete(request: Request, uid: UUID) -> HttpResponse:
    _own(request, uid).delete()
    messages.success(request, _("The saved search is gone; the pictures stay."))
    return redirect("search:saved")


@require_safe
@login_required
def code(request: Request) -> HttpResponse:
    """The question in the address as a call of the API."""
    box = Box({name: request.GET.getlist(name) for name in request.GET}, request.principal)
    try:
        query, base = box.query(), base_address(request)
    except QueryError as error:
        return _sheet(request, "search/_code.html", {"problem": error.message})
    context = {"curl": snippets.curl(query, base), "python": snippets.python(query, base)}
    return _sheet(request, "search/_code.html", context)


def _sheet(request: Request, template: str, context: dict[str, Any]) -> HttpResponse:
    """A piece for the dialog, or the same as a page of its own."""
    bound = getattr(context.get("form"), "is_bound", False)
    if not request.htmx:
        template, context = "components/sheet_page.html", {**context, "piece": template}
    return render(request, template, context, status=422 if bound else 200)


def _own(request: Request, uid: UUID) -> SavedSearch:
    return get_object_or_404(request.user.saved_searches.all(), uid=uid)


def _opened(kept: SavedSearch) -> str:
    pairs = [(name, value) for name, values in parse_qs(kept.address).items() for value in values]
    return address_of([*pairs, ("saved", str(kept.uid))])


def _row(kept: SavedSearch, request: Request) -> dict[str, Any]:
    """A line of the list: its question in words, what is new, or why it cannot be asked."""
    box = Box(parse_qs(kept.address), request.principal)
    return {
        "saved": kept,
        "box": box,
        "others": len([name for name, _value in box.pairs if name not in OWN | {"q"}]),
        "news": saved.news(kept, request.principal),
    }
