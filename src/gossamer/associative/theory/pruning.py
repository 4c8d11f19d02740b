"""Errors after weak weights of a trained unit are set to zero, without retraining.

A unit is trained at capacity, then keeps its fraction p of largest weights, |b̂| > T with p = 2H(T), where a natural
weight is (|b̂| − b₀)₊ sign(b̂) with b̂ ~ N(0, 1). With r_q the kept fraction of the variance q and r_c that of the
response χ, the field of an association whose cavity field is √q g, g ~ N(0, 1), becomes normal with

    mean r_q √q g + r_c (κ − √q g)₊,   variance q r_q (1 − r_q),

and the association is wrong where the field is negative.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from gossamer.associative.theory.limits import dilution
from gossamer.associative.theory.sites import numbers
from gossamer.associative.theory.solution import Solution
from gossamer.associative.theory.special import Floats, tail_quantile, upper_tail
from gossamer.errors import InputError

__all__ = ["l1_pruning_error", "l2_pruning_error"]


def l2_pruning_error(robustness: float, density: ArrayLike) -> Floats:
    """P(wrong) after a unit with l2 norm, trained at `l2_capacity` with f_out = ½ and h = 0, keeps p of its weights.

    b₀ = 0 and q = 1, so r_q = r_c = r = p + 2T φ(T) and, with c = √(r/(1 − r)), the error is
    Φ(κ) Φ(−cκ) + ∫_κ^∞ φ(g) Φ(−cg) dg.

    Args:
        robustness: κ ≥ 0.
        density: p in (0, 1], any shape.

    Returns:
        The probabilities, in the shape of ``density``.

    Example:
        >>> from gossamer.associative.theory import l2_pruning_error
        >>> l2_pruning_error(0.5, [0.5, 0.3]).round(4).tolist()
        [0.0259, 0.1327]
    """
    (kappa,) = numbers("robustness", [robustness], 0, np.inf)
    r = dilution(density)
    return _error(float(kappa), 1.0, r, r)


def l1_pruning_error(solution: Solution, density: ArrayLike) -> Floats:
    """Compute P(wrong) after a unit with l1 norm, trained at capacity, keeps its fraction p of largest weights.

    With b₀ = −√2 a: r_q = q_kept/q with q_kept ∝ 2∫_T^∞ (t − b₀)² φ(t) dt, r_c = [p + 2(T − b₀) φ(T)] / 2H(b₀). The
    pruned unit is to be evaluated on X − f, or with h refitted: on inputs of {0, 1} pruning also upsets the balance of
    the mean, which about doubles the error.

    Args:
        solution: one point of `capacity` with l1 alone, free signs, equal f_in, f_out = ½, h̃ = 0.
        density: p in (0, ``solution.density``], any shape.

    Returns:
        The probabilities, in the shape of ``density``.

    Raises:
        InputError: a solution of another case, or a density above that of the solution.

    Example:
        >>> from gossamer.associative.theory import capacity, l1_pruning_error
        >>> l1_pruning_error(capacity(0.3), 0.3).round(4).item()
        0.0964
    """
    if (
        solution.shape != ()
        or not solution.free_signs
        or solution.f.shape != (1,)
        or solution.threshold != 0
        or solution.f_out != 0.5
        or solution.gap != 0
        or solution.cut != 0
    ):
        raise InputError(
            "solution must be one point of l1 alone with free signs, one f_in, f_out = 0.5 and threshold = 0, got "
            f"another case (shape {solution.shape}, {len(solution.f.reshape(-1))} classes of inputs)"
        )
    p = numbers("density", density, 0, float(solution.density), open_low=True)
    b0 = -math.sqrt(2) * float(solution.fields()[0, 0])
    T = np.maximum(tail_quantile(p), b0)
    kept, whole = _variance(T, b0), _variance(np.array(b0), b0)
    response = (p + 2 * (T - b0) * _normal(T)) / (2 * upper_tail(b0))
    return _error(float(solution.robustness), float(solution.variance), kept / whole, response)


def _variance(T: Floats, b0: float) -> Floats:
    """2 ∫_T^∞ (t − b₀)² φ(t) dt."""
    return 2 * ((1 + b0 * b0) * upper_tail(T) + (T - 2 * b0) * _normal(T))


def _error(kappa: float, q: float, r_q: Floats, r_c: Floats) -> Floats:
    """E P(field < 0) by Gauss-Legendre quadrature on either side of g = κ/√q, where the mean has a kink."""
    nodes, weights = np.polynomial.legendre.leggauss(120)
    scale = math.sqrt(q)
    kink = kappa / scale
    total = np.zeros(np.broadcast_shapes(r_q.shape, r_c.shape))
    spread = scale * np.sqrt(np.maximum(r_q * (1 - r_q), 0))[..., None]
    for low, high in ((min(-12.0, kink - 1), kink), (kink, kink + 12)):
        g = (low + high) / 2 + (high - low) / 2 * nodes
        mean = r_q[..., None] * scale * g + r_c[..., None] * np.maximum(kappa - scale * g, 0)
        wrong = np.where(spread > 0, upper_tail(mean / np.maximum(spread, 1e-300)), mean < 0)
        total = total + (high - low) / 2 * (weights * _normal(g) * wrong).sum(-1)
    return total


def _normal(x: Floats) -> Floats:
    result: Floats = np.exp(-np.square(x) / 2) / math.sqrt(2 * math.pi)
    return result
