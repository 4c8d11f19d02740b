"""A 2-D convolution that stores and computes only its connections."""

from __future__ import annotations

from typing import Literal, Self

import torch
from torch import Tensor, nn

from gossamer import kernels
from gossamer.connectivity.layer import SparseLayer
from gossamer.connectivity.layer_input import autocast
from gossamer.connectivity.pattern import Pattern
from gossamer.errors import InputError, check_choice, check_count
from gossamer.kernels import Geometry, Structure

__all__ = ["Padding", "SparseConv2d", "convolve", "geometry", "sparse_conv2d"]

Size = int | tuple[int, int]
Padding = Size | Literal["same", "valid"]


def sparse_conv2d(
    x: Tensor,
    values: Tensor,
    pattern: Pattern | Structure,
    bias: Tensor | None = None,
    *,
    kernel_size: Size,
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Tensor:
    """Compute the convolution of `torch.nn.functional.conv2d` with a sparse weight.

    The weight (out, in / groups, kh, kw), seen as a matrix (out, in / groups · kh · kw), has ``values`` at the
    connections of ``pattern``; it is never made dense. Time is proportional to nnz · N · H' · W', memory to input,
    output and nnz. Under autocast, ``x``, ``values`` and ``bias`` are cast as for `torch.nn.functional.conv2d`.

    Args:
        x: images (N, in, H, W) or (in, H, W).
        values: weights (nnz) of the connections.
        pattern: the connections, of shape (out, in / groups · kh · kw).
        bias: (out), or None.
        kernel_size: (kh, kw), or one number for both.
        stride: pixels from one output to the next.
        padding: zeros on either side, or ``"valid"`` for none, or ``"same"`` for a result of the input's size.
        dilation: pixels from one kernel position to the next.
        groups: output channels see the input channels of their group alone.

    Returns:
        Images (N, out, H', W') or (out, H', W') with H' = ⌊(H + top + bottom − dilation · (kh − 1) − 1) / stride⌋ + 1,
        and W' likewise. They have the layout of ``x`` in memory: batch-innermost if ``x`` is (as the output of a sparse
        linear layer, seen as images), else contiguous.

    Raises:
        InputError: an argument has another shape, or is outside its range.

    Example:
        >>> pattern = gs.Pattern.erdos_renyi(8, 3 * 9, density=0.2)
        >>> values = torch.randn(pattern.nnz)
        >>> gs.functional.sparse_conv2d(torch.rand(2, 3, 10, 10), values, pattern, kernel_size=3, padding=1).shape
        torch.Size([2, 8, 10, 10])
    """
    return convolve(x, values, pattern, bias, geometry(kernel_size, stride, padding, dilation, groups))


def convolve(x: Tensor, values: Tensor, pattern: Pattern | Structure, bias: Tensor | None, g: Geometry) -> Tensor:
    """Compute `sparse_conv2d` with a geometry that has been checked."""
    structure = pattern.structure if isinstance(pattern, Pattern) else pattern
    if x.layout != torch.strided:
        raise InputError(f"x must be dense, got {x.layout}: call x.to_dense()")
    x, values, bias = autocast(x, values, bias)
    if x.dim() == 3:
        return kernels.conv2d(values, structure, x[None], bias, g)[0]
    return kernels.conv2d(values, structure, x, bias, g)


def _pair(name: str, size: Size, low: int) -> tuple[int, int]:
    both = size if isinstance(size, (tuple, list)) else (size, size)
    if len(both) != 2:
        raise InputError(f"{name} must be a whole number or a pair (vertical, horizontal) of them, got {size!r}")
    return check_count(name, both[0], low=low), check_count(name, both[1], low=low)


def geometry(kernel_size: Size, stride: Size, padding: Padding, dilation: Size, groups: int) -> Geometry:
    """Return the geometry of a convolution, after checks."""
    kernel, steps = _pair("kernel_size", kernel_size, 1), _pair("stride", stride, 1)
    spread = _pair("dilation", dilation, 1)
    groups = check_count("groups", groups, low=1)
    if not isinstance(padding, str):
        (y, x) = _pair("padding", padding, 0)
        return Geometry(kernel, steps, (y, y, x, x), spread, groups)
    check_choice("padding", padding, ("same", "valid"))
    if padding == "valid":
        return Geometry(kernel, steps, (0, 0, 0, 0), spread, groups)
    if steps != (1, 1):
        raise InputError(f"padding 'same' needs stride 1, got {stride!r}")
    y, x = (d * (k - 1) for k, d in zip(kernel, spread, strict=True))
    return Geometry(kernel, steps, (y // 2, y - y // 2, x // 2, x - x // 2), spread, groups)


class SparseConv2d(SparseLayer):
    """A `torch.nn.Conv2d` of whose weight only the connections exist.

    A connection joins an output channel to a position (input channel, row, column) of its kernel: ``in_features`` =
    in_channels / groups · kh · kw and ``out_features`` = out_channels count both. See `SparseLayer` for
    ``weight_values``, the pattern and the initial weights, and `sparse_conv2d` for shapes.

    Args:
        in_channels: channels of the input, a multiple of ``groups``.
        out_channels: channels of the output, a multiple of ``groups``.
        kernel_size: whole number or pair (vertical, horizontal), as are stride, padding and dilation.
        stride: pixels from one output to the next.
        padding: zeros on either side, or ``"valid"`` for none, or ``"same"`` for a result of the input's size.
        dilation: pixels from one kernel position to the next.
        groups: output channels see the input channels of their group alone.
        bias: learn an additive (out_channels) bias.
        padding_mode: ``"zeros"``, the only one that is supported.
        density: fraction of the out_channels · in_channels / groups · kh · kw possible connections, in (0, 1]; the
            pattern is drawn uniformly with exactly that number, rounded. Or give ``pattern``.
        pattern: the connections, of shape (out_channels, in_channels / groups · kh · kw).
        generator: source of the pattern and of the initial weights (default: torch's own).
        device: of the parameters.
        dtype: of the parameters.

    Raises:
        InputError: an argument is outside its range, or neither ``density`` nor ``pattern`` is given.

    Example:
        >>> layer = gs.SparseConv2d(3, 16, kernel_size=3, padding=1, density=0.1)
        >>> layer(torch.rand(2, 3, 8, 8)).shape, layer.nnz
        (torch.Size([2, 16, 8, 8]), 43)
    """

    _sizes = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "padding_mode")

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Padding = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        *,
        density: float | None = None,
        pattern: Pattern | None = None,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        check_choice("padding_mode", padding_mode, ("zeros",))
        in_channels = check_count("in_channels", in_channels, low=1)
        out_channels = check_count("out_channels", out_channels, low=1)
        g = geometry(kernel_size, stride, padding, dilation, groups)
        for name, channels in (("in_channels", in_channels), ("out_channels", out_channels)):
            if channels % g.groups:
                raise InputError(f"{name} must be a multiple of groups = {groups}, got {channels}")
        in_features = in_channels // g.groups * g.kernel[0] * g.kernel[1]
        super().__init__(in_features, out_channels, density, bias, pattern, generator, device, dtype)
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, g.groups
        self.kernel_size, self.stride, self.dilation = g.kernel, g.stride, g.dilation
        self.padding: str | tuple[int, int] = padding if isinstance(padding, str) else g.padding[::2]
        self.padding_mode = padding_mode
        self._geometry = g

    def forward(self, x: Tensor) -> Tensor:
        """Compute the convolution.

        Args:
            x: images (N, in_channels, H, W) or (in_channels, H, W).

        Returns:
            Images (N, out_channels, H', W') or (out_channels, H', W'); see `sparse_conv2d` for H' and W'.
        """
        return convolve(x, self.weight_values, self._structure, self.bias, self._geometry)

    def to_dense(self) -> nn.Conv2d:
        """Return the same function as a `torch.nn.Conv2d`, with zeros where there is no connection.

        Returns:
            The dense layer.
        """
        return self._to_dense(nn.Conv2d)

    @classmethod
    def from_dense(cls, dense: nn.Conv2d, pattern: Pattern | None = None) -> Self:
        """Make a sparse layer from a dense one.

        Args:
            dense: the dense layer.
            pattern: the connections that keep their weights (default: all non-zero weights).

        Returns:
            The sparse layer.

        Raises:
            InputError: ``dense`` pads with anything but zeros.
        """
        return cls._from_dense(dense, pattern)

    def extra_repr(self) -> str:
        """Show the arguments."""
        parts = [f"{self.in_channels}, {self.out_channels}", f"kernel_size={self.kernel_size}, stride={self.stride}"]
        if self.padding != (0, 0):
            parts.append(f"padding={self.padding!r}")
        if self.dilation != (1, 1):
            parts.append(f"dilation={self.dilation}")
        if self.groups != 1:
            parts.append(f"groups={self.groups}")
        return ", ".join([*parts, f"density={self.density:.4g}, nnz={self.nnz}, bias={self.bias is not None}"])
