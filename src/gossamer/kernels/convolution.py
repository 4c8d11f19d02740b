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
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gossamer.kernels import images
from gossamer.kernels.checks import check_conv2d, check_conv2d_input, check_conv2d_values, check_conv2d_weights
from gossamer.kernels.images import Geometry
from gossamer.kernels.route import AUTOGRAD, OPERATOR, REFERENCE, half_as_float, in_cpp, transformed, way, way_back
from gossamer.kernels.structure import Structure, own_view, unwrapped

__all__ = ["Geometry", "conv2d", "conv2d_input", "conv2d_values"]

_INDEX = "Tensor indptr, Tensor indices, Tensor t_indptr, Tensor t_indices"
_GEOMETRY = "int[] kernel, int[] stride, int[] padding, int[] dilation, int groups"
_library = torch.library.Library("gossamer", "FRAGMENT")
_library.define(f"conv2d(Tensor values, {_INDEX}, Tensor x, Tensor? bias, {_GEOMETRY}) -> Tensor")
_library.define(f"conv2d_input(Tensor values, {_INDEX}, Tensor grad, SymInt[] size, {_GEOMETRY}) -> Tensor")
_library.define(f"conv2d_values(Tensor grad, {_INDEX}, Tensor x, {_GEOMETRY}) -> Tensor")
_library.define(f"conv2d_backward(Tensor grad, Tensor values, {_INDEX}, Tensor x, {_GEOMETRY}) -> (Tensor, Tensor)")


# ---- computation ---------------------------------------------------------------------------------------------------


@half_as_float
def _conv2d(
    values: Tensor,
    indptr: Tensor,
    indices: Tensor,
    t_indptr: Tensor,
    t_indices: Tensor,
    x: Tensor,
    bias: Tensor | None,
    *geometry: Any,
) -> Tensor:
    s, g = Structure(indptr, indices, t_indptr, t_indices), Geometry.of(*geometry)
    check_conv2d(values, s, x, bias, g)
    if not in_cpp(x):
        return images.with_layout_of(images.dense_forward(values, s, x, bias, g), x)
    return images.forward(values, s, x, bias, g)


@half_as_float
def _conv2d_input(
    values: Tensor,
    indptr: Tensor,
    indices: Tensor,
    t_indptr: Tensor,
    t_indices: Tensor,
    grad: Tensor,
    size: Sequence[int],
    *geometry: Any,
) -> Tensor:
    s, g = Structure(indptr, indices, t_indptr, t_indices), Geometry.of(*geometry)
    check_conv2d_input(grad, size, s, g)
    check_conv2d_weights(values, s, grad)
    if not in_cpp(grad):
        return images.with_layout_of(images.dense_input(values, s, grad, size, g), grad)
    grad_x, _ = images.backward(grad, s, g, size, values, None)
    assert grad_x is not None
    return grad_x


@half_as_float
def _conv2d_values(
    grad: Tensor, indptr: Tensor, indices: Tensor, t_indptr: Tensor, t_indices: Tensor, x: Tensor, *geometry: Any
) -> Tensor:
    s, g = Structure(indptr, indices, t_indptr, t_indices), Geometry.of(*geometry)
    check_conv2d_values(grad, s, x, g)
    if not in_cpp(grad):
        return images.dense_values(grad, s, x, g)
    _, grad_values = images.backward(grad, s, g, x.shape[2:], None, x)
    assert grad_values is not None
    return grad_values


@half_as_float
def _conv2d_backward(
    grad: Tensor,
    values: Tensor,
    indptr: Tensor,
    indices: Tensor,
    t_indptr: Tensor,
    t_indices: Tensor,
    x: Tensor,
    *geometry: Any,
) -> tuple[Tensor, Tensor]:
    s, g = Structure(indptr, indices, t_indptr, t_indices), Geometry.of(*geometry)
    check_conv2d_values(grad, s, x, g)
    check_conv2d_weights(values, s, grad)
    if not in_cpp(grad):
        grad_x = images.with_layout_of(images.dense_input(values, s, grad, x.shape[2:], g), x)
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


def _fake_conv2d(
    values: Tensor,
    indptr: Tensor,
    indices: Tensor,
    t_indptr: Tensor,
    t_indices: Tensor,
    x: Tensor,
    bias: Tensor | None,
    *geometry: Any,
) -> Tensor:
    return images.empty_images(x, indptr.shape[0] - 1, Geometry.of(*geometry).output_size(x.shape[2:]))


def _fake_conv2d_input(
    values: Tensor,
    indptr: Tensor,
    indices: Tensor,
    t_indptr: Tensor,
    t_indices: Tensor,
    grad: Tensor,
    size: Sequence[int],
    *geometry: Any,
) -> Tensor:
    s = Structure(indptr, indices, t_indptr, t_indices)
    return images.empty_images(grad, Geometry.of(*geometry).channels(s)[0], size)


def _fake_conv2d_values(
    grad: Tensor, indptr: Tensor, indices: Tensor, t_indptr: Tensor, t_indices: Tensor, x: Tensor, *geometry: Any
) -> Tensor:
    return grad.new_empty(indices.shape[0])


def _fake_conv2d_backward(
    grad: Tensor,
    values: Tensor,
    indptr: Tensor,
    indices: Tensor,
    t_indptr: Tensor,
    t_indices: Tensor,
    x: Tensor,
    *geometry: Any,
) -> tuple[Tensor, Tensor]:
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
        return images.dense_input(values, unwrapped(s), grad, size, g)
    return torch.ops.gossamer.conv2d_input(values, *s, grad, size, *g)  # type: ignore[no-any-return]


