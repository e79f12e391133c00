"""From checked pictures to vectors, with a real (tiny, random) CLIP model."""

from __future__ import annotations

import io
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from django.utils import timezone
from PIL import Image as Pillow

from images import leases, moderation, storage
from images.models import Image, ImageState
from images.signals import image_ready
from search import embedding, index, spaces
from search.encoders import get_encoder, release_encoders
from search.models import CollectionIndex, Embedding, EmbeddingState, Space
from tests.search.tiny_models import clip_model

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return clip_model(tmp_path_factory.mktemp("clip"))


@pytest.fixture(autouse=True)
def serving(model: Any, settings: Any) -> Any:
    settings.LOUPE_MODEL, settings.LOUPE_DTYPE = str(model), "float32"
    spaces._identity.cache_clear()
    index.reset()
    yield
    spaces._identity.cache_clear()


@pytest.fixture
def ready(make_image: Any) -> Any:
    """`ready()`: a checked picture of its own colours whose vector is ordered."""

    def make(**fields: Any) -> Image:
        image = make_image(**fields)
        image_ready.send(Image, image=image)
        return image

    return make


def vector(row: Embedding) -> np.ndarray:
    return np.frombuffer(bytes(row.vector), "<f2").astype(np.float32)


def states() -> list[str]:
    return list(Embedding.objects.order_by("image_id").values_list("state", flat=True))


# ── The order ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_ready_picture_orders_one_vector_however_often_it_is_announced(ready: Any) -> None:
    image = ready()
    image_ready.send(Image, image=image)
    [row] = Embedding.objects.all()
    assert (row.image_id, row.collection_id, row.state) == (
        image.pk,
        image.collection_id,
        EmbeddingState.WAITING,
    )


def test_the_order_is_undone_with_the_transaction(make_image: Any) -> None:
    from django.db import transaction

    image = make_image()
    with pytest.raises(RuntimeError), transaction.atomic():
        image_ready.send(Image, image=image)
        raise RuntimeError("crash before the commit")
    assert not Embedding.objects.exists()


def test_during_a_change_of_model_both_vectors_are_ordered(ready: Any, collection: Any) -> None:
    other = Space.objects.create(name="next", sha256="0" * 64, dimension=8)
    index.ensure_index(collection)
    CollectionIndex.objects.update(next_space=other)
    ready()
    assert Embedding.objects.count() == 2


def test_a_picture_checked_again_revives_its_failed_vector(ready: Any) -> None:
    image = ready()
    Embedding.objects.update(state=EmbeddingState.QUARANTINED, attempts=3)
    image_ready.send(Image, image=image)
    assert states() == ["waiting"]


def test_without_a_model_the_picture_is_ready_and_ordered_later(
    make_image: Any, settings: Any, model: Any
) -> None:
    settings.LOUPE_MODEL = str(model.parent / "nowhere")
    spaces._identity.cache_clear()
    image = make_image()
    image_ready.send(Image, image=image)
    assert not Embedding.objects.exists() and embedding.enlist_missing() == 0
    settings.LOUPE_MODEL = str(model)
    assert embedding.enlist_missing() == 1 and embedding.enlist_missing() == 0


def test_the_frequent_sweep_looks_at_recent_uploads_only(make_image: Any, collection: Any) -> None:
    index.ensure_index(collection)
    make_image(uploaded_at=timezone.now() - timedelta(days=3))
    assert embedding.enlist_missing(uploaded_after=embedding.recently()) == 0
    assert embedding.enlist_missing() == 1


def test_a_new_space_is_filled_with_old_pictures_too(ready: Any, collection: Any) -> None:
    ready(uploaded_at=timezone.now() - timedelta(days=3))
    other = Space.objects.create(name="next", sha256="0" * 64, dimension=8)
    CollectionIndex.objects.update(next_space=other)
    assert embedding.enlist_missing(uploaded_after=embedding.recently()) == 1


# ── The work ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_batch_gets_vectors_and_places_in_order(ready: Any, collection: Any) -> None:
    for _ in range(3):
        ready()
    assert embedding.embed_pending() == 3
    rows = list(Embedding.objects.order_by("seq"))
    assert [row.seq for row in rows] == [1, 2, 3] and states() == ["done"] * 3
    assert all(abs(np.linalg.norm(vector(row)) - 1) < 1e-2 for row in rows)
    assert index.status(collection).total == 3


