"""Hints for moderators and similar pictures, on real vectors: who gets which, and that nothing happens by itself."""

import numpy as np
import pytest
from django.urls import reverse

from images import duplicates, prompts
from images.access import principal_for_key, principal_for_user
from images.models import AuditEvent, Image, ModerationPrompt
from images.moderation import Conflict
from search import encoders, retrieval
from search.models import Embedding
from tests.search.axes import WORDS, AxesEncoder, installed, vector
from tests.security.world import snapshot

pytestmark = pytest.mark.django_db


@pytest.fixture
def encoder(monkeypatch):
    return installed(monkeypatch, AxesEncoder())


@pytest.fixture
def shore(encoder, add, owner):
    """Four settled pictures of every word, and a dog and a boat that wait."""
    for word in WORDS:
        for _number in range(4):
            add(word)
    return {word: add(word, moderation="pending", uploader=owner) for word in ("dog", "boat")}


@pytest.fixture
def editor(member):
    return member("editor")


def hints(images, user):
    found = prompts.hints(list(images), principal_for_user(user))
    return {image.pk: [hint.prompt.text for hint in found.get(image.pk, [])] for image in images}


def test_a_hint_names_what_a_picture_might_show(shore, team, editor):
    prompts.add(team, "dog", editor)
    assert hints(shore.values(), editor) == {shore["dog"].pk: ["dog"], shore["boat"].pk: []}


def test_the_cut_off_is_a_calibrated_match(shore, team, editor):
    match = prompts.hints([shore["dog"]], principal_for_user(editor))
    prompt = prompts.add(team, "dog", editor)
    match = prompts.hints([shore["dog"]], principal_for_user(editor))[shore["dog"].pk][0].match
    assert 0.35 <= match <= 1.0
    for cutoff, told in ((match - 0.001, ["dog"]), (match + 0.001, [])):
        prompts.change(prompt, editor, cutoff=cutoff)
        assert hints([shore["dog"]], editor) == {shore["dog"].pk: told}


def test_a_prompt_of_a_collection_is_for_that_one_alone(shore, team, collection, make_collection, editor):
    prompts.add(team, "dog", editor, collection=make_collection("Elsewhere"))
    assert hints([shore["dog"]], editor) == {shore["dog"].pk: []}
    prompts.add(team, "dog", editor, collection=collection)
    assert hints([shore["dog"]], editor) == {shore["dog"].pk: ["dog"]}


def test_hints_are_for_those_who_moderate(shore, team, editor, viewer, owner, outsider):
    prompts.add(team, "dog", editor)
    told = {user.name: hints([shore["dog"]], user)[shore["dog"].pk] for user in (viewer, owner, outsider)}
    assert told == {"viewer": [], "owner": ["dog"], "outsider": []}


def test_hints_change_no_picture(shore, team, editor, page):
    prompts.add(team, "dog", editor, cutoff=0.01)
    before = snapshot()
    shown = page(editor).get(reverse("images:moderation"))
    assert "might show" in shown.content.decode()
    assert snapshot() == before


def test_without_the_model_the_review_goes_on(shore, team, editor, page, monkeypatch):
    prompts.add(team, "dog", editor)

    def away(_name):
        raise encoders.ModelNotAvailable("not here")

    monkeypatch.setattr("search.meaning.get_encoder", away)
    retrieval.forget()
    shown = page(editor).get(reverse("images:moderation"))
    assert shown.status_code == 200 and "might show" not in shown.content.decode()


def test_a_picture_without_a_vector_has_no_hints(shore, team, editor, add):
    prompts.add(team, "dog", editor)
    fresh = add("dog", embedded=False)
    assert hints([fresh], editor) == {fresh.pk: []}


def test_the_queue_of_the_api_tells_them(shore, team, editor, key_client):
    prompts.add(team, "dog", editor)
    rows = key_client(editor, "moderation:write").get("/api/v1/moderation/").json()["data"]
    assert [[hint["text"] for hint in row["hints"]] for row in rows] == [["dog"], []]
    assert 0 < rows[0]["hints"][0]["match"] <= 1


