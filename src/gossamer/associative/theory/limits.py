"""Closed forms: no robustness, one balanced case of l1, and the l2 norm (Gardner)."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from gossamer.associative.theory.outputs import outputs
from gossamer.associative.theory.sites import numbers
from gossamer.associative.theory.special import D, E, F, Floats, tail_quantile
from gossamer.errors import InputError

__all__ = ["Limit", "balanced_l1", "dilution", "l2_capacity", "without_robustness"]


class Limit(NamedTuple):
    """A point of a closed form.

    Attributes:
        robustness: κ̃.
        load: α_c, the capacity.
        density: the fraction of non-zero weights.

    Example:
        >>> from gossamer.associative.theory import balanced_l1
        >>> balanced_l1(-0.2).load.round(4).item()
        1.2785
    """

    robustness: Floats
    load: Floats
    density: Floats


def balanced_l1(a: ArrayLike, f_in: float = 0.5) -> Limit:
    """l1 with free signs, h̃ = 0, f_out = ½ and equal f: the curve with the field a < 0 as its parameter.

        D(a) D(u) = E(a) E(u),  κ̃ = u √2 σ √D(a) / F(a),  α_c = 2 E(a) / E(u),  1 − S = 2 E(a)

    Args:
        a: −5 ≤ a < 0, any shape.
        f_in: in (0, 1), σ² = f (1 − f).

    Returns:
        κ̃, α_c and the density, in the shape of ``a``.

    Example:
        >>> from gossamer.associative.theory import balanced_l1
        >>> [round(float(x), 7) for x in balanced_l1(-0.2)]
        [0.1978014, 1.2784515, 0.7772974]
    """
    a = numbers("a", a, -5, 0, open_high=True)
    (f,) = numbers("f_in", [f_in], 0, 1, open_low=True, open_high=True)
    goal = E(a) / D(a)
    low, high = np.zeros(a.shape), np.full(a.shape, 1.0)
    while (short := D(high) / E(high) < goal).any():
        high = np.where(short, 2 * high, high)
    for _ in range(200):
        u = (low + high) / 2
        small = D(u) / E(u) < goal
        low, high = np.where(small, u, low), np.where(small, high, u)
    kappa = u * math.sqrt(2 * f * (1 - f)) * np.sqrt(D(a)) / F(a)
    return Limit(kappa, 2 * E(a) / E(u), 2 * E(a))


def dilution(density: ArrayLike) -> Floats:
    """Return p + 2T φ(T) with p = 2H(T): the share of the variance of N(0, 1) in its fraction p of largest entries.

    Args:
        density: p in (0, 1], any shape.

    Returns:
        The share of the variance in (0, 1], in the shape of ``density``.

    Example:
        >>> from gossamer.associative.theory import dilution
        >>> dilution([1.0, 0.5]).round(4).tolist()
        [1.0, 0.9287]
    """
    p = numbers("density", density, 0, 1, open_low=True)
    T = tail_quantile(p)
    result: Floats = p + 2 * T * np.exp(-T * T / 2) / math.sqrt(2 * math.pi)
    return result


def without_robustness(
    *, f_out: ArrayLike = 0.5, density: ArrayLike | None = None, inhibitory: ArrayLike | None = None
) -> Limit:
    """κ̃ = 0 and h̃ = 0, equal f: the l1 norm only scales the weights.

    - Free signs: α_c = 1/Ē, S = 0.
    - Signs: (1 − φ) F(−t) = φ F(t), 1 − S = (1 − φ) E(−t) + φ E(t), α_c = (1 − S)/Ē.
    - l0, free signs: α_c = [p + 2T φ(T)]/Ē with p = 2H(T).

    Args:
        f_out: in (0, 1).
        density: p in (0, 1].
        inhibitory: φ in (0, 1), for signs.

    Returns:
        κ̃ = 0, α_c and the density, in the shape of the arguments.

    Raises:
        InputError: parameters out of range, or both ``density`` and ``inhibitory``.

    Example:
        >>> from gossamer.associative.theory import without_robustness
        >>> without_robustness(density=0.5).load.round(5).item()
        1.85735
    """
    out = numbers("f_out", f_out, 0, 1, open_low=True, open_high=True)
    margin = outputs(np.zeros(out.shape), out).margin
    if inhibitory is not None:
        if density is not None:
            raise InputError("density and inhibitory exclude each other in this closed form, got both; use capacity")
        phi = numbers("inhibitory", inhibitory, 0, 1, open_low=True, open_high=True)
        balanced = outputs(np.zeros(phi.shape), 1 - phi)  # the same equation as that of the targets
        connected = balanced.margin
        return Limit(np.zeros((connected / margin).shape), connected / margin, connected + 0 * margin)
    p = numbers("density", 1.0 if density is None else density, 0, 1, open_low=True)
    load = dilution(p) / margin
    return Limit(np.zeros(load.shape), load, p + 0 * margin)


def l2_capacity(
    robustness: ArrayLike,
    *,
    f_out: ArrayLike = 0.5,
    density: ArrayLike | None = None,
    balanced_signs: bool = False,
) -> Floats:
    """α_c(κ) of the l2 norm, ⟨f_i (1 − f_i) J_i²⟩ = 1: W₁² / min_M E[(κ − s M + g)₊²], h = 0.

    W₁² is 1 with free signs, where f_out = ½ gives Gardner's 1/∫_{−κ}^∞ Dz (z + κ)²; ½ with as many excitatory as
    inhibitory inputs; p + 2T φ(T) with the best support of a fraction p.

    Args:
        robustness: κ ≥ 0, any shape.
        f_out: in (0, 1).
        density: p in (0, 1].
        balanced_signs: whether half of the weights must be positive, the other half negative.

    Returns:
        α_c, in the shape of the arguments.

    Example:
        >>> from gossamer.associative.theory import l2_capacity
        >>> l2_capacity([0.0, 0.5, 1.0, 2.0]).round(5).tolist()
        [2.0, 0.96121, 0.51957, 0.20023]

    References:
        E. Gardner, "The space of interactions in neural network models", J. Phys. A 21, 1988.
        M. Bouten, A. Engel, A. Komoda, R. Serneels, "Quenched versus annealed dilution in neural networks",
        J. Phys. A 23, 1990.
    """
    kappa = numbers("robustness", robustness, 0, np.inf)
    out = numbers("f_out", f_out, 0, 1, open_low=True, open_high=True)
    if density is not None and balanced_signs:
        raise InputError("density and balanced_signs exclude each other, got both; leave one out")
    gain = dilution(1.0 if density is None else density) * (0.5 if balanced_signs else 1.0)
    targets = outputs(math.sqrt(2) * kappa, out)
    result: Floats = gain / (np.exp(targets.log_ratio) * np.square(targets.margin))
    return result
