"""The Hoyer projection beside torch.softmax, and beside the same projection in torch, by sorting.

Along the last dimension of a normally distributed x; the forward pass, and forward with backward. The results of both
projections are compared before they are timed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from gossamer.activation.hoyer import hoyer_projection
from gossamer.bench.cells import DTYPES, Plan
from gossamer.bench.comparison import Comparison, Factories
from gossamer.bench.measure import Step

__all__ = ["by_sorting", "projection_comparisons"]

_TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-10, torch.bfloat16: 5e-2}  # of the largest entry


def projection_comparisons(plan: Plan) -> Iterator[Comparison]:
    """Compare projections for each shape (rows, units) and sparseness of the plan, without and with the gradient."""
    for shape in plan.projections:
        for sparseness in plan.sparsenesses:
            for backward in (False, True):

                def contenders(
                    shape: tuple[int, int] = shape, sparseness: float = sparseness, backward: bool = backward
                ) -> Factories:
                    x = torch.randn(shape, generator=torch.Generator().manual_seed(plan.seed)).to(DTYPES[plan.dtype])
                    grad = torch.randn(shape, generator=torch.Generator().manual_seed(plan.seed + 1)).to(x.dtype)
                    x.requires_grad_(backward)

                    def step(function: Callable[[Tensor], Tensor]) -> Step:
                        if backward:
                            return lambda: torch.autograd.grad(function(x), x, grad)
                        return lambda: function(x)

                    def sorting() -> Step:
                        _compare(x.detach(), sparseness)
                        return step(lambda x: by_sorting(x, sparseness))

                    return {
                        "gossamer": lambda: step(lambda x: hoyer_projection(x, sparseness)),
                        "softmax": lambda: step(lambda x: x.softmax(-1)),
                        "sort": sorting,
                    }

                setting = {
                    "rows": shape[0],
                    "units": shape[1],
                    "sparseness": sparseness,
                    "pass": "forward + backward" if backward else "forward",
                }
                yield Comparison("projection", setting, contenders, baseline="softmax", gradient=backward)


def _compare(x: Tensor, sparseness: float) -> None:
    ours, theirs = hoyer_projection(x, sparseness), by_sorting(x, sparseness)
    error = float((theirs - ours).abs().max() / ours.max())
    if not error <= _TOLERANCE[x.dtype]:
        raise RuntimeError(f"sort differs from gossamer by {error:.2g} of the largest entry")


def by_sorting(x: Tensor, sparseness: float) -> Tensor:
    """Compute `hoyer_projection` along the last dimension by sorting, with the closed-form derivative.

    For rows whose nearest point is unique.
    """
    wide = x if x.dtype in (torch.float32, torch.float64) else x.float()
    root = math.sqrt(x.shape[-1])
    return _BySorting.apply(wide, root - sparseness * (root - 1)).to(x.dtype)  # type: ignore[no-any-return, no-untyped-call]


class _BySorting(torch.autograd.Function):
    """The projection by sorting.

    With x in descending order, sums S_d and q_d of the d largest entries and their squares, and r = λ₁ / λ₂,

        α_d = (S_d − r √((d q_d − S_d²) / (d − r²))) / d,

    the threshold is α_d for the one d > r² with x_(d) > α_d ≥ x_(d+1).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, r: float) -> Tensor:
        z = x - x.amax(-1, keepdim=True)  # sums of deviations from the maximum lose no digits
        ordered = z.sort(-1, descending=True).values
        d = torch.arange(1, x.shape[-1] + 1, dtype=x.dtype)
        total, square = ordered.cumsum(-1), ordered.square().cumsum(-1)
        alpha = (total - r * ((d * square - total * total).clamp_(min=0) / (d - r * r)).sqrt()) / d
        right = ordered > alpha  # false where d < r², as the root is NaN there
        right[..., :-1] &= alpha[..., :-1] >= ordered[..., 1:]
        y = (z - alpha.gather(-1, right.max(-1, keepdim=True).indices)).clamp_(min=0)
        size = y.norm(dim=-1, keepdim=True)
        s: Tensor = y / size
        ctx.r = r
        ctx.save_for_backward(s, size)
        return s

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> tuple[Tensor, None]:
        s, size = ctx.saved_tensors
        active = s > 0
        d = active.sum(-1, keepdim=True).to(s.dtype)
        mean = ctx.r / d
        plain, weighted = (v * active).sum(-1, keepdim=True), (v * s).sum(-1, keepdim=True)
        along = (weighted - mean * plain) / (1 - ctx.r * mean)
        return (v - plain / d - (s - mean) * along) * active / size, None
