"""The audit log as managers read it: filters, pages, CSV; and that the admin's changes are in it."""

import ast
import csv
import io
import re
from datetime import timedelta
from functools import partial

import pytest
from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.db import DatabaseError, connection, transaction
from django.urls import reverse
from django.utils import timezone

from images import audit, audit_guard, audit_trail, audit_words, keys, moderation
from images.models import AuditEvent, Collection


@pytest.fixture
def log(team, owner, viewer):
    def add(action, actor=owner, **change):
        return audit.record(action, team, team=team, actor=actor, **change)

    return add


def test_only_the_teams_own_events_are_shown(page, owner, team, other_team, outsider, log):
    log("team.renamed", after={"name": "Pier"})
    audit.record("team.renamed", other_team, team=other_team, actor=outsider, after={"name": "Their secret"})
    answer = page(owner).get(reverse("images:audit", args=[team.uid])).text
    assert "Pier" in answer and "Their secret" not in answer


@pytest.mark.parametrize(("who", "status"), [("viewer", 403), ("teammate", 403), ("outsider", 404)])
@pytest.mark.parametrize("name", ["audit", "audit-export"])
def test_the_log_is_for_managers(page, request, team, who, status, name):
    assert (
        page(request.getfixturevalue(who)).get(reverse(f"images:{name}", args=[team.uid])).status_code
        == status
    )


def rows(client, team, **filters):
    answer = client.get(reverse("images:audit-export", args=[team.uid]), filters)
    return list(csv.DictReader(io.StringIO(b"".join(answer.streaming_content).decode())))


def test_filters_narrow_page_and_file(page, owner, viewer, team, log):
    log("image.trashed")
    log("image.reported", viewer)
    log("imagery.other")
    client = page(owner)
    assert {row["action"] for row in rows(client, team, action="image")} == {
        "image.trashed",
        "image.reported",
    }
    assert [row["action"] for row in rows(client, team, actor=str(viewer.uid))] == ["image.reported"]
    shown = client.get(reverse("images:audit", args=[team.uid]), {"action": "image.trashed"})
    assert [event.action for event in shown.context["events"]] == ["image.trashed"]


def test_the_last_day_is_included(page, owner, team, log):
    log("image.trashed")
    today, yesterday = timezone.localdate(), timezone.localdate() - timedelta(days=1)
    assert len(rows(page(owner), team, after=today, before=today, action="image")) == 1
    assert rows(page(owner), team, before=yesterday, action="image") == []


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "＝", "  ="])
def test_cells_are_no_formulas(start):
    assert audit_trail.neutral(f"{start}HYPERLINK(1)")[0] == "'"
    assert audit_trail.neutral("harmless = 1") == "harmless = 1"


def test_a_hostile_name_is_neutral_in_the_file(page, team, member):
    manager = member("manager")
    type(manager).objects.filter(pk=manager.pk).update(email="=cmd@example.org")
    audit.record("team.renamed", team, team=team, actor=manager, after={"name": "=1+1"})
    (row,) = rows(page(manager), team, action="team.renamed")
    assert (row["actor"], row["after"]) == ("'=cmd@example.org", '{"name": "=1+1"}')


def test_taking_the_file_is_told(page, owner, team):
    rows(page(owner), team)
    assert AuditEvent.objects.get(action="audit.exported").actor == owner


def test_an_event_carries_the_id_of_its_request(page, owner, collection, make_image):
    image = make_image(uploader=owner)
    page(owner).post(
        reverse("images:image-trash", args=[image.uid]), headers={"X-Request-Id": "request-of-a-test"}
    )
    assert AuditEvent.objects.get(action="image.trashed").request_id == "request-of-a-test"


def test_the_api_pages_through_the_log(api, owner, team, log):
    made = [log("image.trashed", after={"n": n}) for n in range(5)]
    address, client, seen, cursor = f"/api/v1/teams/{team.uid}/audit/", api(owner), [], None
    while True:
        asked = {"limit": 2, "action": "image"} | ({"cursor": cursor} if cursor else {})
        answer = client.get(address, asked).json()
        seen += [one["after"]["n"] for one in answer["data"]]
        cursor = answer["next_cursor"]
        if not cursor:
            break
    assert sorted(seen) == [0, 1, 2, 3, 4] and len(made) == 5


@pytest.mark.parametrize("field", ["actor", "after", "before"])
def test_the_api_refuses_filters_that_it_cannot_read(api, owner, team, field):
    answer = api(owner).get(f"/api/v1/teams/{team.uid}/audit/", {field: "x"})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (400, f"/{field}")


@pytest.mark.parametrize(("who", "status"), [("viewer", 403), ("outsider", 404)])
def test_the_api_shows_the_log_to_managers_alone(api, request, team, who, status):
    assert api(request.getfixturevalue(who)).get(f"/api/v1/teams/{team.uid}/audit/").status_code == status


