"""Vectors in exports and imports: a round trip is equal bit by bit, and nothing untrue is believed."""

import io
import json
import zipfile
from datetime import UTC, datetime

import numpy as np
import pytest
from django.core.management import call_command
from django.utils import timezone

from images import ingest, processing, transfer
from images.access import principal_for_user
from images.models import Collection, Image, Job
from search import embedding, index
from search.models import CollectionIndex, Embedding, Space
from search.transfer import Restorer, Vectors
from tests.search.axes import DIMENSION, NAME, SHA256, WORDS, AxesEncoder, installed, vector

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def encoder(monkeypatch):
    return installed(monkeypatch, AxesEncoder())


@pytest.fixture
def space(db):
    return Space.objects.create(name=NAME, sha256=SHA256, dimension=DIMENSION, languages=["en"])


@pytest.fixture
def place(make_collection, space):
    """`place("Name")`: a collection whose index is of `space` (or `in_space=`)."""

    def make(name, in_space=None, **fields):
        collection = make_collection(name, **fields)
        CollectionIndex.objects.create(collection=collection, space=in_space or space)
        return collection

    return make


@pytest.fixture
def source(place):
    return place("Source")


@pytest.fixture
def add(source, owner, picture, space):
    """A picture of these words in the source collection, checked and embedded."""

    def make(*words, tags=(), **fields):
        described = {
            name: fields.pop(name) for name in ("title", "caption", "alt_text", "taken_at") if name in fields
        }
        file = io.BytesIO(picture(size=(64, 48)))
        name = f"{'-'.join(words)}.jpg"
        image = ingest.ingest(source, owner, file, file_name=name, tags=tags, **described).image
        Image.objects.filter(pk=image.pk).update(state="ready", **fields)
        row = CollectionIndex.objects.get(collection=source)
        CollectionIndex.objects.filter(pk=row.pk).update(last_seq=row.last_seq + 1)
        Embedding.objects.create(
            image=image, collection=source, space=space, state="done", seq=row.last_seq + 1,
            vector=vector(*words, noise=0.5, seed=image.pk).astype("<f2").tobytes(),
        )  # fmt: skip
        return image

    return make


@pytest.fixture
def exported(source, tmp_path):
    """The path of an export of the source collection, made now."""

    def make():
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.zip"
        call_command("export_images", str(source.uid), to=path, verbosity=0)
        return path

    return make


def bring(path, collection):
    out = io.StringIO()
    call_command("import_images", str(path), collection=str(collection.uid), verbosity=0, stdout=out)
    return out.getvalue()


def vectors_of(collection):
    rows = Embedding.objects.filter(collection=collection, state="done")
    return {row.image.sha256: bytes(row.vector) for row in rows.select_related("image")}


def described(collection):
    images = Image.objects.filter(collection=collection).prefetch_related("tags")
    return {
        (
            i.sha256,
            i.file_name,
            i.title,
            i.caption,
            i.alt_text,
            i.taken_at,
            *sorted(t.name for t in i.tags.all()),
        )
        for i in images
    }


# ── The round trip ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_round_trip_is_equal_and_embeds_nothing(add, exported, source, place, encoder, monkeypatch):
    add("dog", "beach", title="“Rex” 👩‍🚀", caption="One\nTwo", alt_text="A dog", tags=("rex", "été"))
    add("boat", taken_at=datetime(1969, 7, 20, 20, 17, 40, 123456, tzinfo=UTC))
    add("dog", "beach")
    monkeypatch.setattr(encoder, "encode_images", lambda images: pytest.fail("embedded anew"))
    target = place("Target")
    assert "3 vectors restored" in bring(exported(), target)
    while processing.process_pending() or embedding.embed_pending():
        pass
    assert described(target) == described(source)
    assert vectors_of(target) == vectors_of(source) and len(vectors_of(target)) == 3


def test_restored_pictures_are_found_as_soon_as_they_are_checked(add, exported, place, space):
    add("dog"), add("boat")
    target = place("Target")
    bring(exported(), target)
    probe = vector("dog")
    assert not len(index.search([target.pk], space, probe, 5).ids[0])
    while processing.process_pending():
        pass
    found = index.search([target.pk], space, probe, 5).ids[0].tolist()
    assert Image.objects.get(pk=found[0]).file_name == "dog.jpg"


