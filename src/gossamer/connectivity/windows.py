"""Windows of images, as a convolution reads them."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from gossamer.connectivity.conv import SparseConv2d, geometry
from gossamer.errors import InputError
from gossamer.kernels import Geometry

__all__ = ["Convolution", "geometry_of", "windows"]

Convolution = SparseConv2d | nn.Conv2d


def geometry_of(layer: Convolution) -> Geometry:
    """Return how the kernel of ``layer`` moves over the image."""
    return geometry(layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.groups)  # type: ignore[arg-type]


def windows(x: Tensor, layer: Convolution) -> Tensor:
    """View images (N, C, H, W) as (N, C, kh, kw, H', W'), the pixel of each kernel position at each output position.

    A view of the padded images: [n, c, k, l, i, j] is their pixel [n, c, i · stride + k · dilation, j · stride + l ·
    dilation], stride and dilation of either direction. The channels may be some of the layer's alone.
    """
    g = geometry_of(layer)
    height, width = g.output_size(x.shape[2:])
    if min(height, width) < 1:
        raise InputError(f"x must have images that hold the kernel {g.kernel} of {layer}, got {tuple(x.shape[2:])}")
    top, bottom, left, right = g.padding
    if any(g.padding):
        mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
        x = functional.pad(x, (left, right, top, bottom), mode)
    sample, channel, row, col = x.stride()
    (sy, sx), (dy, dx) = g.stride, g.dilation
    return x.as_strided(
        (*x.shape[:2], *g.kernel, height, width), (sample, channel, dy * row, dx * col, sy * row, sx * col)
    )
