"""Sets of vectors of Hoyer's sparseness for `Constraint`: that of each vector, or the average of all."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from gossamer.connectivity.constraints.base import VECTOR, Constraint
from gossamer.connectivity.layer import SparseLayer
from gossamer.errors import InputError, check_fraction
from gossamer.measures import hoyer
from gossamer.projections import group_hoyer_projection, hoyer_projection
from gossamer.projections.rows import length, polar

__all__ = ["AverageHoyer", "Hoyer"]


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
        return f"every {VECTOR[self.per]} has sparseness {least}{self.sparseness:g} and {size}"

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
    """Every vector has length ``norm``: the rest of `Hoyer` where vectors of few connections are sparse enough."""

    norm: float | Literal["preserve"]

    @property
    def guarantee(self) -> str:
        return f"every {VECTOR[self.per]} has length {self.norm}"

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
        return f"the {VECTOR[self.per]}s have sparseness at least {self.sparseness:g} on average"

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