def test_an_interrupted_import_brings_the_vectors_of_what_is_known_already(
    add, exported, source, place, owner
):
    image, target = add("dog"), place("Target")
    path = exported()
    from images import storage

    with storage.open(image.original_key) as file:
        ingest.ingest(target, owner, file, file_name="dog.jpg")
    Image.objects.filter(collection=target).update(state="ready")
    assert "0 new, 1 known" in bring(path, target)
    assert vectors_of(target) == vectors_of(source)
    assert Embedding.objects.get(collection=target).seq == 1


def test_an_unzipped_export_is_the_same(add, exported, source, place, tmp_path):
    add("dog", title="Rex")
    with zipfile.ZipFile(exported()) as archive:
        archive.extractall(tmp_path / "unzipped" / "shore")
    target = place("Target")
    assert "1 vectors restored" in bring(tmp_path / "unzipped", target)
    assert described(target) == described(source)


def test_another_model_embeds_anew(add, exported, place):
    add("dog", title="Rex")
    other = Space.objects.create(name=NAME, sha256="b" * 64, dimension=DIMENSION)
    target = place("Target", in_space=other)
    assert "vectors" not in bring(exported(), target)
    assert (Image.objects.get(collection=target).title, vectors_of(target)) == ("Rex", {})


def test_a_picture_that_was_changed_is_embedded_anew(add, exported, place, picture, tmp_path):
    add("dog"), add("boat")
    target, changed = place("Target"), tmp_path / "changed.zip"
    with zipfile.ZipFile(exported()) as archive, zipfile.ZipFile(changed, "w") as other:
        for name in archive.namelist():
            other.writestr(name, picture() if name == "images/dog.jpg" else archive.read(name))
    assert "2 new" in (said := bring(changed, target)) and "1 vectors restored" in said
    assert not Embedding.objects.filter(image__collection=target, image__file_name="dog.jpg").exists()


def test_a_vector_that_is_there_stays(add, exported, source, place, space, owner):
    image, target = add("dog"), place("Target")
    path = exported()
    bring(path, target)
    twin = Image.objects.get(collection=target, sha256=image.sha256)
    mine = vector("cat").astype("<f2").tobytes()
    Embedding.objects.filter(image=twin).update(vector=mine)
    assert "vectors" not in bring(path, target)
    assert bytes(Embedding.objects.get(image=twin).vector) == mine


def test_a_worker_that_is_embedding_the_picture_loses_its_lease(add, exported, place, space):
    image, target = add("dog"), place("Target")
    path = exported()
    bring(path, target)
    twin = Embedding.objects.filter(image__collection=target, image__sha256=image.sha256)
    twin.update(state="waiting", vector=None, fence=7, lease_until=timezone.now())
    bring(path, target)
    assert (twin.get().state, twin.get().fence, twin.get().lease_until) == ("done", 8, None)


# ── Over HTTP ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("role", "restored"), [("manager", 1), ("contributor", 0)])
def test_vectors_of_strangers_are_not_believed(add, exported, place, member, role, restored):
    add("dog")
    target, user = place("Target"), member(role)
    with exported().open("rb") as file:
        transfer.request_import(target, principal_for_user(user), user, file)
    transfer.run_due()
    assert Job.objects.get().summary["vectors"] == restored
    assert (Image.objects.filter(collection=target).count(), len(vectors_of(target))) == (1, restored)


def ask(client, collection, query):
    return client.post(f"/api/v1/collections/{collection.uid}/exports/", {"query": query}, "json")


def test_what_a_search_finds_is_exported(api, add, owner, source, place):
    wanted, _other = add("dog", tags=("rex",)), add("dog")
    answer = ask(api(owner), source, {"query": [{"text": "dog"}], "filters": {"tags": ["rex"]}})
    assert answer.status_code == 202, answer.json()
    assert Job.objects.get().parameters["only"] == [wanted.pk]


def test_a_search_for_an_export_stays_in_its_collection(api, add, owner, source, place):
    add("dog")
    other = place("Other")
    answer = ask(api(owner), other, {"query": [{"text": "dog"}], "collections": [str(source.uid)]})
    assert answer.status_code == 409


