"""A dense layer that lives well among sparse ones."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gossamer.kernels import Code

__all__ = ["FeatureMajorLinear"]


class FeatureMajorLinear(nn.Linear):
    """y = x Wᵀ + b, computed as (W xᵀ + b)ᵀ: the layout that sparse layers write and read.

    The same parameters and the same function as `torch.nn.Linear`; for a small layer behind a sparse one, such as a
    classifier's outputs, several times faster forward and backward, since neither activations nor their gradient are
    transposed in memory. Takes a `Code` too.
    """

    def forward(self, x: Tensor | Code) -> Tensor:
        if isinstance(x, Code):
            x.check(self.in_features)
            x = x.to_dense()
        if x.dim() != 2 or x.is_contiguous():
            return super().forward(x)
        if self.bias is None:
            return (self.weight @ x.t()).t()
        return torch.addmm(self.bias[:, None], self.weight, x.t()).t()
