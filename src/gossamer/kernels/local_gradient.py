"""A dense convolution whose output has a twin, for costs that train the filters of their own layer and nothing before.

u and its twin are the same numbers in the same memory. With g and h the gradients of u and of its twin,

    ∂/∂x = that of a convolution, from g            ∂/∂w = that of a convolution, from g + h,

so that a cost of the twin reaches w and not x, at the price of no further convolution.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["conv2d_with_twin"]

Pair = tuple[int, int]


class _Twins(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair, groups: int
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(x, weight)
        ctx.geometry = (stride, padding, dilation, False, (0, 0), groups)
        ctx.set_materialize_grads(False)
        u = F.conv2d(x, weight, None, stride, padding, dilation, groups)
        return u, u.detach()

    @staticmethod
    def backward(ctx: Any, g: Tensor | None, h: Tensor | None) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        needs_x, needs_weight = ctx.needs_input_grad[0] and g is not None, ctx.needs_input_grad[1]
        both = g if h is None else h if g is None else g + h

        def gradients(d: Tensor | None, of_x: bool, of_weight: bool) -> tuple[Tensor | None, Tensor | None]:
            if d is None or not (of_x or of_weight):
                return None, None
            of = [of_x, of_weight, False]
            return torch.ops.aten.convolution_backward(d, x, weight, None, *ctx.geometry, of)[:2]  # type: ignore[no-any-return]

        if h is None or not needs_x:
            dx, dw = gradients(both, needs_x, needs_weight)
        else:
            dx, dw = gradients(g, True, False)[0], gradients(both, False, needs_weight)[1]
        return dx, dw, None, None, None, None


def conv2d_with_twin(
    x: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> tuple[Tensor, Tensor]:
    """Compute a convolution without bias, and its twin, whose gradient reaches ``weight`` alone.

    Args:
        x: images (N, in, H, W).
        weight: filters (out, in / groups, kernel height, kernel width), in the dtype of ``x``.
        stride: of the filters.
        padding: zeros around the images.
        dilation: of the filters.
        groups: of channels.

    Returns:
        The convolution (N, out, H', W') twice.
    """
    return _Twins.apply(x, weight, stride, padding, dilation, groups)  # type: ignore[no-any-return, no-untyped-call]
