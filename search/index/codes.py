"""Where the bits of a short code go. Pure."""

from __future__ import annotations

import numpy as np

# What is left of a Gaussian's variance by 16 levels on one axis (Max 1960), and by 16 points for two axes.
ALONE, PAIRED = 0.0095, 0.11


def coded_axes(residuals: np.ndarray, codes: int) -> np.ndarray:
    """float32 [2 * codes, d]: the two directions that each of `codes` 4-bit codes describes; zeros where it has one
    or none.

    The axes of `residuals` [n, d] are sorted by variance. The strongest get a code each, the next ones share a code in
    pairs, the weakest are left out (whoever uses the codes compares their best candidates in full).
    """
    variance, vectors = np.linalg.eigh(residuals.T @ residuals / len(residuals))
    variance, directions = variance[::-1], vectors.T[::-1]
    lone = lone_axes(variance, codes)
    pairs = (min(len(variance), 2 * codes - lone) - lone) // 2
    axes = np.zeros((2 * codes, len(variance)), np.float32)
    axes[: 2 * lone : 2] = directions[:lone]
    axes[2 * lone : 2 * (lone + pairs) : 2] = directions[lone : lone + pairs]
    axes[2 * lone + 1 : 2 * (lone + pairs) : 2] = directions[lone + pairs : lone + 2 * pairs][::-1]
    return axes


def lone_axes(variance: np.ndarray, codes: int) -> int:
    """How many axes (`variance` [d], falling) get a code to themselves, so that the codes' error comes out least."""
    total, best = np.concatenate([[0.0], np.cumsum(variance)]), (np.inf, 0)
    for lone in range(min(codes, len(variance)) + 1):
        kept = min(len(variance), 2 * codes - lone)
        error = ALONE * total[lone] + PAIRED * (total[kept] - total[lone]) + total[-1] - total[kept]
        best = min(best, (float(error), lone))
    return best[1]
