import numpy as np
import pytest

from search.index.codes import coded_axes, lone_axes
from tests.search.index.shapes import unit


def residuals(dimension, count=3000):
    """Gaussian, with falling variance on random axes; and those axes."""
    random = np.random.default_rng(2)
    axes = np.linalg.qr(random.standard_normal((dimension, dimension)))[0]
    spread = np.exp(-np.arange(dimension) / (dimension / 4))
    return ((random.standard_normal((count, dimension)) * spread) @ axes.T).astype(np.float32), axes, spread


def test_axes_are_orthogonal_directions_and_the_strongest_come_first():
    vectors, true, _spread = residuals(32)
    axes = coded_axes(vectors, 8)
    used = axes[np.abs(axes).sum(1) > 0]
    np.testing.assert_allclose(used @ used.T, np.eye(len(used)), atol=1e-5)
    assert abs(axes[0] @ true[:, 0]) > 0.95
    kept = np.var(vectors @ used.T, axis=0).sum() / np.var(vectors, axis=0).sum()
    random = unit(np.random.default_rng(1).standard_normal((len(used), 32)))
    assert kept > 0.85 > np.var(vectors @ random.T, axis=0).sum() / np.var(vectors, axis=0).sum()


@pytest.mark.parametrize(("dimension", "codes"), [(1, 1), (7, 7), (16, 16), (48, 12), (48, 24)])
def test_codes_for_any_dimension(dimension, codes):
    vectors, _true, _spread = residuals(dimension, 500)
    axes = coded_axes(vectors, codes)
    assert axes.shape == (2 * codes, dimension) and axes.dtype == np.float32
    if codes == dimension:  # one code each, nothing left out
        assert (np.abs(axes[::2]).sum(1) > 0).all() and not axes[1::2].any()


def test_equal_axes_share_codes_and_uneven_ones_do_not():
    assert lone_axes(np.ones(16), 8) == 0
    assert lone_axes(np.array([1000.0, 900.0, *[1.0] * 14]), 8) == 2
