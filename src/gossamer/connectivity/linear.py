"""A linear layer that stores and computes only its connections."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor, nn

from gossamer import kernels
from gossamer.connectivity.layer import SparseLayer, autocast, dense_rows
from gossamer.connectivity.pattern import Pattern
from gossamer.errors import InputError, check_count
from gossamer.kernels import Code, Structure

__all__ = ["SparseLinear", "SparseLinearReLU", "sparse_linear"]


def sparse_linear(
    x: Tensor, values: Tensor, pattern: Pattern | Structure, bias: Tensor | None = None, *, relu: bool = False
) -> Tensor:
    """y = x Wᵀ + b, where W has ``values`` at the connections of ``pattern`` and is never made dense.

    Shapes: ``x`` (…, cols), ``values`` (nnz), ``bias`` (rows), result (…, rows); with ``relu`` the result is
    max(y, 0). ``x`` may be a sparse COO or CSR tensor; it is made dense. Under autocast, ``x``, ``values`` and ``bias``
    are cast as for `torch.nn.functional.linear`.
    Time and memory are proportional to nnz × batch and nnz.

    The result is feature-major in memory (the transposed view of a (rows, batch) matrix); element-wise functions keep
    that layout and the next sparse layer reads it without a copy.
    """
    structure = pattern.structure if isinstance(pattern, Pattern) else pattern
    x, values, bias = autocast(dense_rows(x), values, bias)
    if x.dim() == 2:
        return kernels.linear(values, structure, x, bias, relu)
    if x.dim() == 0 or x.shape[-1] != structure.shape[1]:
        raise InputError(f"x must have shape (…, {structure.shape[1]}), got {tuple(x.shape)}")
    flat = kernels.linear(values, structure, x.reshape(-1, x.shape[-1]), bias, relu)
    return flat.reshape(*x.shape[:-1], structure.shape[0])


class SparseLinear(SparseLayer):
    """y = x Wᵀ + b with a W of which only the connections exist.

    Args:
        in_features: inputs, ≥ 1.
        out_features: outputs, ≥ 1.
        density: fraction of the ``in_features · out_features`` connections, in (0, 1]; the pattern is drawn
            uniformly with exactly ``round(density · in_features · out_features)`` connections. Or give ``pattern``.
        bias: learn an additive (out_features) bias.
        pattern: the connections, if they are not to be drawn.
        generator: source of the pattern and of the initial weights (default: torch's own).

    See `SparseLayer` for ``values``, the pattern and the initial weights.
    """

    _sizes = ("in_features", "out_features")
    _relu = False

    def __init__(
        self,
        in_features: int,
        out_features: int,
        density: float | None = None,
        bias: bool = True,
        *,
        pattern: Pattern | None = None,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        in_features = check_count("in_features", in_features, low=1)
        out_features = check_count("out_features", out_features, low=1)
        super().__init__(in_features, out_features, density, bias, pattern, generator, device, dtype)

    def forward(self, x: Tensor | Code) -> Tensor:
        structure, values = self._structure, self.weight_values
        if isinstance(x, Code):
            return kernels.spspmm(values, structure, x, self.bias, self._relu)
        x = dense_rows(x)
        if not self.training and kernels.reads_active_units(x, values):
            return kernels.spspmm_or_linear(values, structure, x, self.bias, self._relu)
        return sparse_linear(x, values, structure, self.bias, relu=self._relu)

    def to_dense(self) -> nn.Linear:
        """The same function as a `torch.nn.Linear`, zeros where no connection is live."""
        return self._to_dense(nn.Linear)

    @classmethod
    def from_dense(cls, dense: nn.Linear, pattern: Pattern | None = None) -> Self:
        """Keep the weights of ``dense`` at the connections of ``pattern`` (default: wherever a weight is not zero)."""
        return cls._from_dense(dense, pattern)

    def extra_repr(self) -> str:
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, density={self.density:.4g}, "
            f"nnz={self.nnz}, bias={self.bias is not None}"
        )


class SparseLinearReLU(SparseLinear):
    """y = max(x Wᵀ + b, 0): a `SparseLinear` and its ReLU in one kernel, forward and backward.

    The same arguments and parameters as `SparseLinear`; two passes over the activations less in each direction.
    ``to_dense`` gives the linear part alone. Rules that look at a layer's output before its activation, such as growth
    by cosine similarity, see it after the ReLU here.
    """

    _relu = True
