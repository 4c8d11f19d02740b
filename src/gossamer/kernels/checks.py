"""Checks of the operands of sparse layers' operators."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from gossamer.errors import InputError
from gossamer.kernels.images import Geometry
from gossamer.kernels.structure import Structure, validate

__all__ = [
    "check_bias",
    "check_conv2d",
    "check_conv2d_input",
    "check_conv2d_values",
    "check_conv2d_weights",
    "check_inner",
    "check_matrix",
    "check_values",
]


def check_matrix(name: str, x: Tensor, features: int, dim: int, values: Tensor) -> None:
    """Raise `InputError` unless ``x`` is a matrix with so many features along ``dim``, like ``values``."""
    if x.dim() != 2 or x.shape[dim] != features:
        wanted = f"({features}, batch)" if dim == 0 else f"(batch, {features})"
        raise InputError(f"{name} must have shape {wanted}, got {tuple(x.shape)}")
    if x.dtype != values.dtype:
        raise InputError(f"{name} must have the dtype of values, {values.dtype}, got {x.dtype}")
    if x.device != values.device:
        raise InputError(f"{name} must be on the device of values, {values.device}, got {x.device}")


def check_values(values: Tensor, s: Structure) -> None:
    """Raise `InputError` unless ``s`` is valid and ``values`` has a floating-point number for each of its entries."""
    if values.dim() != 1 or values.numel() != s.nnz:
        raise InputError(f"values must be a vector of {s.nnz} numbers, got shape {tuple(values.shape)}")
    if not values.is_floating_point():
        raise InputError(f"values must be floating point, got {values.dtype}")
    _check_structure(s, values)


def _check_structure(s: Structure, like: Tensor) -> None:
    if s.indptr.device != like.device:
        raise InputError(f"the pattern must be on the device of the numbers, {like.device}, got {s.indptr.device}")
    validate(s)


def check_bias(bias: Tensor | None, s: Structure, values: Tensor) -> None:
    """Raise `InputError` unless ``bias`` is none, or one number for each row, like ``values``."""
    if bias is None:
        return
    if bias.shape != (s.shape[0],) or bias.dtype != values.dtype or bias.device != values.device:
        raise InputError(
            f"bias must be a vector of {s.shape[0]} {values.dtype} on {values.device}, "
            f"got {bias.dtype} of shape {tuple(bias.shape)} on {bias.device}"
        )


def check_inner(a: Tensor, b: Tensor, s: Structure) -> None:
    """Raise `InputError` unless ``a`` (rows, batch) and ``b`` (cols, batch) are two matrices of the pattern's sizes."""
    if not a.is_floating_point():
        raise InputError(f"a must be floating point, got {a.dtype}")
    _check_structure(s, a)
    check_matrix("a", a, s.shape[0], 0, a)
    check_matrix("b", b, s.shape[1], 0, a)
    if a.shape[1] != b.shape[1]:
        raise InputError(f"a and b must have the same batch, got {a.shape[1]} and {b.shape[1]}")


# ---- images --------------------------------------------------------------------------------------------------------


def _check_kernel(s: Structure, g: Geometry, like: Tensor) -> None:
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


def check_conv2d_weights(values: Tensor, s: Structure, like: Tensor) -> None:
    """Raise `InputError` unless ``values`` are the weights of ``s``, of the dtype and device of ``like``."""
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


def check_conv2d(values: Tensor, s: Structure, x: Tensor, bias: Tensor | None, g: Geometry) -> None:
    """Raise `InputError` unless these are operands of ``gossamer::conv2d``."""
    _check_kernel(s, g, values)
    check_conv2d_weights(values, s, values)
    _check_images("x", x, g.channels(s)[0], values)
    _check_size(x.shape[2:], g)
    check_bias(bias, s, values)


def check_conv2d_input(grad: Tensor, size: Sequence[int], s: Structure, g: Geometry) -> None:
    """The same of ``gossamer::conv2d_input``, but for its weights."""
    _check_kernel(s, g, grad)
    _check_images("grad", grad, s.shape[0], grad)
    output = _check_size(size, g)
    if grad.shape[2:] != output:
        raise InputError(f"grad must be of images of the output's size, {output}, got {tuple(grad.shape[2:])}")


def check_conv2d_values(grad: Tensor, s: Structure, x: Tensor, g: Geometry) -> None:
    """The same of ``gossamer::conv2d_values`` and, but for the weights, of ``gossamer::conv2d_backward``."""
    _check_images("x", x, g.channels(s)[0], grad)
    check_conv2d_input(grad, x.shape[2:], s, g)
    if grad.shape[0] != x.shape[0]:
        raise InputError(f"grad and x must have the same batch, got {grad.shape[0]} and {x.shape[0]}")
