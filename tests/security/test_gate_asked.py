"""The histories of test_gate, with questions: after every step somebody asks the real search, lists, counts, pages and
exports by session, key or link. Every picture is an exact copy of what is asked for, and nothing forgets its caches, so
whatever an answer names is either seen by the model too or a leak.

    LOUPE_GATE_STEPS=10000 pytest tests/security/test_gate_asked.py
"""

import json
from itertools import count

import pytest
from django.core.cache import cache
from django.db.models import Q
from django.test import Client
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import invariant
from hypothesis.stateful import run_state_machine_as_test as run

from images import exporting, moderation
from images.access import Principal, principal_for_key, principal_for_user
from images.models import ApiKey, Tag
from images.throttling import PrincipalThrottle
from search import encoders, index, retrieval
from search.models import CollectionIndex, Embedding, Space
from tests.search.axes import DIMENSION, NAME, SHA256, AxesEncoder, vector
from tests.security.test_gate import STEPS, STEPS_EACH, Gate

DOG = vector("dog").astype("<f2").tobytes()
QUESTIONS_EACH = 2
SHORT = 3  # how many times shorter than test_gate this is, where nobody asks for a long run
API = "/api/v1/"


def like(number):
    return {"query": [{"image_id": number}], "limit": 200}


# By API, with `{like}` for the id of some picture, seen or not.
ASKED = {
    "text": (f"{API}search/?q=dog&limit=200", None),
    "two texts": (f"{API}search/?q=dog:0.7 snow:0.3&limit=200", None),
    "without": (f"{API}search/?q=dog -cat&limit=200", None),
    "newest": (f"{API}search/?q=dog&sort=newest&limit=200", None),
    "words": (f"{API}search/?q=secret&limit=200", None),
    "picture": (f"{API}search/", {"query": [{"image_id": "{like}"}], "limit": 200}),
    "mixed": (f"{API}search/", {"query": [{"text": "dog"}, {"image_id": "{like}"}], "limit": 200}),
    "without a picture": (
        f"{API}search/",
        {"query": [{"text": "dog"}], "negative": [{"image_id": "{like}", "weight": 0.1}]},
    ),
    "similar": (f"{API}images/{{like}}/similar/?limit=200", None),
    "facets": (f"{API}search/facets/", None),
    "facets of a question": (f"{API}search/facets/?q=dog", None),
    "pictures": (f"{API}images/?limit=200", None),
    "one": (f"{API}images/{{like}}/", None),
    "queue": (f"{API}moderation/?limit=200", None),
}
# By session alone.
PAGES = {"home": "/", "results": "/?q=dog", "suggestions": "/?q=zzz", "the picture": "/images/{like}/"}
# By link.
SHARED = {
    "shared": "/s/{token}/",
    "shared results": "/s/{token}/?q=dog",
    "one shared": "/s/{token}/images/{like}/",
}
# The answers that name everything that is settled, so that a gate that shows nothing is noticed.
COMPLETE = {"text", "newest", "pictures"}


