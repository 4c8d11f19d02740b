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

from typing import Any

import torch
from torch import Tensor

from gossamer.errors import InputError
from gossamer.kernels import _cpu
from gossamer.kernels.layout import is_plain, laid_out_as, rows_in_memory

__all__ = ["project", "reference", "reference_product"]

_DTYPES = {torch.float32: 0, torch.float64: 1}
_FLAT = 1e-4  # κ² up to which a product is brought back to the tangent space
_library = torch.library.Library("gossamer", "FRAGMENT")
_library.define("hoyer(Tensor x, Tensor radius, int dim, bool magnitude) -> (Tensor, Tensor)")
_library.define("hoyer_product(Tensor v, Tensor s, Tensor beta, Tensor radius, int dim, bool magnitude) -> Tensor")


# ---- in plain torch ------------------------------------------------------------------------------------------------


def reference(x: Tensor, radius: Tensor, dim: int, magnitude: bool) -> tuple[Tensor, Tensor]:
    """(s, β) by sorting, O(n log n): the k-th largest unit is active iff Σ(x − x_k)₊ / ‖(x − x_k)₊‖ < r."""
    radius = radius.to(x.device)
    wide = radius.dtype
    size = x.abs() if magnitude else x
    top = size.amax(dim, keepdim=True)
    finite = size > -torch.inf
    n, r2 = x.shape[dim], radius * radius

    # z = size − top in units of the depth of the ⌊r²⌋+1 largest units, all of which are live: no square overflows.
    limit = torch.finfo(x.dtype).max / 16
    shrink = torch.where(torch.where(finite, size.abs(), 0.0).amax(dim, keepdim=True) > limit, 2.0**-8, 1.0).to(wide)
    z = torch.where(finite, size.to(wide) * shrink - top.to(wide) * shrink, -torch.inf)
    ordered = z.sort(dim, descending=True).values
    least = r2.floor().long().clamp(0, n - 1).expand_as(top)
    unit = -ordered.gather(dim, least)
    unit = torch.where((unit > 0) & (unit < torch.inf), unit, 1.0)
    z, ordered = z / unit, ordered / unit

    rank_shape = [n if i == dim else 1 for i in range(x.dim())]
    rank = torch.arange(1, n + 1, dtype=wide, device=x.device).reshape(rank_shape)
    above = torch.where(ordered > -torch.inf, ordered, 0.0)
    first, second = above.cumsum(dim), (above * above).cumsum(dim)
    p, w = first - rank * above, second - 2 * above * first + rank * above * above
    inside = (ordered == 0) | ((ordered > -torch.inf) & (p * p < r2 * w))
    last = (rank * inside).amax(dim, keepdim=True).long().clamp(min=1) - 1
    live = z >= ordered.gather(dim, last)
    d = live.sum(dim, keepdim=True)

    u = torch.where(live, z, 0.0)
    u = torch.where(live, u - u.sum(dim, keepdim=True) / d, 0.0)
    kappa = (1 - r2 / d).clamp(min=0).sqrt()
    beta = kappa / u.square().sum(dim, keepdim=True).sqrt()
    s = torch.where(live, (radius / d + beta * u).clamp(min=0), 0.0)
    beta = torch.where(d > 2, beta * shrink / unit, 0.0).clamp(max=torch.finfo(x.dtype).max)

    # Rows without a threshold.
    ties = z == 0
    tied = ties.sum(dim, keepdim=True)
    share = ((1 - r2 / tied) / (r2 - r2 / tied)).clamp(min=0).sqrt()
    leader = ties & (ties.cumsum(dim) == 1)
    tie_break = torch.where(ties, (1 - share) * radius / tied, 0.0) + torch.where(leader, share * radius, 0.0)
    unmasked = finite.sum(dim, keepdim=True)
    flat = finite / unmasked.clamp(min=1).to(wide).sqrt()
    is_tied, is_flat = tied >= r2 * (1 - 1e-12), unmasked <= r2 * (1 + 1e-12)
    invalid = top.isnan() | (top == torch.inf) | ~((radius > 1) & (r2 < n))
    s = torch.where(invalid, torch.nan, torch.where(is_flat, flat, torch.where(is_tied, tie_break, s)))
    beta = torch.where(invalid | is_flat | is_tied, 0.0, beta)
    if magnitude:
        s = torch.where(x < 0, 0 - s, s)
    return s.to(x.dtype), beta.to(x.dtype)


def reference_product(v: Tensor, s: Tensor, beta: Tensor, radius: Tensor, dim: int) -> Tensor:
    """J v in plain torch."""
    radius = radius.to(s.device)
    wide, b, live = radius.dtype, s.sign(), s != 0
    v = torch.where(live, v, 0.0)
    d = live.sum(dim, keepdim=True)
    mean, kappa2 = radius / d, 1 - radius * radius / d
    plain, weighted = ((v * term).sum(dim, keepdim=True, dtype=wide) for term in (b, s))
    along = torch.where((beta > 0) & (kappa2 > 0), (weighted - mean * plain) / kappa2, 0.0)
    shift = (plain / d - mean * along).to(v.dtype)
    product = torch.where(live, beta * (v - b * shift - s * along.to(v.dtype)), 0.0)
    return _tangent(product, s, dim) if _is_nearly_flat(radius, s, dim) else product


