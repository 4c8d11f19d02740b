"""The Hoyer projection beside the transfer function that everyone knows the price of: torch.softmax.

Along the last dimension of a normally distributed x, sparseness 0.8; the forward pass, and forward with backward.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from gossamer.activity.hoyer import hoyer_projection
from gossamer.bench.cells import DTYPES, Plan
from gossamer.bench.measure import Step
from gossamer.bench.trial import Factories, Trial

__all__ = ["SPARSENESS", "projection_trials"]

SPARSENESS = 0.8


def projection_trials(plan: Plan) -> Iterator[Trial]:
    """For each shape (rows, units) of the plan, without and with the gradient."""
    for shape in plan.projections:
        for backward in (False, True):

            def contenders(shape: tuple[int, int] = shape, backward: bool = backward) -> Factories:
                x = torch.randn(shape, generator=torch.Generator().manual_seed(plan.seed)).to(DTYPES[plan.dtype])
                grad = torch.randn(shape, generator=torch.Generator().manual_seed(plan.seed + 1)).to(x.dtype)
                x.requires_grad_(backward)
                functions: dict[str, Callable[[Tensor], Tensor]] = {
                    "gossamer": lambda x: hoyer_projection(x, SPARSENESS),
                    "softmax": lambda x: x.softmax(-1),
                }

                def prepared(function: Callable[[Tensor], Tensor]) -> Step:
                    if backward:
                        return lambda: torch.autograd.grad(function(x), x, grad)
                    return lambda: function(x)

                return {name: lambda f=f: prepared(f) for name, f in functions.items()}  # type: ignore[misc]

            setting = {"rows": shape[0], "units": shape[1], "pass": "forward + backward" if backward else "forward"}
            yield Trial("projection", setting, contenders, baseline="softmax", gradient=backward)
