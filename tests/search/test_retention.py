"""Thirty days in the trash and back, or out of it for good: row, bytes, renditions, vectors, the index's own copy."""

from datetime import timedelta

import pytest
from django.utils import timezone

from images import moderation, storage
from images.access import principal_for_user
from images.models import AuditEvent, Collection, Image
from search import index
from search.models import Embedding, Generation
from tests.search.axes import vector
from workers import tasks

pytestmark = pytest.mark.django_db


def build(collection):
    index.reset()
    index.request_rebuild(collection)
    while index.build_due():
        pass
    return Generation.objects.get(index__collection=collection, state="live")


def proposed(collection, space):
    """What the index itself knows of, before any gate."""
    index.reset()
    hits = index.search([collection.pk], space, vector("dog")[None], 50)
    return {int(one) for one in hits.ids[0] if one >= 0}


def files(image):
    return [image.original_key, image.preview_key, image.thumbnail_key]


def test_after_thirty_days_nothing_of_a_picture_is_left(add, owner, collection):
    gone, kept, young = add("dog"), add("dog"), add("dog")
    build(collection)
    for image, days in ((gone, 31), (young, 29)):
        moderation.trash(image, owner)
        Image.objects.filter(pk=image.pk).update(trashed_at=timezone.now() - timedelta(days=days))
    space = Embedding.objects.first().space
    tasks.clean()
    assert (
        not Image.objects.filter(pk=gone.pk).exists() and not Embedding.objects.filter(image=gone.pk).exists()
    )
    assert [storage.exists(key) for key in files(gone)] == [False] * 3
    assert all(storage.exists(key) for image in (kept, young) for key in files(image))
    after = build(collection)
    assert gone.pk not in proposed(collection, space) and kept.pk in proposed(collection, space)
    assert after.count <= 2
    event = AuditEvent.objects.get(action="image.purged")
    assert event.before["sha256"] == gone.sha256


def test_no_vector_of_it_is_left_in_the_generation_that_answers(add, owner, collection):
    """Bit by bit: the file that searches read does not hold it any more."""
    gone, _kept = add("dog"), add("cat")
    before = build(collection)
    stored = bytes(Embedding.objects.get(image=gone).vector)
    assert stored in content(before)
    moderation.trash(gone, owner)
    moderation.empty_trash(timedelta(0))
    after = build(collection)
    assert stored not in content(after)


def content(generation):
    return storage.read(generation.key)


def test_restored_in_time_it_is_as_it_was(add, owner, viewer, collection):
    image = add("dog", tags=("sea", "pier"), title="Pier", moderation="hidden", uploader=owner)
    moderation.trash(image, owner)
    assert not Image.objects.visible_to(principal_for_user(owner)).filter(pk=image.pk).exists()
    moderation.restore(Image.objects.select_related("collection__team").get(pk=image.pk), owner)
    back = Image.objects.get(pk=image.pk)
    assert {tag.name for tag in back.tags.all()} == {"sea", "pier"}
    assert (back.title, back.moderation, back.uploader, back.collection) == (
        "Pier",
        "hidden",
        owner,
        collection,
    )
    shown = [
        Image.objects.visible_to(principal_for_user(user)).filter(pk=back.pk).exists()
        for user in (owner, viewer)
    ]
    assert shown == [True, False] and Embedding.objects.get(image=back).state == "done"
    assert Collection.objects.get(pk=collection.pk).permission_epoch > collection.permission_epoch
