"""What all pages have in common: no inline script, small scripts, icons, errors in the design."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from django.urls import reverse

pytestmark = pytest.mark.django_db
ROOT = Path(__file__).resolve().parents[2]


def url(name: str, *args: Any) -> str:
    return reverse(f"images:{name}", args=args)


def test_no_template_holds_a_script_a_style_or_a_handler() -> None:
    inline = re.compile(
        r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son(?!ly=)[a-z]+=|javascript:", re.IGNORECASE
    )
    found = [str(path) for path in (ROOT / "templates").rglob("*.html") if inline.search(path.read_text())]
    assert found == []


def test_the_demo_model_is_announced(page, owner, settings) -> None:
    settings.LOUPE_MODEL = ""
    assert "Demo model:" in page(owner).get(url("collections")).text
    settings.LOUPE_MODEL = "openai/clip-vit-base-patch32"
    assert "Demo model:" not in page(owner).get(url("collections")).text


def test_scripts_stay_small() -> None:
    """Own and vendored scripts of a page, compressed: at most 60 KB."""
    import gzip

    import django_htmx

    htmx = Path(django_htmx.__file__).parent / "static/django_htmx/htmx-2.min.js"
    own = (ROOT / "static/js").glob("*.js")
    assert sum(len(gzip.compress(path.read_bytes())) for path in (htmx, *own)) < 60_000


def test_every_icon_that_a_template_names_is_drawn() -> None:
    sprite = (ROOT / "static/icons.svg").read_text()
    text = "".join(path.read_text() for path in (ROOT / "templates").rglob("*.html"))
    named = set(re.findall(r'{% icon "([a-z]+)"', text)) | set(re.findall(r'symbol="([a-z]+)"', text))
    assert {name for name in named if f'id="{name}"' not in sprite} == set()


def test_a_wrong_address_answers_in_the_design(page, owner, settings) -> None:
    settings.DEBUG = False
    answer = page(owner).get("/nowhere/")
    assert answer.status_code == 404
    assert "There is nothing here" in answer.text


def test_the_sign_in_page_names_its_fields(page) -> None:
    text = page().get(reverse("account_login")).text
    for name in ("login", "password"):
        assert re.search(rf'name="{name}"', text)
    assert text.count("<label for=") == 2
