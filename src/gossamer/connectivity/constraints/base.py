"""Sets of weights, and the nearest point in each: what all constraints have in common.

A weight (out, in, …) is taken as vectors, one for each

``per="output"``  unit or channel: what it reads, a row of the weight of `nn.Linear`. In the papers, where an encoder is
                  W with one column for each hidden unit, these are the columns.
``per="input"``   input or input channel: where it goes, a column of the weight of `nn.Linear`
``per="layer"``   weight: all of it is one vector

and lies in the set if all of its vectors do. Of a sparse layer, a vector consists of the connections that exist; the
other positions count as zeros, and stay zeros. Projected gradient (Thom, Palm, JMLR 14 (2013), for `Hoyer`) is a step
of any optimizer followed by `Constraint.project_`; `gossamer.constraints.attach` takes care of that.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeVar

import torch
from torch import Tensor, nn

from gossamer.connectivity.constraints.vectors import label_vectors, vector_blocks
from gossamer.connectivity.layer import SparseLayer, check_plain
from gossamer.errors import InputError, check_choice

__all__ = ["VECTOR", "Constraint", "Per"]

VECTOR = {"output": "output's vector", "input": "input's vector", "layer": "layer's vector"}
"""How messages name the vectors of each ``per``."""

Per = Literal["output", "input", "layer"]
Target = TypeVar("Target", bound=Tensor | nn.Module)


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

    _combine: ClassVar[Callable[[tuple[Constraint, Constraint]], Constraint]]  # `Intersection`, which sets it
    per: Per = "output"
    signed: bool = True

    def __post_init__(self) -> None:
        check_choice("per", self.per, ("output", "input", "layer"))

    @property
    @abstractmethod
    def guarantee(self) -> str:
        """What holds after every projection, in a sentence."""

    @abstractmethod
    def _nearest(self, rows: Tensor) -> Tensor:
        """The nearest matrix to ``rows`` of which all rows lie in the set."""

    def _settled(self, rows: Tensor) -> Tensor:
        """The same, for `project_`."""
        return self._nearest(rows)

    @abstractmethod
    def _within(self, rows: Tensor, tolerance: float) -> Tensor:
        """Whether rows lie in the set, given in float64: one answer for each, or one for all."""

    def _stored(self, count: int, positions: int) -> Constraint:
        """The same set, for vectors of which ``count`` ≥ 1 of ``positions`` entries exist; the others are zero."""
        return self

    def _signs(self, values: Tensor, layer: SparseLayer | None = None) -> Tensor | None:
        """Return ±1 for each of ``values``, a dense weight or the connections of ``layer``.

        They give the orthant of a set of non-negative vectors; None for the non-negative orthant itself, or if weights
        may have any sign.
        """
        return None

    def check_layer(self, layer: nn.Module, name: str = "") -> None:
        """Raise `InputError` if the constraint has no meaning for a layer.

        Args:
            layer: the layer.
            name: its name, for the message.
        """
        groups = getattr(layer, "groups", 1)
        if self.per == "input" and groups > 1:
            raise InputError(f"per must not be 'input' for a convolution of {groups} groups ({name!r})")

    def __and__(self, other: Constraint) -> Constraint:
        """The sets' intersection; see `gossamer.constraints.Intersection`."""
        return type(self)._combine((self, other))

    def project(self, weight: Tensor) -> Tensor:
        """Project a weight to the set, with its derivative.

        Args:
            weight: (out, in, …).

        Returns:
            The nearest weight in the set, of the same shape.
        """
        _check_floating(weight)
        signs = self._signs(weight)
        rows, back = _vectors(weight if signs is None else weight * signs, self.per)
        nearest = back(self._nearest(rows))
        return nearest if signs is None else nearest * signs + 0.0

    @torch.no_grad()
    def project_(self, weight: Target) -> Target:
        """Project a weight to the set, in place.

        Args:
            weight: (out, in, …) of a floating point dtype; or a layer that has one (`nn.Linear`, a convolution), or a
                sparse layer, whose connections are projected.

        Returns:
            ``weight``.

        Raises:
            InputError: a shape or dtype that the set does not allow, or too few connections of a sparse layer for it.
                Nothing has changed then.
        """
        if isinstance(weight, nn.Module):
            self.check_layer(weight)
        if isinstance(weight, SparseLayer):
            check_plain(weight)
            signs = self._signs(weight.weight_values, weight)
            values = weight.weight_values * (1 if signs is None else signs)
            for part, index in self._parts(weight):
                values[index] = part._settled(values[index])
            weight.weight_values.copy_(values if signs is None else values * signs + 0.0)
        elif isinstance(weight, nn.Module):
            self.project_(_dense_weight(weight))
        else:
            _check_floating(weight)
            signs = self._signs(weight)
            rows, back = _vectors(weight if signs is None else weight * signs, self.per)
            nearest = back(self._settled(rows) if rows.numel() else rows)
            weight.copy_(nearest if signs is None else nearest * signs + 0.0)
        return weight

    @torch.no_grad()
    def holds(self, weight: Tensor | nn.Module, tolerance: float | None = None) -> bool:
        """Return whether a weight lies in the set.

        Args:
            weight: a tensor (out, in, …) or a layer, as in `project_`.
            tolerance: in sparseness and relative to lengths; None for 1e-5, or twice the spacing of numbers in the
                dtype of ``weight``, if larger.

        Returns:
            True or False.
        """
        layer = weight if isinstance(weight, SparseLayer) else None
        values: Tensor = weight.weight_values if isinstance(weight, SparseLayer) else _dense_weight(weight)
        _check_floating(values)
        if tolerance is None:
            tolerance = max(1e-5, 2 * torch.finfo(values.dtype).eps)
        signs = self._signs(values, layer)
        values = values if signs is None else values * signs
        if layer is not None:
            parts = [(part, values[index].double()) for part, index in self._parts(layer)]
        else:
            parts = [(self, _vectors(values, self.per)[0].double())]
        inside = all(bool(part._within(rows, tolerance).all()) for part, rows in parts if rows.numel())
        return inside and (self.signed or bool((values >= 0).all()))

    def _parts(self, layer: SparseLayer) -> Iterator[tuple[Constraint, Tensor]]:
        """Vectors of equal numbers of connections: the set that they must lie in, and (vectors, count) their places."""
        labels, positions = label_vectors(layer, self.per)
        for index in vector_blocks(labels):
            yield self._stored(index.shape[1], positions), index


def _check_floating(weight: Tensor) -> None:
    if not weight.is_floating_point():
        raise InputError(f"weight must be floating point, got {weight.dtype}")


def _dense_weight(layer: Tensor | nn.Module) -> Tensor:
    weight = layer if isinstance(layer, Tensor) else getattr(layer, "weight", None)
    if not isinstance(weight, Tensor):
        raise InputError(f"weight must be a tensor or a layer that has a weight, got {type(layer).__name__}")
    return weight


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
