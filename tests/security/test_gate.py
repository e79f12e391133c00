"""Random histories of teams, roles, grants, visibility, moderation, trash, keys and links: after every step, what SQL
shows to each principal is exactly what a model written in plain Python says.

    LOUPE_GATE_STEPS=10000 pytest tests/security/test_gate.py
"""

import os
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.utils import timezone
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)  # fmt: skip
from hypothesis.stateful import run_state_machine_as_test as run

from images import keys, members, moderation, shares, storage, teams
from images.access import (
    ANONYMOUS,
    Rank,
    principal_for_key,
    principal_for_share,
    principal_for_user,
    rank,
)  # fmt: skip
from images.models import (
    ApiKey,
    Collection,
    CollectionGrant,
    Image,
    Membership,
    Role,
    ShareLink,
    Team,
    User,
)  # fmt: skip
from images.moderation import Conflict

STEPS = int(os.environ.get("LOUPE_GATE_STEPS", "450"))
STEPS_EACH = 30 if STEPS < 1000 else 100
ROLES = st.sampled_from(Role.values)
VISIBILITIES = st.sampled_from(["private", "team", "public"])
CHANGES = st.sampled_from(["approve", "reject", "hide", "restore", "undo"])
AFTER = {
    "approve": "approved",
    "reject": "rejected",
    "hide": "hidden",
    "restore": "approved",
}


@dataclass
class Picture:
    place: int
    uploader: int
    ready: bool
    moderation: str
    trashed: bool = False
    reported: set[int] = field(default_factory=set)  # by whom, while nobody has decided
    settled: set[int] = field(default_factory=set)  # by the last decision
    before: str = ""  # what the picture was when the last decision settled reports

    def decided(self, decision: str) -> None:
        """Undoing a decision that settled reports opens them again, with the picture as it was then."""
        if decision == "undo":
            self.moderation = self.before or "pending"
            self.reported |= self.settled
            self.settled, self.before = set(), ""
            return
        self.before = self.moderation if self.reported else ""
        self.settled, self.reported = self.reported, set()
        self.moderation = AFTER[decision]


@dataclass
class Key:
    owner: int
    team: int
    only: frozenset[int] | None
    live: bool = True


@dataclass
class World:
    """The model: plain dictionaries by primary key."""

    active: dict[int, bool] = field(default_factory=dict)
    superusers: set[int] = field(default_factory=set)
    roles: dict[tuple[int, int], str] = field(default_factory=dict)  # (team, user)
    grants: dict[tuple[int, int], str] = field(default_factory=dict)  # (collection, user)
    places: dict[int, tuple[int, str]] = field(default_factory=dict)  # collection: (team, visibility)
    pictures: dict[int, Picture] = field(default_factory=dict)
    keys: dict[int, Key] = field(default_factory=dict)
    links: dict[int, tuple[int, bool]] = field(default_factory=dict)  # share: (collection, live)

    def reads(self, user: int, place: int, key: Key | None = None) -> bool:
        team, visibility = self.places[place]
        if not self.active[user] or (key and not self._opens(key, team, place)):
            return False
        if user in self.superusers or visibility == "public" or (place, user) in self.grants:
            return True
        return visibility == "team" and (team, user) in self.roles

    def moderates(self, user: int, place: int) -> bool:
        team, visibility = self.places[place]
        if user in self.superusers:
            return True
        own = self.grants.get((place, user))
        if own is None and visibility != "private":
            own = self.roles.get((team, user))
        return own in ("editor", "manager", "owner")

    def sees(self, user: int, number: int, key: Key | None = None) -> bool:
        one = self.pictures[number]
        if one.trashed or not self.reads(user, one.place, key):
            return False
        return self.settled(number) or one.uploader == user or self.moderates(user, one.place)

    def settled(self, number: int) -> bool:
        one = self.pictures[number]
        return one.ready and one.moderation == "approved" and not one.trashed

    def linked(self, link: int, number: int) -> bool:
        place, live = self.links[link]
        return live and self.pictures[number].place == place and self.settled(number)

    def _opens(self, key: Key, team: int, place: int) -> bool:
        return key.live and key.team == team and (key.only is None or place in key.only)