# ── Prompts ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_editor_adds_and_removes_a_prompt_on_the_page(team, collection, editor, page):
    address, browser = reverse("images:prompts", args=[team.uid]), page(editor)
    answer = browser.post(
        address, {"text": "  a   weapon ", "collection": str(collection.uid), "percent": "60"}
    )
    prompt = ModerationPrompt.objects.get()
    assert answer.status_code == 302
    assert (prompt.text, prompt.collection, prompt.cutoff) == ("a weapon", collection, 0.6)
    assert "a weapon" in browser.get(address).content.decode()
    browser.post(reverse("images:prompt-remove", args=[team.uid, prompt.uid]))
    assert not ModerationPrompt.objects.exists()
    assert set(AuditEvent.objects.values_list("action", flat=True)) == {"prompt.added", "prompt.removed"}


def test_the_same_words_twice_are_refused(team, editor, page):
    browser, address = page(editor), reverse("images:prompts", args=[team.uid])
    browser.post(address, {"text": "a weapon"})
    answer = browser.post(address, {"text": "a weapon"})
    assert answer.status_code == 422 and ModerationPrompt.objects.count() == 1


def test_a_team_has_so_many_prompts_and_no_more(team, editor, monkeypatch):
    monkeypatch.setattr(prompts, "MOST_PROMPTS", 2)
    prompts.add(team, "one", editor)
    prompts.add(team, "two", editor)
    with pytest.raises(Conflict):
        prompts.add(team, "three", editor)


def test_who_moderates_one_collection_prompts_for_that_one(team, collection, make_collection, viewer, page):
    collection.grants.create(user=viewer, role="editor")
    browser, address = page(viewer), reverse("images:prompts", args=[team.uid])
    other = make_collection("Other")
    for place in ("", str(other.uid)):
        assert browser.post(address, {"text": "a weapon", "collection": place}).status_code == 422
    assert browser.post(address, {"text": "a weapon", "collection": str(collection.uid)}).status_code == 302


def test_a_viewer_has_no_business_there(team, viewer, page, key_client, editor):
    prompts.add(team, "dog", editor)
    assert page(viewer).get(reverse("images:prompts", args=[team.uid])).status_code == 403
    listed = key_client(viewer, "moderation:write").get(f"/api/v1/teams/{team.uid}/prompts/").json()
    assert listed["data"] == []


def test_the_api_makes_changes_and_removes(team, editor, key_client):
    client, address = key_client(editor, "moderation:write"), f"/api/v1/teams/{team.uid}/prompts/"
    made = client.post(address, {"text": "a weapon"})
    assert made.status_code == 201 and made.json()["cutoff"] is None
    changed = client.patch(f"{address}{made.json()['id']}/", {"cutoff": 0.5})
    assert changed.status_code == 200 and changed.json()["cutoff"] == 0.5
    assert client.post(address, {"text": "x", "cutoff": 2}).status_code == 400
    assert client.delete(f"{address}{made.json()['id']}/").status_code == 204


def test_a_key_for_some_collections_prompts_for_those_alone(team, collection, owner, key_client):
    client = key_client(owner, "moderation:write", collections=[collection])
    address = f"/api/v1/teams/{team.uid}/prompts/"
    assert client.post(address, {"text": "a weapon"}).status_code == 403
    assert client.post(address, {"text": "a weapon", "collection": str(collection.uid)}).status_code == 201


def test_a_key_for_some_collections_makes_no_webhooks_for_all(team, collection, owner, key_client):
    client = key_client(owner, "webhooks:write", collections=[collection])
    body = {"url": "https://192.0.2.1/hook", "events": ["image.ready"]}
    assert client.post(f"/api/v1/teams/{team.uid}/webhooks/", body).status_code == 403
    assert principal_for_key(client.key).rank_in_team(team) == 1


# ── Similar pictures ────────────────────────────────────────────────────────────────────────────────────────────


def turned(cosine, seed=1):
    """A unit vector at exactly this cosine to a picture of a dog."""
    base = vector("dog")
    aside = np.random.default_rng(seed).normal(size=base.shape)
    aside -= (aside @ base) * base
    return cosine * base + np.sqrt(1 - cosine**2) * aside / np.linalg.norm(aside)


def bend(image, values):
    Embedding.objects.filter(image=image).update(vector=np.asarray(values, "<f2").tobytes())


