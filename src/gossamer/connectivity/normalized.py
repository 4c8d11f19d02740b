"""Layers that use only the direction of their weights.

With w_k the weights into output k, of a convolution its filter,

    u_k = ⟨w_k, x⟩ / (‖w_k‖₂ + ε),   ε = 1e-6,

over each window x of a convolution, or over all inputs of a linear layer. u doesn't change when w_k is scaled, and
as the derivative goes through the norm too, the gradient is orthogonal to w_k (up to ε): no step of plain gradient
descent shortens it. The weights that are stored are not changed.

Weights are divided, not outputs: the same function, at the cost of one pass over the weights. For w_k = 0, u_k = 0 with
the derivative x/ε: finite, but large. Of a sparse convolution the norm is that of the connections that exist.

References:
    Cekic, Bakiskan, Madhow, "Neuro-inspired deep neural networks with sparse, strong activations", ICIP 2022, arXiv
    2202.13074 (of convolutions; ε as in the authors' released code). Unlike Salimans and Kingma's weight normalisation
    (NeurIPS 2016) there is no length to be learned beside the direction.
"""

from __future__ import annotations

from typing import Any, Self, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gossamer import kernels
from gossamer.connectivity.conv import SparseConv2d, convolve
from gossamer.connectivity.pattern import Pattern
from gossamer.errors import InputError
from gossamer.kernels.structure import rows_of

__all__ = ["NormalizedConv2d", "NormalizedLinear", "NormalizedSparseConv2d", "unit_filters"]

_EPS = 1e-6


def unit_filters(weight: Tensor) -> Tensor:
    """Scale each filter to length 1, w_k / (‖w_k‖₂ + ε) with ε = 1e-6.

    float16 and bfloat16 are computed in float32. A NaN affects its own filter only.

    Args:
        weight: (out, in, …), floating point with at least 2 dimensions.

    Returns:
        Tensor of the shape and dtype of ``weight``.

    Raises:
        InputError: ``weight`` is not floating point or has less than 2 dimensions.

    Example:
        >>> gs.functional.unit_filters(torch.tensor([[3.0, 4.0]]))
        tensor([[0.6000, 0.8000]])

    References:
        Cekic, Bakiskan, Madhow, "Neuro-inspired deep neural networks with sparse, strong activations", ICIP 2022, arXiv
        2202.13074.
    """
    if weight.dim() < 2 or not weight.is_floating_point():
        raise InputError(
            f"weight must be floating point of shape (out, in, …), got {weight.dtype} of {tuple(weight.shape)}"
        )
    wide = weight if weight.dtype == torch.float64 else weight.float()
    norm: Tensor = torch.linalg.vector_norm(wide, dim=tuple(range(1, wide.dim())), keepdim=True)  # derivative 0 at 0
    return (wide / (norm + _EPS)).to(weight.dtype)


class NormalizedConv2d(nn.Conv2d):
    """A `torch.nn.Conv2d`, by default without bias, with filters of length 1; see `unit_filters`.

    Parameters and initial weights are those of `torch.nn.Conv2d`. A bias, if there is one, is added unchanged.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: whole number or pair (vertical, horizontal).
        stride: pixels from one output to the next.
        padding: pixels on either side, ``"valid"`` or ``"same"``.
        dilation: pixels from one kernel position to the next.
        groups: output channels see the input channels of their group alone.
        bias: learn an additive (out_channels) bias.
        padding_mode: ``"zeros"``, ``"reflect"``, ``"replicate"`` or ``"circular"``.
        device: of the parameters.
        dtype: of the parameters.

    Attributes:
        gives_twin: whether the output u in training has ``u.twin``, the same numbers, whose gradient reaches the
            filters and not the input. `HebbianLoss` sets it, since local gradients then need no further convolution.
            There is no twin with a bias, under autocast, in a compiler, of an image without a batch, or with a padding
            that is not zeros, a number of them on each side.

    Example:
        >>> gs.NormalizedConv2d(3, 8, kernel_size=3, padding=1)(torch.rand(2, 3, 10, 10)).shape
        torch.Size([2, 8, 10, 10])

    References:
        Cekic, Bakiskan, Madhow, "Neuro-inspired deep neural networks with sparse, strong activations", ICIP 2022, arXiv
        2202.13074.
    """

    gives_twin = False

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: str | int | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = False,
        padding_mode: str = "zeros",
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            bias,
            padding_mode,  # type: ignore[arg-type]
            device=device,
            dtype=dtype,
        )

    def forward(self, x: Tensor) -> Tensor:
        """Compute the convolution with normalised filters.

        Args:
            x: images (N, in_channels, H, W) or (in_channels, H, W).

        Returns:
            Images (N, out_channels, H', W') or (out_channels, H', W').
        """
        filters = unit_filters(self.weight)
        if not (self.gives_twin and self._has_twin(x, filters)):
            return self._conv_forward(x, filters, self.bias)  # type: ignore[no-any-return]
        geometry: Any = (self.stride, self.padding, self.dilation, self.groups)
        u, twin = kernels.conv2d_with_twin(x, filters, *geometry)
        u.twin = twin  # type: ignore[attr-defined]
        return u

    def _has_twin(self, x: Tensor, filters: Tensor) -> bool:
        return (
            self.training
            and torch.is_grad_enabled()
            and kernels.is_plain(x)
            and filters.requires_grad
            and self.bias is None
            and x.dim() == 4
            and x.dtype == filters.dtype
            and self.padding_mode == "zeros"
            and not isinstance(self.padding, str)
            and not torch.is_autocast_enabled(x.device.type)
        )


