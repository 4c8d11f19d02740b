"""A linear layer that stores and computes only its connections."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor, nn

from gossamer import kernels
from gossamer.connectivity.layer import SparseLayer
from gossamer.connectivity.layer_input import autocast, dense_rows
from gossamer.connectivity.pattern import Pattern
from gossamer.errors import InputError, check_count
from gossamer.kernels import Code, Structure

__all__ = ["SparseLinear", "SparseLinearReLU", "sparse_linear"]


def sparse_linear(
    x: Tensor, values: Tensor, pattern: Pattern | Structure, bias: Tensor | None = None, *, relu: bool = False
) -> Tensor:
    """Compute y = x Wᵀ + b, where W has ``values`` at the connections of ``pattern`` and is never made dense.

    Time and memory are proportional to nnz × batch and nnz. Under autocast, ``x``, ``values`` and ``bias`` are cast as
    for `torch.nn.functional.linear`.

    Args:
        x: (…, cols); a sparse COO or CSR tensor is made dense.
        values: weights (nnz) of the connections.
        pattern: the connections, of shape (rows, cols).
        bias: (rows), or None.
        relu: return max(y, 0).

    Returns:
        y (…, rows), feature-major in memory (the transposed view of a (rows, batch) matrix); element-wise functions
        keep that layout and the next sparse layer reads it without a copy.

    Raises:
        InputError: an argument has another shape.

    Example:
        >>> pattern = gs.Pattern.from_mask(torch.tensor([[1, 0, 1], [0, 1, 0]]))
        >>> gs.functional.sparse_linear(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([1.0, 1.0, 5.0]), pattern)
        tensor([[ 4., 10.]])
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
    """A linear layer y = x Wᵀ + b with a W of which only the connections exist.

    See `SparseLayer` for ``weight_values``, the pattern and the initial weights.

    Args:
        in_features: number of inputs, ≥ 1.
        out_features: number of outputs, ≥ 1.
        density: fraction of the ``in_features · out_features`` connections, in (0, 1]; the pattern is drawn
            uniformly with exactly ``round(density · in_features · out_features)`` connections. Or give ``pattern``.
        bias: learn an additive (out_features) bias.
        pattern: the connections, of shape (out_features, in_features), if they are not to be drawn.
        generator: source of the pattern and of the initial weights (default: torch's own).
        device: of the parameters.
        dtype: of the parameters.

    Raises:
        InputError: an argument is outside its range, or neither ``density`` nor ``pattern`` is given.

    Example:
        >>> layer = gs.SparseLinear(784, 100, density=0.05)
        >>> layer(torch.rand(32, 784)).shape, layer.nnz
        (torch.Size([32, 100]), 3920)
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
        """Compute y = x Wᵀ + b.

        Args:
            x: (…, in_features), dense, sparse COO or CSR, or a `Code`.

        Returns:
            y (…, out_features), feature-major in memory.
        """
        structure, values = self._structure, self.weight_values
        if isinstance(x, Code):
            return kernels.spspmm(values, structure, x, self.bias, self._relu)
        x = dense_rows(x)
        if not self.training and kernels.reads_active_units(x, values):
            return kernels.spspmm_or_linear(values, structure, x, self.bias, self._relu)
        return sparse_linear(x, values, structure, self.bias, relu=self._relu)

    def to_dense(self) -> nn.Linear:
        """Return the same function as a `torch.nn.Linear`, with zeros where there is no connection.

        Returns:
            The dense layer.
        """
        return self._to_dense(nn.Linear)

    @classmethod
    def from_dense(cls, dense: nn.Linear, pattern: Pattern | None = None) -> Self:
        """Make a sparse layer from a dense one.

        Args:
            dense: the dense layer.
            pattern: the connections that keep their weights (default: all non-zero weights).

        Returns:
            The sparse layer.
        """
        return cls._from_dense(dense, pattern)

    def extra_repr(self) -> str:
        """Show the arguments."""
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, density={self.density:.4g}, "
            f"nnz={self.nnz}, bias={self.bias is not None}"
        )


class SparseLinearReLU(SparseLinear):
    """A `SparseLinear` and its ReLU, y = max(x Wᵀ + b, 0), in one kernel, forward and backward.

    It has the arguments and parameters of `SparseLinear`, and passes over the activations twice less in each direction.
    ``to_dense`` returns the linear part alone. Rules that measure a layer's output before its activation, such as
    growth by cosine similarity, see it after the ReLU here.

    Example:
        >>> bool((gs.SparseLinearReLU(784, 100, density=0.05)(torch.randn(8, 784)) >= 0).all())
        True
    """

    _relu = True