def test_the_stored_vector_is_the_models(ready: Any, model: Any) -> None:
    image = ready()
    embedding.embed_pending()
    picture = Pillow.open(io.BytesIO(storage.read(image.preview_key))).convert("RGB")
    [expected] = get_encoder(str(model)).encode_images([picture])
    assert vector(Embedding.objects.get()) @ expected > 0.9999


def test_a_batch_has_the_configured_size(ready: Any, settings: Any) -> None:
    settings.LOUPE_BATCH_SIZE = 2
    for _ in range(3):
        ready()
    assert [embedding.embed_pending() for _ in range(3)] == [2, 1, 0]


def test_an_embedded_picture_is_searchable(ready: Any, collection: Any) -> None:
    image, other = ready(), ready()
    embedding.embed_pending(1)
    done = Embedding.objects.get(state=EmbeddingState.DONE).image_id
    assert embedding.searchable_ids([image.pk, other.pk]) == {done}
    row = Embedding.objects.get(image=done)
    hits = index.search([collection.pk], row.space, vector(row), 5)
    assert hits.ids[0][0] == done


def test_a_vector_of_another_space_does_not_make_it_searchable(ready: Any) -> None:
    image = ready()
    embedding.embed_pending()
    CollectionIndex.objects.update(space=Space.objects.create(name="next", sha256="0" * 64, dimension=8))
    assert embedding.searchable_ids([image.pk]) == set()


def test_pictures_in_the_trash_or_back_in_the_queue_wait(ready: Any) -> None:
    trashed, unchecked = ready(), ready()
    Image.objects.filter(pk=trashed.pk).update(trashed_at=timezone.now())
    Image.objects.filter(pk=unchecked.pk).update(state=ImageState.STORED)
    assert embedding.embed_pending() == 0


# ── What goes wrong ─────────────────────────────────────────────────────────────────────────────────────────────


def fussy(monkeypatch: Any, model: Any, width: int) -> None:
    """A model that fails on every batch with a picture of this width."""
    encoder = get_encoder(str(model))
    encode = type(encoder).encode_images

    def failing(self: Any, pictures: Any) -> Any:
        if any(picture.width == width for picture in pictures):
            raise ValueError("the model chokes")
        return encode(self, pictures)

    monkeypatch.setattr(type(encoder), "encode_images", failing)


def test_one_poison_picture_costs_only_itself(ready: Any, picture: Any, model: Any, monkeypatch: Any) -> None:
    fussy(monkeypatch, model, 77)
    good = [ready() for _ in range(3)]
    poison = ready()
    storage.put(poison.preview_key, io.BytesIO(picture(size=(77, 50))), "image/jpeg")
    embedding.embed_pending()
    assert embedding.searchable_ids([image.pk for image in [*good, poison]]) == {image.pk for image in good}
    row = Embedding.objects.get(image=poison)
    assert row.state == EmbeddingState.WAITING and "chokes" in row.error and row.not_before


def test_poison_is_quarantined_after_three_attempts(
    ready: Any, picture: Any, model: Any, monkeypatch: Any
) -> None:
    fussy(monkeypatch, model, 77)
    storage.put(ready().preview_key, io.BytesIO(picture(size=(77, 50))), "image/jpeg")
    for _ in range(leases.MAX_ATTEMPTS):
        Embedding.objects.update(not_before=None)
        embedding.embed_pending()
    assert states() == ["quarantined"]


def test_a_lost_lease_changes_nothing(ready: Any, model: Any) -> None:
    ready()
    [row] = leases.claim(Embedding.objects.select_related("image", "space"), 1)
    Embedding.objects.update(fence=9)
    embedding._embed_batch(row.space, [row])
    assert states() == ["waiting"] and Embedding.objects.get().vector is None


def test_rows_whose_worker_died_are_taken_one_at_a_time(ready: Any) -> None:
    for _ in range(3):
        ready()
    leases.claim(Embedding.objects.all(), 3, timedelta(seconds=-1))
    assert [embedding.embed_pending() for _ in range(4)] == [1, 1, 1, 0]
    assert states() == ["done"] * 3


def test_a_picture_that_kills_its_workers_is_quarantined(ready: Any) -> None:
    ready()
    for _death in range(leases.MAX_DEATHS):
        leases.claim(Embedding.objects.all(), 1, timedelta(seconds=-1))
    assert embedding.embed_pending() == 0 and states() == ["quarantined"]


