"""The sparseness-enforcing projection as PyTorch operators, with derivatives.

For each row x along ``dim``, with n units and a radius r in (1, √n):

    s = argmin ‖s − x‖₂  over  Σ s_i = r, ‖s‖₂ = 1, s ≥ 0        =  β max(x − α, 0)  almost everywhere

and with ``magnitude`` the same of |x|, its signs restored (a zero counts as positive). With the support I = {s ≠ 0} of
size d, m = r/d, κ² = 1 − r²/d, b = sign(s) and τ = s − m b, the derivative is

    J = β (B_I − b bᵀ/d − τ τᵀ/κ²),   β = κ / ‖|x|_I − mean‖,   ∂s/∂r = b/d − (m/κ²) τ,

where B_I is the identity on I and zero elsewhere: β times the orthogonal projector off span{b, s}.

============================  ==============================================================================
``gossamer::hoyer``           (s, β), β one for each row and 0 where the derivative is zero by decision
``gossamer::hoyer_product``   J v from v, s and β alone: two passes
============================  ==============================================================================

β is an output that can be differentiated, so both operators have derivatives of every order.

Source: Thom, Palm, "Sparse Activity and Sparse Connectivity in Supervised Learning", JMLR 14 (2013); and "Efficient
Sparseness-Enforcing Projections", arXiv 1303.5259. On the CPU, float32 and float64 run in C++; other devices run
the torch reference, which finds the support by sorting.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gossamer.errors import InputError
from gossamer.kernels import _cpu
from gossamer.kernels.layout import laid_out_as, rows_in_memory
from gossamer.kernels.projection_reference import FLAT, is_nearly_flat, reference, reference_product, tangent
from gossamer.kernels.route import AUTOGRAD, ELEMENTWISE, KERNEL, OPERATOR, REFERENCE, in_cpp, is_plain, way, way_back

__all__ = ["project", "project_matrix"]

_library = torch.library.Library("gossamer", "FRAGMENT")
_library.define("hoyer(Tensor x, Tensor radius, int dim, bool magnitude) -> (Tensor, Tensor)")
_library.define("hoyer_product(Tensor v, Tensor s, Tensor beta, Tensor radius, int dim, bool magnitude) -> Tensor")


# ---- in C++ --------------------------------------------------------------------------------------------------------


def _per_row(s: Tensor, dim: int) -> Tensor:
    """An empty tensor with one number for each row of the dense tensor ``s``, in the order of the rows in memory."""
    inner = s.stride(dim)
    sizes = [1 if i == dim else size for i, size in enumerate(s.shape)]
    strides = [stride if stride < inner else stride // s.shape[dim] for stride in s.stride()]
    return torch.empty_strided(sizes, strides, dtype=s.dtype, device=s.device)


def _radius_in_memory(radius: Tensor, s: Tensor, dim: int) -> Tensor:
    radius = radius.to(s.device, torch.float64)
    return radius if radius.numel() == 1 else _per_row(s, dim).double().copy_(radius)


def _check(x: Tensor, radius: Tensor, dim: int) -> None:
    if not (x.is_floating_point() and radius.is_floating_point()):
        raise InputError(f"x and radius must be floating point, got {x.dtype} and {radius.dtype}")
    if not 0 <= dim < x.dim():
        raise InputError(f"dim must be from 0 to {x.dim() - 1}, got {dim}")
    if radius.numel() != 1 and radius.shape != (*x.shape[:dim], 1, *x.shape[dim + 1 :]):
        raise InputError(f"radius must have one number for each row of x, got shape {tuple(radius.shape)}")


def _hoyer(x: Tensor, radius: Tensor, dim: int, magnitude: bool) -> tuple[Tensor, Tensor]:
    _check(x, radius, dim)
    if not in_cpp(x, ELEMENTWISE):
        return reference(x, radius, dim, magnitude)
    s = torch.empty_like(x)
    beta = _per_row(s, dim)
    if s.numel():
        x, radius = laid_out_as(s, x), _radius_in_memory(radius, s, dim)
        _cpu.hoyer_forward(
            ELEMENTWISE[x.dtype],
            torch.get_num_threads(),
            x.data_ptr(),
            s.data_ptr(),
            beta.data_ptr(),
            radius.data_ptr(),
            radius.numel() > 1,
            *rows_in_memory(s, dim),
            magnitude,
        )
    return s, beta


def _hoyer_product(v: Tensor, s: Tensor, beta: Tensor, radius: Tensor, dim: int, magnitude: bool) -> Tensor:
    _check(s, radius, dim)
    rows = (*s.shape[:dim], 1, *s.shape[dim + 1 :])
    for name, tensor, shape in (("v", v, s.shape), ("beta", beta, rows)):
        if tensor.shape != shape or not tensor.is_floating_point() or tensor.device != s.device:
            raise InputError(
                f"{name} must be floating point of shape {tuple(shape)} on {s.device}, "
                f"got {tensor.dtype} of {tuple(tensor.shape)} on {tensor.device}"
            )
    if not in_cpp(s, ELEMENTWISE):
        return reference_product(v, s, beta, radius, dim)
    out = torch.empty_like(s)
    if s.numel():
        v, s, beta = laid_out_as(out, v), laid_out_as(out, s), laid_out_as(_per_row(out, dim), beta)
        radius = _radius_in_memory(radius, out, dim)
        _cpu.hoyer_backward(
            ELEMENTWISE[s.dtype],
            torch.get_num_threads(),
            v.data_ptr(),
            s.data_ptr(),
            beta.data_ptr(),
            radius.data_ptr(),
            radius.numel() > 1,
            out.data_ptr(),
            *rows_in_memory(out, dim),
            magnitude,
        )
        if is_nearly_flat(radius, s, dim):
            out.copy_(tangent(out, s, dim))
    return out


_library.impl("hoyer", _hoyer, "CompositeExplicitAutograd")
_library.impl("hoyer_product", _hoyer_product, "CompositeExplicitAutograd")


def _hoyer_shapes(x: Tensor, radius: Tensor, dim: int, magnitude: bool) -> tuple[Tensor, Tensor]:
    s = torch.empty_like(x)
    return s, _per_row(s, dim)


def _product_shapes(v: Tensor, s: Tensor, beta: Tensor, radius: Tensor, dim: int, magnitude: bool) -> Tensor:
    return torch.empty_like(s)


torch.library.register_fake("gossamer::hoyer", _hoyer_shapes, lib=_library)
torch.library.register_fake("gossamer::hoyer_product", _product_shapes, lib=_library)


# ---- derivatives ---------------------------------------------------------------------------------------------------


class _HoyerInputs(NamedTuple):
    """Of ``gossamer::hoyer``, or something for each of them: a gradient, or whether one is needed."""

    x: Any = None
    radius: Any = None
    dim: Any = None
    magnitude: Any = None


class _ProductInputs(NamedTuple):
    """The same of ``gossamer::hoyer_product``."""

    v: Any = None
    s: Any = None
    beta: Any = None
    radius: Any = None
    dim: Any = None
    magnitude: Any = None


def _off_mean(s: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """τ and 1/κ² as functions of s; 1/κ² is 0 where κ is."""
    b = s.sign()
    mean = s.abs().sum(dim, keepdim=True) / (s != 0).sum(dim, keepdim=True).clamp(min=1)
    tau = s - mean * b
    kappa2 = tau.square().sum(dim, keepdim=True)
    some = kappa2 > 16 * torch.finfo(s.dtype).eps
    return tau, torch.where(some, 1 / torch.where(some, kappa2, 1.0), 0.0)


def _inner(a: Tensor, b: Tensor, dim: int) -> Tensor:
    return (a * b).sum(dim, keepdim=True)


def _save_hoyer(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    _, radius, ctx.dim, ctx.magnitude = inputs
    s, beta = output
    ctx.set_materialize_grads(False)  # β has a gradient in second derivatives only
    ctx.save_for_backward(s, beta, radius)


def _gradient_of_x(
    grad: Tensor | None, grad_beta: Tensor | None, s: Tensor, beta: Tensor, radius: Tensor, dim: int, magnitude: bool
) -> Tensor:
    grad_x = torch.zeros_like(s) if grad is None else _product(grad, s, beta, radius, dim, magnitude)
    if grad_beta is None:
        return grad_x
    tau, inverse = _off_mean(s, dim)
    return grad_x - beta * beta * inverse * grad_beta * tau


def _hoyer_gradient(ctx: Any, grad: Tensor | None, grad_beta: Tensor | None) -> tuple[Tensor | None, ...]:
    s, beta, radius = ctx.saved_tensors
    dim, need, grad_x, grad_radius = ctx.dim, _HoyerInputs(*ctx.needs_input_grad), None, None
    if need.x:
        grad_x = _gradient_of_x(grad, grad_beta, s, beta, radius, dim, ctx.magnitude)
    if need.radius:
        tau, inverse = _off_mean(s, dim)
        d = (s != 0).sum(dim, keepdim=True).clamp(min=1)
        mean = s.abs().sum(dim, keepdim=True) / d
        along = torch.zeros_like(beta)
        if grad is not None:
            along = along + _inner(s.sign(), grad, dim) / d - mean * inverse * _inner(tau, grad, dim)
        if grad_beta is not None:
            along = along - beta * mean * inverse * grad_beta
        grad_radius = torch.where(inverse > 0, along, 0.0).sum_to_size(radius.shape).to(radius)
    return _HoyerInputs(x=grad_x, radius=grad_radius)


def _save_product(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    v, s, beta, radius, ctx.dim, ctx.magnitude = inputs
    ctx.save_for_backward(v, s, beta, radius)


def _product_gradient(ctx: Any, w: Tensor) -> tuple[Tensor | None, ...]:
    """Of ⟨w, J v⟩: J w for v, −(⟨τ, v⟩ J w + ⟨τ, w⟩ J v) / κ² for s, ⟨w, J v⟩ / β for β."""
    v, s, beta, radius = ctx.saved_tensors
    dim, need = ctx.dim, _ProductInputs(*ctx.needs_input_grad)
    jw = _product(w, s, beta, radius, dim, ctx.magnitude)
    grad_s = grad_beta = None
    if need.s or need.beta:
        jv = _product(v, s, beta, radius, dim, ctx.magnitude)
        tau, inverse = _off_mean(s, dim)
        grad_s = -inverse * (_inner(tau, v, dim) * jw + _inner(tau, w, dim) * jv)
        grad_beta = torch.where(beta > 0, _inner(w, jv, dim) / torch.where(beta > 0, beta, 1.0), 0.0)
    return _ProductInputs(v=jw, s=grad_s, beta=grad_beta)


torch.library.register_autograd("gossamer::hoyer", _hoyer_gradient, setup_context=_save_hoyer, lib=_library)
torch.library.register_autograd("gossamer::hoyer_product", _product_gradient, setup_context=_save_product, lib=_library)


class _Hoyer(torch.autograd.Function):
    """``gossamer::hoyer`` without the dispatcher, which takes as long as the projection of a small layer."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, radius: Tensor, dim: int, magnitude: bool) -> tuple[Tensor, Tensor]:
        output = _hoyer(x, radius, dim, magnitude)
        _save_hoyer(ctx, (x, radius, dim, magnitude), output)
        return output

    backward = staticmethod(_hoyer_gradient)


