"""Read-only links: what they open, what they never open, and how they end."""

from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from images import members, shares
from images.access import ANONYMOUS, Action, Rank, allowed, principal_for_share
from images.models import AuditEvent, Collection, CollectionGrant, Image, ShareLink
from images.moderation import Conflict


@pytest.fixture
def shared(collection, owner):
    """A link to `collection`: (row, address)."""

    def make(**options):
        share, token = shares.create(collection, owner, "For guests", **options)
        return share, f"/s/{token}/"

    return make


def sees(share, **fields):
    return Image.objects.visible_to(principal_for_share(share)).filter(**fields).exists()


def test_the_link_shows_the_collection_to_anybody(page, shared, make_image):
    make_image(title="Grey heron")
    _share, address = shared()
    answer = page().get(address)
    assert answer.status_code == 200 and "Grey heron" in answer.text


def test_the_link_opens_one_collection_alone(shared, make_collection, make_image):
    share, _address = shared()
    elsewhere = make_image(make_collection("Other", visibility="public"))
    assert not sees(share, pk=elsewhere.pk)
    assert list(Collection.objects.visible_to(principal_for_share(share))) == [share.collection]


def test_the_link_opens_a_private_collection(page, make_collection, make_image, owner):
    private = make_collection("Own", visibility="private")
    make_image(private, title="Owl")
    _share, token = shares.create(private, owner, "For guests")
    assert "Owl" in page().get(f"/s/{token}/").text


@pytest.mark.parametrize("fields", [{"moderation": "pending"}, {"moderation": "hidden"}, {"state": "stored"}])
def test_unsettled_pictures_stay_out(fields, shared, make_image, owner):
    share, _address = shared()
    assert not sees(share, pk=make_image(uploader=owner, **fields).pk)


def test_trashed_pictures_stay_out(shared, make_image):
    share, _address = shared()
    assert not sees(share, pk=make_image(trashed_at=timezone.now()).pk)


def test_a_link_may_look_and_search_and_nothing_else(shared, make_image, team):
    share, _address = shared()
    principal, image = principal_for_share(share), make_image()
    may = {action for action in Action if allowed(principal, action, share.collection)}
    assert may == {action for action in Action if allowed(principal, action, image)}
    assert may == {Action.VIEW, Action.SEARCH}
    assert not any(allowed(principal, action, team) for action in Action)


def test_a_link_has_rights_of_its_own_in_the_caches(shared):
    first, second = principal_for_share(shared()[0]), principal_for_share(shared()[0])
    assert len({first.rights_key, second.rights_key, ANONYMOUS.rights_key}) == 3


@pytest.mark.parametrize("kind", ["thumbnail", "preview"])
def test_pictures_come_through_the_link(kind, page, shared, make_image):
    image, (_share, address) = make_image(), shared()
    answer = page().get(f"{address}images/{image.uid}/{kind}/")
    assert (answer.status_code, answer["Content-Type"]) == (200, "image/jpeg")
    assert "sandbox" in answer["Content-Security-Policy"]


def test_pictures_of_other_collections_do_not_come_through_the_link(
    page, shared, make_collection, make_image
):
    other, (_share, address) = make_image(make_collection("Other")), shared()
    for path in ("", "thumbnail/", "preview/"):
        assert page().get(f"{address}images/{other.uid}/{path}").status_code == 404


def test_the_visitor_gets_no_cookie_and_no_rights_elsewhere(page, shared, make_image):
    image, (_share, address) = make_image(), shared()
    client = page()
    client.get(address)
    assert not client.cookies
    assert client.get(reverse("images:rendition", args=[image.uid, "thumbnail"])).status_code == 302


def test_a_member_behind_the_link_sees_no_more_than_a_guest(page, shared, make_image, owner):
    make_image(title="Under review", moderation="pending")
    _share, address = shared()
    assert "Under review" not in page(owner).get(address).text


def test_pages_behind_the_link_are_kept_nowhere(page, shared):
    answer = page().get(shared()[1])
    assert answer["Cache-Control"] == "private, no-store"
    assert (answer["X-Robots-Tag"], answer["Referrer-Policy"]) == ("noindex, nofollow", "no-referrer")


def test_a_revoked_link_is_dead_at_once(page, shared, owner):
    share, address = shared()
    shares.revoke(share, owner)
    assert page().get(address).status_code == 404
    share.refresh_from_db()
    assert principal_for_share(share) == ANONYMOUS
    assert AuditEvent.objects.filter(action="share.revoked").exists()


def test_an_expired_link_is_dead(page, shared):
    _share, address = shared(expires_at=timezone.now() - timedelta(seconds=1))
    assert page().get(address).status_code == 404


@pytest.mark.parametrize("token", ["x", "x" * 32, "a" * 400])
def test_a_wrong_link_looks_like_a_dead_one(token, page, db):
    assert page().get(f"/s/{token}/").status_code == 404


def test_the_token_is_not_stored(shared):
    _share, address = shared()
    stored = str(list(ShareLink.objects.values()))
    assert address.split("/")[2] not in stored


def test_use_is_noted(page, shared):
    share, address = shared()
    page().get(address)
    share.refresh_from_db()
    assert share.last_used_at is not None


def test_a_password_stands_before_every_page(page, shared, make_image):
    image, (_share, address) = make_image(title="Grey heron"), shared(password="seagull")
    client = page()
    for path in ("", f"images/{image.uid}/", f"images/{image.uid}/thumbnail/"):
        assert client.get(f"{address}{path}")["Location"] == f"{address}unlock/"
    assert "Grey heron" not in client.get(f"{address}unlock/").text


