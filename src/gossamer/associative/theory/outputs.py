"""Averages over the two targets: u₋ (y = 1) and u₊ (y = 0) at a given sum, and what follows from them.

For U = u₊ + u₋ ≥ 0 the mean of the outputs is balanced where f_out F(u₋) = (1 − f_out) F(u₊). With Ē = f_out E(u₋) +
(1 − f_out) E(u₊), and F̄, D̄ alike, Ē is the fraction of associations stored exactly at the margin.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gossamer.associative.theory.special import E, F, Floats, bell, log_F

__all__ = ["Outputs", "balance", "outputs"]


class Outputs(NamedTuple):
    """Averages over the targets at U, and their derivatives by U."""

    margin: Floats
    """Ē."""
    tail: Floats
    """F̄ / Ē."""
    tail_slope: Floats
    log_ratio: Floats
    """log(D̄ / Ē²)."""
    log_ratio_slope: Floats
    u_plus: Floats
    u_minus: Floats


def balance(U: Floats, f_out: Floats) -> tuple[Floats, Floats]:
    """(u₊, u₋) with u₊ + u₋ = U and f_out F(u₋) = (1 − f_out) F(u₊), by Newton's method within a bracket.

    In d = (u₊ − u₋)/2 the function log F(U/2 − d) − log F(U/2 + d) falls strictly, so the root is unique.
    """
    U, f_out = np.broadcast_arrays(np.asarray(U, np.float64), np.asarray(f_out, np.float64))
    target = np.log1p(-f_out) - np.log(f_out)
    low, high = np.full(U.shape, -1.0), np.full(U.shape, 1.0)
    while (short := _excess(low, U, target) < 0).any():
        low = np.where(short, 2 * low, low)
    while (short := _excess(high, U, target) > 0).any():
        high = np.where(short, 2 * high, high)
    d = np.zeros(U.shape)
    for _ in range(80):
        value = _excess(d, U, target)
        if not value.any():
            break
        low, high = np.where(value > 0, d, low), np.where(value < 0, d, high)
        minus, plus = U / 2 - d, U / 2 + d
        slope = -2 * (_hazard(minus) + _hazard(plus))
        step = d - value / slope
        step = np.where((step > low) & (step < high), step, (low + high) / 2)
        step = np.where(value == 0, d, step)
        done = np.abs(step - d) <= 1e-15 * (1 + np.abs(d))
        d = step
        if done.all():
            break
    return U / 2 + d, U / 2 - d


def outputs(U: Floats, f_out: Floats) -> Outputs:
    """The averages at U, elementwise; accurate where U = 0, too."""
    plus, minus = balance(U, f_out)
    share = 1 - f_out
    e_plus, e_minus, f_minus = share * E(plus), f_out * E(minus), f_out * F(minus)
    margin = e_plus + e_minus
    slope_plus, slope_minus = e_minus / margin, e_plus / margin  # of u₊ and u₋ by U; their sum is 1
    margin_slope = share * bell(plus) * slope_plus + f_out * bell(minus) * slope_minus
    F_bar = 2 * f_minus
    F_slope = 4 * e_minus * slope_minus
    D_bar = f_minus * U + margin  # f_out F(u₋) = (1 − f_out) F(u₊)
    D_slope = f_minus + U * F_slope / 2 + margin_slope
    return Outputs(
        margin=margin,
        tail=F_bar / margin,
        tail_slope=(F_slope - F_bar * margin_slope / margin) / margin,
        log_ratio=np.log(D_bar) - 2 * np.log(margin),
        log_ratio_slope=D_slope / D_bar - 2 * margin_slope / margin,
        u_plus=plus,
        u_minus=minus,
    )


def _excess(d: Floats, U: Floats, target: Floats) -> Floats:
    return log_F(U / 2 - d) - log_F(U / 2 + d) - target


def _hazard(u: Floats) -> Floats:
    """E(u) / F(u), from logarithms of F where both underflow."""
    result: Floats = np.exp(np.log(np.maximum(E(u), 1e-300)) - log_F(u))
    return np.clip(result, 0, 1e3)
