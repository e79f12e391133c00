"""Every text of the product is there in every language it ships, in step with the code, and people can choose."""

from __future__ import annotations

import gettext
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.template.loader import render_to_string
from django.utils import translation

from tests.parts import without

ROOT = Path(__file__).resolve().parent.parent
LOCALE = ROOT / "locale"
TRANSLATED = [code for code, _name in settings.LANGUAGES if code != "en"]
ENTRY = re.compile(r'^(msgctxt|msgid|msgid_plural|msgstr(?:\[\d\])?) (".*(?:\n".*)*)', re.MULTILINE)
PRINTF = re.compile(r"%(?:\(\w+\))?[sd]")
# What is the same in every language: names, units, and the keys as keyboards carry them.
NAMES = {"Loupe", "curl", "Python", "CSV", "ms", "Enter", "Space", "Esc"}
TRANSLATED_BLOCK = re.compile(r"{% blocktrans(?:late)?\b.*?{% endblocktrans(?:late)? %}", re.DOTALL)
IN_TEMPLATE = re.compile(r"{#.*?#}|{%.*?%}|{{.*?}}|<!--.*?-->", re.DOTALL)
NOT_READ = re.compile(r"<(script|style|pre|code)\b.*?</\1>", re.DOTALL)
TAG = re.compile(r"""<(?:[^<>"']|"[^"]*"|'[^']*')*>""")
READ_OUT = re.compile(r"""\b(?:aria-label|title|placeholder|alt)=(?:"([^"]*)"|'([^']*)')""")


def unquoted(text: str) -> str:
    lines = (line[1:-1] for line in text.splitlines())
    return "".join(lines).replace("\\n", "\n").replace('\\"', '"').replace("\\\\", "\\")


def catalogue(path: Path) -> dict[tuple[str, str], list[str]]:
    """(context, text) → what stands for it, from a .po file; fuzzy entries count as untranslated."""
    found = {}
    for block in path.read_text().split("\n\n"):
        parts = [(name, unquoted(value)) for name, value in ENTRY.findall(block)]
        named = dict(parts)
        if named.get("msgid"):
            said = [value for name, value in parts if name.startswith("msgstr")]
            fuzzy = re.search(r"^#,.*\bfuzzy\b", block, re.MULTILINE)
            found[named.get("msgctxt", ""), named["msgid"]] = [""] if fuzzy else said
    return found


def po(code: str) -> Path:
    return LOCALE / code / "LC_MESSAGES" / "django.po"


@pytest.mark.parametrize("code", TRANSLATED)
def test_nothing_is_left_untranslated(code: str) -> None:
    texts = catalogue(po(code))
    assert len(texts) > 900
    assert [key for key, said in texts.items() if not all(said)] == []


@pytest.mark.parametrize("code", TRANSLATED)
def test_what_is_filled_in_keeps_its_places(code: str) -> None:
    """`%(name)s`, `%d`, `#` and tags of a text stand in its translation as well, in the plural too."""
    wrong = []
    for (_context, text), said in catalogue(po(code)).items():
        for one in said[-1:]:
            for places in (PRINTF.findall, re.compile(r"#\w*|</?\w+>").findall):
                if sorted(places(text)) != sorted(places(one)):
                    wrong.append((text, one))
    assert wrong == []


@pytest.mark.parametrize("code", TRANSLATED)
def test_what_django_reads_is_what_translators_wrote(code: str) -> None:
    with po(code).with_suffix(".mo").open("rb") as file:
        compiled = gettext.GNUTranslations(file)
    stale = []
    for (context, text), said in catalogue(po(code)).items():
        found = compiled.pgettext(context, text) if context else compiled.gettext(text)
        if len(said) == 1 and found != said[0]:
            stale.append(text)
    assert stale == [], "run `make messages`"