def test_the_right_password_opens_for_this_browser(page, shared, make_image):
    make_image(title="Grey heron")
    _share, address = shared(password="seagull")
    client = page()
    assert client.post(f"{address}unlock/", {"password": "seagull"}).status_code == 302
    assert "Grey heron" in client.get(address).text
    assert page().get(address).status_code == 302


def test_a_wrong_password_opens_nothing(page, shared):
    _share, address = shared(password="seagull")
    client = page()
    assert client.post(f"{address}unlock/", {"password": "pelican"}).status_code == 422
    assert client.get(address).status_code == 302


def test_another_links_password_does_not_open_this_one(page, shared):
    first, second = shared(password="seagull")[1], shared(password="pelican")[1]
    client = page()
    client.post(f"{first}unlock/", {"password": "seagull"})
    assert (client.get(first).status_code, client.get(second).status_code) == (200, 302)


def test_guessing_passwords_is_throttled(page, shared):
    _share, address = shared(password="seagull")
    client = page()
    for _try in range(shares.TRIES):
        client.post(f"{address}unlock/", {"password": "pelican"})
    answer = client.post(f"{address}unlock/", {"password": "seagull"})
    assert (answer.status_code, client.get(address).status_code) == (422, 302)


def test_managers_make_and_revoke_links_on_the_page(page, owner, collection):
    client = page(owner)
    form = {"share-name": "Family", "share-lifetime": "7", "share-password": ""}
    made = client.post(reverse("images:share-create", args=[collection.uid]), form)
    share = ShareLink.objects.get()
    assert "/s/" in made.text and share.expires_at is not None
    client.post(reverse("images:share-revoke", args=[collection.uid, share.uid]))
    share.refresh_from_db()
    assert share.live is False


@pytest.mark.parametrize(("who", "status"), [("teammate", 403), ("outsider", 404)])
def test_nobody_below_manager_makes_links(page, request, collection, who, status):
    client = page(request.getfixturevalue(who))
    answer = client.post(reverse("images:share-create", args=[collection.uid]), {"share-name": "Mine"})
    assert (answer.status_code, ShareLink.objects.count()) == (status, 0)


def test_the_api_tells_the_link_once(api, owner, collection, page):
    address = f"/api/v1/collections/{collection.uid}/shares/"
    made = api(owner).post(address, {"name": "Family"}).json()
    assert page().get(made["url"].removeprefix("http://testserver")).status_code == 200
    listed = api(owner).get(address).json()["data"]
    assert [one["name"] for one in listed] == ["Family"] and "url" not in listed[0]
    assert api(owner).delete(f"{address}{made['id']}/").status_code == 204


def test_a_link_of_another_collection_is_not_found(api, owner, shared, make_collection):
    share, _address = shared()
    foreign = f"/api/v1/collections/{make_collection('Other').uid}/shares/{share.uid}/"
    assert api(owner).delete(foreign).status_code == 404
    share.refresh_from_db()
    assert share.live


def test_a_collection_has_a_bounded_number_of_links(shared, monkeypatch):
    monkeypatch.setattr(shares, "MOST_LIVE", 1)
    shared()
    with pytest.raises(Conflict):
        shared()


def test_searches_behind_a_link_are_bounded(shared, monkeypatch):
    monkeypatch.setattr(shares, "SEARCHES_PER_MINUTE", 1)
    share, _address = shared()
    assert [shares.may_search(share, "192.0.2.1") for _n in range(2)] == [True, False]
    assert shares.may_search(share, "192.0.2.2")


# ── Roles in one collection ─────────────────────────────────────────────────────────────────────────────────────


def test_a_grant_is_audited_and_raises_the_epochs(collection, viewer, owner, team):
    members.grant(collection, viewer, "editor", owner, Rank.OWNER)
    collection.refresh_from_db()
    team.refresh_from_db()
    assert (collection.permission_epoch, team.permission_epoch) == (1, 1)
    assert AuditEvent.objects.get(action="grant.set").after["role"] == "editor"


def test_nobody_outside_the_team_gets_a_role(collection, outsider, owner):
    with pytest.raises(Conflict):
        members.grant(collection, outsider, "viewer", owner, Rank.OWNER)
    assert not CollectionGrant.objects.exists()


def test_a_manager_makes_no_owner(api, member, collection, viewer):
    address = f"/api/v1/collections/{collection.uid}/members/"
    answer = api(member("manager")).post(address, {"user": str(viewer.uid), "role": "owner"})
    assert (answer.status_code, CollectionGrant.objects.count()) == (403, 0)


def test_a_private_collection_keeps_an_owner(make_collection, owner):
    private = make_collection("Own", visibility="private")
    row = private.grants.create(user=owner, role="owner")
    with pytest.raises(Conflict):
        members.withdraw(row, owner, Rank.OWNER)
    with pytest.raises(Conflict):
        members.grant(private, owner, "viewer", owner, Rank.OWNER)
    assert private.grants.get().role == "owner"


def test_the_page_gives_and_takes_roles(page, owner, collection, viewer):
    client = page(owner)
    client.post(
        reverse("images:grant", args=[collection.uid]), {"grant-user": viewer.uid, "grant-role": "editor"}
    )
    assert collection.grants.get(user=viewer).role == "editor"
    client.post(reverse("images:grant-withdraw", args=[collection.uid, viewer.uid]))
    assert not collection.grants.exists()
