"""The k largest activations of each sample; the others are zero.

    f(x) = x ∘ m,   m_i = 1 if x_i is among the k largest of its row, else 0

With ``signed``, the k largest in magnitude: the projection of x onto the vectors with at most k non-zero entries,
argmin ‖s − x‖₂ over ‖s‖₀ ≤ k (the l0 projection of Thom and Palm, JMLR 14 (2013)). Without, negative entries may
survive where fewer than k are positive. Of equal candidates those with the lowest index stay. The derivative is the
diagonal of m.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gossamer.errors import InputError, check_count
from gossamer.kernels import Code
from gossamer.projections.l0 import largest

__all__ = ["TopK", "top_k"]


def top_k(x: Tensor, k: int, dim: int = -1, signed: bool = False) -> Tensor:
    """``x`` with all but its ``k`` largest entries along ``dim`` set to zero (``signed``: largest in magnitude).

    ``k`` in [1, n] for n entries along ``dim``. A row with a NaN becomes NaN, whatever its other entries.
    """
    with torch.no_grad():
        live, broken = largest(x, k, dim, signed)
    return torch.where(live, x, torch.where(broken, torch.nan, 0.0).to(x.dtype))


class TopK(nn.Module):
    """Keep the ``k`` largest activations of each sample along ``dim``; see `top_k`.

    With ``packed``, a (batch, features) input gives a `Code` of k slots a sample, which the next sparse layer reads
    without touching a dead unit; it carries gradients to the live ones.
    """

    def __init__(self, k: int, *, dim: int = -1, signed: bool = False, packed: bool = False) -> None:
        super().__init__()
        self.k = check_count("k", k, low=1)
        self.dim, self.signed, self.packed = dim, signed, packed
        if packed and dim not in (-1, 1):
            raise InputError(f"dim must be -1 or 1 for a packed code, got {dim}")

    def forward(self, x: Tensor) -> Tensor | Code:
        if not self.packed:
            return top_k(x, self.k, self.dim, self.signed)
        if x.dim() != 2:
            raise InputError(f"x must have shape (batch, features) for a packed code, got {tuple(x.shape)}")
        with torch.no_grad():
            live, broken = largest(x, self.k, 1, self.signed)
            units = live.to(torch.uint8).topk(self.k, dim=1).indices.sort(1).values
        values = torch.where(broken, torch.nan, x.gather(1, units))
        return Code(values, units.to(torch.int32), x.shape[1])

    def extra_repr(self) -> str:
        return f"k={self.k}, dim={self.dim}, signed={self.signed}, packed={self.packed}"
