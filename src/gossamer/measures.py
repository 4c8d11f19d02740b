"""Measures of sparseness: how sparse a vector is, along one dimension of a tensor.

With n entries x_i, a_i = |x_i|:

====================  ==========================================  ===============  ==================  =============
measure               definition                                  range            sparser is          zero vector
====================  ==========================================  ===============  ==================  =============
`hoyer`               (√n − Σa / √Σa²) / (√n − 1)                 [0, 1]           larger              0
`active_fraction`     #{a_i > threshold} / n                      [0, 1]           smaller             0
`l0`                  #{a_i > threshold}                          0 … n            smaller             0
`gini`                Σ_i (2i − n − 1) a_(i) / (n Σa), ascending  [0, 1 − 1/n]     larger              0
`treves_rolls`        (Σa / n)² / (Σa² / n)                       [1/n, 1]         smaller             0
`kurtosis`            Σ(x − x̄)⁴ / n / (Σ(x − x̄)² / n)² − 3        [−2, n)          larger              0
`participation_ratio` (Σx²)² / Σx⁴                                [1, n]           smaller             0
====================  ==========================================  ===============  ==================  =============

All take ``x`` (floating point, any shape) and ``dim``, and drop that dimension; all but the two that take a threshold
are invariant to scale. A vector for which the ratio is 0/0 (no entry differs from zero, or from the mean for
`kurtosis`) gets 0, and its gradient is zero; NaN gives NaN. Elsewhere the ratios are differentiable wherever no entry
is zero.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gossamer.errors import InputError, check_fraction

__all__ = ["active_fraction", "gini", "hoyer", "kurtosis", "l0", "participation_ratio", "treves_rolls"]


def hoyer(x: Tensor, dim: int = -1) -> Tensor:
    """Measure Hoyer's sparseness.

        σ(x) = (√n − ‖x‖₁ / ‖x‖₂) / (√n − 1):   0 if all |x_i| are equal, 1 if one entry is not zero

    Args:
        x: floating point, any shape.
        dim: the dimension to measure along, n ≥ 2 entries.

    Returns:
        σ in [0, 1], in the shape of ``x`` without ``dim``; 0 for a zero vector.

    Raises:
        InputError: ``x`` is not floating point or has fewer than two entries along ``dim``.

    Example:
        >>> gs.measures.hoyer(torch.tensor([[1.0, 1.0, 1.0, 1.0], [3.0, 0.0, 0.0, 0.0]]))
        tensor([0., 1.])

    References:
        Hoyer, "Non-negative matrix factorization with sparseness constraints", JMLR 5 (2004).
    """
    n = _entries(x, dim, least=2)
    unit = _unit(x, dim)
    ratio = _ratio(unit.abs().sum(dim), _root(unit.square().sum(dim)), otherwise=math.sqrt(n))
    return ((math.sqrt(n) - ratio) / (math.sqrt(n) - 1)).clamp(0, 1)


def active_fraction(x: Tensor, dim: int = -1, threshold: float = 0.0) -> Tensor:
    """Measure the share of active entries, #{|x_i| > threshold} / n. A NaN counts as inactive.

    Args:
        x: floating point, any shape.
        dim: the dimension to measure along, n ≥ 1 entries.
        threshold: ≥ 0.

    Returns:
        The share in [0, 1], in the shape of ``x`` without ``dim`` and its dtype.

    Raises:
        InputError: ``x`` is not floating point or has no entries along ``dim``; ``threshold`` is negative.

    Example:
        >>> gs.measures.active_fraction(torch.tensor([0.0, 2.0, -1.0, 0.0]))
        tensor(0.5000)
    """
    return l0(x, dim, threshold).to(x.dtype) / _entries(x, dim)


def l0(x: Tensor, dim: int = -1, threshold: float = 0.0) -> Tensor:
    """Count the active entries, #{|x_i| > threshold}. A NaN counts as inactive.

    Args:
        x: floating point, any shape.
        dim: the dimension to count along, n ≥ 1 entries.
        threshold: ≥ 0.

    Returns:
        The counts (int64), in the shape of ``x`` without ``dim``.

    Raises:
        InputError: ``x`` is not floating point or has no entries along ``dim``; ``threshold`` is negative.

    Example:
        >>> gs.measures.l0(torch.tensor([0.0, 2.0, -1.0, 0.0]))
        tensor(2)
    """
    _entries(x, dim)
    threshold = check_fraction("threshold", threshold, high=math.inf, open_high=True)
    return (x.abs() > threshold).sum(dim)


def gini(x: Tensor, dim: int = -1) -> Tensor:
    """Measure the Gini index of |x|: twice the area between the Lorenz curve and the diagonal.

        Σ_i (2i − n − 1) a_(i) / (n Σ a),   a = |x| in ascending order

    Args:
        x: floating point, any shape.
        dim: the dimension to measure along, n ≥ 1 entries.

    Returns:
        The index in [0, 1 − 1/n], in the shape of ``x`` without ``dim``; 0 for a zero vector.

    Raises:
        InputError: ``x`` is not floating point or has no entries along ``dim``.

    Example:
        >>> gs.measures.gini(torch.tensor([[1.0, 1.0, 1.0, 1.0], [3.0, 0.0, 0.0, 0.0]]))
        tensor([0.0000, 0.7500])

    References:
        Hurley, Rickard, "Comparing measures of sparsity", IEEE Trans. Inf. Theory 55 (2009): one of two measures that
        have all six properties that the article asks for.
    """
    n = _entries(x, dim)
    ordered = _unit(x, dim).abs().sort(dim).values.movedim(dim, -1)
    rank = torch.arange(1, n + 1, dtype=x.dtype, device=x.device)
    return _ratio((ordered * ((2 * rank - n - 1) / n)).sum(-1), ordered.sum(-1))


def treves_rolls(x: Tensor, dim: int = -1) -> Tensor:
    """Measure the activation sparseness ⟨|x|⟩² / ⟨x²⟩ of Treves and Rolls: for binary x, the share of active units.

    Args:
        x: floating point, any shape.
        dim: the dimension to measure along, n ≥ 1 entries.

    Returns:
        The measure in [1/n, 1], in the shape of ``x`` without ``dim``; 0 for a zero vector.

    Raises:
        InputError: ``x`` is not floating point or has no entries along ``dim``.

    Example:
        >>> gs.measures.treves_rolls(torch.tensor([1.0, 0.0, 0.0, 1.0]))
        tensor(0.5000)

    References:
        Treves, Rolls, "What determines the capacity of autoassociative memories in the brain?", Network 2 (1991).
    """
    n = _entries(x, dim)
    unit = _unit(x, dim)
    return _ratio(unit.abs().sum(dim).square() / n, unit.square().sum(dim))


def kurtosis(x: Tensor, dim: int = -1) -> Tensor:
    """Measure the excess kurtosis of the entries: 0 for a normal distribution, 3 for a Laplace one; no bias correction.

        Σ(x − x̄)⁴ / n / (Σ(x − x̄)² / n)² − 3

    Args:
        x: floating point, any shape.
        dim: the dimension to measure along, n ≥ 1 entries.

    Returns:
        The kurtosis, at least −2, in the shape of ``x`` without ``dim``; 0 for a constant vector.

    Raises:
        InputError: ``x`` is not floating point or has no entries along ``dim``.

    Example:
        >>> gs.measures.kurtosis(torch.tensor([-1.0, 1.0, -1.0, 1.0]))
        tensor(-2.)

    References:
        Field, "What is the goal of sensory coding?", Neural Computation 6 (1994), which uses it for sparseness.
    """
    n = _entries(x, dim)
    square = _unit(x - x.mean(dim, keepdim=True), dim).square()
    return _ratio(n * square.square().sum(dim), square.sum(dim).square(), otherwise=3.0) - 3


def participation_ratio(x: Tensor, dim: int = -1) -> Tensor:
    """Measure (Σx²)² / Σx⁴, the number of entries that carry the energy: k for k entries of equal size and zeros.

    Args:
        x: floating point, any shape.
        dim: the dimension to measure along, n ≥ 1 entries.

    Returns:
        The ratio in [1, n], in the shape of ``x`` without ``dim``; 0 for a zero vector.

    Raises:
        InputError: ``x`` is not floating point or has no entries along ``dim``.

    Example:
        >>> gs.measures.participation_ratio(torch.tensor([2.0, -2.0, 0.0, 0.0]))
        tensor(2.)

    References:
        Bell, Dean, "Atomic vibrations in vitreous silica", Discuss. Faraday Soc. 50 (1970).
    """
    _entries(x, dim)
    square = _unit(x, dim).square()
    return _ratio(square.sum(dim).square(), square.square().sum(dim))


def _entries(x: Tensor, dim: int, least: int = 1) -> int:
    if not x.is_floating_point():
        raise InputError(f"x must be floating point, got {x.dtype}")
    if not -x.dim() <= dim < x.dim():
        raise InputError(f"dim must be in [{-x.dim()}, {x.dim() - 1}] for x of shape {tuple(x.shape)}, got {dim}")
    if x.shape[dim] < least:
        raise InputError(f"x must have at least {least} entries along dim {dim}, got shape {tuple(x.shape)}")
    return x.shape[dim]


def _unit(x: Tensor, dim: int) -> Tensor:
    """Divide ``x`` by its largest magnitude, so that no power of it overflows; zero vectors stay zero."""
    largest = x.detach().abs().amax(dim, keepdim=True)
    return x / torch.where(largest == 0, 1.0, largest)


def _root(x: Tensor) -> Tensor:
    """√x with gradient 0 at 0."""
    return torch.where(x == 0, 0.0, torch.where(x == 0, 1.0, x).sqrt())


def _ratio(a: Tensor, b: Tensor, otherwise: float = 0.0) -> Tensor:
    """Return a / b, and ``otherwise`` where b is 0."""
    return torch.where(b == 0, otherwise, a / torch.where(b == 0, 1.0, b))
