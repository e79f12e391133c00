"""Search, lists, similar, facets, indexes and jobs over HTTP, on the real engine and index."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from images.models import Image, Job
from search.models import CollectionIndex, Space
from tests.search.axes import DIMENSION, NAME, SHA256, WORDS, ColourEncoder, installed, vector
from tests.search.rows import finish

SEARCH, IMAGES, JOBS = "/api/v1/search/", "/api/v1/images/", "/api/v1/jobs/"


def showing(word):
    return 20 * WORDS.index(word), 0, 0


@pytest.fixture(autouse=True)
def encoder(monkeypatch):
    return installed(monkeypatch, ColourEncoder())


@pytest.fixture
def space(db):
    return Space.objects.create(name=NAME, sha256=SHA256, dimension=DIMENSION, languages=["en"])


@pytest.fixture
def add(space, make_image):
    """`add("dog")`: a picture of it, embedded and searchable at once; further arguments as for `make_image`."""

    def make(*words, **fields):
        image = make_image(**fields)
        CollectionIndex.objects.get_or_create(collection=image.collection, defaults={"space": space})
        finish(image.collection, [image], [vector(*words, noise=0.5, seed=image.pk)], space)
        return image

    return make


@pytest.fixture
def photos(add):
    return {word: add(word, title=word) for word in WORDS}


def shown(answer):
    return [one["image"]["title"] for one in answer.json()["results"]]


def listed(answer):
    return [one["title"] for one in answer.json()["data"]]


# ── Search ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_text_finds_its_picture(api, viewer, photos):
    answer = api(viewer).post(SEARCH, {"query": [{"text": "dog"}]})
    first = answer.json()["results"][0]
    assert (answer.status_code, first["image"]["title"], first["band"]) == (200, "dog", "strong")
    assert 0 <= first["match"] <= 1


def test_the_typed_form_finds_the_same(api, viewer, photos):
    client = api(viewer)
    body = {
        "query": [{"text": "dog", "weight": 0.7}, {"text": "boat", "weight": 0.3}],
        "negative": [{"text": "snow"}],
    }
    typed = client.get(SEARCH, {"q": "dog:0.7 boat:0.3 -snow"})
    assert shown(typed) == shown(client.post(SEARCH, body))


def test_a_searchable_picture_says_so(api, viewer, photos, make_image):
    waiting = make_image(title="new")
    client = api(viewer)
    states = {one["title"]: one["state"] for one in client.get(IMAGES).json()["data"]}
    assert (states["dog"], states[waiting.title]) == ("searchable", "ready")


def test_outsiders_find_nothing(api, outsider, photos):
    answer = api(outsider).get(SEARCH, {"q": "dog"}).json()
    assert (answer["results"], answer["total"], answer["has_more"]) == ([], 0, False)


def test_hidden_copies_are_found_by_nobody_else(api, owner, viewer, photos, add):
    add("dog", title="secret", moderation="hidden", uploader=owner)
    assert "secret" in shown(api(owner).get(SEARCH, {"q": "dog"}))
    assert "secret" not in shown(api(viewer).get(SEARCH, {"q": "dog"}))


def test_a_deleted_picture_is_gone_from_the_next_search(api, owner, photos):
    client = api(owner)
    assert shown(client.get(SEARCH, {"q": "dog"}))[0] == "dog"
    client.delete(f"{IMAGES}{photos['dog'].uid}/")
    assert "dog" not in shown(client.get(SEARCH, {"q": "dog"}))


def test_a_repeated_search_with_a_key_forgets_what_was_deleted(api, owner, photos):
    client, body = api(owner), {"query": [{"text": "dog"}]}
    client.post(SEARCH, body, HTTP_IDEMPOTENCY_KEY="again")
    client.delete(f"{IMAGES}{photos['dog'].uid}/")
    assert "dog" not in shown(client.post(SEARCH, body, HTTP_IDEMPOTENCY_KEY="again"))


def test_a_key_searches_with_the_scope_alone(key_client, owner, photos):
    assert key_client(owner, "images:read").get(SEARCH, {"q": "dog"}).status_code == 403
    assert key_client(owner, "search:read").get(SEARCH, {"q": "dog"}).status_code == 200


def test_a_limited_key_searches_its_collections_alone(key_client, owner, photos, add, make_collection):
    other = make_collection("Other")
    add("dog", title="elsewhere", in_collection=other)
    answer = key_client(owner, "search:read", collections=[other]).get(SEARCH, {"q": "dog"})
    assert shown(answer) == ["elsewhere"]


def test_pages_neither_repeat_nor_skip(api, viewer, photos):
    client, seen, cursor = api(viewer), [], None
    for _page in range(10):
        answer = client.post(SEARCH, {"query": [{"text": "dog"}], "limit": 3, "cursor": cursor})
        seen += shown(answer)
        cursor = answer.json()["next_cursor"]
        if not cursor:
            break
    assert len(seen) == len(set(seen)) == answer.json()["total"]


def test_an_unseen_collection_is_not_found(api, owner, photos, make_collection, other_team):
    foreign = make_collection("There", team=other_team)
    answer = api(owner).post(SEARCH, {"query": [{"text": "dog"}], "collections": [str(foreign.uid)]})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (404, "/collections/0")


def test_an_unseen_picture_is_no_example(api, outsider, photos):
    answer = api(outsider).post(SEARCH, {"query": [{"image_id": str(photos["dog"].uid)}]})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (404, "/query/0/image_id")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/query"),
        ({"query": [{"text": "x" * 1001}]}, "/query/0/text"),
        ({"query": [{"text": "x"}] * 17}, "/query"),
        ({"query": [{"text": "x", "weight": -1}]}, "/query/0/weight"),
        ({"query": [{"text": "x"}], "limit": 201}, "/limit"),
        ({"query": [{"text": "x"}], "k": 5}, "/k"),
        ({"query": [{"text": "x"}], "filters": {"owner": "me"}}, "/filters/owner"),
        ({"query": [{"text": "x"}], "cursor": "forged"}, "/cursor"),
        ({"query": [{"text": "x"}], "\ud800": 1}, "/\\ud800"),
    ],
)
def test_a_bad_search_names_the_field(api, viewer, photos, body, pointer):
    answer = api(viewer).generic("POST", SEARCH, json.dumps(body), "application/json")
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (400, pointer)


@pytest.mark.parametrize(
    "body", ["NaN", '{"query": [{"text": "x", "weight": NaN}]}', "[", "[]", '"x"', "9" * 5000]
)
def test_what_is_no_question_is_a_bad_request(api, viewer, body):
    answer = api(viewer).generic("POST", SEARCH, body, "application/json")
    assert (answer.status_code, answer["Content-Type"]) == (400, "application/problem+json")


def test_an_unknown_parameter_is_refused(api, viewer):
    assert api(viewer).get(SEARCH, {"q": "dog", "owner": "me"}).status_code == 400


# ── Search with a picture ───────────────────────────────────────────────────────────────────────────────────────


def test_a_picture_sent_along_finds_its_like(api, viewer, photos, picture):
    content = picture(showing("boat"), size=(320, 240), kind="PNG")
    answer = api(viewer).post(SEARCH, {"image": SimpleUploadedFile("boat.png", content)}, "multipart")
    assert (answer.status_code, shown(answer)[0]) == (200, "boat")
    assert Image.objects.count() == len(WORDS)


def test_a_picture_and_words_together(api, viewer, photos, picture):
    payload = {"query": [{"upload": "image"}, {"text": "snow"}], "explain": True}
    content = picture(showing("boat"), size=(320, 240), kind="PNG")
    body = {"payload": json.dumps(payload), "image": SimpleUploadedFile("boat.png", content)}
    best = api(viewer).post(SEARCH, body, "multipart").json()["results"][0]
    parts = best["explain"]["parts"]
    assert [part.get("upload") or part.get("text") for part in parts] == ["image", "snow"]
    assert all(-1 <= part["similarity"] <= 1 for part in parts)


@pytest.mark.parametrize(("content", "status"), [(b"<svg/>", 415), (b"\xff\xd8\xff broken", 422)])
def test_what_cannot_be_decoded_names_the_part(api, viewer, photos, content, status):
    answer = api(viewer).post(SEARCH, {"image": SimpleUploadedFile("x.jpg", content)}, "multipart")
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (status, "/image")


def test_a_part_without_its_file_is_named(api, viewer, photos):
    answer = api(viewer).post(SEARCH, {"payload": '{"query": [{"upload": "image"}]}'}, "multipart")
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (400, "/query/0/upload")


# ── Similar, facets ─────────────────────────────────────────────────────────────────────────────────────────────


def test_similar_pictures_come_first(api, viewer, photos, add):
    add("dog", title="another dog")
    assert shown(api(viewer).get(f"{IMAGES}{photos['dog'].uid}/similar/"))[0] == "another dog"


def test_similar_to_an_unseen_picture_is_not_found(api, outsider, photos):
    assert api(outsider).get(f"{IMAGES}{photos['dog'].uid}/similar/").status_code == 404


def test_similar_shows_only_what_one_may_see(api, outsider, add, make_collection, photos):
    public = add("dog", title="public", in_collection=make_collection("Street", visibility="public"))
    assert "dog" not in shown(api(outsider).get(f"{IMAGES}{public.uid}/similar/"))


def test_facets_count_visible_pictures_alone(api, owner, viewer, outsider, photos, add):
    add("dog", tags=("pet",), moderation="hidden", uploader=owner)
    add("cat", tags=("pet",))
    counts = [api(one).get(f"{SEARCH}facets/").json() for one in (owner, viewer, outsider)]
    assert [one["total"] for one in counts] == [12, 11, 0]
    assert [one["tags"] for one in counts] == [
        [{"value": "pet", "count": 2}],
        [{"value": "pet", "count": 1}],
        [],
    ]


def test_facets_of_a_search(api, viewer, photos):
    assert api(viewer).get(f"{SEARCH}facets/", {"q": "dog", "limit": 5}).json()["total"] >= 1


def test_facets_refuse_unknown_filters(api, viewer):
    assert api(viewer).get(f"{SEARCH}facets/", {"owner": "me"}).status_code == 400


# ── The list ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_list_shows_what_one_may_see(api, owner, viewer, outsider, make_image):
    make_image(title="pier")
    make_image(title="secret", uploader=owner, moderation="pending")
    lists = [sorted(listed(api(one).get(IMAGES))) for one in (owner, viewer, outsider)]
    assert lists == [["pier", "secret"], ["pier"], []]


def test_the_list_takes_the_filters_of_the_search(api, viewer, make_image):
    make_image(title="pier", tags=("sea",))
    make_image(title="hill")
    assert listed(api(viewer).get(IMAGES, {"tags": "sea"})) == ["pier"]


@pytest.mark.parametrize(
    "parameters",
    [
        {"owner": "me"},
        {"min_width": "x"},
        {"sort": "best"},
        {"limit": "0"},
        {"limit": "201"},
        {"cursor": "x"},
    ],
)
def test_the_list_refuses_what_it_cannot_read(api, viewer, parameters):
    answer = api(viewer).get(IMAGES, parameters)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (400, f"/{next(iter(parameters))}")


@pytest.mark.parametrize("sort", ["newest", "oldest"])
def test_pages_of_the_list_neither_repeat_nor_skip(api, viewer, make_image, sort):
    start = datetime(2026, 1, 1, tzinfo=UTC)
    made = [make_image(title=str(n), uploaded_at=start + timedelta(days=n // 3)) for n in range(7)]
    made.sort(key=lambda image: (image.uploaded_at, image.uid), reverse=sort == "newest")
    client, seen, cursor = api(viewer), [], ""
    while cursor is not None:
        answer = client.get(IMAGES, {"sort": sort, "limit": 2, "cursor": cursor})
        seen += listed(answer)
        cursor = answer.json()["next_cursor"]
    assert seen == [image.title for image in made]


def test_a_cursor_fits_its_own_list_alone(api, viewer, make_image):
    make_image(), make_image()
    cursor = api(viewer).get(IMAGES, {"limit": 1}).json()["next_cursor"]
    assert api(viewer).get(IMAGES, {"sort": "oldest", "cursor": cursor}).status_code == 400
    assert api(viewer).get("/api/v1/collections/", {"cursor": cursor}).status_code == 400


def test_a_list_costs_the_same_queries_at_any_length(api, viewer, add, django_assert_max_num_queries):
    for _number in range(12):
        add("dog", tags=("a", "b"), uploader=viewer)
    client = api(viewer)
    with django_assert_max_num_queries(9):
        assert len(client.get(IMAGES).json()["data"]) == 12


# ── Index and jobs ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def url(collection):
    return f"/api/v1/collections/{collection.uid}/"


def test_managers_see_the_index(api, owner, photos, url):
    body = api(owner).get(f"{url}index/").json()
    assert (body["rows"], body["delta"], body["generation"], body["space"]["name"]) == (10, 10, None, NAME)


@pytest.mark.parametrize(("who", "status"), [("viewer", 403), ("teammate", 403), ("outsider", 404)])
def test_nobody_below_manager_sees_or_rebuilds_the_index(api, request, photos, url, who, status):
    client = api(request.getfixturevalue(who))
    assert [client.get(f"{url}index/").status_code, client.post(f"{url}reindex/").status_code] == [
        status,
        status,
    ]
    assert not Job.objects.exists()


def test_a_rebuild_is_a_job_to_watch(api, owner, photos, url):
    client = api(owner)
    answer = client.post(f"{url}reindex/")
    assert (answer.status_code, client.get(answer["Location"]).json()["state"]) == (202, "waiting")


def test_a_second_wish_is_the_same_job(api, owner, photos, url):
    client = api(owner)
    assert client.post(f"{url}reindex/").json()["id"] == client.post(f"{url}reindex/").json()["id"]


def test_a_key_rebuilds_with_the_scope_alone(key_client, owner, photos, url):
    assert key_client(owner, "collections:admin").post(f"{url}reindex/").status_code == 403
    assert key_client(owner, "index:admin").post(f"{url}reindex/").status_code == 202


def test_a_job_is_cancelled_once(api, owner, photos, url):
    client = api(owner)
    job = client.post(f"{url}reindex/").json()["id"]
    assert client.post(f"{JOBS}{job}/cancel/").json()["state"] == "cancelled"
    assert client.post(f"{JOBS}{job}/cancel/").status_code == 409


def test_others_neither_see_nor_cancel_a_job(api, owner, viewer, outsider, photos, url):
    job = api(owner).post(f"{url}reindex/").json()["id"]
    for one in (viewer, outsider):
        assert api(one).get(JOBS).json()["data"] == []
        assert api(one).post(f"{JOBS}{job}/cancel/").status_code == 404
    assert Job.objects.get().state == "waiting"