def _is_nearly_flat(radius: Tensor, s: Tensor, dim: int) -> bool:
    """Whether κ² may be so small that rounding s to its dtype moves τ noticeably: r is almost √n."""
    if torch.compiler.is_compiling():
        return False
    return bool((radius.square() > (1 - _FLAT) * s.shape[dim]).any())


def _tangent(product: Tensor, s: Tensor, dim: int) -> Tensor:
    """``product`` less what it has along b and τ of the rounded s, computed in float64."""
    b, wide = s.sign(), torch.float32 if s.device.type == "mps" else torch.float64
    d = (s != 0).sum(dim, keepdim=True).clamp(min=1)
    out, size = product.to(wide), s.to(wide)
    tau = size - b * (size.abs().sum(dim, keepdim=True) / d)
    out = out - b * ((b * out).sum(dim, keepdim=True) / d)
    square = tau.square().sum(dim, keepdim=True)
    along = torch.where(square > 0, (tau * out).sum(dim, keepdim=True) / torch.where(square > 0, square, 1.0), 0.0)
    return torch.where(s != 0, out - tau * along, 0.0).to(product.dtype)


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
    if x.device.type != "cpu" or x.dtype not in _DTYPES:
        return reference(x, radius, dim, magnitude)
    s = torch.empty_like(x)
    beta = _per_row(s, dim)
    if s.numel():
        x, radius = laid_out_as(s, x), _radius_in_memory(radius, s, dim)
        _cpu.hoyer_forward(
            _DTYPES[x.dtype],
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
    if s.device.type != "cpu" or s.dtype not in _DTYPES:
        return reference_product(v, s, beta, radius, dim)
    out = torch.empty_like(s)
    if s.numel():
        v, s, beta = laid_out_as(out, v), laid_out_as(out, s), laid_out_as(_per_row(out, dim), beta)
        radius = _radius_in_memory(radius, out, dim)
        _cpu.hoyer_backward(
            _DTYPES[s.dtype],
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
        if _is_nearly_flat(radius, s, dim):
            out.copy_(_tangent(out, s, dim))
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
    ctx.set_materialize_grads(False)  # β has a gradient in second derivatives only
    ctx.save_for_backward(*output, radius)


def _hoyer_gradient(ctx: Any, grad: Tensor | None, grad_beta: Tensor | None) -> tuple[Tensor | None, ...]:
    s, beta, radius = ctx.saved_tensors
    dim, grad_x, grad_radius = ctx.dim, None, None
    if ctx.needs_input_grad[0]:
        grad_x = torch.zeros_like(s) if grad is None else _product(grad, s, beta, radius, dim, ctx.magnitude)
        if grad_beta is not None:
            tau, inverse = _off_mean(s, dim)
            grad_x = grad_x - beta * beta * inverse * grad_beta * tau
    if ctx.needs_input_grad[1]:
        tau, inverse = _off_mean(s, dim)
        d = (s != 0).sum(dim, keepdim=True).clamp(min=1)
        mean = s.abs().sum(dim, keepdim=True) / d
        along = torch.zeros_like(beta)
        if grad is not None:
            along = along + _inner(s.sign(), grad, dim) / d - mean * inverse * _inner(tau, grad, dim)
        if grad_beta is not None:
            along = along - beta * mean * inverse * grad_beta
        grad_radius = torch.where(inverse > 0, along, 0.0).sum_to_size(radius.shape).to(radius)
    return grad_x, grad_radius, None, None


def _save_product(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    v, s, beta, radius, ctx.dim, ctx.magnitude = inputs
    ctx.save_for_backward(v, s, beta, radius)


def _product_gradient(ctx: Any, w: Tensor) -> tuple[Tensor | None, ...]:
    """Of ⟨w, J v⟩: J w for v, −(⟨τ, v⟩ J w + ⟨τ, w⟩ J v) / κ² for s, ⟨w, J v⟩ / β for β."""
    v, s, beta, radius = ctx.saved_tensors
    dim = ctx.dim
    jw = _product(w, s, beta, radius, dim, ctx.magnitude)
    grad_s = grad_beta = None
    if ctx.needs_input_grad[1] or ctx.needs_input_grad[2]:
        jv = _product(v, s, beta, radius, dim, ctx.magnitude)
        tau, inverse = _off_mean(s, dim)
        grad_s = -inverse * (_inner(tau, v, dim) * jw + _inner(tau, w, dim) * jv)
        grad_beta = torch.where(beta > 0, _inner(w, jv, dim) / torch.where(beta > 0, beta, 1.0), 0.0)
    return jw, grad_s, grad_beta, None, None, None


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


def project(x: Tensor, radius: Tensor, dim: int, magnitude: bool) -> Tensor:
    """The projection of each row of ``x`` (float32 or float64) along ``dim`` ≥ 0.

    ``radius`` is float64 (float32 on devices without it), of no dimension or with the shape of ``x`` but 1 in ``dim``.
    """
    if not is_plain(x):
        return torch.ops.gossamer.hoyer(x, radius, dim, magnitude)[0]  # type: ignore[no-any-return]
    if torch.is_grad_enabled() and (x.requires_grad or radius.requires_grad):
        return _Hoyer.apply(x, radius, dim, magnitude)[0]  # type: ignore[no-any-return, no-untyped-call]
    return _hoyer(x, radius, dim, magnitude)[0]
