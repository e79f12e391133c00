"""Look-alikes: which pictures are put together, and that nothing goes by itself."""

import numpy as np
import pytest
from django.urls import reverse

from images import duplicates, moderation
from images.access import principal_for_user
from images.models import AuditEvent, Image, KeptPair
from images.moderation import Conflict
from images.pixels import process
from tests.images.pictures import saved, scene

pytestmark = pytest.mark.django_db
BASE = bytes(range(32))


def flipped(bits: int, of: bytes = BASE) -> bytes:
    """`of` with that many bits changed, spread over all bytes."""
    cells = np.unpackbits(np.frombuffer(of, np.uint8))
    cells[np.linspace(0, 255, bits, dtype=int) if bits else []] ^= 1
    return np.packbits(cells).tobytes()


def found(collection, user):
    return duplicates.find(collection, principal_for_user(user))


def sets(collection, user):
    return [{image.pk for image in group.images} for group in found(collection, user).groups]


@pytest.mark.parametrize(("bits", "same"), [(0, True), (31, True), (32, False)])
def test_at_most_31_bits_may_differ(bits, same, make_image, collection, owner):
    pair = {make_image(phash=BASE).pk, make_image(phash=flipped(bits)).pk}
    assert sets(collection, owner) == ([pair] if same else [])


def test_distances_are_those_of_counting_bits():
    hashes = [np.random.default_rng(seed).bytes(32) for seed in range(40)]
    hashes += [flipped(seed % 40, hashes[seed]) for seed in range(40)]
    slow = {
        (a, b, bits)
        for a in range(80)
        for b in range(a + 1, 80)
        if (bits := (int.from_bytes(hashes[a]) ^ int.from_bytes(hashes[b])).bit_count()) <= 31
    }
    assert set(duplicates.pairs(hashes)) == slow and len(slow) >= 31


def test_pairs_are_found_across_blocks(monkeypatch):
    monkeypatch.setattr(duplicates, "BLOCK", 3)
    hashes = [np.random.default_rng(seed).bytes(32) for seed in range(10)] + [b""]
    hashes[10] = hashes[1]
    assert duplicates.pairs(hashes) == [(1, 10, 0)]


def test_a_resized_and_recompressed_copy_is_the_same_picture(make_image, collection, owner):
    original = scene(1200, 900)
    copy = original.resize((600, 450))
    hashes = [process(saved(original, quality=92)).phash, process(saved(copy, quality=40)).phash]
    assert hashes[0] != hashes[1]
    pair = {make_image(phash=one).pk for one in hashes}
    assert sets(collection, owner) == [pair]


def test_chains_are_one_group_and_the_best_comes_first(make_image, collection, owner):
    first = make_image(phash=BASE, width=100, height=100)
    best = make_image(phash=flipped(20), width=400, height=300)
    last = make_image(phash=flipped(20, flipped(20)), width=100, height=100, quality=0.9)
    (group,) = found(collection, owner).groups
    assert group.images == (best, last, first)


def test_hidden_and_trashed_pictures_of_others_are_not_compared(make_image, collection, owner, viewer):
    make_image(phash=BASE)
    make_image(phash=BASE, uploader=owner, moderation="hidden")
    assert sets(collection, viewer) == [] and len(sets(collection, owner)) == 1


def test_other_collections_are_not_compared(make_image, make_collection, collection, owner):
    make_image(phash=BASE)
    make_image(make_collection("Other"), phash=BASE)
    assert sets(collection, owner) == []


def test_what_is_compared_is_bounded_and_said(make_image, collection, owner, monkeypatch):
    monkeypatch.setattr(duplicates, "MOST_COMPARED", 2)
    for _n in range(3):
        make_image(phash=BASE)
    answer = found(collection, owner)
    assert (answer.compared, answer.complete) == (2, False)


def test_kept_pictures_are_not_shown_again_until_a_third_comes(make_image, collection, owner):
    pair = [make_image(phash=BASE), make_image(phash=BASE)]
    duplicates.keep(pair, owner)
    assert sets(collection, owner) == [] and Image.objects.present().count() == 2
    make_image(phash=BASE)
    assert len(sets(collection, owner)) == 1
    assert AuditEvent.objects.get(action="duplicates.kept").actor == owner


def test_one_picture_alone_is_not_kept(make_image, owner):
    with pytest.raises(Conflict):
        duplicates.keep([make_image()], owner)


def test_looking_at_the_page_changes_nothing(page, make_image, collection, owner):
    make_image(phash=BASE), make_image(phash=BASE)
    answer = page(owner).get(reverse("images:duplicates", args=[collection.uid]))
    assert "same picture" in answer.text and Image.objects.present().count() == 2


def decide(page, user, collection, **form):
    return page(user).post(reverse("images:duplicates-decide", args=[collection.uid]), form)


def test_the_page_trashes_what_was_chosen(page, make_image, collection, owner):
    kept, gone = make_image(phash=BASE), make_image(phash=BASE)
    decide(page, owner, collection, decision="trash", image=[kept.uid, gone.uid], trash=[gone.uid])
    assert list(Image.objects.present()) == [kept]
    moderation.restore(Image.objects.get(pk=gone.pk), owner)


def test_the_page_keeps_all(page, make_image, collection, owner):
    pair = [make_image(phash=BASE), make_image(phash=BASE)]
    decide(page, owner, collection, decision="keep", image=[one.uid for one in pair])
    assert KeptPair.objects.count() == 1 and Image.objects.present().count() == 2


def test_pictures_of_other_collections_are_not_decided_on(
    page, make_image, make_collection, collection, owner
):
    other = make_image(make_collection("Other"), phash=BASE)
    decide(page, owner, collection, decision="trash", trash=[other.uid])
    assert Image.objects.present().filter(pk=other.pk).exists()


@pytest.mark.parametrize(("who", "status"), [("teammate", 403), ("outsider", 404)])
def test_the_page_is_for_editors(page, request, collection, who, status):
    user = request.getfixturevalue(who)
    assert page(user).get(reverse("images:duplicates", args=[collection.uid])).status_code == status


def test_the_api_lists_groups_and_keeps(api, owner, make_image, collection):
    pair = [make_image(phash=BASE), make_image(phash=flipped(8))]
    address, client = f"/api/v1/collections/{collection.uid}/duplicates/", api(owner)
    told = client.get(address).json()
    assert (told["total"], told["data"][0]["distance"], len(told["data"][0]["images"])) == (1, 8, 2)
    assert client.post(f"{address}keep/", {"images": [str(one.uid) for one in pair]}).status_code == 204
    assert client.get(address).json()["total"] == 0


def test_the_api_keeps_only_what_is_seen(api, owner, make_image, make_collection, collection):
    other = make_collection("Other")
    foreign = [make_image(other, phash=BASE) for _n in range(2)]
    address = f"/api/v1/collections/{collection.uid}/duplicates/keep/"
    assert api(owner).post(address, {"images": [str(one.uid) for one in foreign]}).status_code == 400
    assert not KeptPair.objects.exists()