def test_a_picture_that_moves_while_it_is_embedded_keeps_one_place(
    ready: Any, owner: Any, make_collection: Any, model: Any
) -> None:
    image, target = ready(), make_collection("Target")
    [row] = leases.claim(Embedding.objects.select_related("image", "space"), 1)
    moderation.move(image, target, owner)
    embedding._embed_batch(row.space, [row])
    assert states() == ["waiting"]
    embedding.embed_pending()
    assert (Embedding.objects.get().collection_id, Embedding.objects.get().seq) == (target.pk, 1)


def test_a_finished_vector_moves_with_its_picture(ready: Any, owner: Any, make_collection: Any) -> None:
    image, target = ready(), make_collection("Target")
    embedding.embed_pending()
    moderation.move(image, target, owner)
    assert (Embedding.objects.get().collection_id, Embedding.objects.get().seq) == (target.pk, 1)
    assert embedding.searchable_ids([image.pk]) == {image.pk}


def test_a_vector_moves_while_its_picture_is_checked_again(
    ready: Any, owner: Any, make_collection: Any
) -> None:
    image, target = ready(), make_collection("Target")
    embedding.embed_pending()
    type(image).objects.filter(pk=image.pk).update(state="stored")
    moderation.move(image, target, owner)
    assert (Embedding.objects.get().collection_id, Embedding.objects.get().seq) == (target.pk, 1)


def test_a_failed_vector_moves_with_its_picture(ready: Any, owner: Any, make_collection: Any) -> None:
    image, target = ready(), make_collection("Target")
    Embedding.objects.update(state=EmbeddingState.QUARANTINED)
    moderation.move(image, target, owner)
    embedding.embed_pending()
    assert (states(), Embedding.objects.get().collection_id) == (["done"], target.pk)


def test_a_model_that_is_away_only_delays(ready: Any) -> None:
    ready()
    Space.objects.update(name="/nowhere/at/all")
    embedding.embed_pending()
    row = Embedding.objects.get()
    assert (row.state, row.attempts) == (EmbeddingState.WAITING, 0) and row.not_before


def test_another_model_under_the_same_name_is_not_used(ready: Any) -> None:
    ready()
    Space.objects.update(sha256="1" * 64)
    embedding.embed_pending()
    row = Embedding.objects.get()
    assert (row.state, row.attempts) == (EmbeddingState.WAITING, 0) and "not the one" in row.error


def test_a_broken_installation_is_not_the_pictures_fault(ready: Any, monkeypatch: Any) -> None:
    ready()

    def broken(name: str) -> Any:
        raise ImportError("libtorch_cpu.so: cannot open shared object file")

    monkeypatch.setattr(embedding, "get_encoder", broken)
    for _ in range(5):
        Embedding.objects.update(not_before=None)
        embedding.embed_pending()
    assert (states(), Embedding.objects.get().attempts) == (["waiting"], 0)


def test_storage_that_is_away_only_delays(ready: Any, monkeypatch: Any) -> None:
    ready()

    def away(key: str) -> Any:
        raise storage.StorageUnavailable("503")

    monkeypatch.setattr(storage, "read", away)
    embedding.embed_pending()
    assert (Embedding.objects.get().attempts, states()) == (0, ["waiting"])


def test_a_missing_preview_is_an_attempt_with_a_reason(ready: Any) -> None:
    storage.delete(ready().preview_key)
    embedding.embed_pending()
    row = Embedding.objects.get()
    assert row.attempts == 1 and "preview cannot be read" in row.error


def test_a_collection_deleted_meanwhile_costs_the_others_nothing(
    ready: Any, make_collection: Any, model: Any
) -> None:
    doomed = make_collection("Doomed")
    kept, lost = ready(), ready(in_collection=doomed)
    rows = leases.claim(Embedding.objects.select_related("image", "space").order_by("-id"), 2)
    pictures = [Pillow.new("RGB", (64, 64)) for _ in rows]
    doomed.delete()
    embedding._encode(get_encoder(str(model)), list(zip(rows, pictures, strict=True)))
    assert embedding.searchable_ids([kept.pk, lost.pk]) == {kept.pk}


@pytest.fixture(scope="module", autouse=True)
def unload() -> Any:
    yield
    release_encoders()
