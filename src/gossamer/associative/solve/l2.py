"""The largest margin at a given l2 norm, by non-negative least squares."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import nnls

from gossamer.associative.solve.constraints import Floats
from gossamer.errors import InputError

__all__ = ["L2Weights", "l2_weights"]


@dataclass(frozen=True, eq=False)
class L2Weights:
    """The weights of largest margin at l2 norm 1, as `l2_weights` returns them.

    Attributes:
        weights: J (N,) with ⟨J²⟩ = 1; None where no J has κ > 0.
        robustness: κ = min_μ s^μ X^μ·J/√N; NaN without weights.
        tight: (m,), the associations at the margin.

    Example:
        >>> from gossamer.associative.solve import l2_weights
        >>> l2_weights([[1.0, 0.0], [0.0, -1.0]], [1, 0]).tight
        array([ True,  True])
    """

    weights: Floats | None
    robustness: float
    tight: NDArray[np.bool_]


def l2_weights(inputs: ArrayLike, targets: ArrayLike) -> L2Weights:
    """Maximise min_μ s^μ X^μ·J/√N over ⟨J_i²⟩ = 1, for inputs of any values.

    The least ‖J‖ with Z J ≥ 1, Z_μ = s^μ X^μ, is a least-distance problem: with A = [Zᵀ; 1ᵀ] and b = (0, …, 0, 1), λ
    the non-negative least-squares solution of A λ = b and r = A λ − b, J = −r_{1…N}/r_{N+1}, and λ_μ > 0 where μ is at
    the margin.

    Args:
        inputs: X (m, N), finite, m ≥ 1.
        targets: y (m,), of zeros and ones.

    Returns:
        The weights and their margin.

    Raises:
        InputError: an argument has another shape or other entries.

    Example:
        >>> from gossamer.associative.solve import l2_weights
        >>> found = l2_weights([[1.0, 0.0], [0.0, -1.0]], [1, 0])
        >>> found.weights.round(6).tolist(), round(found.robustness, 6)
        ([1.0, 1.0], 0.707107)

    References:
        C. L. Lawson, R. J. Hanson, "Solving Least Squares Problems", 1974, chapter 23.
    """
    X = np.asarray(inputs, np.float64)
    y = np.asarray(targets)
    if X.ndim != 2 or X.size == 0 or not np.isfinite(X).all():
        raise InputError(f"inputs must be a matrix (m, N) of finite numbers with m, N ≥ 1, got shape {X.shape}")
    if y.shape != (len(X),) or not ((y == 0) | (y == 1)).all():
        raise InputError(f"targets must be {len(X)} zeros and ones, got shape {y.shape} and {np.unique(y)[:5]}")
    m, n = X.shape
    Z = (2.0 * y - 1)[:, None] * X
    A = np.vstack([Z.T, np.ones(m)])
    b = np.zeros(n + 1)
    b[n] = 1
    weight, _ = nnls(A, b, maxiter=30 * max(m, n))
    r = A @ weight - b
    tight = weight > 1e-10
    if -r[n] <= 1e-10:  # the origin lies in the convex hull of Z
        return L2Weights(None, math.nan, np.zeros(m, np.bool_))
    J = -r[:n] / r[n]
    J /= math.sqrt(np.mean(J * J))
    return L2Weights(J, float((Z @ J).min()) / math.sqrt(n), tight)
