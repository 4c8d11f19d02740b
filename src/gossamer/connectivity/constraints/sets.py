"""Sets of weights, and the nearest point in each.

A weight (out, in, …) is taken as vectors, one for each

``per="output"``  unit or channel: its inputs, a row of the weight of `nn.Linear`. In the papers, where an encoder is
                  W with one column for each hidden unit, these are the columns.
``per="input"``   input or input channel: its outputs, a column of the weight of `nn.Linear`
``per="layer"``   weight: all of it is one vector

and lies in the set if all of its vectors do. Projected gradient (Thom, Palm, JMLR 14 (2013), for `Hoyer`) is a step
of any optimizer followed by `Constraint.project_`; `gossamer.constraints.attach` calls it after each step.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from gossamer.errors import InputError, check_choice, check_count, check_fraction
from gossamer.measures import hoyer
from gossamer.projections import (
    group_hoyer_projection,
    hoyer_projection,
    l0_projection,
    l1_ball_projection,
)
from gossamer.projections.rows import length, polar

__all__ = ["L0", "L1", "AverageHoyer", "Constraint", "Hoyer", "Per"]

Per = Literal["output", "input", "layer"]


@dataclass(frozen=True, kw_only=True)
class Constraint(ABC):
    """A set of vectors, and the choice of vectors in a weight that it applies to.

    Attributes:
        per: the vectors: ``"output"``, ``"input"`` or ``"layer"``; see the module's docstring.
        signed: whether weights may be negative.

    Example:
        >>> constraint = gs.constraints.L0(2)
        >>> constraint.holds(torch.eye(3)), constraint.holds(torch.ones(3, 3))
        (True, False)
    """

    per: Per = "output"
    signed: bool = True

    def __post_init__(self) -> None:
        check_choice("per", self.per, ("output", "input", "layer"))

    @abstractmethod
    def _nearest(self, rows: Tensor) -> Tensor:
        """The nearest matrix to ``rows`` of which all rows lie in the set."""

    def _settled(self, rows: Tensor) -> Tensor:
        """The same, for `project_`."""
        return self._nearest(rows)

    @abstractmethod
    def _within(self, rows: Tensor, tolerance: float) -> Tensor:
        """Whether rows lie in the set, given in float64: one answer for each, or one for all."""

    def project(self, weight: Tensor) -> Tensor:
        """Project a weight to the set, with its derivative.

        Args:
            weight: (out, in, …).

        Returns:
            The nearest weight in the set, of the same shape.
        """
        rows, back = _vectors(weight, self.per)
        return back(self._nearest(rows))

    @torch.no_grad()
    def project_(self, weight: Tensor) -> Tensor:
        """Project a weight to the set, in place.

        Args:
            weight: (out, in, …), changed in place.

        Returns:
            ``weight``.
        """
        rows, back = _vectors(weight, self.per)
        return weight.copy_(back(self._settled(rows)))

    @torch.no_grad()
    def holds(self, weight: Tensor, tolerance: float | None = None) -> bool:
        """Return whether a weight lies in the set.

        Args:
            weight: (out, in, …).
            tolerance: in sparseness and relative to lengths; None for 1e-5, or twice the spacing of numbers in the
                dtype of ``weight``, if larger.

        Returns:
            True or False.
        """
        if tolerance is None:
            tolerance = max(1e-5, 2 * torch.finfo(weight.dtype).eps)
        rows = _vectors(weight, self.per)[0].double()
        return bool(self._within(rows, tolerance).all()) and (self.signed or bool((rows >= 0).all()))


def _vectors(weight: Tensor, per: Per) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """``weight`` as rows that a constraint speaks of, and the way back from rows to a weight."""
    if weight.dim() < 2:
        raise InputError(f"weight must have shape (out, in, …), got {tuple(weight.shape)}")
    if per == "layer":
        return weight.reshape(1, -1), lambda rows: rows.reshape(weight.shape)
    if per == "output":
        return weight.flatten(1), lambda rows: rows.reshape(weight.shape)
    turned = weight.transpose(0, 1)
    return turned.flatten(1), lambda rows: rows.reshape(turned.shape).transpose(0, 1)


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

    def _nearest(self, rows: Tensor) -> Tensor:
        return l1_ball_projection(rows, self.radius, dim=1, signed=self.signed)

    def _within(self, rows: Tensor, tolerance: float) -> Tensor:
        return rows.abs().sum(1) <= self.radius * (1 + tolerance)