def _product(v: Tensor, s: Tensor, beta: Tensor, radius: Tensor, dim: int, magnitude: bool) -> Tensor:
    if is_plain(v) and is_plain(s) and not torch.is_grad_enabled():
        return _hoyer_product(v, s, beta, radius, dim, magnitude)
    return torch.ops.gossamer.hoyer_product(v, s, beta, radius, dim, magnitude)  # type: ignore[no-any-return]


def _differentiable(x: Tensor, radius: Tensor, dim: int, magnitude: bool) -> Tensor:
    """In plain torch, for transforms; rows whose derivative is zero by decision get no derivative of their terms."""
    _check(x, radius, dim)
    s, beta = reference(x.detach(), radius.detach(), dim, magnitude)
    steps = torch.arange(
        x.shape[dim], dtype=x.dtype, device=x.device
    )  # in the place of such a row, its terms are finite
    steps = steps.reshape([-1 if i == dim else 1 for i in range(x.dim())])
    smooth = reference(torch.where(beta > 0, x, steps), radius, dim, magnitude)[0]
    return torch.where(beta > 0, smooth, s)


def project(x: Tensor, radius: Tensor, dim: int, magnitude: bool) -> Tensor:
    """The projection of each row of ``x`` (float32 or float64) along ``dim`` ≥ 0.

    ``radius`` is float64 (float32 on devices without it), of no dimension or with the shape of ``x`` but 1 in ``dim``.
    """
    chosen = way(x, radius)
    if chosen is OPERATOR:
        return torch.ops.gossamer.hoyer(x, radius, dim, magnitude)[0]  # type: ignore[no-any-return]
    if chosen is REFERENCE:
        return _differentiable(x, radius, dim, magnitude)
    if chosen is AUTOGRAD and (x.requires_grad or radius.requires_grad):
        return _Hoyer.apply(x, radius, dim, magnitude)[0]  # type: ignore[no-any-return, no-untyped-call]
    return _hoyer(x, radius, dim, magnitude)[0]


