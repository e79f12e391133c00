"""After a deletion, a decision or the end of a right commits here, the next answer of another process is clean.

That process is warm: it has answered the same question a moment before, from its own caches.

    LOUPE_OTHER_ROUNDS=50 pytest tests/security/test_other_process.py
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache
from django.utils import timezone

from images import keys, moderation, shares, teams
from images.access import Rank
from images.models import ApiKey, Collection, Image, Membership, ShareLink, User
from search import index, retrieval
from search.models import CollectionIndex, Embedding, Space
from tests.faults.house import ROOT, database_url
from tests.search.axes import DIMENSION, NAME, SHA256, vector
from tests.services import end_with_parent

pytestmark = pytest.mark.django_db(transaction=True)
ROUNDS = int(os.environ.get("LOUPE_OTHER_ROUNDS", "1"))


class Other:
    def __init__(self, data: Path, media: Path) -> None:
        env = {**os.environ, "DATABASE_URL": database_url(), "LOUPE_DATA": str(data), "LOG_LEVEL": "ERROR",
               "LOUPE_API_RATE": "1000000/min", "DJANGO_SETTINGS_MODULE": "config.settings"}  # fmt: skip
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.security.asker"], cwd=ROOT, env=env, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=lambda: end_with_parent(9),
        )  # fmt: skip

    def ask(self, path: str, body: Any = None, **headers: str) -> dict[str, Any]:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps({"path": path, "body": body, "headers": headers}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, "the other process ended"
        return json.loads(line)

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait(20)


@pytest.fixture
def other(transactional_db: None, tmp_path: Path, settings: Any) -> Iterator[Other]:
    made = Other(tmp_path, tmp_path)
    yield made
    made.close()


@pytest.fixture
def add(make_image: Callable[..., Image]) -> Callable[..., Image]:
    def make(place: Collection, **fields: Any) -> Image:
        space, _made = Space.objects.get_or_create(
            sha256=SHA256, defaults={"name": NAME, "dimension": DIMENSION, "languages": ["en"]}
        )
        image = make_image(place, **fields)
        row, _made = CollectionIndex.objects.get_or_create(collection=place, defaults={"space": space})
        row.last_seq += 1
        row.save()
        bits = vector("dog", noise=0.1, seed=image.pk).astype("<f2").tobytes()
        Embedding.objects.create(
            image=image, collection=place, space=space, state="done", vector=bits, seq=row.last_seq
        )
        return image

    return make


class Scene:
    """A secret picture among others, and somebody who sees it by a key, a session's rights and a link."""

    def __init__(self, team: Any, boss: User, guest: User, place: Collection, add: Any) -> None:
        self.team, self.boss, self.guest, self.place = team, boss, guest, place
        self.rest = [add(place) for _number in range(4)]
        self.name = f"secret{place.pk}"
        self.secret = add(place, title=self.name, tags=(self.name,))
        self.membership = Membership.objects.get(team=team, user=guest)
        self.key, text = keys.issue(team, guest, "Key", ["search:read", "images:read"])
        self.headers = {"Authorization": f"Bearer {text}"}
        self.link, self.token = shares.create(place, boss, "Link")

    def questions(self) -> dict[str, tuple[str, Any, dict[str, str]]]:
        """Everything that the secret is an answer to; with an API key, or with the link."""
        api, mine = "/api/v1/", self.headers
        like = {"query": [{"image_id": str(self.rest[0].uid)}]}
        return {
            "text": (f"{api}search/?q=dog", None, mine),
            "words": (f"{api}search/?q={self.name}", None, mine),
            "text, here": (f"{api}search/?q=dog&collections={self.place.uid}", None, mine),
            "picture": (f"{api}search/", like, mine),
            "mixed, without": (f"{api}search/?q=dog -cat", None, mine),
            "similar": (f"{api}images/{self.rest[0].uid}/similar/", None, mine),
            "facets": (f"{api}search/facets/", None, mine),
            "facets of a question": (f"{api}search/facets/?q=dog", None, mine),
            "pictures": (f"{api}images/", None, mine),
            "itself": (f"{api}images/{self.secret.uid}/", None, mine),
            "duplicates": (f"{api}collections/{self.place.uid}/duplicates/", None, mine),
            "guests": (f"/s/{self.token}/?q=dog", None, {}),
            "guests, newest": (f"/s/{self.token}/", None, {}),
            "guests, itself": (f"/s/{self.token}/images/{self.secret.uid}/", None, {}),
        }

    def told(self, answer: dict[str, Any]) -> bool:
        named = str(self.secret.uid) in answer["text"] or f'"{self.name}"' in answer["text"]
        return answer["status"] == 200 and named


