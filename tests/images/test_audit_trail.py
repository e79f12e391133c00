"""The audit log as managers read it: filters, pages, CSV; and that the admin's changes are in it."""

import csv
import io
from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from images import audit, audit_trail
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
    today = timezone.localdate()
    assert len(rows(page(owner), team, after=today, before=today)) >= 1
    AuditEvent.objects.all().delete()
    log("image.trashed")
    assert rows(page(owner), team, before=today - timedelta(days=1)) == []


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
