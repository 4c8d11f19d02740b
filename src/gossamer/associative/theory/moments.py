"""Moments of one weight under each constraint, with their derivatives.

A site is one input together with one allowed sign of its weight. With the field a of the site and b ~ N(√2 a, 1), the
best |v| (v = σ J̃ in units of 1/(√2 Q)) maximises b|v| − v²/2 under the constraint:

- l1: |v| = b₊: P = E(a), m₁ = F(a), m₂ = D(a), R = 0.
- l0, cut x, t = a − x: P = E(t), m₁ = F(t) + 2x E(t), m₂ = D(t) + 2x F(t) + 2x² E(t), R = 0.
- gap, y = δ̃ σ Q: P = E(a − y/2), m₁ = F(a − y) + 2yP, m₂ = D(a − y) + 2y F(a − y) + 2y² P,
  R = y [F(a − y) − F(a − y/2)] + y² P.

P is the probability that the weight isn't zero, m₁ = √2 E|v|, m₂ = E v² and R = E v² − E b|v|. l1 is l0 with x = 0 and
the gap with y = 0.
"""

from __future__ import annotations

from typing import NamedTuple

from gossamer.associative.theory.special import D, E, F, Floats, bell

__all__ = ["Moments", "gap_moments", "l0_moments"]


class Moments(NamedTuple):
    """P, m₁, m₂ and R of sites, all of one shape."""

    P: Floats
    m1: Floats
    m2: Floats
    R: Floats


def l0_moments(a: Floats, x: Floats) -> tuple[Moments, Moments, Moments]:
    """The moments at field ``a`` and cut ``x``, their derivatives by a, and those by x."""
    t = a - x
    e, f, g = E(t), F(t), bell(t)
    none = 0.0 * t
    value = Moments(e, f + 2 * x * e, D(t) + 2 * x * f + 2 * x * x * e, none)
    by_a = Moments(g, 2 * e + 2 * x * g, 2 * f + 4 * x * e + 2 * x * x * g, none)
    by_x = Moments(-g, -2 * x * g, -2 * x * x * g, none)
    return value, by_a, by_x


def gap_moments(a: Floats, y: Floats) -> tuple[Moments, Moments, Moments]:
    """The moments at field ``a`` and scaled gap ``y``, their derivatives by a, and those by y."""
    far, half = a - y, a - y / 2
    e_far, f_far, e, f, g = E(far), F(far), E(half), F(half), bell(half)
    value = Moments(e, f_far + 2 * y * e, D(far) + 2 * y * f_far + 2 * y * y * e, y * (f_far - f) + y * y * e)
    by_a = Moments(
        g,
        2 * e_far + 2 * y * g,
        2 * f_far + 4 * y * e_far + 2 * y * y * g,
        2 * y * (e_far - e) + y * y * g,
    )
    by_y = Moments(
        -g / 2,
        2 * (e - e_far) - y * g,
        4 * y * (e - e_far) - y * y * g,
        f_far - f + y * (3 * e - 2 * e_far) - y * y * g / 2,
    )
    return value, by_a, by_y