class NormalizedSparseConv2d(SparseConv2d):
    """A `SparseConv2d` with filters of length 1: the norm of a filter is that of the connections that it has.

    Arguments, parameters and initial weights are those of `SparseConv2d`. A filter without connections gives 0. Rules
    of growth that follow gradients (RigL) see those of the normalised weights.

    Example:
        >>> layer = gs.NormalizedSparseConv2d(3, 8, kernel_size=3, padding=1, bias=False, density=0.3)
        >>> layer(torch.rand(2, 3, 10, 10)).shape, layer.nnz
        (torch.Size([2, 8, 10, 10]), 65)

    References:
        Cekic, Bakiskan, Madhow, "Neuro-inspired deep neural networks with sparse, strong activations", ICIP 2022, arXiv
        2202.13074 (of dense filters).
    """

    def forward(self, x: Tensor) -> Tensor:
        """Compute the convolution with normalised filters.

        Args:
            x: images (N, in_channels, H, W) or (in_channels, H, W).

        Returns:
            Images (N, out_channels, H', W') or (out_channels, H', W'); see `sparse_conv2d` for H' and W'.
        """
        return convolve(x, self._unit_values(), self._structure, self.bias, self._geometry)

    def _unit_values(self) -> Tensor:
        """The weights (nnz), those of each filter divided by its norm + ε; float16 and bfloat16 in float32."""
        values = self.weight_values
        wide = values if values.dtype == torch.float64 else values.float()
        rows = rows_of(self._structure.indptr)
        squares = wide.new_zeros(self.out_features).index_add(0, rows, wide.square())
        norms = squares.clamp(min=torch.finfo(wide.dtype).tiny).sqrt()  # derivative 0 at 0
        return (wide / (norms + _EPS).index_select(0, rows)).to(values.dtype)

    def to_dense(self) -> NormalizedConv2d:
        """Return the same function as a `NormalizedConv2d`, with zeros where there is no connection.

        Returns:
            The dense layer.
        """
        return cast(NormalizedConv2d, self._to_dense(NormalizedConv2d))

    @classmethod
    def from_dense(cls, dense: nn.Conv2d, pattern: Pattern | None = None) -> Self:
        """Make a sparse layer from a `NormalizedConv2d`.

        Args:
            dense: the dense layer.
            pattern: the connections that keep their weights (default: all non-zero weights). Filters are normalised
                over those alone.

        Returns:
            The sparse layer.

        Raises:
            InputError: ``dense`` is another layer, or pads with anything but zeros.
        """
        if not isinstance(dense, NormalizedConv2d):
            raise InputError(f"dense must be a NormalizedConv2d, got {type(dense).__name__}")
        return cls._from_dense(dense, pattern)


class NormalizedLinear(nn.Linear):
    """A `torch.nn.Linear`, by default without bias, in which the weights into each unit have length 1.

    Args:
        in_features: number of inputs.
        out_features: number of outputs.
        bias: learn an additive (out_features) bias.
        device: of the parameters.
        dtype: of the parameters.

    Example:
        >>> layer = gs.NormalizedLinear(8, 4)
        >>> layer(torch.rand(5, 8)).shape
        torch.Size([5, 4])
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = False,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(in_features, out_features, bias, device=device, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Compute u = x Wᵀ + b with the rows of W scaled to length 1.

        Args:
            x: (…, in_features).

        Returns:
            Tensor (…, out_features).
        """
        return F.linear(x, unit_filters(self.weight), self.bias)
