import stat

import numpy as np
import pytest

from search.demo.evaluation import FLOORS, Encoder, evaluate
from search.demo.training import MODEL


@pytest.fixture(scope="module")
def encoder():
    return Encoder(MODEL)


@pytest.fixture(scope="module")
def table(font):
    return {row.metric: row for row in evaluate(MODEL, pictures=900, seed=515_151)}


def test_a_text_becomes_one_vector_of_256(encoder):
    vectors = encoder.texts(["a dog on the beach", "", "北京 ♥ Zürich"])
    assert vectors.shape == (3, 256)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_pictures_of_any_shape_become_vectors_of_256(encoder):
    pictures = [np.full(shape, 90, np.uint8) for shape in ((40, 300, 3), (700, 500, 3))]
    assert encoder.pictures(pictures).shape == (2, 256)


def test_padding_does_not_change_a_text(encoder):
    alone = encoder.texts(["dog"])[0]
    beside = encoder.texts(
        ["dog", "a very long text about a dog and a cat and a castle in the mountains at night"]
    )[0]
    assert np.allclose(alone, beside, atol=1e-5)


def test_texts_longer_than_the_tower_are_cut(encoder):
    assert encoder.texts(["dog " * 200]).shape == (1, 256)


@pytest.mark.parametrize("metric", FLOORS)
def test_the_shipped_model_reaches_its_floor(table, metric):
    assert table[metric].value >= FLOORS[metric], table[metric]


def test_the_model_is_small_and_readable_by_all():
    files = list(MODEL.iterdir())
    assert sum(path.stat().st_size for path in files) <= 12_000_000
    assert all(path.stat().st_mode & stat.S_IROTH for path in files)


def test_the_model_comes_with_its_card_and_licences():
    assert "not photographs" in (MODEL / "README.md").read_text()
    assert "SIL OPEN FONT LICENSE" in (MODEL / "FONT-LICENSE.txt").read_text()
    assert "Unicode" in (MODEL / "UNICODE-LICENSE.txt").read_text()