def conv2d_values(grad: Tensor, s: Structure, x: Tensor, g: Geometry) -> Tensor:
    """The gradient of the weights, (nnz)."""
    if transformed():
        return images.dense_values(grad, unwrapped(s), x, g)
    return torch.ops.gossamer.conv2d_values(grad, *s, x, *g)  # type: ignore[no-any-return]


class _ForwardInputs(NamedTuple):
    """Of ``gossamer::conv2d``, or something for each of them: a gradient, or whether one is needed."""

    values: Any = None
    indptr: Any = None
    indices: Any = None
    t_indptr: Any = None
    t_indices: Any = None
    x: Any = None
    bias: Any = None
    kernel: Any = None
    stride: Any = None
    padding: Any = None
    dilation: Any = None
    groups: Any = None


class _InputInputs(NamedTuple):
    """The same of ``gossamer::conv2d_input``."""

    values: Any = None
    indptr: Any = None
    indices: Any = None
    t_indptr: Any = None
    t_indices: Any = None
    grad: Any = None
    size: Any = None
    kernel: Any = None
    stride: Any = None
    padding: Any = None
    dilation: Any = None
    groups: Any = None


class _ValuesInputs(NamedTuple):
    """The same of ``gossamer::conv2d_values``."""

    grad: Any = None
    indptr: Any = None
    indices: Any = None
    t_indptr: Any = None
    t_indices: Any = None
    x: Any = None
    kernel: Any = None
    stride: Any = None
    padding: Any = None
    dilation: Any = None
    groups: Any = None


def _save_forward(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    values, indptr, indices, t_indptr, t_indices, x, _, *geometry = inputs
    ctx.save_for_backward(values, indptr, indices, t_indptr, t_indices, x)
    ctx.geometry = Geometry(*geometry)


def _save_input(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    values, indptr, indices, t_indptr, t_indices, grad, _, *geometry = inputs
    ctx.save_for_backward(values, indptr, indices, t_indptr, t_indices, grad)
    ctx.geometry = Geometry(*geometry)


def _save_values(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    grad, indptr, indices, t_indptr, t_indices, x, *geometry = inputs
    ctx.save_for_backward(grad, indptr, indices, t_indptr, t_indices, x)
    ctx.geometry = Geometry(*geometry)


def _forward_gradient(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    values, indptr, indices, t_indptr, t_indices, x = ctx.saved_tensors
    s, g, need = Structure(indptr, indices, t_indptr, t_indices), ctx.geometry, _ForwardInputs(*ctx.needs_input_grad)
    grad_x = grad_values = None
    if need.values and need.x and way_back(grad) is not AUTOGRAD:
        grad_x, grad_values = torch.ops.gossamer.conv2d_backward(grad, values, *s, x, *g)
    else:  # one of the two, or both to be differentiated again or transformed
        grad_values = conv2d_values(grad, s, x, g) if need.values else None
        grad_x = conv2d_input(values, s, grad, x.shape[2:], g) if need.x else None
    return _ForwardInputs(values=grad_values, x=grad_x, bias=grad.sum((0, 2, 3)) if need.bias else None)


def _input_gradient(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
    values, indptr, indices, t_indptr, t_indices, grad = ctx.saved_tensors
    s, g, need = Structure(indptr, indices, t_indptr, t_indices), ctx.geometry, _InputInputs(*ctx.needs_input_grad)
    return _InputInputs(
        values=conv2d_values(grad, s, upstream, g) if need.values else None,
        grad=conv2d(values, s, upstream, None, g) if need.grad else None,
    )


def _values_gradient(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
    grad, indptr, indices, t_indptr, t_indices, x = ctx.saved_tensors
    s, g, need = Structure(indptr, indices, t_indptr, t_indices), ctx.geometry, _ValuesInputs(*ctx.needs_input_grad)
    return _ValuesInputs(
        grad=conv2d(upstream, s, x, None, g) if need.grad else None,
        x=conv2d_input(upstream, s, grad, x.shape[2:], g) if need.x else None,
    )


torch.library.register_autograd("gossamer::conv2d", _forward_gradient, setup_context=_save_forward, lib=_library)
torch.library.register_autograd("gossamer::conv2d_input", _input_gradient, setup_context=_save_input, lib=_library)
torch.library.register_autograd("gossamer::conv2d_values", _values_gradient, setup_context=_save_values, lib=_library)


class _Conv2d(torch.autograd.Function):
    """``gossamer::conv2d`` without the dispatcher, which takes as long as the convolution of a small image."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:  # in one with the context: half the time of a separate set-up
        output = _conv2d(*inputs)
        _save_forward(ctx, inputs, output)
        return output

    backward = staticmethod(_forward_gradient)


def conv2d(values: Tensor, s: Structure, x: Tensor, bias: Tensor | None, g: Geometry) -> Tensor:
    """Compute the convolution of images with a sparse weight.

    Args:
        values: weights (nnz), in CSR order.
        s: their connections, (out, in / groups · kh · kw).
        x: images (N, in, H, W).
        bias: (out), or None.
        g: how the kernel moves over the image.

    Returns:
        Images (N, out, H', W').
    """
    chosen = way(x, values)
    if chosen is AUTOGRAD:
        return _Conv2d.apply(own_view(values), *s, x, bias, *g)  # type: ignore[no-any-return, no-untyped-call]
    if chosen is OPERATOR:
        return torch.ops.gossamer.conv2d(own_view(values), *s, x, bias, *g)  # type: ignore[no-any-return]
    if chosen is REFERENCE:
        s = unwrapped(s)
        check_conv2d(values, s, x, bias, g)
        return images.dense_forward(values, s, x, bias, g)
    return _conv2d(values, *s, x, bias, *g)
