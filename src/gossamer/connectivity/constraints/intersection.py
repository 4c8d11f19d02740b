"""Several constraints at once, where the nearest point of all of them together is known."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from torch import Tensor, nn

from gossamer.connectivity.constraints.base import Constraint
from gossamer.connectivity.constraints.sets import L0, L1, Gap, L1Norm
from gossamer.connectivity.constraints.sign import Sign
from gossamer.connectivity.constraints.sparseness import AverageHoyer, Hoyer
from gossamer.connectivity.layer import SparseLayer
from gossamer.errors import InputError
from gossamer.projections import gap_projection

__all__ = ["Intersection"]


@dataclass(frozen=True, eq=False)
class Intersection(Constraint):
    """The weights that lie in several sets; ``a & b`` makes one.

    The projection is that on the intersection, not one after the other.

    ======================================  ==========================================================================
    `Sign` and any other                    the other's projection of non-negative vectors, in the orthant of the signs
    any of `L0`, `Gap`, one of `L1`,        all supports are compared; see `gossamer.functional.gap_projection`
    `L1Norm`; with `Sign` or without
    ======================================  ==========================================================================

    Other combinations are refused: of `Hoyer` or `AverageHoyer` with `L0`, `L1`, `L1Norm` or `Gap` no exact projection
    is known, and two of one kind, or `L1` with `L1Norm`, contradict each other or say the same.

    Args:
        parts: two constraints or more, each of another kind, with the same ``per`` where it matters (not for `Gap` and
            `Sign`). If one has ``signed=False``, so has the intersection.

        per: that of the parts.
        signed: whether weights may be negative, as for all parts.

    Raises:
        InputError: a combination without a projection; at the projection, one that no weight can satisfy.

    Example:
        >>> import torch
        >>> from gossamer import constraints
        >>> dale = constraints.Sign(torch.tensor([1, -1, 1, 1]))
        >>> both = dale & constraints.Gap(0.5) & constraints.L1Norm(0.5)
        >>> both.project_(torch.tensor([[0.9, -0.5, 0.7, -1.0]]))
        tensor([[ 0.8500, -0.5000,  0.6500,  0.0000]])
        >>> constraints.Hoyer(0.7) & constraints.Gap(0.1)
        Traceback (most recent call last):
            ...
        gossamer.errors.InputError: Hoyer can be combined with Sign alone, got Hoyer, Gap
    """

    parts: Sequence[Constraint] = ()

    def __post_init__(self) -> None:
        flat: list[Constraint] = []
        for part in self.parts:
            if not isinstance(part, Constraint):
                raise InputError(f"parts must be constraints, got {part!r}")
            flat += part.parts if isinstance(part, Intersection) else [part]
        kinds = [type(part) for part in flat]
        names = ", ".join(kind.__name__ for kind in kinds)
        if len(flat) < 2:
            raise InputError(f"parts must be two constraints or more, got {len(flat)}")
        if len(set(kinds)) < len(kinds):
            raise InputError(f"parts must be of different kinds, got {names}")
        if unknown := set(kinds) - {L0, L1, L1Norm, Gap, Sign, Hoyer, AverageHoyer}:
            raise InputError(
                f"parts must be constraints of gossamer.constraints, got {min(k.__name__ for k in unknown)}"
            )
        if {L1, L1Norm} <= set(kinds):
            raise InputError("parts must have one of L1 and L1Norm, got both: L1Norm fixes what L1 bounds")
        for kind in (Hoyer, AverageHoyer):
            if kind in kinds and set(kinds) - {kind, Sign}:
                raise InputError(f"{kind.__name__} can be combined with Sign alone, got {names}")
        pers = {part.per for part in flat if not isinstance(part, Gap | Sign)}
        if len(pers) > 1:
            raise InputError(f"per must be the same for all parts, got {' and '.join(map(repr, sorted(pers)))}")
        unsigned = any(not part.signed for part in flat)
        if unsigned and Sign in kinds:
            raise InputError("signed must be True for all parts where Sign gives the signs")
        for name, value in {"parts": tuple(flat), "per": next(iter(pers), "output"), "signed": not unsigned}.items():
            object.__setattr__(self, name, value)  # frozen
        super().__post_init__()

    @property
    def guarantee(self) -> str:
        """What holds after every projection, in a sentence."""
        return "; ".join(part.guarantee for part in self.parts)

    @property
    def _sign(self) -> Sign | None:
        return next((part for part in self.parts if isinstance(part, Sign)), None)

    @property
    def _inner(self) -> Constraint:
        """The set in the orthant of the signs, or in that of all vectors."""
        others = [part for part in self.parts if not isinstance(part, Sign)]
        signed = self.signed and self._sign is None
        if len(others) == 1:
            return replace(others[0], signed=signed)
        k = next((part.k for part in others if isinstance(part, L0)), None)
        width = next((part.width for part in others if isinstance(part, Gap)), 0.0)
        radius = next((part.radius for part in others if isinstance(part, L1)), None)
        mean = next((part.mean for part in others if isinstance(part, L1Norm)), None)
        return _Limits(per=self.per, signed=signed, k=k, width=width, radius=radius, mean=mean)

    def check_layer(self, layer: nn.Module, name: str = "") -> None:
        """Raise `InputError` if the constraint has no meaning for a layer.

        Args:
            layer: the layer.
            name: its name, for the message.
        """
        for part in self.parts:
            part.check_layer(layer, name)

    def _signs(self, values: Tensor, layer: SparseLayer | None = None) -> Tensor | None:
        return None if self._sign is None else self._sign._signs(values, layer)

    def _parts(self, layer: SparseLayer) -> Iterator[tuple[Constraint, Tensor]]:
        return self._inner._parts(layer)

    def _nearest(self, rows: Tensor) -> Tensor:
        return self._inner._nearest(rows)

    def _settled(self, rows: Tensor) -> Tensor:
        return self._inner._settled(rows)

    def _within(self, rows: Tensor, tolerance: float) -> Tensor:
        inner = self._inner
        inside = inner._within(rows, tolerance)
        return inside if inner.signed else inside & (rows >= 0).all(1)

    def __repr__(self) -> str:
        return " & ".join(map(repr, self.parts))


Constraint._combine = Intersection


@dataclass(frozen=True, kw_only=True)
class _Limits(Constraint):
    """At most ``k`` weights of magnitude 0 or ≥ ``width``, which add up to ``radius`` at most, or to N · ``mean``."""

    k: int | None
    width: float
    radius: float | None
    mean: float | None

    @property
    def guarantee(self) -> str:
        return repr(self)

    def _stored(self, count: int, positions: int) -> Constraint:
        return self if self.mean is None else replace(self, mean=self.mean * positions / count)

    def _total(self, rows: Tensor) -> float | None:
        return self.radius if self.mean is None else self.mean * rows.shape[1]

    def _nearest(self, rows: Tensor) -> Tensor:
        total, exactly = self._total(rows), self.mean is not None
        if exactly and total is not None and total < self.width:
            raise InputError(
                f"width must be at most the sum of magnitudes, {total:g}, where L1Norm fixes it, got {self.width:g}"
            )
        return gap_projection(rows, self.width, 1, self.signed, k=self.k, radius=total, exactly=exactly)

    def _within(self, rows: Tensor, tolerance: float) -> Tensor:
        nonzero, sums = rows != 0, rows.abs().sum(1)
        inside = (~nonzero | (rows.abs() >= self.width * (1 - tolerance))).all(1) & ~rows.isnan().any(1)
        if self.k is not None:
            inside &= nonzero.sum(1) <= self.k
        total = self._total(rows)
        if total is not None:
            low = -math.inf if self.mean is None else total * (1 - tolerance)
            inside &= (sums <= total * (1 + tolerance)) & (sums >= low)
        return inside
