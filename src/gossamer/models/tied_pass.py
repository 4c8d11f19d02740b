"""Both directions of tied weights, for sparse activations: W x, the code f(W x) and its reconstruction Wᵀ f(W x)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from gossamer import kernels
from gossamer.kernels import Structure

__all__ = ["tied_pass"]

_FEW = 0.3  # up to this fraction the sparse products are faster than the dense ones


def _active(code: Tensor) -> tuple[Tensor, Structure] | None:
    """Return the active entries of a (batch, hidden) code: their flat indices, and the same as a structure.

    None if they are too many for a gain.
    """
    batch, hidden = code.shape
    active = code != 0
    if int(active.count_nonzero()) > _FEW * code.numel():
        return None
    places = active.view(-1).nonzero().view(-1)
    indptr = torch.zeros(batch + 1, dtype=torch.int32)
    torch.cumsum(active.sum(1), 0, out=indptr[1:])
    structure = kernels.transpose(indptr, (places % hidden).int(), hidden)
    kernels.mark_validated(structure)
    return places, structure


def tied_pass(
    x: Tensor, weight: Tensor, bias: Tensor | None, f: nn.Module, decode: bool
) -> tuple[Tensor, Tensor | None]:
    """Compute h = f(W x + b) and, with ``decode``, Wᵀ h, both with gradients that read active units only.

    Args:
        x: (batch, in_features), of the dtype of ``weight``.
        weight: W (hidden, in_features).
        bias: b (hidden), or None.
        f: an activation function without parameters whose derivative is zero where it is zero.
        decode: compute the reconstruction too.

    Returns:
        The codes (batch, hidden), and the reconstructions (batch, in_features) or None.
    """
    return _TiedPass.apply(x, weight, bias, f, decode)  # type: ignore[no-untyped-call, no-any-return]


class _TiedPass(torch.autograd.Function):
    """u = W x + b, h = f(u) and, with ``decode``, x̃ = Wᵀ h, for an f that is flat at inactive units.

    Backward, with g_h the gradient that reaches h from elsewhere:

        g_u = f'(u) (g_h + W g_r),   dE/dW = h g_rᵀ + g_u xᵀ,   dE/dx = Wᵀ g_u,   dE/db = g_u.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, f: nn.Module, decode: bool
    ) -> tuple[Tensor, Tensor | None]:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, weight)
        u = F.linear(x, weight, bias).requires_grad_()
        with torch.enable_grad():
            h = f(u)
        code = h.detach()
        ctx.u, ctx.h, ctx.active = u, h, _active(code)
        if not decode:
            return code, None
        if ctx.active is None:
            return code, code @ weight
        places, structure = ctx.active
        return code, kernels.spmm(code.view(-1)[places], structure, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g_h: Tensor | None, g_r: Tensor | None) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        code = ctx.h.detach()
        g_h = torch.zeros_like(code) if g_h is None else g_h
        if ctx.active is None:
            if g_r is not None:
                g_h = torch.addmm(g_h, g_r, weight.t())
            (g_u,) = torch.autograd.grad(ctx.h, ctx.u, g_h, retain_graph=True)
            grad_weight = g_u.t() @ x
            if g_r is not None:
                grad_weight.addmm_(code.t(), g_r)
        else:
            places, structure = ctx.active
            if g_r is not None:
                inner = kernels.sddmm(g_r, weight, structure)
                g_h = g_h.reshape(-1).index_add(0, places, inner).view_as(code)
            (g_u,) = torch.autograd.grad(ctx.h, ctx.u, g_h, retain_graph=True)
            grad_weight = kernels.spmm_t(g_u.view(-1)[places], structure, x)
            if g_r is not None:
                grad_weight += kernels.spmm_t(code.view(-1)[places], structure, g_r)
        grad_x = g_u @ weight if ctx.needs_input_grad[0] else None
        return grad_x, grad_weight, g_u.sum(0) if ctx.needs_input_grad[2] else None, None, None
