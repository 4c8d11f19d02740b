"""Winner-take-all: the k largest activations of each sample stay, the others become zero.

    f(x) = x ∘ m,   m_i = 1 if x_i is among the k largest of its row, else 0

With ``signed``, the k largest in magnitude: the projection of x onto the vectors with at most k non-zero entries,
argmin ‖s − x‖₂ over ‖s‖₀ ≤ k (the l0 projection of Thom and Palm, JMLR 14 (2013)). Without, negative entries may
stay where fewer than k are positive. Of equal candidates those with the lowest index stay. The derivative is the
diagonal of m.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gossamer.errors import InputError, check_count
from gossamer.kernels import Code
from gossamer.kernels.route import AUTOGRAD, KERNEL, way
from gossamer.kernels.top_k import top_k_alone, top_k_backward, top_k_matrix
from gossamer.projections.l0 import largest

__all__ = ["TopK", "top_k"]


def top_k(x: Tensor, k: int, dim: int = -1, signed: bool = False) -> Tensor:
    """Keep the ``k`` largest entries along ``dim`` (``signed``: largest in magnitude) and set the others to zero.

        f(x) = x ∘ m,   m_i = 1 if x_i is among the k largest of its row, else 0

    Of equal candidates those with the lowest index stay. A row with a NaN becomes NaN in all entries.

    Args:
        x: floating point, any shape.
        k: number of entries that stay, in [1, n] for n entries along ``dim``.
        dim: the dimension of the units that compete.
        signed: compare magnitudes, and keep signs. Otherwise negative entries stay only where fewer than k are
            positive.

    Returns:
        Tensor of the shape and dtype of ``x``.

    Raises:
        InputError: ``x`` is not floating point or has no dimension; ``k`` or ``dim`` is outside its range.

    Example:
        >>> gs.functional.top_k(torch.tensor([3.0, -4.0, 1.0]), k=1)
        tensor([3., 0., 0.])
        >>> gs.functional.top_k(torch.tensor([3.0, -4.0, 1.0]), k=1, signed=True)
        tensor([ 0., -4.,  0.])
    """
    if type(k) is int and x.dim() == 2 and dim in (-1, 1) and x.is_cpu:
        chosen = way(x, x)
        if chosen is AUTOGRAD and x.requires_grad:
            return _TopK.apply(x, k, signed)  # type: ignore[no-any-return, no-untyped-call]
        done = top_k_alone(x, k, signed) if chosen in (AUTOGRAD, KERNEL) else None
        if done is not None:
            return done
    return _top_k(x, k, dim, signed)[0]


def _top_k(x: Tensor, k: int, dim: int, signed: bool) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        active, broken = largest(x, k, dim, signed)
    return torch.where(active, x, torch.where(broken, torch.nan, 0.0).to(x.dtype)), active


class _TopK(torch.autograd.Function):
    """Of a matrix (batch, units), in one call for each direction."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, k: int, signed: bool) -> Tensor:
        done = top_k_matrix(x, k, signed)
        y, active = _top_k(x, k, 1, signed) if done is None else done
        ctx.save_for_backward(active)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return top_k_backward(grad, *ctx.saved_tensors), None, None


class TopK(nn.Module):
    """Keep the ``k`` largest activations of each sample along ``dim``; see `top_k`.

    Args:
        k: number of activations that stay, at least 1.
        dim: the dimension of the units that compete.
        signed: compare magnitudes, and keep signs.
        packed: return a `Code` of k slots for each sample of a (batch, features) input, from which the next sparse
            layer reads the active units only; it carries gradients to them.

    Raises:
        InputError: ``k`` is less than 1, or ``dim`` is not that of the features of a packed code.

    Example:
        >>> code = gs.TopK(2, packed=True)(torch.tensor([[3.0, -4.0, 1.0]]))
        >>> code.values, code.indices
        (tensor([[3., 1.]]), tensor([[0, 2]], dtype=torch.int32))
    """

    def __init__(self, k: int, *, dim: int = -1, signed: bool = False, packed: bool = False) -> None:
        super().__init__()
        self.k = check_count("k", k, low=1)
        self.dim, self.signed, self.packed = dim, signed, packed
        if packed and dim not in (-1, 1):
            raise InputError(f"dim must be -1 or 1 for a packed code, got {dim}")

    def forward(self, x: Tensor) -> Tensor | Code:
        """Keep the largest activations.

        Args:
            x: any shape, such as (batch, features), with at least k entries along ``dim``.

        Returns:
            Tensor of the shape of ``x``; with ``packed`` a `Code` of (batch, features).
        """
        if not self.packed:
            return top_k(x, self.k, self.dim, self.signed)
        if x.dim() != 2:
            raise InputError(f"x must have shape (batch, features) for a packed code, got {tuple(x.shape)}")
        with torch.no_grad():
            active, broken = largest(x, self.k, 1, self.signed)
            units = active.to(torch.uint8).topk(self.k, dim=1).indices.sort(1).values
        values = torch.where(broken, torch.nan, x.gather(1, units))
        return Code(values, units.to(torch.int32), x.shape[1])

    def extra_repr(self) -> str:
        """Show the arguments."""
        return f"k={self.k}, dim={self.dim}, signed={self.signed}, packed={self.packed}"
