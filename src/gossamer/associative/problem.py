"""Associations for binary threshold units: m pairs of an input pattern X ∈ {0, 1}^N and a target y ∈ {0, 1}.

A unit with weights J and threshold h ≥ 0 answers 1 where J·X > h. It stores the association (X, y) with robustness κ
if s (J·X − h) ≥ κ, where s = 2y − 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gossamer.errors import InputError, check_count

__all__ = ["Associations", "check_probabilities", "check_signs", "random_associations", "random_signs"]


@dataclass(frozen=True, eq=False, init=False)
class Associations:
    """m associations of N inputs with the target of one unit, or with those of several.

    Args:
        inputs: X, (m, N), of zeros and ones in any dtype, kept as bool; m may be 0, N may not.
        targets: y, (m,) for one unit or (m, units) for a layer, of zeros and ones, kept as bool.

    Raises:
        InputError: entries other than 0 and 1 (NaN included), wrong numbers of dimensions, different m, N = 0.

    Example:
        >>> from gossamer.associative import Associations
        >>> Associations([[0, 1, 1], [1, 0, 1]], [1, 0]).load
        0.6666666666666666
    """

    inputs: NDArray[np.bool_]
    targets: NDArray[np.bool_]

    def __init__(self, inputs: ArrayLike, targets: ArrayLike) -> None:
        inputs, targets = _binary("inputs", inputs, (2,)), _binary("targets", targets, (1, 2))
        if inputs.shape[1] == 0:
            raise InputError(f"inputs must have at least one column (N ≥ 1), got shape {inputs.shape}")
        if len(inputs) != len(targets):
            raise InputError(f"targets must have one row per row of inputs, got {len(targets)} and {len(inputs)}")
        object.__setattr__(self, "inputs", inputs)
        object.__setattr__(self, "targets", targets)

    def __len__(self) -> int:
        """m, the number of associations."""
        return len(self.inputs)

    @property
    def n_inputs(self) -> int:
        """N."""
        return int(self.inputs.shape[1])

    @property
    def n_units(self) -> int | None:
        """How many units the targets are for; None where ``targets`` is (m,)."""
        return int(self.targets.shape[1]) if self.targets.ndim == 2 else None

    @property
    def load(self) -> float:
        """α = m / N."""
        return len(self) / self.n_inputs

    @property
    def labels(self) -> NDArray[np.float64]:
        """The labels s = 2y − 1, −1.0 or 1.0, in the shape of ``targets``."""
        return np.where(self.targets, 1.0, -1.0)

    def unit(self, index: int) -> Associations:
        """The associations of the unit ``index`` of a layer: the same inputs, targets (m,).

        Args:
            index: of the unit.

        Returns:
            The associations.

        Raises:
            InputError: the targets are those of one unit.
        """
        if self.n_units is None:
            raise InputError("unit() needs targets of shape (m, units), got the targets (m,) of one unit")
        return Associations(self.inputs, self.targets[:, check_count("index", index, high=self.n_units - 1)])

    def contradictions(self) -> NDArray[np.int64]:
        """Rows (first, other), (n, 2): the same input with different targets, so that no weights store both.

        Each pattern that occurs with several targets is listed once for every occurrence whose targets differ from
        those of its first.

        Returns:
            Pairs of rows (n, 2), int64.
        """
        if len(self) == 0:
            return np.empty((0, 2), np.int64)
        _, first, group = np.unique(self.inputs, axis=0, return_index=True, return_inverse=True)
        origin = first[group.reshape(-1)]
        differ = self.targets != self.targets[origin]
        other = np.flatnonzero(differ if differ.ndim == 1 else differ.any(1))
        return np.stack([origin[other], other], 1).astype(np.int64)


def random_associations(
    n_inputs: int,
    n_associations: int,
    generator: np.random.Generator,
    *,
    f_in: ArrayLike = 0.5,
    f_out: float = 0.5,
    n_units: int | None = None,
) -> Associations:
    """Independent associations with P(X_i = 1) = f_i and P(y = 1) = f_out.

    Args:
        n_inputs: N ≥ 1.
        n_associations: m ≥ 0.
        generator: draws the inputs, then the targets.
        f_in: f_i in (0, 1), one for all inputs or (N,).
        f_out: in (0, 1).
        n_units: None for the targets (m,) of one unit, else (m, n_units).

    Returns:
        The associations.

    Raises:
        InputError: counts or probabilities out of range, ``generator`` of another type.

    Example:
        >>> from gossamer.associative import random_associations
        >>> problem = random_associations(100, 60, np.random.default_rng(0))
        >>> problem.inputs.shape, problem.load
        ((60, 100), 0.6)
    """
    n, m = check_count("n_inputs", n_inputs, low=1), check_count("n_associations", n_associations)
    shape = (m,) if n_units is None else (m, check_count("n_units", n_units, low=1))
    f = check_probabilities("f_in", f_in, n)
    (out,) = check_probabilities("f_out", float(f_out), 1)
    _check_generator(generator)
    return Associations(generator.random((m, n)) < f, generator.random(shape) < out)


def random_signs(n_inputs: int, inhibitory: float, generator: np.random.Generator) -> NDArray[np.int8]:
    """Draw signs g (N,): round(φ N) inhibitory inputs (−1) in random places, excitatory ones (+1) elsewhere.

    Args:
        n_inputs: N ≥ 1.
        inhibitory: φ in [0, 1].
        generator: chooses the places.

    Returns:
        The signs (N,).

    Raises:
        InputError: ``inhibitory`` is outside [0, 1].

    Example:
        >>> from gossamer.associative import random_signs
        >>> random_signs(5, 0.4, np.random.default_rng(0))
        array([ 1,  1,  1, -1, -1], dtype=int8)
    """
    n = check_count("n_inputs", n_inputs, low=1)
    if not 0 <= inhibitory <= 1:  # NaN is not
        raise InputError(f"inhibitory must be in [0, 1], got {inhibitory!r}")
    _check_generator(generator)
    signs = np.ones(n, np.int8)
    signs[: math.floor(inhibitory * n + 0.5)] = -1
    return generator.permutation(signs)


def check_probabilities(name: str, value: ArrayLike, n: int) -> NDArray[np.float64]:
    """``value`` as (n,), each entry in the open interval (0, 1); `InputError` otherwise."""
    try:
        f = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{name} must be a number or an array of numbers in (0, 1), got {value!r}") from None
    if f.shape not in ((), (n,)):
        raise InputError(f"{name} must be a number or have shape ({n},), got shape {f.shape}")
    outside = np.flatnonzero(~((f.reshape(-1) > 0) & (f.reshape(-1) < 1)))
    if len(outside):
        where = f" at index {outside[0]}" if f.ndim else ""
        raise InputError(f"{name} must be in (0, 1), got {f.reshape(-1)[outside[0]]:g}{where}")
    return np.broadcast_to(f, (n,)).copy()


def check_signs(signs: ArrayLike | None, n: int) -> NDArray[np.int8] | None:
    """``signs`` as (n,) of −1 and 1, or None for weights of either sign; `InputError` otherwise."""
    if signs is None:
        return None
    g = np.asarray(signs)
    if g.shape != (n,):
        raise InputError(f"signs must have shape ({n},), one sign per input, got shape {g.shape}")
    if g.dtype.kind not in "iuf" or not np.isin(g, (-1, 1)).all():
        odd = g[~np.isin(g, (-1, 1))][:1].tolist() if g.dtype.kind in "iuf" else g.dtype
        raise InputError(f"signs must be −1 (inhibitory) or 1 (excitatory), got {odd}")
    return g.astype(np.int8)


def _check_generator(generator: Any) -> None:
    if not isinstance(generator, np.random.Generator):
        raise InputError(
            f"generator must be a numpy.random.Generator, as numpy.random.default_rng(seed) makes, got {generator!r}"
        )


def _binary(name: str, value: Any, dimensions: tuple[int, ...]) -> NDArray[np.bool_]:
    array = np.asarray(value)
    if array.ndim not in dimensions:
        raise InputError(f"{name} must have {' or '.join(map(str, dimensions))} dimensions, got shape {array.shape}")
    if array.dtype == np.bool_:
        return array
    if array.size and array.dtype.kind not in "iuf":
        raise InputError(f"{name} must be of zeros and ones, got dtype {array.dtype}")
    odd = (array != 0) & (array != 1)
    if odd.any():
        place = tuple(int(i) for i in np.argwhere(odd)[0])
        raise InputError(f"{name} must be of zeros and ones, got {array[place]!s} at {place}")
    return array.astype(np.bool_)
