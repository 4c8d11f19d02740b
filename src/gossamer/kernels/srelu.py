"""The S-shaped rectified linear unit on the CPU in C++; the mathematics is in `gossamer.activation.units`."""

from __future__ import annotations

import torch
from torch import Tensor

from gossamer.kernels import _cpu
from gossamer.kernels.layout import laid_out_as, rows_in_memory
from gossamer.kernels.route import ELEMENTWISE, KERNEL, in_cpp, is_plain, way_back

__all__ = ["srelu", "srelu_backward", "srelu_matrix"]

Pieces = tuple[Tensor, Tensor, Tensor, Tensor]


def _runs_in_cpp(x: Tensor, pieces: Pieces) -> bool:
    return (
        in_cpp(x, ELEMENTWISE)
        and x.numel() > 0
        and is_plain(x)
        and all(piece.dtype == x.dtype and piece.device == x.device and is_plain(piece) for piece in pieces)
    )


def srelu_matrix(x: Tensor, t_l: Tensor, a_l: Tensor, t_r: Tensor, a_r: Tensor) -> Tensor | None:
    """f(x), ``x`` (batch, units), in its layout, in one call; None for anything but the ordinary case."""
    return None if x.is_neg() else _cpu.srelu(x, t_l, a_l, t_r, a_r, torch.get_num_threads())


def srelu(x: Tensor, t_l: Tensor, a_l: Tensor, t_r: Tensor, a_r: Tensor) -> Tensor:
    """f(x), ``x`` (…, units), in its layout."""
    pieces = (t_l, a_l, t_r, a_r)
    if not _runs_in_cpp(x, pieces):
        knee = t_l + t_r.abs()
        right = torch.where(x >= knee, knee + a_r * (x - knee), x)
        return torch.where(x <= t_l, t_l + a_l * (x - t_l), right)
    y = torch.empty_like(x)
    x, pieces = laid_out_as(y, x), _contiguous(pieces)
    numbers = (*(tensor.data_ptr() for tensor in (x, *pieces, y)), *rows_in_memory(y, y.dim() - 1))
    _cpu.srelu_forward(ELEMENTWISE[x.dtype], torch.get_num_threads(), *numbers)
    return y


def srelu_backward(d: Tensor, x: Tensor, t_l: Tensor, a_l: Tensor, t_r: Tensor, a_r: Tensor) -> tuple[Tensor, ...]:
    """The gradients of x, t_l, a_l, t_r and a_r, given that of f(x)."""
    pieces = (t_l, a_l, t_r, a_r)
    if is_plain(d) and way_back(d) is KERNEL and not (d.is_neg() or x.is_neg()):
        done = _cpu.srelu_product(d, x, t_l, a_l, t_r, a_r, torch.get_num_threads())
        if done is not None:
            return done
    if torch.is_grad_enabled() or not (
        is_plain(d) and _runs_in_cpp(x, pieces)
    ):  # with a graph: to be differentiated again
        return _backward(d, x, t_l, a_l, t_r, a_r)
    dx, sums = torch.empty_like(x), x.new_empty(4, x.shape[-1])
    d, x, pieces = laid_out_as(dx, d), laid_out_as(dx, x), _contiguous(pieces)
    numbers = (*(tensor.data_ptr() for tensor in (d, x, *pieces, dx, sums)), *rows_in_memory(dx, dx.dim() - 1))
    _cpu.srelu_backward(ELEMENTWISE[x.dtype], torch.get_num_threads(), *numbers)
    return dx, *sums


def _backward(d: Tensor, x: Tensor, t_l: Tensor, a_l: Tensor, t_r: Tensor, a_r: Tensor) -> tuple[Tensor, ...]:
    knee = t_l + t_r.abs()
    lo = x <= t_l
    hi = (x >= knee) & ~lo
    left, right = torch.where(lo, d, 0), torch.where(hi, d, 0)
    sum_left, sum_right = _per_unit(left), _per_unit(right)
    return (
        torch.where(lo, d * a_l, torch.where(hi, d * a_r, d)),
        (1 - a_l) * sum_left + (1 - a_r) * sum_right,
        _per_unit(torch.where(lo, d * (x - t_l), 0)),
        t_r.sign() * (1 - a_r) * sum_right,
        _per_unit(torch.where(hi, d * (x - knee), 0)),
    )


def _per_unit(x: Tensor) -> Tensor:
    return x.sum(dim=tuple(range(x.dim() - 1)))


def _contiguous(pieces: Pieces) -> Pieces:
    t_l, a_l, t_r, a_r = (piece.contiguous() for piece in pieces)
    return t_l, a_l, t_r, a_r
