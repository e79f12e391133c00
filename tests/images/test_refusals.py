"""Reasons are kept in English and told in the reader's language."""

from __future__ import annotations

from typing import Any

import pytest
from django.utils import translation
from django.utils.translation import trans_real

from images import refusals
from images.outcome import REASONS, Rejected

VALUES: dict[str, Any] = {"limit": 50, "kind": "HEIC"}


@pytest.fixture
def german(settings: Any) -> Any:
    """German words for two of the messages, in the catalogue that Django asks."""
    settings.LANGUAGES = [("en", "English"), ("de", "Deutsch")]
    with translation.override("de"):
        catalogue = trans_real.catalog()._catalog
        words = {
            refusals.GONE: "Die Datei ist nicht mehr da.",
            REASONS["unsupported_format"]: "%(kind)s-Dateien kann Loupe nicht lesen.",
        }
        catalogue._catalogs[0].update(words)
        yield
    trans_real._translations.pop("de", None)


@pytest.mark.parametrize("code", REASONS)
def test_every_reason_is_recognised_with_its_values(code: str, monkeypatch: Any) -> None:
    monkeypatch.setattr(refusals, "gettext", lambda template: f"<{template}>")
    reason = str(Rejected(code, **{name: VALUES[name] for name in VALUES if f"({name})" in REASONS[code]}))
    assert refusals.told(reason) == f"<{reason}>"


def test_a_reason_is_told_in_the_language_of_the_reader(make_image: Any, german: None) -> None:
    image = make_image(state="rejected", reason=refusals.GONE)
    assert image.told_reason == "Die Datei ist nicht mehr da."
    image.reason = "HEIC files are not supported."
    assert image.told_reason == "HEIC-Dateien kann Loupe nicht lesen."


def test_the_api_and_the_page_tell_it(make_image: Any, owner: Any, api: Any, page: Any, german: None) -> None:
    image = make_image(uploader=owner, state="rejected", reason=refusals.GONE)
    headers = {"HTTP_ACCEPT_LANGUAGE": "de"}
    told = api(owner).get(f"/api/v1/images/{image.uid}/", **headers).json()["reason"]
    states = page(owner).get(f"/uploads/states/?uid={image.uid}", **headers).json()["states"]
    assert told == states[str(image.uid)]["reason"] == "Die Datei ist nicht mehr da."


def test_words_of_others_stay_as_they_are() -> None:
    assert refusals.told("Something else.") == "Something else." and refusals.told("") == ""
