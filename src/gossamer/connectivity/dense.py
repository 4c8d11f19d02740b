"""A dense layer in the memory layout of sparse layers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gossamer.kernels import Code

__all__ = ["FeatureMajorLinear"]


class FeatureMajorLinear(nn.Linear):
    """A `torch.nn.Linear` computed as (W xᵀ + b)ᵀ: the layout that sparse layers write and read.

    It has the same parameters and the same function as `torch.nn.Linear`; for a small layer behind a sparse one, such
    as a classifier's outputs, it is several times faster forward and backward, since neither activations nor their
    gradient are transposed in memory. It also accepts a `Code`.

    Example:
        >>> layer = gs.connectivity.FeatureMajorLinear(8, 4)
        >>> y = layer(torch.randn(8, 5).T)
        >>> y.shape, y.T.is_contiguous()
        (torch.Size([5, 4]), True)
    """

    def forward(self, x: Tensor | Code) -> Tensor:
        """Compute y = x Wᵀ + b.

        Args:
            x: (…, in_features), or a `Code`.

        Returns:
            Tensor (…, out_features); feature-major in memory if ``x`` (batch, in_features) is.
        """
        if isinstance(x, Code):
            x.check(self.in_features)
            x = x.to_dense()
        if x.dim() != 2 or x.is_contiguous():
            return super().forward(x)
        if self.bias is None:
            return (self.weight @ x.t()).t()
        return torch.addmm(self.bias[:, None], self.weight, x.t()).t()
