"""Sets of vectors for `Constraint`: a sparseness, a number of weights, a sum of magnitudes, a gap around zero."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from gossamer.connectivity.constraints.base import Constraint
from gossamer.connectivity.layer import SparseLayer
from gossamer.errors import InputError, check_count, check_fraction
from gossamer.measures import hoyer
from gossamer.projections import (
    gap_projection,
    group_hoyer_projection,
    hoyer_projection,
    l0_projection,
    l1_ball_projection,
    l1_sphere_projection,
)
from gossamer.projections.gap import rounded_up
from gossamer.projections.rows import length, polar

__all__ = ["L0", "L1", "AverageHoyer", "Gap", "Hoyer", "L1Norm"]

_VECTOR = {"output": "output's vector", "input": "input's vector", "layer": "layer's vector"}


@dataclass(frozen=True)
class Hoyer(Constraint):
    """Vectors of Hoyer's ``sparseness`` σ and length ``norm``; see `hoyer_projection`.

    Attributes:
        sparseness: σ in (0, 1): 0 if all weights of a vector are equal in size, 1 if one is left.
        norm: the length of every vector, or ``"preserve"`` for its own length.
        at_least: vectors that are sparser keep their direction; see ``kind="ball-sphere"`` of `l1_l2_projection`.
            Otherwise they are made less sparse, which removes all of their zeros: training to a sparseness below the
            one that the loss prefers leaves no zeros behind.
        per: the vectors: ``"output"``, ``"input"`` or ``"layer"``.
        signed: whether weights may be negative.

    Raises:
        InputError: an argument is outside its range.

    Example:
        >>> gs.measures.hoyer(gs.constraints.Hoyer(0.75).project(torch.randn(3, 50)))
        tensor([0.7500, 0.7500, 0.7500])

    References:
        Thom, Palm, "Sparse Activity and Sparse Connectivity in Supervised Learning", JMLR 14 (2013).
    """

    sparseness: float
    norm: float | Literal["preserve"] = 1.0
    at_least: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fraction("sparseness", self.sparseness, open_low=True, open_high=True)
        if self.norm != "preserve" and (isinstance(self.norm, str) or not 0 < self.norm < math.inf):
            raise InputError(f"norm must be a positive number or 'preserve', got {self.norm!r}")

    @property
    def guarantee(self) -> str:
        """What holds after every projection, in a sentence."""
        size = "keeps its length" if self.norm == "preserve" else f"has length {self.norm:g}"
        least = "at least " if self.at_least else ""
        return f"every {_VECTOR[self.per]} has sparseness {least}{self.sparseness:g} and {size}"

    def _stored(self, count: int, positions: int) -> Constraint:
        if positions < 2:
            raise InputError(f"weight must have at least 2 positions in a vector, got {positions}")
        ratio = math.sqrt(positions) - self.sparseness * (math.sqrt(positions) - 1)  # λ₁ / λ₂, zeros count too
        if ratio < math.sqrt(count) * (1 - 1e-9):
            return replace(self, sparseness=(math.sqrt(count) - ratio) / (math.sqrt(count) - 1))
        if self.at_least:
            return _Sphere(per=self.per, signed=self.signed, norm=self.norm)
        raise InputError(
            f"sparseness must be higher, or at_least=True, where a vector has {count} connections at {positions} "
            f"positions, which is sparser already, got {self.sparseness:g}"
        )

    def _nearest(self, rows: Tensor) -> Tensor:
        nearest = hoyer_projection(rows, self.sparseness, dim=1, signed=self.signed, norm=self.norm)
        if not self.at_least:
            return nearest
        allowed = rows if self.signed else rows.clamp(min=0)
        return torch.where(
            hoyer(allowed)[:, None] >= self.sparseness, self._length(rows) * polar(allowed, 1)[1], nearest
        )

    def _settled(self, rows: Tensor) -> Tensor:
        """Return the same, for `project_`; a vector that has the sparseness already is only brought to length.

        In the projection, a threshold that is rounded to less than zero would make all of its zeros non-zero.
        """
        has_it = (hoyer(rows) - self.sparseness).abs() <= 16 * torch.finfo(rows.dtype).eps
        if not self.signed:
            has_it &= (rows >= 0).all(1)
        return torch.where(has_it[:, None], self._length(rows) * polar(rows, 1)[1], self._nearest(rows))

    def _length(self, rows: Tensor) -> Tensor | float:
        return length(rows, 1) if self.norm == "preserve" else self.norm

    def _within(self, rows: Tensor, tolerance: float) -> Tensor:
        excess = hoyer(rows) - self.sparseness
        sparse: Tensor = (excess if self.at_least else -excess.abs()) >= -tolerance
        norms: Tensor = torch.linalg.vector_norm(rows, dim=1)
        if self.norm == "preserve":
            return sparse | (norms == 0)
        return sparse & ((norms - self.norm).abs() <= tolerance * self.norm)


@dataclass(frozen=True)
class _Sphere(Constraint):
    """Every vector has length ``norm``: what is left of `Hoyer` where vectors of few connections are sparse enough."""

    norm: float | Literal["preserve"]

    @property
    def guarantee(self) -> str:
        return f"every {_VECTOR[self.per]} has length {self.norm}"

    def _nearest(self, rows: Tensor) -> Tensor:
        allowed = rows if self.signed else rows.clamp(min=0)
        return (length(rows, 1) if self.norm == "preserve" else self.norm) * polar(allowed, 1)[1]

    def _within(self, rows: Tensor, tolerance: float) -> Tensor:
        norms: Tensor = torch.linalg.vector_norm(rows, dim=1)
        wanted = norms if self.norm == "preserve" else torch.full_like(norms, self.norm)
        return (norms - wanted).abs() <= tolerance * wanted


@dataclass(frozen=True)
class AverageHoyer(Constraint):
    """Vectors of Hoyer's ``sparseness`` σ on average, at least; see `group_hoyer_projection`.

    The sparseness of each vector follows from its weights. Lengths are free, and a weight that is sparse enough is
    unchanged.

    Attributes:
        sparseness: σ in (0, 1).
        per: the vectors: ``"output"``, ``"input"`` or ``"layer"``.
        signed: whether weights may be negative.

    Raises:
        InputError: an argument is outside its range.

    Example:
        >>> weight = gs.constraints.AverageHoyer(0.75).project(torch.randn(20, 50))
        >>> gs.measures.hoyer(weight).mean()
        tensor(0.7500)

    References:
        Ohib et al., "Explicit group sparse projection with applications to deep learning and NMF", TMLR 2022.
    """

    sparseness: float

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fraction("sparseness", self.sparseness, open_low=True, open_high=True)

    @property
    def guarantee(self) -> str:
        """What holds after every projection, in a sentence."""
        return f"the {_VECTOR[self.per]}s have sparseness at least {self.sparseness:g} on average"

    def check_layer(self, layer: nn.Module, name: str = "") -> None:
        """Raise `InputError` for a sparse layer, whose vectors have unequal numbers of connections.

        Args:
            layer: the layer.
            name: its name, for the message.
        """
        super().check_layer(layer, name)
        if isinstance(layer, SparseLayer):
            raise InputError(
                f"AverageHoyer is for dense layers, got {type(layer).__name__}: use Hoyer(…, at_least=True), or "
                "compact_ the layer afterwards"
            )

    def _nearest(self, rows: Tensor) -> Tensor:
        return group_hoyer_projection(rows, self.sparseness, dim=1, signed=self.signed)

    def _within(self, rows: Tensor, tolerance: float) -> Tensor:
        dead = (rows == 0).all(1)
        return torch.where(dead, 1.0, hoyer(rows)).mean() >= self.sparseness - tolerance


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
        return f"every {_VECTOR[self.per]} has at most {self.k} weights that are not zero"

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
        return f"the magnitudes of every {_VECTOR[self.per]} add up to at most {self.radius:g}"

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
        return f"the magnitudes of every {_VECTOR[self.per]} are {self.mean:g} on average over its positions"

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
