"""The online rule in NumPy, one unit and one step at a time, as `gossamer.associative.rule` defines it.

It is the reference of the compiled rule, and short enough to be read beside the definition.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from gossamer.associative.philox import random_bytes, random_words
from gossamer.associative.rule import Grid, OnlineRule

__all__ = ["plain_steps"]

Floats = NDArray[np.float64]

_PICK, _GAP, _GAP_REST = 1, 2, 3  # uses of random numbers


def plain_steps(
    inputs: NDArray[np.bool_],
    targets: NDArray[np.bool_],
    weights: Floats,
    seed: int,
    *,
    rule: OnlineRule,
    grid: Grid,
    threshold: float,
    robustness: float,
    weight_norm: float,
    gap: Floats,
    signs: NDArray[np.int8] | None,
    step: int = 0,
) -> Iterator[Floats]:
    """The weights before each step, from step number ``step`` on, until the rule stops.

    Args:
        inputs: X, (m, N).
        targets: y, (m,).
        weights: J at the beginning, (N,), on the ``grid``.
        seed: of the unit, 64 bits.
        rule: the constants.
        grid: where the arithmetic is exact.
        threshold: h.
        robustness: κ.
        weight_norm: w.
        gap: δ, (N,), on the grid.
        signs: g, (N,) of ±1; None for weights of either sign.
        step: the number of steps that have been made.

    Yields:
        J, (N,); the last one fulfils the stop conditions.
    """
    x, s, j, older = inputs.astype(np.float64), 2.0 * targets - 1.0, weights.copy(), rule.variant == "2019"
    while True:
        yield j.copy()
        violated = np.flatnonzero(s * (x @ j - threshold) < robustness)
        size = np.abs(j)
        if (
            not len(violated)
            and abs(size.mean() / weight_norm - 1) <= rule.tolerance
            and not ((size > 0) & (size < gap)).any()
            and (signs is None or not (j * signs < 0).any())
        ):
            return
        if len(violated):
            word = int(random_words(seed, step, _PICK, 1)[0])
            chosen = violated[(word * len(violated)) >> 32]
            j += grid.kick * s[chosen] * x[chosen]
            if signs is not None:
                j[j * signs < 0] = 0
        size = np.abs(j)
        moved = np.ones(len(j), bool) if older else (j != 0) & (size != gap)
        if moved.any():
            excess = grid.nearest(np.asarray(rule.l1_step * (size.mean() - weight_norm)))
            j[moved] -= (signs if older and signs is not None else np.sign(j))[moved] * excess
            if signs is not None:
                j[j * signs < 0] = 0
        weak = np.flatnonzero((j != 0) & (np.abs(j) < gap))
        u = random_bytes(seed, step, _GAP, len(weak)) << np.uint64(24)  # 8 bits of 32, which mostly decide
        u |= random_words(seed, step, _GAP_REST, len(weak)) >> np.uint64(8)
        edge = gap[weak] * np.sign(j[weak])
        j[weak] = np.where(u >= 2**32 - rule.chance, edge, np.where(u < rule.chance, -edge, 0))
        step += 1