def test_hidden_pictures_are_not_selected(api, add, viewer, source):
    add("dog", moderation="hidden")
    assert ask(api(viewer), source, {"query": [{"text": "dog"}]}).status_code == 409


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ({"query": []}, "/query/query"),
        ({"query": [{"text": "dog", "weight": "x"}]}, "/query/query/0/weight"),
        ({"query": [{"upload": "image"}]}, "/query/query"),
        ({"query": [{"image_id": "01a1fd4d-28cf-74bd-928a-3e0eb6bf5727"}]}, "/query/query/0/image_id"),
    ],
)
def test_a_query_that_cannot_be_answered_names_the_field(api, add, owner, source, query, pointer):
    answer = ask(api(owner), source, query)
    assert answer.status_code in (400, 404)
    assert answer.json()["errors"][0]["pointer"].startswith(pointer)


# ── Untrue archives ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def written(add, source):
    """What an export says of its vectors, and the file; both to be spoilt."""
    images = [add("dog"), add("boat")]
    file = io.BytesIO()
    told = Vectors().write(source, [(image.pk, image.uid) for image in images], file)
    return told | {"sha256": sum_of(file)}, file


def sum_of(file):
    import hashlib

    return hashlib.sha256(file.getvalue()).hexdigest()


def npy(array):
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file


def test_the_file_is_a_plain_float16_array(written, source):
    told, file = written
    file.seek(0)
    stored = np.load(file, allow_pickle=False)
    assert (stored.dtype, stored.shape, told["count"]) == (np.dtype("<f2"), (2, DIMENSION), 2)
    assert {row.tobytes() for row in stored} == set(vectors_of(source).values())


SPOILT = {
    "no ids": lambda told: told.pop("ids"),
    "ids that are none": lambda told: told.update(ids=5),
    "too few ids": lambda told: told.update(ids=told["ids"][:1]),
    "an id twice": lambda told: told.update(ids=told["ids"][:1] * 2),
    "no space": lambda told: told.update(space=None),
    "another space": lambda told: told["space"].update(sha256="c" * 64),
    "another checksum": lambda told: told.update(sha256="d" * 64),
}


@pytest.mark.parametrize("how", SPOILT)
def test_a_manifest_that_contradicts_the_file_is_not_used(written, source, how):
    told, file = written
    told = json.loads(json.dumps(told))
    SPOILT[how](told)
    assert Vectors().restorer(source, told, file) is None and file.closed


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((2, DIMENSION), "<f4"),
        np.zeros((2, DIMENSION + 1), "<f2"),
        np.zeros((3, DIMENSION), "<f2"),
        np.zeros((DIMENSION, 2), "<f2").T,
        np.array([{"a": 1}, None], dtype=object),
    ],
)
def test_another_array_is_not_used(written, source, array):
    told, file = written[0], npy(array)
    assert Vectors().restorer(source, told | {"sha256": sum_of(file)}, file) is None


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"\x93NUMPY\x01\x00\xff\xff", b"PK\x03\x04" * 100])
def test_a_file_that_is_no_array_is_not_used(written, source, content):
    file = io.BytesIO(content)
    assert Vectors().restorer(source, written[0] | {"sha256": sum_of(file)}, file) is None


@pytest.mark.parametrize("value", [0.0, 2.0, np.nan, np.inf])
def test_what_is_no_unit_vector_is_not_restored(written, source, value):
    told, _file = written
    file = npy(np.full((2, DIMENSION), value, "<f2"))
    restorer = Restorer(source, told | {"sha256": sum_of(file)}, file)
    Embedding.objects.filter(collection=source).update(state="waiting", vector=None)
    images = list(Image.objects.filter(collection=source))
    assert restorer.restore([(image, str(image.uid)) for image in images]) == 0
    assert vectors_of(source) == {}


def test_a_picture_of_another_collection_is_not_touched(written, source, place, make_image):
    told, file = written
    stranger = make_image(place("Other"))
    assert Restorer(source, told, file).restore([(stranger, told["ids"][0])]) == 0
    assert not Embedding.objects.filter(image=stranger).exists()


def test_a_collection_without_index_exports_no_vectors(make_collection, make_image):
    collection: Collection = make_collection("Bare")
    image = make_image(collection)
    assert Vectors().write(collection, [(image.pk, image.uid)], io.BytesIO()) is None


def test_every_word_is_its_own_axis():
    """The premise of the searches above."""
    assert len({vector(word).tobytes() for word in WORDS}) == len(WORDS)
