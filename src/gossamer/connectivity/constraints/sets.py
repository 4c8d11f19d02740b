"""Sets of vectors for `Constraint`: a number of weights, a sum of magnitudes, a gap around zero."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gossamer.connectivity.constraints.base import VECTOR, Constraint
from gossamer.errors import check_count, check_fraction
from gossamer.projections import (
    gap_projection,
    l0_projection,
    l1_ball_projection,
    l1_sphere_projection,
)
from gossamer.projections.gap import rounded_up

__all__ = ["L0", "L1", "Gap", "L1Norm"]


@dataclass(frozen=True)
class L0(Constraint):
    """Vectors with at most ``k`` non-zero weights; see `l0_projection`.

    Attributes:
        k: number of non-zero weights, ≥ 1.
        per: the vectors: ``"output"``, ``"input"`` or ``"layer"``.
        signed: whether weights may be negative.

    Raises:
        InputError: an argument is outside its range.

    Example:
        >>> gs.constraints.L0(1).project(torch.tensor([[3.0, -4.0], [1.0, 0.5]]))
        tensor([[ 0., -4.],
                [ 1.,  0.]])
    """

    k: int

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("k", self.k, low=1)

    @property
    def guarantee(self) -> str:
        """What holds after every projection, in a sentence."""
        return f"every {VECTOR[self.per]} has at most {self.k} weights that are not zero"

    def _stored(self, count: int, positions: int) -> Constraint:
        return replace(self, k=min(self.k, count))

    def _nearest(self, rows: Tensor) -> Tensor:
        return l0_projection(rows, self.k, dim=1, signed=self.signed)

    def _within(self, rows: Tensor, tolerance: float) -> Tensor:
        return ((rows != 0).sum(1) <= self.k) & ~rows.isnan().any(1)


@dataclass(frozen=True)
class L1(Constraint):
    """Vectors with a sum of magnitudes of at most ``radius``; see `l1_ball_projection`.

    Attributes:
        radius: > 0.
        per: the vectors: ``"output"``, ``"input"`` or ``"layer"``.
        signed: whether weights may be negative.

    Raises:
        InputError: an argument is outside its range.

    Example:
        >>> gs.constraints.L1(1.0).project(torch.tensor([[2.0, -1.5], [0.2, 0.3]]))
        tensor([[ 0.7500, -0.2500],
                [ 0.2000,  0.3000]])
    """

    radius: float

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fraction("radius", self.radius, high=math.inf, open_low=True, open_high=True)

    @property
    def guarantee(self) -> str:
        """What holds after every projection, in a sentence."""
        return f"the magnitudes of every {VECTOR[self.per]} add up to at most {self.radius:g}"

    def _nearest(self, rows: Tensor) -> Tensor:
        return l1_ball_projection(rows, self.radius, dim=1, signed=self.signed)

    def _within(self, rows: Tensor, tolerance: float) -> Tensor:
        return rows.abs().sum(1) <= self.radius * (1 + tolerance)


@dataclass(frozen=True)
class L1Norm(Constraint):
    """The magnitudes of every vector's weights are ``mean`` on average, all its positions counted: Σ|w| = N · mean.

    For ``per="output"`` this is the homeostatic constraint of Baig & Stepanyants (arXiv 2409.04946): the sum of
    magnitudes of a unit's N incoming weights is fixed. The projection is the nearest point of the l1 sphere: too large
    a sum is shrunk by soft thresholding, which makes zeros; in too small a one every weight grows by the same amount. A
    zero counts as positive. See `l1_sphere_projection`.

    Args:
        mean: w > 0, of |w| over the N positions of a vector. In a sparse layer positions without a connection are
            among the N and stay 0, so its connections are larger by 1/density on average; a vector without any
            connection is left alone.
        per: of which vectors (see `gossamer.connectivity.constraints.base`).
        signed: whether weights may be negative.

    Raises:
        InputError: ``mean`` not positive and finite.

    Example:
        >>> import torch
        >>> from gossamer import constraints
        >>> constraints.L1Norm(0.5).project_(torch.tensor([[1.0, -0.5, 0.1, 0.0]]))
        tensor([[ 1.1000, -0.6000,  0.2000,  0.1000]])

    References:
        M. M. Junaid Baig, A. Stepanyants, "Sparse learning enabled by constraints on connectivity and function", arXiv
        2409.04946, 2024.
    """

    mean: float

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fraction("mean", self.mean, high=math.inf, open_low=True, open_high=True)

    @property
    def guarantee(self) -> str:
        """What holds after every projection, in a sentence."""
        return f"the magnitudes of every {VECTOR[self.per]} are {self.mean:g} on average over its positions"

    def _stored(self, count: int, positions: int) -> Constraint:
        return replace(self, mean=self.mean * positions / count)

    def _nearest(self, rows: Tensor) -> Tensor:
        return l1_sphere_projection(rows, self.mean * rows.shape[1], dim=1, signed=self.signed)

    def _within(self, rows: Tensor, tolerance: float) -> Tensor:
        total = self.mean * rows.shape[1]
        return (rows.abs().sum(1) - total).abs() <= tolerance * total


@dataclass(frozen=True)
class Gap(Constraint):
    """No weight is weak: each is 0 or at least ``width`` in magnitude.

    The nearest such weight is 0 for |w| ≤ δ/2 (the tie included), ±δ up to δ, and w itself beyond. A weight at 0 stays
    there until one step of the optimizer moves it by more than δ/2. It is the constraint on a dense or a sparse weight;
    `gossamer.drop.gap` is the rule that removes weak connections from storage.

    Args:
        width: δ, finite and > 0.
        per: has no effect, since each weight is on its own.
        signed: whether weights may be negative.

    Raises:
        InputError: ``width`` not positive and finite.

    Example:
        >>> import torch
        >>> from gossamer import constraints
        >>> constraints.Gap(0.5).project_(torch.tensor([[0.9, -0.3, 0.25, 0.0]]))
        tensor([[ 0.9000, -0.5000,  0.0000,  0.0000]])

    References:
        M. M. Junaid Baig, A. Stepanyants, "Sparse learning enabled by constraints on connectivity and function", arXiv
        2409.04946, 2024.
    """

    width: float

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fraction("width", self.width, high=math.inf, open_low=True, open_high=True)

    @property
    def guarantee(self) -> str:
        """What holds after every projection, in a sentence."""
        return f"every weight is 0 or at least {self.width:g} in magnitude"

    def edge(self, dtype: torch.dtype) -> float:
        """Return the smallest magnitude of a weight outside the gap.

        Args:
            dtype: of the weights.

        Returns:
            The smallest number of ``dtype`` that is at least ``width``.
        """
        return rounded_up(self.width, dtype)

    def _nearest(self, rows: Tensor) -> Tensor:
        return gap_projection(rows, self.width, dim=1, signed=self.signed)

    def _within(self, rows: Tensor, tolerance: float) -> Tensor:
        return ((rows == 0) | (rows.abs() >= self.width * (1 - tolerance))).all(1)