# What happens to the picture or to the right; and whether guests by the link lose it, too.
CHANGES: dict[str, tuple[Callable[[Scene], Any], bool]] = {
    "deleted": (lambda s: moderation.trash(s.secret, s.boss), True),
    "hidden": (lambda s: moderation.decide(s.secret, "hide", s.boss), True),
    "rejected": (lambda s: moderation.decide(s.secret, "reject", s.boss), True),
    "purged": (lambda s: (moderation.trash(s.secret, s.boss), moderation.empty_trash(timedelta(0))), True),
    "left the team": (lambda s: teams.remove_member(s.membership, s.guest, Rank.NONE), False),
    "suspended": (lambda s: User.objects.filter(pk=s.guest.pk).update(is_active=False), False),
    "key revoked": (lambda s: keys.revoke(s.key, s.guest), False),
    "key expired": (lambda s: ApiKey.objects.filter(pk=s.key.pk).update(expires_at=timezone.now()), False),
    "made private": (lambda s: teams.edit_collection(s.place, s.boss, visibility="private"), False),
    "link revoked": (lambda s: shares.revoke(ShareLink.objects.select_related("collection__team").get(pk=s.link.pk),
                                             s.boss), True),
}  # fmt: skip
# Listed beside others there, under a name of their own.
NOT_NAMED = {"duplicates"}


def test_the_next_answer_of_another_process_is_clean(other, team, owner, member, make_collection, add):
    """Every change, each in a collection of its own, so that one process answers them all."""
    for number, change in enumerate([*CHANGES] * ROUNDS):
        guest = member(f"guest-{number}", "viewer")
        scene = Scene(team, owner, guest, make_collection(f"Place {number}"), add)
        all_is_told(other, scene)
        CHANGES[change][0](scene)
        nothing_is_told(other, scene, change, random.Random(number))


def all_is_told(other: Other, scene: Scene) -> None:
    asked = scene.questions()
    told = {name for name, (path, body, sent) in asked.items() if scene.told(other.ask(path, body, **sent))}
    assert told >= set(asked) - NOT_NAMED


def nothing_is_told(other: Other, scene: Scene, change: str, chance: random.Random) -> None:
    for_guests = CHANGES[change][1]
    asked = scene.questions()
    for name in chance.sample(sorted(asked), len(asked)):
        path, body, headers = asked[name]
        by_link = name.startswith("guests")
        if (by_link and not for_guests) or (change == "link revoked" and not by_link):
            continue
        answer = other.ask(path, body, **headers)
        assert not scene.told(answer), f"{change}: {name} still tells of it: {answer['text'][:300]}"
        assert answer["status"] < 500, name


def test_a_page_of_a_list_that_was_frozen_before_is_gated_again(
    other, team, owner, member, make_collection, add
):
    """The cursor leads into a list that still names the picture."""
    place = make_collection("Frozen")
    scene = Scene(team, owner, member("guest", "viewer"), place, add)
    first = json.loads(other.ask("/api/v1/search/?q=dog&limit=1", **scene.headers)["text"])
    assert first["total"] == 5 and first["has_more"]
    moderation.decide(scene.secret, "hide", owner)
    cursor, seen = first["next_cursor"], [first["results"][0]["image"]["id"]]
    while cursor:
        page = json.loads(
            other.ask(f"/api/v1/search/?q=dog&limit=1&cursor={cursor}", **scene.headers)["text"]
        )
        seen += [one["image"]["id"] for one in page["results"]]
        cursor = page["next_cursor"]
    assert str(scene.secret.uid) not in seen[1:] and len(seen) >= 4


def test_the_other_process_really_keeps_what_it_knows(other, team, owner, member, make_collection, add):
    """Else this page would show nothing: the second answer comes out of its cache."""
    scene = Scene(team, owner, member("guest", "viewer"), make_collection("Kept"), add)
    caches = [
        json.loads(other.ask("/api/v1/search/?q=dog", **scene.headers)["text"])["meta"]["cache"]
        for _n in range(2)
    ]
    assert caches == [{"vector": "miss", "results": "miss"}, {"vector": "hit", "results": "hit"}]
    cache.clear(), retrieval.forget(), index.reset()  # ours, not its
    again = json.loads(other.ask("/api/v1/search/?q=dog", **scene.headers)["text"])
    assert again["meta"]["cache"]["results"] == "hit"
