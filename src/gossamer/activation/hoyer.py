"""The sparseness-enforcing projection as a transfer function: every code has exactly the sparseness asked for."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from gossamer.errors import InputError, check_fraction
from gossamer.kernels import Code
from gossamer.projections.hoyer import hoyer_projection

__all__ = ["Hoyer", "hoyer_projection"]


class Hoyer(nn.Module):
    """`hoyer_projection` as a layer: every sample's code gets the given sparseness and length.

    Args:
        sparseness: σ* in (0, 1), or a tensor of them that broadcasts to the other dimensions of the input.
        dim: the units that compete.
        signed: whether activations may be negative.
        norm: length of a code, or "preserve".
        packed: give a `Code` of the active units of a (batch, features) input, for the next sparse layer to read
            without touching a dead one; it carries gradients to the live ones.
    """

    sparseness: float | Tensor

    def __init__(
        self,
        sparseness: float | Tensor,
        *,
        dim: int = -1,
        signed: bool = False,
        norm: float | Literal["preserve"] = 1.0,
        packed: bool = False,
    ) -> None:
        super().__init__()
        if packed and dim not in (-1, 1):
            raise InputError(f"dim must be -1 or 1 for a packed code, got {dim}")
        if isinstance(sparseness, nn.Parameter):
            self.sparseness = sparseness
        elif isinstance(sparseness, Tensor):
            self.register_buffer("sparseness", sparseness)
        else:
            self.sparseness = check_fraction("sparseness", sparseness, open_low=True, open_high=True)
        self.dim, self.signed, self.norm, self.packed = dim, signed, norm, packed

    def forward(self, x: Tensor) -> Tensor | Code:
        code = hoyer_projection(x, self.sparseness, self.dim, self.signed, self.norm)
        return Code.pack(code) if self.packed else code

    def extra_repr(self) -> str:
        shown = tuple(self.sparseness.shape) if isinstance(self.sparseness, Tensor) else f"{self.sparseness:g}"
        options = f"dim={self.dim}, signed={self.signed}, norm={self.norm!r}, packed={self.packed}"
        return f"sparseness={shown}, {options}"
