"""The convolution of images with a sparse weight, in C++ on the CPU and in plain torch elsewhere.

Images are (batch, channels, height, width). In memory they are batch-innermost, as the transposed view that a sparse
linear layer returns, or contiguous: results have the layout of their operands. (Batch-innermost results
everywhere would gain nothing: copies into and out of frames cost as much, and the backward pass of
`torch.nn.BatchNorm2d` takes several times as long on such images.)

In C++ (float32, in which float16 is computed, float64, and bfloat16 with sums in float32) a thread copies a strip of
some samples into a padded frame whose innermost dimension is the sample, multiplies there, and copies the result out:
each connection costs one broadcast and a few fused multiply-adds on whole vectors, for any width of the image, and
the memory needed beside input and output is a few megabytes. In plain torch the weight is made dense for the time of
the call.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn import grad as gradients

from gossamer.errors import InputError
from gossamer.kernels import _cpu
from gossamer.kernels.route import PRODUCTS, sums_in
from gossamer.kernels.structure import Structure, csc_permutation, rows_of

__all__ = [
    "Geometry",
    "backward",
    "dense_forward",
    "dense_input",
    "dense_values",
    "empty_images",
    "forward",
    "innermost",
    "with_layout_of",
]


class Geometry(NamedTuple):
    """How the kernel moves over the image; pairs are (vertical, horizontal)."""

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)  # top, bottom, left, right
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    @staticmethod
    def of(
        kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int], groups: int
    ) -> Geometry:
        """Make the geometry from lists, after checks."""
        g = Geometry(tuple(kernel), tuple(stride), tuple(padding), tuple(dilation), groups)  # type: ignore[arg-type]
        if (len(g.kernel), len(g.stride), len(g.padding), len(g.dilation)) != (2, 2, 4, 2):
            raise InputError(f"kernel, stride and dilation must be pairs and padding four numbers, got {g}")
        if min(*g.kernel, *g.stride, *g.dilation, groups) < 1 or min(g.padding) < 0:
            raise InputError(f"kernel, stride, dilation and groups must be at least 1 and padding at least 0, got {g}")
        return g

    def output_size(self, size: Sequence[int]) -> tuple[int, int]:
        """(height, width) of the result for images of this (height, width)."""
        top, bottom, left, right = self.padding
        (ky, kx), (sy, sx), (dy, dx) = self.kernel, self.stride, self.dilation
        return (size[0] + top + bottom - dy * (ky - 1) - 1) // sy + 1, (
            size[1] + left + right - dx * (kx - 1) - 1
        ) // sx + 1

    def channels(self, s: Structure) -> tuple[int, int]:
        """(in, out) channels of a layer with pattern ``s``."""
        rows, cols = s.shape
        return cols // (self.kernel[0] * self.kernel[1]) * self.groups, rows


# ---- layouts in memory ---------------------------------------------------------------------------------------------


def innermost(x: Tensor) -> bool:
    """Whether the samples of a pixel lie side by side in memory."""
    return not x.is_contiguous() and x.permute(1, 2, 3, 0).is_contiguous()


def empty_images(like: Tensor, channels: int, size: Sequence[int]) -> Tensor:
    """(batch, channels, *size) with batch, dtype, device and layout of ``like``."""
    if innermost(like):
        batch, (height, width) = like.shape[0], size
        strides = (1, height * width * batch, width * batch, batch)
        return like.new_empty_strided((batch, channels, height, width), strides)
    return like.new_empty(like.shape[0], channels, size[0], size[1])


def _laid_out(x: Tensor) -> Tensor:
    return x if innermost(x) else x.contiguous()


def with_layout_of(x: Tensor, like: Tensor) -> Tensor:
    """``x``, in the layout that `empty_images` gives."""
    return x.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2) if innermost(like) else x.contiguous()


# ---- in C++ --------------------------------------------------------------------------------------------------------


def forward(values: Tensor, s: Structure, x: Tensor, bias: Tensor | None, g: Geometry) -> Tensor:
    """Compute the convolution: (N, in, H, W) -> (N, out, H', W')."""
    x, values = _laid_out(x), values.contiguous()
    bias = None if bias is None else bias.contiguous()
    y = empty_images(x, s.shape[0], g.output_size(x.shape[2:]))
    if x.shape[0]:
        _cpu.conv_forward(
            PRODUCTS[x.dtype],
            torch.get_num_threads(),
            s.indptr.data_ptr(),
            s.indices.data_ptr(),
            values.data_ptr(),
            0 if bias is None else bias.data_ptr(),
            x.data_ptr(),
            y.data_ptr(),
            _layer(s, g, x, y),
        )
    return y


def backward(
    grad: Tensor, s: Structure, g: Geometry, size: Sequence[int], values: Tensor | None, x: Tensor | None
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of the images, of (height, width) ``size``, and of the values.

    The first needs ``values``, the second ``x``; it is not computed where that is None. With both, every number of
    ``grad`` is read once for both.
    """
    grad, x = _laid_out(grad), None if x is None else _laid_out(x)
    values = None if values is None else values.contiguous()
    model = grad if x is None else x
    grad_x = None if values is None else empty_images(model, g.channels(s)[0], size)
    grad_values = None if x is None else grad.new_zeros(s.nnz, dtype=sums_in(grad.dtype))
    images = grad_x if x is None else x
    if grad.shape[0] and images is not None:
        place = csc_permutation(s)
        _cpu.conv_backward(
            PRODUCTS[grad.dtype],
            torch.get_num_threads(),
            s.t_indptr.data_ptr(),
            s.t_indices.data_ptr(),
            place.data_ptr(),
            0 if values is None else values.data_ptr(),
            0 if x is None else x.data_ptr(),
            grad.data_ptr(),
            0 if grad_x is None else grad_x.data_ptr(),
            0 if grad_values is None else grad_values.data_ptr(),
            _layer(s, g, images, grad),
        )
    return grad_x, None if grad_values is None else grad_values.to(grad.dtype)


