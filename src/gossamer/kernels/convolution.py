"""2-D convolutions whose weight has only its connections, as PyTorch operators with derivatives.

The weight w (out, in / groups, kh, kw) has ``values`` (nnz) at the connections of a `Structure` of shape
(out, in / groups · kh · kw). With stride s, dilation d, padding p, and c running over the input channels of o's group,

    y[n, o, i, j] = b[o] + Σ_{c, k, l} w[o, c, k, l] · x[n, c, i s + k d − p, j s + l d − p],   x = 0 outside the image.

=============================  ============================================================  =========================
``gossamer::conv2d``           y from values v, x and the bias                               (N, in, H, W) -> y
``gossamer::conv2d_input``     ⟨conv2d_input(v, g), x⟩ = ⟨g, conv2d(v, x)⟩ for all x         g like y -> (N, in, H, W)
``gossamer::conv2d_values``    ⟨conv2d_values(g, x), v⟩ = ⟨g, conv2d(v, x)⟩ for all v        g like y, x -> (nnz)
``gossamer::conv2d_backward``  the last two at once
=============================  ============================================================  =========================

The first three are each other's derivatives, so they can be differentiated any number of times.
`gossamer.kernels.images` computes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gossamer.errors import InputError
from gossamer.kernels import images
from gossamer.kernels.images import Geometry
from gossamer.kernels.layout import observed
from gossamer.kernels.native import DTYPES, half_as_float
from gossamer.kernels.ops import _bare, check_bias
from gossamer.kernels.structure import Structure, own_view, transformed, validate

__all__ = ["Geometry", "conv2d", "conv2d_input", "conv2d_values"]

_INDEX = "Tensor indptr, Tensor indices, Tensor t_indptr, Tensor t_indices"
_GEOMETRY = "int[] kernel, int[] stride, int[] padding, int[] dilation, int groups"
_library = torch.library.Library("gossamer", "FRAGMENT")
_library.define(f"conv2d(Tensor values, {_INDEX}, Tensor x, Tensor? bias, {_GEOMETRY}) -> Tensor")
_library.define(f"conv2d_input(Tensor values, {_INDEX}, Tensor grad, SymInt[] size, {_GEOMETRY}) -> Tensor")
_library.define(f"conv2d_values(Tensor grad, {_INDEX}, Tensor x, {_GEOMETRY}) -> Tensor")
_library.define(f"conv2d_backward(Tensor grad, Tensor values, {_INDEX}, Tensor x, {_GEOMETRY}) -> (Tensor, Tensor)")


# ---- what may be computed ------------------------------------------------------------------------------------------


def _check_pattern(s: Structure, g: Geometry, like: Tensor) -> None:
    rows, cols = s.shape
    ky, kx = g.kernel
    if rows % g.groups or cols % (ky * kx):
        raise InputError(
            f"the pattern must have shape (out, in / groups · {ky} · {kx}) with out divisible by groups = {g.groups}, "
            f"got {s.shape}"
        )
    if not like.is_floating_point():
        raise InputError(f"values must be floating point, got {like.dtype}")
    if s.indptr.device != like.device:
        raise InputError(f"the pattern must be on the device of the numbers, {like.device}, got {s.indptr.device}")
    validate(s)


def _check_values(values: Tensor, s: Structure, like: Tensor) -> None:
    if values.dtype != like.dtype or values.device != like.device:
        raise InputError(
            f"values must be {like.dtype} on {like.device} as the rest, got {values.dtype} on {values.device}"
        )
    if values.dim() != 1 or values.numel() != s.nnz:
        raise InputError(f"values must be a vector of {s.nnz} numbers, got shape {tuple(values.shape)}")


def _check_images(name: str, x: Tensor, channels: int, like: Tensor) -> None:
    if x.dim() != 4 or x.shape[1] != channels:
        raise InputError(f"{name} must have shape (batch, {channels}, height, width), got {tuple(x.shape)}")
    if x.dtype != like.dtype or x.device != like.device:
        raise InputError(f"{name} must be {like.dtype} on {like.device} as the rest, got {x.dtype} on {x.device}")


def _check_size(size: Sequence[int], g: Geometry) -> tuple[int, int]:
    output = g.output_size(size)
    if min(*size, *output) < 1:
        raise InputError(
            f"x must have images that hold the kernel {g.kernel} with dilation {g.dilation} and padding "
            f"(top, bottom, left, right) {g.padding}, got {tuple(size)}"
        )
    return output


def _check_forward(values: Tensor, s: Structure, x: Tensor, bias: Tensor | None, g: Geometry) -> None:
    _check_pattern(s, g, values)
    _check_values(values, s, values)
    _check_images("x", x, g.channels(s)[0], values)
    _check_size(x.shape[2:], g)
    check_bias(bias, s, values)


def _check_grad(grad: Tensor, size: Sequence[int], s: Structure, g: Geometry) -> None:
    _check_pattern(s, g, grad)
    _check_images("grad", grad, s.shape[0], grad)
    output = _check_size(size, g)
    if grad.shape[2:] != output:
        raise InputError(f"grad must be of images of the output's size, {output}, got {tuple(grad.shape[2:])}")


def _check_backward(grad: Tensor, s: Structure, x: Tensor, g: Geometry) -> None:
    _check_images("x", x, g.channels(s)[0], grad)
    _check_grad(grad, x.shape[2:], s, g)
    if grad.shape[0] != x.shape[0]:
        raise InputError(f"grad and x must have the same batch, got {grad.shape[0]} and {x.shape[0]}")


# ---- what is computed ----------------------------------------------------------------------------------------------


def _compiled(x: Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype in DTYPES


@half_as_float
def _conv2d(values: Tensor, *rest: Any) -> Tensor:
    s, (x, bias), g = Structure(*rest[:4]), rest[4:6], Geometry.of(*rest[6:])
    _check_forward(values, s, x, bias, g)
    if not _compiled(x):
        return images.laid_out_as(images.dense_forward(values, s, x, bias, g), x)
    return images.forward(values, s, x, bias, g)


@half_as_float
def _conv2d_input(values: Tensor, *rest: Any) -> Tensor:
    s, (grad, size), g = Structure(*rest[:4]), rest[4:6], Geometry.of(*rest[6:])
    _check_grad(grad, size, s, g)
    _check_values(values, s, grad)
    if not _compiled(grad):
        return images.laid_out_as(images.dense_input(values, s, grad, size, g), grad)
    grad_x, _ = images.backward(grad, s, g, size, values, None)
    assert grad_x is not None
    return grad_x


@half_as_float
def _conv2d_values(grad: Tensor, *rest: Any) -> Tensor:
    s, x, g = Structure(*rest[:4]), rest[4], Geometry.of(*rest[5:])
    _check_backward(grad, s, x, g)
    if not _compiled(grad):
        return images.dense_values(grad, s, x, g)
    _, grad_values = images.backward(grad, s, g, x.shape[2:], None, x)
    assert grad_values is not None
    return grad_values


@half_as_float
def _conv2d_backward(grad: Tensor, values: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    s, x, g = Structure(*rest[:4]), rest[4], Geometry.of(*rest[5:])
    _check_backward(grad, s, x, g)
    _check_values(values, s, grad)
    if not _compiled(grad):
        grad_x = images.laid_out_as(images.dense_input(values, s, grad, x.shape[2:], g), x)
        return grad_x, images.dense_values(grad, s, x, g)
    gradients = images.backward(grad, s, g, x.shape[2:], values, x)
    assert gradients[0] is not None
    assert gradients[1] is not None
    return gradients  # type: ignore[return-value]


for _name, _function in (
    ("conv2d", _conv2d),
    ("conv2d_input", _conv2d_input),
    ("conv2d_values", _conv2d_values),
    ("conv2d_backward", _conv2d_backward),
):
    _library.impl(_name, _function, "CompositeExplicitAutograd")


# ---- shapes only, for compilers ------------------------------------------------------------------------------------


def _fake_conv2d(values: Tensor, *rest: Any) -> Tensor:
    x, g = rest[4], Geometry.of(*rest[6:])
    return images.empty_images(x, rest[0].shape[0] - 1, g.output_size(x.shape[2:]))


def _fake_conv2d_input(values: Tensor, *rest: Any) -> Tensor:
    grad, size, g = rest[4], rest[5], Geometry.of(*rest[6:])
    return images.empty_images(grad, g.channels(Structure(*rest[:4]))[0], size)


def _fake_conv2d_values(grad: Tensor, *rest: Any) -> Tensor:
    return grad.new_empty(rest[1].shape[0])


def _fake_conv2d_backward(grad: Tensor, values: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    x = rest[4]
    return images.empty_images(x, x.shape[1], x.shape[2:]), values.new_empty(values.shape)


for _name, _fake in (
    ("conv2d", _fake_conv2d),
    ("conv2d_input", _fake_conv2d_input),
    ("conv2d_values", _fake_conv2d_values),
    ("conv2d_backward", _fake_conv2d_backward),
):
    torch.library.register_fake(f"gossamer::{_name}", _fake, lib=_library)


# ---- derivatives ---------------------------------------------------------------------------------------------------


def conv2d_input(values: Tensor, s: Structure, grad: Tensor, size: Sequence[int], g: Geometry) -> Tensor:
    """The gradient of images of (height, width) = ``size``."""
    if transformed():
        return images.dense_input(values, _bare(s), grad, size, g)
    return torch.ops.gossamer.conv2d_input(values, *s, grad, size, *g)  # type: ignore[no-any-return]


def conv2d_values(grad: Tensor, s: Structure, x: Tensor, g: Geometry) -> Tensor:
    """The gradient of the weights, (nnz)."""
    if transformed():
        return images.dense_values(grad, _bare(s), x, g)
    return torch.ops.gossamer.conv2d_values(grad, *s, x, *g)  # type: ignore[no-any-return]


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:6])
    ctx.geometry = Geometry(*inputs[-5:])


def _conv2d_gradient(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    values, *index, x = ctx.saved_tensors
    s, g = Structure(*index), ctx.geometry
    need_values, need_x, need_bias = (ctx.needs_input_grad[i] for i in (0, 5, 6))
    grad_x = grad_values = None
    if need_values and need_x and not torch.is_grad_enabled() and not transformed():
        grad_x, grad_values = torch.ops.gossamer.conv2d_backward(grad, values, *s, x, *g)
    else:  # one of the two, or both to be differentiated again or transformed
        grad_values = conv2d_values(grad, s, x, g) if need_values else None
        grad_x = conv2d_input(values, s, grad, x.shape[2:], g) if need_x else None
    grad_bias = grad.sum((0, 2, 3)) if need_bias else None
    return grad_values, *[None] * 4, grad_x, grad_bias, *[None] * 5


def _input_gradient(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
    values, *index, grad = ctx.saved_tensors
    s, g = Structure(*index), ctx.geometry
    grad_values = conv2d_values(grad, s, upstream, g) if ctx.needs_input_grad[0] else None
    grad_grad = conv2d(values, s, upstream, None, g) if ctx.needs_input_grad[5] else None
    return grad_values, *[None] * 4, grad_grad, *[None] * 6


def _values_gradient(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
    grad, *index, x = ctx.saved_tensors
    s, g = Structure(*index), ctx.geometry
    grad_grad = conv2d(upstream, s, x, None, g) if ctx.needs_input_grad[0] else None
    grad_x = conv2d_input(upstream, s, grad, x.shape[2:], g) if ctx.needs_input_grad[5] else None
    return grad_grad, *[None] * 4, grad_x, *[None] * 5


torch.library.register_autograd("gossamer::conv2d", _conv2d_gradient, setup_context=_save, lib=_library)
torch.library.register_autograd("gossamer::conv2d_input", _input_gradient, setup_context=_save, lib=_library)
torch.library.register_autograd("gossamer::conv2d_values", _values_gradient, setup_context=_save, lib=_library)


class _Conv2d(torch.autograd.Function):
    """``gossamer::conv2d`` without the dispatcher, which takes as long as the convolution of a small image."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:  # in one with the context: half the time of a separate set-up
        output = _conv2d(*inputs)
        _save(ctx, inputs, output)
        return output

    backward = staticmethod(_conv2d_gradient)


def conv2d(values: Tensor, s: Structure, x: Tensor, bias: Tensor | None, g: Geometry) -> Tensor:
    """Compute the convolution of images with a sparse weight.

    Args:
        values: weights (nnz), in row order.
        s: their connections, (out, in / groups · kh · kw).
        x: images (N, in, H, W).
        bias: (out), or None.
        g: how the kernel moves over the image.

    Returns:
        Images (N, out, H', W').
    """
    if torch.compiler.is_compiling() or type(x) is not Tensor or values.is_meta or observed():
        return torch.ops.gossamer.conv2d(own_view(values), *s, x, bias, *g)  # type: ignore[no-any-return]
    if transformed():
        s = _bare(s)
        _check_forward(values, s, x, bias, g)
        return images.dense_forward(values, s, x, bias, g)
    if torch.is_grad_enabled():
        return _Conv2d.apply(own_view(values), *s, x, bias, *g)  # type: ignore[no-any-return, no-untyped-call]
    return _conv2d(values, *s, x, bias, *g)
