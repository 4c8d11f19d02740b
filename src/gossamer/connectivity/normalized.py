"""Layers whose weights count by their direction alone.

With w_k the weights into output k, of a convolution its filter,

    u_k = ⟨w_k, x⟩ / (‖w_k‖₂ + ε),   ε = 1e-6,

over each window x of a convolution, or over all inputs of a linear layer. u doesn't change when w_k is made longer, and
as the derivative goes through the norm too, the gradient is orthogonal to w_k (up to ε): no step of plain gradient
descent shortens it. The weights that are stored are not changed.

Weights are divided, not outputs: the same function, at the cost of one pass over the weights. For w_k = 0, u_k = 0 with
the derivative x/ε: finite, but large.

Source: Cekic, Bakiskan, Madhow, ICIP 2022, arXiv 2202.13074 (of convolutions; ε as in the authors' released code).
Unlike Salimans and Kingma's weight normalisation (NeurIPS 2016) there is no length to be learned beside the direction.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gossamer.errors import InputError

__all__ = ["NormalizedConv2d", "NormalizedLinear", "unit_filters"]

_EPS = 1e-6


def unit_filters(weight: Tensor) -> Tensor:
    """w_k / (‖w_k‖₂ + ε) for each k, the first index of ``weight`` (out, …), floating point with at least 2 dimensions.

    Half types are computed in float32. A NaN spoils its own filter alone.
    """
    if weight.dim() < 2 or not weight.is_floating_point():
        raise InputError(
            f"weight must be floating point of shape (out, in, …), got {weight.dtype} of {tuple(weight.shape)}"
        )
    wide = weight if weight.dtype == torch.float64 else weight.float()
    norm: Tensor = torch.linalg.vector_norm(wide, dim=tuple(range(1, wide.dim())), keepdim=True)  # derivative 0 at 0
    return (wide / (norm + _EPS)).to(weight.dtype)


class NormalizedConv2d(nn.Conv2d):
    """A `torch.nn.Conv2d`, by default without bias, with the filters of `unit_filters`.

    Same arguments, parameters and initial weights. A bias, if there is one, is added as it is.
    """

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
        return self._conv_forward(x, unit_filters(self.weight), self.bias)  # type: ignore[no-any-return]


class NormalizedLinear(nn.Linear):
    """A `torch.nn.Linear`, by default without bias, in which the weights into each unit have length 1."""

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
        return F.linear(x, unit_filters(self.weight), self.bias)