# ---- a matrix in one call for each direction -------------------------------------------------------------------------


def _radius(sparseness: float, units: int) -> float:
    root = math.sqrt(units)
    return root - sparseness * (root - 1)


class _Matrix(torch.autograd.Function):
    """`project_matrix`; β is an output for second derivatives."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, sparseness: float, norm: float, magnitude: bool) -> tuple[Tensor, Tensor]:
        output = None
        if not x.is_neg():
            output = _cpu.hoyer(x, sparseness, norm, magnitude, True, torch.get_num_threads())
        if output is None:
            radius = torch.tensor(_radius(sparseness, x.shape[1]), dtype=torch.float64)
            s, beta = _hoyer(x, radius, 1, magnitude)
            output = s * norm, beta
        ctx.numbers = sparseness, norm, magnitude
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*output)
        return output

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, grad_beta: Tensor | None) -> tuple[Tensor | None, ...]:
        y, beta = ctx.saved_tensors
        sparseness, norm, magnitude = ctx.numbers
        if grad is not None and grad_beta is None and way_back(grad) is KERNEL and not grad.is_neg():
            done = _cpu.hoyer_product(grad, y, beta, sparseness, norm, magnitude, torch.get_num_threads())
            if done is not None:
                return done, None, None, None
        radius = torch.tensor(_radius(sparseness, y.shape[1]), dtype=torch.float64)
        scaled = None if grad is None else grad * norm
        return _gradient_of_x(scaled, grad_beta, y / norm, beta, radius, 1, magnitude), None, None, None


def project_matrix(x: Tensor, sparseness: float, norm: float, magnitude: bool) -> Tensor | None:
    """``norm`` times the projection of each row of ``x`` (batch, units) to the radius of ``sparseness``.

    None under compilers, tracers and transforms, and for all but dense matrices of float32 and float64 on the CPU,
    arguments in their ranges, and a sparseness whose derivative needs no more care: `project` does or refuses these.
    """
    chosen = way(x, x)
    if chosen is AUTOGRAD and x.requires_grad:
        fits = x.dim() == 2 and x.shape[1] > 1 and 0 < sparseness < 1 and 0 < norm < math.inf
        if not fits or not in_cpp(x, ELEMENTWISE) or _radius(sparseness, units := x.shape[1]) ** 2 > (1 - FLAT) * units:
            return None
        return _Matrix.apply(x, sparseness, norm, magnitude)[0]  # type: ignore[no-any-return, no-untyped-call]
    if chosen not in (AUTOGRAD, KERNEL) or x.is_neg():
        return None
    return _cpu.hoyer(x, sparseness, norm, magnitude, False, torch.get_num_threads())
