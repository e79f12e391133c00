"""A multilingual model is one setting away; a question in a language that the model does not read is pointed out."""

import json

import numpy as np
import pytest
from PIL import Image as Pillow

from images.access import principal_for_user
from search import encoders, engine, index, retrieval, spaces
from search.languages import unread
from search.models import CollectionIndex, Embedding
from search.query_text import parse
from tests.search.tiny_models import siglip2_model

FOREIGN = {
    "de": ("ein Hund am Strand", "die rote Katze auf dem Sofa", "Berge im Nebel mit Schnee"),
    "es": ("un perro con una pelota", "los barcos en el puerto", "dos gatos sobre la mesa"),
    "fr": ("un chien sur la plage", "les bateaux dans le port", "deux chats et une maison"),
    "zh": ("海滩上的狗", "红色的汽车", "雪山"),
}


@pytest.mark.parametrize(("language", "text"), [(one, text) for one in FOREIGN for text in FOREIGN[one]])
def test_german_spanish_french_and_chinese_are_noticed_by_an_english_model(language, text):
    assert unread(text, ["en"]) == language
    assert unread(text, ["en", language]) is None
    assert unread(text, ["*"]) is None


@pytest.mark.parametrize(
    "text",
    [
        "red car",
        "a dog on the beach",
        "die hard poster",
        "Los Angeles at night",
        "the Las Vegas strip",
        "IMG_2041",
        "Montréal",
        "pasta",
        "🐶",
        "tokyo",
    ],
)
def test_english_questions_and_bare_names_are_not_suspected(text):
    assert unread(text, ["en"]) is None


@pytest.mark.django_db
def test_the_warning_comes_with_the_answer(gallery, me):
    warnings = engine.find(parse('"un perro con una pelota" -"ein Hund am Strand"'), me).meta["warnings"]
    assert [one["code"] for one in warnings] == ["language"]
    assert "en" in warnings[0]["detail"]


@pytest.fixture
def siglip2(tmp_path, settings):
    """`LOUPE_MODEL` set to a tiny model of SigLIP 2's architecture, and nothing else."""
    folder = siglip2_model(tmp_path / "siglip2")
    (folder / "loupe.json").write_text(json.dumps({"languages": ["en", "de", "es", "fr", "zh"]}))
    settings.LOUPE_MODEL, settings.LOUPE_DTYPE = str(folder), "float32"
    spaces._identity.cache_clear()
    retrieval.forget()
    index.reset()
    yield folder
    spaces._identity.cache_clear()
    retrieval.forget()


@pytest.mark.django_db
def test_siglip_2_is_one_setting_away(siglip2, make_image, collection, teammate):
    served = spaces.default_space()
    assert "siglip" in json.loads((siglip2 / "config.json").read_text())["model_type"]
    assert served.languages == ["en", "de", "es", "fr", "zh"]
    model = encoders.get_encoder(served.name)
    CollectionIndex.objects.update_or_create(collection=collection, defaults={"space": served, "last_seq": 4})
    for seq, colour in enumerate(["red", "green", "blue", "white"], 1):
        image = make_image(file_name=f"{colour}.png")
        vector = model.encode_images([Pillow.new("RGB", (80, 60), colour)])[0]
        Embedding.objects.update_or_create(
            image=image,
            space=served,
            defaults={
                "collection": collection,
                "state": "done",
                "vector": vector.astype("<f2").tobytes(),
                "seq": seq,
            },
        )
    for texts in FOREIGN.values():
        page = engine.find(parse(f'"{texts[0]}" words:off templates:off'), principal_for_user(teammate))
        assert page.total == 4
        assert page.meta["warnings"] == []
        asked = model.encode_texts([texts[0]])[0]
        assert page.results[0].similarity == pytest.approx(max(_cosines(asked)), abs=0.02)


def _cosines(asked):
    rows = Embedding.objects.values_list("vector", flat=True)
    return [float(np.frombuffer(bytes(row), "<f2").astype(np.float32) @ asked) for row in rows]