@pytest.mark.slow
def test_the_files_know_every_text_of_the_code(tmp_path: Path) -> None:
    if not shutil.which("xgettext"):
        without("no xgettext: install GNU gettext")
    left_out = shutil.ignore_patterns("gallery", "model", "model_files", "__pycache__", "*.mo")
    for room in ("config", "images", "search", "workers", "templates", "locale"):
        shutil.copytree(ROOT / room, tmp_path / room, ignore=left_out)
    shutil.copy(ROOT / "manage.py", tmp_path)
    command = [
        sys.executable,
        "manage.py",
        "makemessages",
        "--locale",
        "de",
        "--no-obsolete",
        "--no-location",
    ]
    environment = {"PATH": "/usr/bin:/bin", "LOUPE_DATA": str(tmp_path / "data"), "HOME": str(tmp_path)}
    subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=True, timeout=120)
    present = set(catalogue(tmp_path / "locale" / "de" / "LC_MESSAGES" / "django.po"))
    for code in TRANSLATED:
        known = set(catalogue(po(code)))
        assert (sorted(present - known), sorted(known - present)) == ([], []), "run `make messages`"


def written_out(template: str) -> list[str]:
    """The words that a template shows without asking for their translation."""
    plain = IN_TEMPLATE.sub("\0", NOT_READ.sub("", TRANSLATED_BLOCK.sub("", template)))
    texts = [first or second for first, second in READ_OUT.findall(plain)] + TAG.split(plain)
    return [word for text in texts for word in re.findall(r"[^\W\d_]{2,}", text)]


def test_no_page_shows_words_that_nobody_can_translate() -> None:
    found = {}
    for path in sorted((ROOT / "templates").rglob("*.html")):
        text = re.sub(
            r"{% block (?:page_class|html_class|title_tail) %}.*?{% endblock %}", "", path.read_text()
        )
        if left := set(written_out(text)) - NAMES:
            found[str(path.relative_to(ROOT))] = left
    assert found == {}


def test_the_page_of_an_error_is_translated() -> None:
    with translation.override("de"):
        text = render_to_string("500.html")
    assert '<html lang="de">' in text
    assert "Hier ist etwas schiefgegangen" in text


# -- choosing -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "said"), [("de", "Anmelden"), ("es-MX,es;q=0.9", "Iniciar sesión"), ("fr", "Sign in")]
)
def test_the_browser_says_the_language(page: Any, asked: str, said: str) -> None:
    answer = page().get("/accounts/login/", HTTP_ACCEPT_LANGUAGE=asked)
    assert said in answer.text
    assert "Accept-Language" in answer["Vary"]


def test_somebody_chooses_another(page: Any, owner: Any) -> None:
    client = page(owner)
    answer = client.post("/i18n/setlang/", {"language": "de", "next": "/collections/?a=1"})
    assert answer["Location"] == "/collections/?a=1"
    text = client.get("/collections/").text
    assert '<html lang="de"' in text
    assert "Sammlungen" in text
    client.post("/i18n/setlang/", {"language": "en"})
    assert "Collections" in client.get("/collections/").text


def test_choosing_leads_nowhere_else(page: Any, owner: Any) -> None:
    answer = page(owner).post("/i18n/setlang/", {"language": "de", "next": "https://evil.example/"})
    assert answer["Location"] == "/"


@pytest.mark.parametrize(
    ("asked", "day", "size"),
    [("en", "5 Mar 2026", "1.5 MB"), ("de", "5. Mär 2026", "1,5 MB"), ("es", "5 Mar 2026", "1,5 MB")],
)
def test_dates_and_numbers_follow(
    page: Any, owner: Any, make_image: Any, asked: str, day: str, size: str
) -> None:
    from datetime import UTC, datetime

    image = make_image(taken_at=datetime(2026, 3, 5, 12, tzinfo=UTC), byte_size=int(1.5 * 1024**2))
    text = page(owner).get(f"/images/{image.uid}/", HTTP_ACCEPT_LANGUAGE=asked).text.replace("\xa0", " ")
    assert day.lower() in text.lower()
    assert size in text


def test_the_api_answers_in_the_language_too(api: Any, owner: Any) -> None:
    answer = api(owner).post("/api/v1/search/", {"query": []}, format="json", HTTP_ACCEPT_LANGUAGE="de")
    assert "Sag, was du suchst" in str(answer.json())


def test_a_text_with_braces_or_signs_is_no_format_by_accident() -> None:
    """A lone percent sign in a translation would break the sentence that is filled in."""
    for code in TRANSLATED:
        for (_context, text), said in catalogue(po(code)).items():
            if PRINTF.search(text):
                for one in said:
                    rest = PRINTF.sub("", one.replace("%%", ""))
                    assert "%" not in rest, (code, one)