class Gate(RuleBasedStateMachine):
    people, houses, places, pictures = (
        Bundle("people"),
        Bundle("houses"),
        Bundle("places"),
        Bundle("pictures"),
    )
    issued, links = Bundle("issued"), Bundle("links")

    def __init__(self):
        super().__init__()
        self.world = World()
        self.cached = defaultdict(set)
        self.secrets, self.tokens = {}, {}  # what opens the keys and links
        self.uploaded = 0
        self.scope = transaction.atomic()
        self.scope.__enter__()

    def teardown(self):
        transaction.set_rollback(True)
        self.scope.__exit__(None, None, None)

    # ── People and teams ────────────────────────────────────────────────────────────────────────────────────────

    @initialize(target=people)
    def people_come(self):
        made = [User.objects.create(email=f"person{n}@example.org", is_superuser=n == 0).pk for n in range(5)]
        self.world.active = dict.fromkeys(made, True)
        self.world.superusers = {made[0]}
        return multiple(*made)

    @initialize(target=houses)
    def teams_are_built(self):
        return multiple(*(Team.objects.create(name=f"Team {n}", slug=f"team-{n}").pk for n in range(2)))

    @precondition(lambda self: self.world.active and not self.world.roles)
    @rule(house=houses, chosen=st.permutations(Role.values))
    def a_team_fills(self, house, chosen):
        for person, role in zip(list(self.world.active)[1:], chosen, strict=False):
            self.joins(house, person, role)

    @precondition(lambda self: not self.world.places)
    @rule(target=places, house=houses, person=people)
    def a_team_furnishes(self, house, person):
        """A collection of every visibility, with a picture in every state by two people."""
        made = [self.opens_a_collection(house, person, one) for one in ("private", "team", "public")]
        for place in made:
            for ready, waits in ((True, False), (True, True), (False, False)):
                self.uploads(place, person, ready, waits)
        return multiple(*made)

    @rule(house=houses, person=people, role=ROLES)
    def joins(self, house, person, role):
        if (house, person) not in self.world.roles:
            Membership.objects.create(team_id=house, user_id=person, role=role)
            self.world.roles[house, person] = role

    @rule(house=houses, person=people, actor=people, role=ROLES)
    def changes_role(self, house, person, actor, role):
        row = Membership.objects.filter(team=house, user=person).select_related("team", "user").first()
        if row is None:
            return
        by = rank(self.world.roles.get((house, actor)))
        lowered = self._owners(house) == {person} and role != "owner"
        refused = lowered or rank(role) > by or rank(row.role) > by
        if self._tried(lambda: teams.change_member(row, self._user(actor), by, role=role), refused):
            self.world.roles[house, person] = role

    @rule(house=houses, person=people)
    def leaves(self, house, person):
        row = Membership.objects.filter(team=house, user=person).select_related("team", "user").first()
        if row is None:
            return
        alone = self._owners(house) == {person}
        if self._tried(lambda: teams.remove_member(row, self._user(person), Rank.NONE), alone):
            del self.world.roles[house, person]
            gone = [
                pair
                for pair in self.world.grants
                if pair[1] == person and self.world.places[pair[0]][0] == house
            ]
            for pair in gone:
                del self.world.grants[pair]

    @rule(person=people)
    def is_suspended_or_comes_back(self, person):
        self.world.active[person] = not self.world.active[person]
        User.objects.filter(pk=person).update(is_active=self.world.active[person])

    # ── Collections ─────────────────────────────────────────────────────────────────────────────────────────────

    @rule(target=places, house=houses, person=people, visibility=VISIBILITIES)
    def opens_a_collection(self, house, person, visibility):
        name = f"Place {len(self.world.places)}"
        team = Team.objects.get(pk=house)
        made = teams.create_collection(team, self._user(person), name=name, visibility=visibility)
        self.world.places[made.pk] = (house, visibility)
        self._opened(made)
        if visibility == "private":
            self.world.grants[made.pk, person] = "owner"
        return made.pk

    @rule(place=places, person=people, visibility=VISIBILITIES)
    def changes_visibility(self, place, person, visibility):
        teams.edit_collection(self._place(place), self._user(person), visibility=visibility)
        self.world.places[place] = (self.world.places[place][0], visibility)
        if visibility == "private":
            self.world.grants.setdefault((place, person), "owner")

    @rule(place=places, person=people, role=ROLES)
    def is_granted(self, place, person, role):
        stranger = (self.world.places[place][0], person) not in self.world.roles
        refused = stranger or self._last_owner(place, person, role)
        grant = partial(
            members.grant, self._place(place), self._user(person), role, self._user(person), Rank.OWNER
        )
        if self._tried(grant, refused):
            self.world.grants[place, person] = role

    @rule(place=places, person=people)
    def loses_the_grant(self, place, person):
        row = CollectionGrant.objects.filter(collection=place, user=person).first()
        if row is None:
            return
        refused = self._last_owner(place, person, "")
        if self._tried(lambda: members.withdraw(row, self._user(person), Rank.OWNER), refused):
            del self.world.grants[place, person]

    # ── Pictures ────────────────────────────────────────────────────────────────────────────────────────────────

    @rule(target=pictures, place=places, person=people, ready=st.booleans(), waits=st.booleans())
    def uploads(self, place, person, ready, waits):
        self.uploaded += 1
        number = self.uploaded
        state = "ready" if ready else "stored"
        judged = "pending" if waits else "approved"
        made = Image.objects.create(
            collection_id=place, uploader_id=person, file_name="a.jpg", sha256=f"{number:064x}", byte_size=1,
            original_key=storage.new_key("originals"), state=state, moderation=judged,
        )  # fmt: skip
        self.world.pictures[made.pk] = Picture(place, person, ready, judged)
        self._uploaded(made)
        return made.pk

    @rule(number=pictures, decision=CHANGES, person=people)
    def is_decided(self, number, decision, person):
        if number in self.world.pictures:
            moderation.decide(self._picture(number), decision, self._user(person))
            self.world.pictures[number].decided(decision)

    @rule(number=pictures, person=people)
    def is_reported(self, number, person):
        """Reports are looked at; they hide nothing."""
        if number in self.world.pictures:
            moderation.report(self._picture(number), self._user(person), "Look at this")
            self.world.pictures[number].reported.add(person)

    @rule(number=pictures, person=people)
    def goes_to_the_trash_or_back(self, number, person):
        if number in self.world.pictures:
            one = self.world.pictures[number]
            change = moderation.restore if one.trashed else moderation.trash
            change(self._picture(number), self._user(person))
            one.trashed = not one.trashed

    @rule(number=pictures, place=places, person=people)
    def is_moved(self, number, place, person):
        if number in self.world.pictures:
            here = self.world.pictures[number].place
            refused = here == place or self.world.places[here][0] != self.world.places[place][0]
            move = lambda: moderation.move(self._picture(number), self._place(place), self._user(person))  # noqa: E731
            if self._tried(move, refused):
                self.world.pictures[number].place = place

    @rule()
    def the_trash_is_emptied(self):
        moderation.empty_trash(timedelta(0))
        self.world.pictures = {pk: one for pk, one in self.world.pictures.items() if not one.trashed}

    # ── Keys and links ──────────────────────────────────────────────────────────────────────────────────────────

    @rule(target=issued, house=houses, person=people, only=st.lists(places, max_size=2) | st.none())
    def issues_a_key(self, house, person, only):
        chosen = None if only is None else list(Collection.objects.filter(pk__in=only))
        team, owner = Team.objects.get(pk=house), self._user(person)
        key, text = keys.issue(team, owner, "Key", ["images:read", "search:read"], collections=chosen)
        self.secrets[key.pk] = text
        self.world.keys[key.pk] = Key(person, house, None if only is None else frozenset(only))
        return key.pk

    @rule(number=issued, ends=st.sampled_from(["revoked", "expired"]))
    def a_key_ends(self, number, ends):
        key = ApiKey.objects.select_related("team", "owner").get(pk=number)
        if ends == "revoked":
            keys.revoke(key, key.owner)
        else:
            ApiKey.objects.filter(pk=number).update(expires_at=timezone.now())
        self.world.keys[number].live = False

    @rule(target=links, place=places, person=people)
    def shares_a_link(self, place, person):
        link, token = shares.create(self._place(place), self._user(person), "Link")
        self.tokens[link.pk] = token
        self.world.links[link.pk] = (place, True)
        return link.pk

    @rule(number=links, ends=st.sampled_from(["revoked", "expired"]))
    def a_link_ends(self, number, ends):
        place, _live = self.world.links[number]
        link = ShareLink.objects.select_related("collection__team", "created_by").get(pk=number)
        if ends == "revoked":
            already = link.revoked_at is not None
            self._tried(lambda: shares.revoke(link, link.created_by), already)
        else:
            ShareLink.objects.filter(pk=number).update(expires_at=timezone.now())
        self.world.links[number] = (place, False)

    # ── What has to hold ────────────────────────────────────────────────────────────────────────────────────────

    @invariant()
    def everybody_sees_what_the_model_says(self):
        world = self.world
        self._same(ANONYMOUS, set(), set())
        for pk in world.active:
            principal = principal_for_user(User.objects.get(pk=pk))
            self._same(principal, self._kept(world.places, lambda one, pk=pk: world.reads(pk, one)),
                       self._kept(world.pictures, lambda one, pk=pk: world.sees(pk, one)))  # fmt: skip
        for pk, key in world.keys.items():
            principal = principal_for_key(ApiKey.objects.select_related("owner").get(pk=pk))
            self._same(principal, self._kept(world.places, lambda one, key=key: world.reads(key.owner, one, key)),
                       self._kept(world.pictures, lambda one, key=key: world.sees(key.owner, one, key)))  # fmt: skip
        for pk, (place, live) in world.links.items():
            principal = principal_for_share(ShareLink.objects.get(pk=pk))
            self._same(principal, {place} if live else set(),
                       self._kept(world.pictures, lambda one, pk=pk: world.linked(pk, one)))  # fmt: skip

    def _same(self, principal, places, pictures):
        shown = set(Collection.objects.visible_to(principal).values_list("pk", "permission_epoch"))
        seen = set(Image.objects.visible_to(principal).values_list("pk", flat=True))
        assert ({pk for pk, _epoch in shown}, seen) == (places, pictures)
        self._no_cache_outlives_a_right(principal, frozenset(shown), frozenset(seen))

    def _no_cache_outlives_a_right(self, principal, shown, seen):
        """Rights and epochs, which are in every cache key, tell any two answers apart (uploads are told by `seq`)."""
        key = (principal.rights_key, shown, len(self.world.pictures), self._ready())
        self.cached[key].add(seen)
        assert len(self.cached[key]) == 1

    def _ready(self):
        return max(self.world.pictures, default=0)

    @staticmethod
    def _kept(things, test):
        return {one for one in things if test(one)}

    # ── Pieces ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _tried(self, change, refused):
        """Do it; it has to be refused exactly where the model says so."""
        try:
            with transaction.atomic():
                change()
        except (Conflict, PermissionDenied):
            assert refused
            return False
        assert not refused
        return True

    def _owners(self, house):
        return {user for (team, user), role in self.world.roles.items() if team == house and role == "owner"}

    def _last_owner(self, place, person, role):
        own = self.world.grants
        owners = {user for (one, user), held in own.items() if one == place and held == "owner"}
        return self.world.places[place][1] == "private" and role != "owner" and owners == {person}

    def _opened(self, collection):
        """For machines that do more with a collection."""

    def _uploaded(self, image):
        """For machines that do more with a picture."""

    def _user(self, pk):
        return User.objects.get(pk=pk)

    def _place(self, pk):
        return Collection.objects.select_related("team").get(pk=pk)

    def _picture(self, pk):
        return Image.objects.select_related("collection__team").get(pk=pk)


def test_sql_and_model_agree(db, monkeypatch):
    monkeypatch.setattr(moderation, "REPORTS_PER_DAY", 1_000_000)
    run(
        Gate,
        settings=settings(
            max_examples=max(1, STEPS // STEPS_EACH),
            stateful_step_count=STEPS_EACH,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
        _min_steps=STEPS_EACH,  # else most histories end early, and 10,000 steps would be a few hundred
    )
