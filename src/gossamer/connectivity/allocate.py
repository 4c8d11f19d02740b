"""Allocation: how a budget of connections is shared among layers."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite, prod
from typing import Literal

from gossamer.errors import InputError, check_choice, check_fraction

__all__ = ["Allocation", "allocate_densities", "epsilon_density"]

Allocation = Literal["uniform", "er", "erk"]


def allocate_densities(
    shapes: Sequence[tuple[int, ...]], density: float, allocate: Allocation = "uniform"
) -> list[float]:
    """Share a budget of connections among layers.

    ``"uniform"``  every layer has ``density``.
    ``"er"``       density ∝ (n_out + n_in) / (n_out · n_in): every unit has about as many connections, for any size of
    its
                   layer (Mocanu et al. 2018, equation 3: ε (n_in + n_out) connections).
    ``"erk"``      density ∝ (n_out + n_in + Σ kernel) / (n_out · n_in · Π kernel) (Evci et al. 2020); for linear
                   layers the same as ``"er"``.

    A layer that would have more connections than possible is dense, and the rest of the budget is shared among the
    others.

    Args:
        shapes: of the weights, (out, in) of a linear layer, (out, in, *kernel) of a convolution.
        density: fraction of the connections of all layers together, in (0, 1].
        allocate: ``"uniform"``, ``"er"`` or ``"erk"``.

    Returns:
        The density of each layer.

    Raises:
        InputError: ``density`` or ``allocate`` is outside its range.

    Example:
        >>> [round(d, 3) for d in gs.allocate_densities([(1000, 784), (10, 1000)], density=0.1, allocate="er")]
        [0.089, 1.0]

    References:
        Mocanu et al., Nature Communications 9:2383 (2018), equation 3.
        Evci et al., "Rigging the lottery: making all tickets winners", ICML 2020 (Erdős–Rényi-Kernel).
    """
    density = check_fraction("density", density, open_low=True)
    check_choice("allocate", allocate, ("uniform", "er", "erk"))
    if allocate == "uniform":
        return [density] * len(shapes)
    sizes = [prod(shape) for shape in shapes]
    raw = [
        (sum(shape) if allocate == "erk" else sum(shape[:2])) / (prod(shape) if allocate == "erk" else prod(shape[:2]))
        for shape in shapes
    ]
    dense: set[int] = set()
    while True:
        budget = density * sum(sizes) - sum(sizes[i] for i in dense)
        open_layers = [i for i in range(len(shapes)) if i not in dense]
        scale = budget / sum(raw[i] * sizes[i] for i in open_layers) if open_layers else 0.0
        full = {i for i in open_layers if scale * raw[i] > 1.0}
        if not full:
            return [1.0 if i in dense else scale * raw[i] for i in range(len(shapes))]
        dense |= full


def epsilon_density(shapes: Sequence[tuple[int, int]], epsilon: float) -> float:
    """Return the density at which ``allocate="er"`` gives each layer ε (n_in + n_out) connections, at most all.

    ``shapes``: (out, in); ``epsilon`` > 0 (Mocanu et al. 2018, equation 3, with ε from 1 to 20 or so).
    """
    if not (isfinite(epsilon) and epsilon > 0):
        raise InputError(f"epsilon must be a finite number above 0, got {epsilon!r}")
    sizes = [prod(shape) for shape in shapes]
    connections = sum(min(size, epsilon * sum(shape)) for size, shape in zip(sizes, shapes, strict=True))
    return connections / sum(sizes) if sizes else 1.0