def _layer(s: Structure, g: Geometry, x: Tensor, y: Tensor) -> list[int]:
    """The numbers that C++ calls a layer: see ``Layer`` in cpu/convolution_bindings.cpp."""
    pairs = (x.shape[2:], y.shape[2:], g.kernel, g.stride, g.dilation, (g.padding[0], g.padding[2]))
    numbers = [number for pair in pairs for number in pair]
    return [x.shape[0], *g.channels(s), g.groups, *numbers, int(innermost(x)), int(innermost(y))]


# ---- in plain torch ------------------------------------------------------------------------------------------------


def _positions(s: Structure) -> Tensor:
    return rows_of(s.indptr) * s.shape[1] + s.indices


def _weight_shape(s: Structure, g: Geometry) -> tuple[int, int, int, int]:
    rows, cols = s.shape
    return rows, cols // (g.kernel[0] * g.kernel[1]), g.kernel[0], g.kernel[1]


def _dense_weight(values: Tensor, s: Structure, g: Geometry) -> Tensor:
    rows, cols = s.shape
    return values.new_zeros(rows * cols).index_put((_positions(s),), values).view(_weight_shape(s, g))


def _padded(x: Tensor, g: Geometry) -> Tensor:
    top, bottom, left, right = g.padding
    return functional.pad(x, (left, right, top, bottom))


def dense_forward(values: Tensor, s: Structure, x: Tensor, bias: Tensor | None, g: Geometry) -> Tensor:
    """Compute the convolution with a dense weight: (N, in, H, W) -> (N, out, H', W')."""
    weight = _dense_weight(values, s, g)
    return functional.conv2d(_padded(x, g), weight, bias, g.stride, 0, g.dilation, g.groups)


def dense_input(values: Tensor, s: Structure, grad: Tensor, size: Sequence[int], g: Geometry) -> Tensor:
    """Compute the gradient of images of (height, width) = ``size`` with a dense weight."""
    top, bottom, left, right = g.padding
    padded = (grad.shape[0], g.channels(s)[0], size[0] + top + bottom, size[1] + left + right)
    whole: Tensor = gradients.conv2d_input(padded, _dense_weight(values, s, g), grad, g.stride, 0, g.dilation, g.groups)
    return whole[:, :, top : top + size[0], left : left + size[1]]


def dense_values(grad: Tensor, s: Structure, x: Tensor, g: Geometry) -> Tensor:
    """Compute the gradient of the values, (nnz), from that of a dense weight."""
    whole: Tensor = gradients.conv2d_weight(_padded(x, g), _weight_shape(s, g), grad, g.stride, 0, g.dilation, g.groups)
    return whole.flatten()[_positions(s)]
