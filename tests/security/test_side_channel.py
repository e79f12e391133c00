"""Nobody can tell from an answer whether 5,000 near-duplicates of it are hidden from them."""

from __future__ import annotations

import io
import json
import re
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client
from django.utils import timezone
from PIL import Image as Pillow

from images import shares
from images.models import Image, Tag
from search import index, retrieval
from search.models import CollectionIndex, Space
from tests.search.axes import DIMENSION, NAME, SHA256, WORDS, AxesEncoder, installed, vector
from tests.search.rows import finish

pytestmark = pytest.mark.django_db
HIDDEN = 5000
TIMES = re.compile(r'"(?:took_ms|timestamp)": ?(?:\{[^}]*\}|[0-9.]+)')
# What differs between any two answers, hidden pictures or not.
PASSING = re.compile(
    r'(?<=")[0-9A-Za-z]{64}(?=")|(?<=next_cursor": ")[^"]+|(?<="cursor": ")[^"]+|cursor=[^"&]+|/files/[^"]+'
    r"|[0-9.,]+\s(?:ms|s)\b|cursor&quot;: &quot;[^&]+"
)


@pytest.fixture
def space(monkeypatch):
    installed(monkeypatch, AxesEncoder())
    return Space.objects.create(name=NAME, sha256=SHA256, dimension=DIMENSION, languages=["en"])


def forget() -> None:
    """As in a process that has just started."""
    cache.clear()
    retrieval.forget()
    index.reset()


def put(place: Any, space: Any, words: list[str], offset: int, **fields: Any) -> list[Image]:
    """Checked pictures of these words, embedded, in the collection's order."""
    known = {
        "file_name": "a.jpg",
        "byte_size": 1,
        "state": "ready",
        "width": 48,
        "height": 32,
        "quality": 0.7,
    }
    rows = Image.objects.bulk_create(
        Image(collection=place, sha256=f"{offset + n:064x}", phash=bytes(32), **{**known, **fields})
        for n in range(len(words))
    )
    CollectionIndex.objects.get_or_create(collection=place, defaults={"space": space})
    noise = 0.02 if fields else 0.7
    shown = [vector(word, noise=noise, seed=row.pk) for row, word in zip(rows, words, strict=True)]
    finish(place, rows, shown, space)
    return rows


@pytest.fixture
def gallery(space, collection):
    rows = put(collection, space, [word for word in WORDS for _n in range(20)], 0)
    tag = Tag.objects.create(team=collection.team, name="holiday")
    for row in rows[:60]:
        row.tags.add(tag)
    return rows


def hide(space: Any, collection: Any, private: Any) -> None:
    """Copies of what will be asked for, out of the viewer's sight in every way there is."""
    ways = (
        (collection, {"moderation": "hidden"}),
        (collection, {"moderation": "pending"}),
        (collection, {"moderation": "rejected"}),
        (collection, {"trashed_at": timezone.now()}),
        (private, {"title": "dog"}),
    )
    tag = Tag.objects.get_or_create(team=collection.team, name="holiday")[0]
    for number, (place, fields) in enumerate(ways):
        each = HIDDEN // len(ways)
        rows = put(place, space, ["dog"] * each, (number + 1) * 10_000, **fields)
        through = Image.tags.through
        through.objects.bulk_create(through(image_id=row.pk, tag_id=tag.pk) for row in rows)


def red(word: str) -> bytes:
    """A picture that the encoder takes for this word."""
    file = io.BytesIO()
    Pillow.new("RGB", (32, 32), (WORDS.index(word), 0, 0)).save(file, "PNG")
    return file.getvalue()


