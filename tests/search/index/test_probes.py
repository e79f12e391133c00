import numpy as np
import pytest

from search.encoders import EncoderError
from search.index import probes
from search.models import Space


class Encoder:
    sha256 = "5" * 64

    def encode_texts(self, texts):
        return np.array([[len(text), 1.0] for text in texts])


@pytest.fixture(autouse=True)
def forget():
    probes._encoded.cache_clear()
    yield
    probes._encoded.cache_clear()


def test_phrases_are_many_and_differ():
    assert len(set(probes.PHRASES)) == len(probes.PHRASES) == 300


def test_phrases_are_encoded_by_the_space(monkeypatch):
    monkeypatch.setattr(probes, "get_encoder", lambda name: Encoder())
    found = probes.text_probes(Space(name="x", sha256="5" * 64, dimension=2))
    assert found.dtype == np.float32
    assert found[:, 0].tolist() == [len(phrase) for phrase in probes.PHRASES]


def test_another_model_of_the_same_name_is_not_used(monkeypatch):
    monkeypatch.setattr(probes, "get_encoder", lambda name: Encoder())
    assert probes.text_probes(Space(name="x", sha256="6" * 64, dimension=2)) is None


def test_missing_model(monkeypatch):
    def missing(name):
        raise EncoderError("not on this machine")

    monkeypatch.setattr(probes, "get_encoder", missing)
    assert probes.text_probes(Space(name="x", sha256="5" * 64, dimension=2)) is None
