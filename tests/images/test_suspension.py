"""Suspending somebody ends everything that acts in their name, with the next request."""

import pytest
from rest_framework.test import APIClient

from images.access import ANONYMOUS, principal_for_key, principal_for_user
from images.models import User
from images.throttling import WRONG_KEYS

COLLECTIONS = "/api/v1/collections/"


def suspend(user):
    User.objects.filter(pk=user.pk).update(is_active=False)


def test_a_session_ends_with_the_next_request(page, viewer, collection):
    client = page(viewer)
    assert client.get("/collections/").status_code == 200
    suspend(viewer)
    assert client.get("/collections/")["Location"].startswith("/accounts/login/")


def test_a_session_of_the_api_ends_too(api, viewer, collection):
    client = api(viewer)
    assert client.get(COLLECTIONS).status_code == 200
    suspend(viewer)
    assert client.get(COLLECTIONS).status_code in (401, 403)


def test_a_key_ends_with_its_owner(key_client, viewer, collection):
    client = key_client(viewer)
    assert client.get(COLLECTIONS).status_code == 200
    suspend(viewer)
    assert client.get(COLLECTIONS).status_code == 401


def test_pictures_by_address_end_too(page, viewer, make_image):
    image, client = make_image(), page(viewer)
    assert client.get(f"/images/{image.uid}/thumbnail/").status_code == 200
    suspend(viewer)
    assert client.get(f"/images/{image.uid}/thumbnail/").status_code == 302


def test_nobody_suspended_signs_in(page, viewer):
    suspend(viewer)
    client = page()
    client.post("/accounts/login/", {"login": viewer.email, "password": "a good pass phrase"})
    assert "_auth_user_id" not in client.session


def test_a_suspended_user_compiles_to_nobody(viewer, key_client):
    key = key_client(viewer).key
    suspend(viewer)
    viewer.refresh_from_db()
    key.refresh_from_db()
    assert principal_for_user(viewer) == principal_for_key(key) == ANONYMOUS


def test_a_key_of_somebody_removed_from_the_team_reads_nothing(key_client, viewer, collection):
    client = key_client(viewer)
    viewer.memberships.all().delete()
    assert client.get(COLLECTIONS).json()["data"] == []


@pytest.fixture
def rate_of_three(monkeypatch):
    from images.throttling import PrincipalThrottle

    monkeypatch.setattr(PrincipalThrottle, "THROTTLE_RATES", {"principal": "3/min"})


def test_each_key_has_its_own_rate(rate_of_three, key_client, viewer, owner, collection):
    first, second = key_client(viewer), key_client(viewer)
    assert [first.get(COLLECTIONS).status_code for _n in range(4)] == [200, 200, 200, 429]
    assert second.get(COLLECTIONS).status_code == 200


def test_a_key_may_have_a_lower_rate_than_the_server_and_never_a_higher(
    rate_of_three, key_client, viewer, collection
):
    slow, hasty = key_client(viewer, rate=1), key_client(viewer, rate=1000)
    first = slow.get(COLLECTIONS)
    assert first["RateLimit-Policy"] == '"principal";q=1;w=60' and slow.get(COLLECTIONS).status_code == 429
    assert [hasty.get(COLLECTIONS).status_code for _n in range(4)] == [200, 200, 200, 429]


def test_wrong_keys_are_slowed_down_by_address_and_right_ones_are_not(key_client, viewer, collection):
    right, wrong = key_client(viewer), APIClient(raise_request_exception=False)
    wrong.credentials(HTTP_AUTHORIZATION=f"Bearer lp_{right.key.prefix}_wrong")
    statuses = [wrong.get(COLLECTIONS).status_code for _n in range(WRONG_KEYS + 1)]
    assert statuses == [401] * WRONG_KEYS + [429]
    refused = wrong.get(COLLECTIONS)
    assert 0 < int(refused["Retry-After"]) <= 61 and refused.json()["code"] == "throttled"
    assert right.get(COLLECTIONS).status_code == 200
    assert wrong.get(COLLECTIONS, REMOTE_ADDR="192.0.2.7").status_code == 401


def test_a_header_that_anybody_can_write_is_no_other_address(viewer, collection):
    wrong = APIClient(raise_request_exception=False)
    wrong.credentials(HTTP_AUTHORIZATION="Bearer lp_x_y")
    statuses = {
        wrong.get(COLLECTIONS, HTTP_X_FORWARDED_FOR=f"192.0.2.{n}").status_code for n in range(WRONG_KEYS + 1)
    }
    assert statuses == {401, 429}