def answers(api: Any, page: Any, user: Any, gallery: list[Image], place: Any, token: str) -> dict[str, str]:
    """Everything that a question can be answered with, without what passes."""
    client, browser, guest = api(user), page(user), Client()
    dog, cat = gallery[0], gallery[20]

    def post(body: dict[str, Any], **files: Any) -> Any:
        if not files:
            return client.post("/api/v1/search/", body, format="json")
        return client.post("/api/v1/search/", {"payload": json.dumps(body), **files}, format="multipart")

    def sent(word: str) -> Any:
        from django.core.files.uploadedfile import SimpleUploadedFile

        return SimpleUploadedFile("a.png", red(word), "image/png")

    at = f"/api/v1/images/{dog.uid}/"
    asked = {
        "text": lambda: client.get("/api/v1/search/?q=dog&limit=200"),
        "text, explained": lambda: post({"query": [{"text": "dog"}], "explain": True, "limit": 200}),
        "two texts": lambda: client.get("/api/v1/search/?q=dog:0.7 snow:0.3&limit=200"),
        "text, without": lambda: client.get("/api/v1/search/?q=dog -cat&limit=200"),
        "text, filtered": lambda: client.get("/api/v1/search/?q=dog&tags=holiday&limit=200"),
        "text, newest": lambda: client.get("/api/v1/search/?q=dog&sort=newest&limit=200"),
        "text, in one collection": lambda: client.get(f"/api/v1/search/?q=dog&collections={place.uid}&limit=200"),
        "stored picture": lambda: post({"query": [{"image_id": str(dog.uid)}], "limit": 200}),
        "sent picture": lambda: post({"query": [{"upload": "image"}], "limit": 200}, image=sent("dog")),
        "mixed": lambda: post({"query": [{"text": "snow"}, {"image_id": str(dog.uid)}],
                               "negative": [{"image_id": str(cat.uid)}], "limit": 200}),
        "similar": lambda: client.get(f"{at}similar/?limit=200"),
        "facets": lambda: client.get("/api/v1/search/facets/"),
        "facets of a question": lambda: client.get("/api/v1/search/facets/?q=dog"),
        "pictures": lambda: client.get("/api/v1/images/?limit=200&tags=holiday"),
        "collections": lambda: client.get("/api/v1/collections/"),
        "queue": lambda: client.get("/api/v1/moderation/"),
        "jobs": lambda: client.get("/api/v1/jobs/"),
        "duplicates": lambda: client.get(f"/api/v1/collections/{place.uid}/duplicates/"),
        "the search page and its suggestions": lambda: browser.get("/"),
        "results": lambda: browser.get("/?q=dog"),
        "no results": lambda: browser.get("/?q=zzz"),
        "the collection": lambda: browser.get(f"/collections/{place.uid}/"),
        "all collections": lambda: browser.get("/collections/"),
        "the trash": lambda: browser.get(f"/collections/{place.uid}/trash/"),
        "the picture": lambda: browser.get(f"/images/{dog.uid}/"),
        "the strip": lambda: browser.get(f"/images/{dog.uid}/similar/"),
        "the review": lambda: browser.get("/review/"),
        "a guest": lambda: guest.get(f"/s/{token}/"),
        "a guest's search": lambda: guest.get(f"/s/{token}/?q=dog"),
    }  # fmt: skip
    told = {}
    for name, ask in asked.items():
        forget()
        answer = ask()
        assert answer.status_code == 200, (name, answer.content[:300])
        told[name] = PASSING.sub("", TIMES.sub("", answer.content.decode()))
    return told


def build(collection: Any) -> None:
    index.request_rebuild(collection)
    while index.build_due():
        pass


def pages(client: Any) -> list[str]:
    """All ids of a search, page by page."""
    found, cursor = [], ""
    while cursor is not None:
        extra = f"&cursor={cursor}" if cursor else ""
        answer = client.get(f"/api/v1/search/?q=dog&limit=30{extra}").json()
        found += [row["image"]["id"] for row in answer["results"]]
        cursor = answer["next_cursor"]
    return found


@pytest.mark.parametrize("built", [False, True], ids=["fresh vectors", "built index"])
def test_5000_hidden_near_duplicates_change_no_byte(
    built, api, page, viewer, collection, make_collection, space, gallery, owner
):
    private = make_collection("Private", visibility="private")
    _share, token = shares.create(collection, owner, "Guests")
    if built:
        build(collection)
    before, listed = answers(api, page, viewer, gallery, collection, token), pages(api(viewer))
    hide(space, collection, private)
    if built:
        build(collection)
    assert Image.objects.count() == len(gallery) + HIDDEN
    after = answers(api, page, viewer, gallery, collection, token)
    changed = {name: difference(masked(before[name]), masked(after[name])) for name in before}
    assert not any(changed.values()), "\n".join(f"{name}: {said}" for name, said in changed.items() if said)
    assert pages(api(viewer)) == listed and len(listed) >= 100


def difference(before: str, after: str) -> str:
    """Where two answers part; nothing where they do not."""
    if before == after:
        return ""
    place = next((n for n, pair in enumerate(zip(before, after, strict=False)) if pair[0] != pair[1]), -1)
    return f"{before[max(0, place - 80) : place + 80]} | {after[max(0, place - 80) : place + 80]}"


def masked(text: str) -> str:
    """Without the number of the generation, which says when a build was and not what is in it."""
    return re.sub(r'"generations": ?\{[^}]*\}', "", text)


def test_the_comparison_would_notice(api, page, viewer, collection, space, gallery, owner):
    """The same with one copy that may be seen: nearly everything tells of it."""
    _share, token = shares.create(collection, owner, "Guests")
    before = answers(api, page, viewer, gallery, collection, token)
    put(collection, space, ["dog"], 90_000)
    after = answers(api, page, viewer, gallery, collection, token)
    unmoved = {name for name in before if before[name] == after[name]}
    assert unmoved <= {"queue", "jobs", "the trash", "the review", "text, filtered", "pictures", "the picture",
                       "no results", "the search page and its suggestions"}  # fmt: skip