def test_a_change_in_the_admin_is_told(page, admin, collection):
    form = {
        "team": collection.team_id, "name": "Renamed", "description": "", "visibility": "team", "moderation": "off",
        "cover": "", "rerank_recency": "0", "rerank_quality": "0", "grants-TOTAL_FORMS": "0",
        "grants-INITIAL_FORMS": "0",
    }  # fmt: skip
    page(admin).post(reverse("admin:images_collection_change", args=[collection.pk]), form)
    assert Collection.objects.get(pk=collection.pk).name == "Renamed"
    event = AuditEvent.objects.get(action="admin.collection.changed")
    assert (event.actor, event.team) == (admin, collection.team)
    assert event.before == {"name": "Shore"} and event.after["name"] == "Renamed"


# ── Nobody changes it ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def guarded(db):
    """The triggers that `migrate` makes."""
    audit_guard.install(connection)
    audit_guard.install(connection)  # twice does no harm


REFUSED = {
    "another action": "UPDATE images_auditevent SET action = 'image.restored'",
    "another actor": "UPDATE images_auditevent SET actor_id = (SELECT MIN(id) FROM images_user)",
    "another moment": "UPDATE images_auditevent SET at = '2020-01-01 00:00:00+00'",
    "a forged past": "UPDATE images_auditevent SET before = '{}'",
    "away with it": "DELETE FROM images_auditevent",
}


def refused(statement):
    with (
        pytest.raises(DatabaseError, match="append-only"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)


@pytest.mark.parametrize("statement", REFUSED.values(), ids=REFUSED)
def test_the_database_refuses_to_change_it(guarded, team, member, statement):
    member("first")
    audit.record("image.trashed", team, team=team, actor=member("second"), before={"n": 1})
    refused(statement)
    assert AuditEvent.objects.get().action == "image.trashed"


def test_it_outlives_the_team_and_the_person(guarded, team, owner):
    audit.record("team.renamed", team, team=team, actor=owner)
    owner.delete()
    team.delete()
    event = AuditEvent.objects.get(action="team.renamed")
    assert (event.team, event.actor) == (None, None) and str(team.uid) in event.target
    refused("UPDATE images_auditevent SET team_id = 1")


def test_so_does_the_code(log):
    event = log("image.trashed")
    for change in (
        event.save,
        event.delete,
        AuditEvent.objects.all().delete,
        partial(AuditEvent.objects.update, action=""),
    ):
        with pytest.raises(PermissionDenied):
            change()


# ── What has to be told ─────────────────────────────────────────────────────────────────────────────────────────


def told(action):
    event = AuditEvent.objects.get(action=action)
    return event.actor, event.before, event.after


def test_a_key_is_told_with_its_rights_and_never_its_secret(viewer, team, collection):
    key, secret = keys.issue(team, viewer, "Robot", ["images:read"], collections=[collection], rate=60)
    _key, newer = keys.rotate(key, viewer)
    _actor, before, after = told("key.rotated")
    assert "expires_at" not in before and after["expires_at"] and after["successor"]
    assert (before["scopes"], before["rate"], before["collections"]) == (
        ["images:read"],
        60,
        [str(collection.uid)],
    )
    keys.revoke(key, viewer)
    keys.revoke(key, viewer)
    assert AuditEvent.objects.filter(action="key.revoked").count() == 1, "once is once"
    everything = str(list(AuditEvent.objects.values_list("before", "after")))
    assert not any(text.split("_")[2] in everything for text in (secret, newer))


def test_tags_and_places_are_told_before_and_after(owner, make_image, make_collection):
    image, target = make_image(tags=("sea",)), make_collection("Elsewhere")
    source = image.collection
    moderation.edit(image, owner, tags=["pier", "sea"])
    assert told("image.edited") == (owner, {"tags": ["sea"]}, {"tags": ["pier", "sea"]})
    moderation.move(image, target, owner)
    assert told("image.moved") == (owner, {"collection": str(source.uid)}, {"collection": str(target.uid)})


def recorded():
    """Every action that the code records under a fixed name."""
    for app in ("images", "search", "workers"):
        for path in (settings.BASE_DIR / app).rglob("*.py"):
            for call in ast.walk(ast.parse(path.read_text())):
                if not isinstance(call, ast.Call) or not call.args:
                    continue
                name = getattr(call.func, "attr", getattr(call.func, "id", ""))
                said = getattr(call.args[0], "value", None)
                if name in ("record", "_record", "_rights_changed") and isinstance(said, str):
                    yield said


def test_every_action_has_a_name():
    found = {one for one in recorded() if re.fullmatch(r"[a-z]+\.[a-z_]+", one)}
    decisions = {f"moderation.{one}" for one in moderation.DECISIONS}
    assert len(found) > 30
    assert (found | decisions) - set(audit_words.NAMES) == set()


def test_the_page_says_what_was_done_in_words(page, owner, team, log):
    log("image.trashed")
    log("admin.team.changed")
    log("future.thing")
    client = page(owner)
    answer = client.get(reverse("images:audit", args=[team.uid])).text
    for words in ("Moved a picture to the trash", "Changed in the administration", ">future.thing<"):
        assert words in answer
    assert '<option value="image.trashed"' in answer
