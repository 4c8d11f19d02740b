"""A forward pass of a 3 × 3 convolution, c → c channels with padding 1, beside torch.nn.functional.conv2d."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.nn import functional as F

from gossamer.bench.cells import DTYPES, Plan
from gossamer.bench.comparison import Comparison, Factories
from gossamer.bench.measure import Step
from gossamer.connectivity import SparseConv2d

__all__ = ["convolution_comparisons"]


def convolution_comparisons(plan: Plan) -> Iterator[Comparison]:
    """Compare convolutions for each number of channels and density."""
    dtype = DTYPES[plan.dtype]
    for channels in plan.channels:
        for density in plan.densities:

            def contenders(channels: int = channels, density: float = density) -> Factories:
                generator = torch.Generator().manual_seed(plan.seed)
                sparse = SparseConv2d(
                    channels, channels, 3, density=density, padding=1, generator=generator, dtype=dtype
                )
                sparse.eval().requires_grad_(False)
                shape = (plan.image_batch, channels, plan.image_size, plan.image_size)
                x = torch.randn(shape, generator=generator).to(dtype)
                weight = torch.randn(channels, channels, 3, 3, generator=generator).to(dtype)
                bias = torch.zeros(channels, dtype=dtype)
                steps: dict[str, Step] = {
                    "gossamer": lambda: sparse(x),
                    "dense": lambda: F.conv2d(x, weight, bias, padding=1),
                }
                return {name: lambda step=step: step for name, step in steps.items()}  # type: ignore[misc]

            setting = {"channels": channels, "batch": plan.image_batch, "size": plan.image_size, "density": density}
            yield Comparison("convolution", setting, contenders)