def groups(collection, user, **options):
    found = duplicates.find(collection, principal_for_user(user), **options)
    return [(group.label.value, {image.pk for image in group.images}) for group in found.groups]


@pytest.mark.parametrize(("cosine", "alike"), [(0.985, True), (0.95, False)])
def test_pictures_that_mean_the_same_are_similar(cosine, alike, add, collection, owner):
    first, second = add("dog", phash=bytes(32)), add("dog", phash=b"\xff" * 32)
    bend(first, vector("dog"))
    bend(second, turned(cosine))
    assert groups(collection, owner) == ([("similar", {first.pk, second.pk})] if alike else [])


def test_what_looks_the_same_is_not_listed_again_as_similar(add, collection, owner):
    pair = [add("dog", phash=bytes(32)), add("dog", phash=bytes(32))]
    third = add("dog", phash=b"\xff" * 32)
    for image in (*pair, third):
        bend(image, vector("dog"))
    same, similar = ("same", {one.pk for one in pair}), ("similar", {pair[0].pk, pair[1].pk, third.pk})
    assert groups(collection, owner) == [same, similar]
    assert groups(collection, owner, label=duplicates.Label.SAME) == [same]
    assert groups(collection, owner, label=duplicates.Label.SIMILAR) == [similar]


def test_similar_pictures_that_are_hidden_or_kept_are_not_listed(add, collection, owner, viewer, page):
    first, second = add("dog", phash=bytes(32)), add("dog", phash=b"\xff" * 32)
    for image in (first, second):
        bend(image, vector("dog"))
    Image.objects.filter(pk=second.pk).update(moderation="hidden")
    assert groups(collection, viewer) == [] and len(groups(collection, owner)) == 1
    body = {"decision": "keep", "image": [str(first.uid), str(second.uid)]}
    page(owner).post(reverse("images:duplicates-decide", args=[collection.uid]), body)
    assert groups(collection, owner) == []


def test_pairs_are_those_of_comparing_all_with_all(monkeypatch, add, collection):
    from search import meaning

    monkeypatch.setattr(meaning, "BLOCK", 4)
    images = [add(WORDS[number % 3]) for number in range(15)]
    for number, image in enumerate(images):
        bend(image, turned(0.97 + number % 4 / 100, seed=number % 5))
    found = meaning.Vectors().alike(collection, [image.pk for image in images], 1000)
    stored = {pk: np.frombuffer(bytes(raw), "<f2").astype(np.float32)
              for pk, raw in Embedding.objects.values_list("image_id", "vector")}  # fmt: skip
    pks = [image.pk for image in images]
    slow = {(a, b) for place, a in enumerate(pks) for b in pks[place + 1 :] if stored[a] @ stored[b] >= 0.97}
    assert {(pair.first, pair.second) for pair in found} == slow and 0 < len(slow) < 105


def test_the_page_and_the_api_name_the_kind(add, collection, owner, page, api):
    first, second = add("dog", phash=bytes(32)), add("dog", phash=b"\xff" * 32)
    for image in (first, second):
        bend(image, vector("dog"))
    shown = page(owner).get(reverse("images:duplicates", args=[collection.uid])).content.decode()
    assert "another picture of the same" in shown and shown.count("checked") == 0
    told = api(owner).get(f"/api/v1/collections/{collection.uid}/duplicates/?kind=similar").json()
    assert [(one["kind"], one["distance"]) for one in told["data"]] == [("similar", None)]
    assert told["data"][0]["similarity"] >= 0.97
    wrong = api(owner).get(f"/api/v1/collections/{collection.uid}/duplicates/?kind=other")
    assert wrong.status_code == 400


def test_look_alikes_wait_side_by_side(encoder, add, owner, page):
    """The oldest first still; what shows the same as an earlier one stands right behind it."""
    waiting = [add(word, moderation="pending") for word in ("dog", "boat", "dog", "cat", "boat")]
    for image, word in zip(waiting, ("dog", "boat", "dog", "cat", "boat"), strict=True):
        bend(image, vector(word))
    shown = page(owner).get(reverse("images:review-batch")).context["images"]
    assert [waiting.index(image) for image in shown] == [0, 2, 1, 4, 3]
