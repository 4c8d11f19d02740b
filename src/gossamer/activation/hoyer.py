"""The sparseness-enforcing projection as an activation function: every code has exactly the given sparseness."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from gossamer.errors import InputError, check_fraction
from gossamer.kernels import Code
from gossamer.projections.hoyer import hoyer_projection

__all__ = ["Hoyer", "hoyer_projection"]


class Hoyer(nn.Module):
    """The sparseness-enforcing projection as a layer: every sample's code gets the given sparseness and length.

        f(x) = β max(x − α, 0) with ‖f(x)‖₂ = λ₂ and (√n − ‖f‖₁ / ‖f‖₂) / (√n − 1) = σ*

    See `hoyer_projection` for the derivative and for inputs without a unique nearest point.

    Args:
        sparseness: σ* in (0, 1), or a tensor of them that broadcasts to the other dimensions of the input. A parameter
            is trained, another tensor becomes a buffer.
        dim: the dimension of the units that compete.
        signed: whether activations may be negative.
        norm: length λ₂ > 0 of a code, or ``"preserve"`` for the length of the input.
        packed: return a `Code` of the active units of a (batch, features) input, from which the next sparse layer reads
            the active units only; it carries gradients to them.

    Raises:
        InputError: ``sparseness`` is outside (0, 1), or ``dim`` is not that of the features of a packed code.

    Example:
        >>> code = gs.Hoyer(sparseness=0.8)(torch.randn(3, 100))
        >>> gs.measures.hoyer(code)
        tensor([0.8000, 0.8000, 0.8000])

    References:
        Thom, Palm, "Sparse Activity and Sparse Connectivity in Supervised Learning", JMLR 14 (2013).
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
        """Project each sample.

        Args:
            x: any shape, such as (batch, features), with n ≥ 2 entries along ``dim``.

        Returns:
            Tensor of the shape of ``x``; with ``packed`` a `Code` of (batch, features).
        """
        code = hoyer_projection(x, self.sparseness, self.dim, self.signed, self.norm)
        return Code.pack(code) if self.packed else code

    def extra_repr(self) -> str:
        """Show the arguments."""
        shown = tuple(self.sparseness.shape) if isinstance(self.sparseness, Tensor) else f"{self.sparseness:g}"
        options = f"dim={self.dim}, signed={self.signed}, norm={self.norm!r}, packed={self.packed}"
        return f"sparseness={shown}, {options}"
