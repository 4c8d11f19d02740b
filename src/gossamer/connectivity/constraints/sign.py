"""Given signs of weights: excitatory and inhibitory inputs (Dale's law)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gossamer.connectivity.constraints.base import Constraint
from gossamer.connectivity.layer import SparseLayer
from gossamer.errors import InputError, check_count, check_fraction

__all__ = ["Sign"]


@dataclass(frozen=True, eq=False)
class Sign(Constraint):
    """Every weight is zero or has its given sign g: g w ≥ 0. The nearest such weight is g max(g w, 0).

    Signs that belong to the inputs are Dale's law: an input excites all units or inhibits all units.

    Args:
        signs: (in) of ±1, the sign of each input (of a convolution, of each input channel); or (out, in, …), that of
            each weight, for a dense weight or the positions of a sparse layer. None draws signs for inputs.
        inhibitory: the share of inputs with sign −1 where they are drawn, in [0, 1]; ⌊inhibitory · in + ½⌋ of them.
        seed: of the draw, ≥ 0. Signs depend on it and on the number of inputs alone.
        per: has no effect, since each weight is on its own.
        signed: must be True.

    Raises:
        InputError: signs that are not ±1, or of another shape than the weight's inputs or the weight.

    Example:
        >>> import torch
        >>> from gossamer import constraints
        >>> dale = constraints.Sign(torch.tensor([1, -1, 1]))
        >>> dale.project_(torch.tensor([[0.5, 0.2, -0.1], [-0.3, -0.4, 0.2]]))
        tensor([[ 0.5000,  0.0000,  0.0000],
                [ 0.0000, -0.4000,  0.2000]])

    References:
        M. M. Junaid Baig, A. Stepanyants, "Sparse learning enabled by constraints on connectivity and function", arXiv
        2409.04946, 2024; there 20 % of the inputs are inhibitory.
    """

    signs: Tensor | None = None
    inhibitory: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fraction("inhibitory", self.inhibitory)
        check_count("seed", self.seed)
        if not self.signed:
            raise InputError("signed must be True for Sign, whose signs are given")
        if self.signs is not None:
            signs = torch.as_tensor(self.signs)
            if signs.dim() == 0 or not bool(((signs == 1) | (signs == -1)).all()):
                raise InputError(f"signs must be a tensor of +1 and -1, got {self.signs!r}")
            object.__setattr__(self, "signs", signs)  # frozen

    @property
    def guarantee(self) -> str:
        """What holds after every projection, in a sentence."""
        return "every weight is 0 or has its given sign"

    def check_layer(self, layer: nn.Module, name: str = "") -> None:
        """Raise `InputError` if the constraint has no meaning for a layer.

        Args:
            layer: the layer.
            name: its name, for the message.
        """
        groups = getattr(layer, "groups", 1)
        if groups > 1 and (self.signs is None or self.signs.dim() == 1):
            raise InputError(
                f"signs must be given for each weight of a convolution of {groups} groups ({name!r}), in its shape"
            )

    def _signs(self, values: Tensor, layer: SparseLayer | None = None) -> Tensor:
        if layer is None:
            shape: tuple[int, ...] = tuple(values.shape)
            if values.dim() < 2:
                raise InputError(f"weight must have shape (out, in, …), got {shape}")
        else:
            shape = _dense_shape(layer)
        signs = self._drawn(shape[1]) if self.signs is None else self.signs
        if tuple(signs.shape) == (shape[1],):
            signs = signs.reshape(-1, *[1] * (len(shape) - 2)).expand(shape[1:])
            if layer is None:
                return signs.to(values)
            return signs.reshape(-1).to(values)[layer.pattern.col_indices.long()]
        if tuple(signs.shape) != shape:
            raise InputError(
                f"signs must have the shape of the inputs, ({shape[1]},), or of the weight, {shape}, "
                f"got {tuple(signs.shape)}"
            )
        return signs.to(values) if layer is None else signs.reshape(-1).to(values)[layer.pattern.flat_indices]

    def _drawn(self, inputs: int) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed)
        signs = torch.ones(inputs, device="cpu")
        signs[torch.randperm(inputs, generator=generator, device="cpu")[: int(self.inhibitory * inputs + 0.5)]] = -1
        return signs

    def _nearest(self, rows: Tensor) -> Tensor:
        return rows.clamp(min=0)

    def _within(self, rows: Tensor, tolerance: float) -> Tensor:
        return (rows >= 0).all(1)


def _dense_shape(layer: SparseLayer) -> tuple[int, ...]:
    kernel = layer.kernel_size
    channels = layer.in_features
    for size in kernel:
        channels //= size
    return layer.out_features, channels, *kernel