class Asked(Gate):
    def __init__(self):
        super().__init__()
        cache.clear()
        retrieval.forget()
        index.reset()
        self.space = Space.objects.create(name=NAME, sha256=SHA256, dimension=DIMENSION, languages=["en"])
        self.client, self.turns, self.named = Client(), count(), {}

    def _opened(self, collection):
        CollectionIndex.objects.create(collection=collection, space=self.space)

    def _uploaded(self, image):
        """Embedded at once, as an exact copy of the question; known by its id and by a tag of its own."""
        self.named[image.pk] = (str(image.uid), f'"secret{image.pk}"')
        tag, _made = Tag.objects.get_or_create(team=image.collection.team, name=f"secret{image.pk}")
        image.tags.add(tag)
        row = CollectionIndex.objects.get(collection=image.collection)
        CollectionIndex.objects.filter(pk=row.pk).update(last_seq=row.last_seq + 1)
        Embedding.objects.create(
            image=image, collection=image.collection, space=self.space, state="done", vector=DOG,
            seq=row.last_seq + 1,
        )  # fmt: skip

    # ── Questions ───────────────────────────────────────────────────────────────────────────────────────────────

    @invariant()
    def nobody_is_told_more(self):
        if self.named:
            for _n in range(QUESTIONS_EACH):
                self._ask(next(self.turns))

    def _ask(self, turn):
        """Another asker and another question every turn."""
        world = self.world
        askers = [("user", pk) for pk in world.active] + [("key", pk) for pk in world.keys]
        askers += [("link", pk) for pk in world.links]
        kind, who = askers[turn % len(askers)]
        number = turn // len(askers) + turn
        if kind == "link":
            self._by_link(who, number)
        elif number % 7 == 0:
            self._by_export(kind, who)
        else:
            self._by_api(kind, who, number)

    def _by_link(self, who, number):
        name, path = self._choice(SHARED, number)
        told = self._told(name, path.format(token=self.tokens[who], like=self._like(number)))
        self._holds(name, told, {pk for pk in self.world.pictures if self.world.linked(who, pk)}, set())

    def _by_export(self, kind, who):
        principal = self._principal(kind, who)
        for place in self.world.places:
            told = {image.pk for image in exporting.chosen(self._place(place), principal)}
            self._holds("export", told, self._seen(kind, who, settled=True), set())

    def _by_api(self, kind, who, number):
        asked = ASKED if kind == "key" else ASKED | {name: (path, None) for name, path in PAGES.items()}
        name, (path, body) = self._choice(asked, number)
        headers = {"Authorization": f"Bearer {self.secrets[who]}"} if kind == "key" else {}
        self.client.logout() if kind == "key" else self.client.force_login(self._user(who))
        chosen = self._like(number)
        sent = None if body is None else json.loads(json.dumps(body).replace("{like}", chosen))
        told = self._told(name, path.replace("{like}", chosen), sent, headers, chosen if body else "")
        live = self.world.active[who] if kind == "user" else self._key_lives(who)
        least = self._seen(kind, who, settled=True) if name in COMPLETE and live else set()
        self._holds(name, told, self._seen(kind, who), least)

    def _told(self, name, path, body=None, headers=None, sent=""):
        """The pictures that an answer names."""
        if body is None:
            answer = self.client.get(path, headers=headers)
        else:
            answer = self.client.post(path, body, content_type="application/json", headers=headers)
        assert answer.status_code < 500, (name, answer.status_code)
        if answer.status_code != 200:
            return set()
        text = b"".join(answer).decode() if answer.streaming else answer.content.decode()
        return {pk for pk, marks in self.named.items() if any(mark in text for mark in marks if mark != sent)}

    def _holds(self, name, told, most, least):
        assert told <= most, f"{name} tells of {told - most}"
        assert told >= least, f"{name} leaves out {least - told}"

    # ── What the model says ─────────────────────────────────────────────────────────────────────────────────────

    def _seen(self, kind, who, settled=False):
        key = self.world.keys[who] if kind == "key" else None
        user = key.owner if key else who
        every = {pk for pk in self.world.pictures if self.world.sees(user, pk, key)}
        return {pk for pk in every if self.world.settled(pk)} if settled else every

    def _key_lives(self, who):
        key = self.world.keys[who]
        return key.live and self.world.active[key.owner]

    def _principal(self, kind, who):
        if kind == "user":
            return principal_for_user(self._user(who))
        return principal_for_key(ApiKey.objects.select_related("owner", "team").get(pk=who))

    def _like(self, number):
        """The id of some picture, of those that are gone too."""
        known = sorted(self.named)
        return self.named[known[number % len(known)]][0]

    @staticmethod
    def _choice(things, number):
        return list(things.items())[number % len(things)]


@pytest.fixture
def house(db, monkeypatch):
    monkeypatch.setitem(encoders.REGISTRY, NAME, encoders.replace(encoders.DEMO, name=NAME))
    monkeypatch.setitem(encoders._encoders, NAME, AxesEncoder())
    monkeypatch.setattr(moderation, "REPORTS_PER_DAY", 1_000_000)
    monkeypatch.setattr(PrincipalThrottle, "get_rate", lambda self: "1000000/min")


def play(histories, **how):
    quiet = settings(
        max_examples=histories,
        stateful_step_count=STEPS_EACH,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
        **how,
    )
    run(Asked, settings=quiet, _min_steps=STEPS_EACH)


def test_no_answer_tells_more_than_the_model(house):
    play(max(1, STEPS // STEPS_EACH // (SHORT if STEPS < 1000 else 1)))


def test_the_machine_would_notice(house, monkeypatch):
    """With a gate that forgets about decisions the same histories end in a leak."""
    open_gate = lambda self: self.collections_q("collection__") & Q(trashed_at__isnull=True)  # noqa: E731
    monkeypatch.setattr(Principal, "images_q", open_gate)
    monkeypatch.setattr(Gate, "_same", lambda *args: None)
    with pytest.raises(AssertionError, match="tells of"):
        play(10, phases=[Phase.generate])
