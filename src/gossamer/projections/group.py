"""A group of vectors that are sparse on average: how sparse each one becomes follows from the vectors themselves.

For vectors x_1 … x_N of n_1 … n_N ≥ 2 entries, and σ Hoyer's sparseness (`gossamer.measures.hoyer`),

    u = argmin Σ ‖u_i − |x_i|‖²   over   ‖u_i‖₂ = 1, u_i ≥ 0, (1/N) Σ σ(u_i) ≥ σ*,     s_i = ⟨u_i, |x_i|⟩ sign(x_i) u_i,

the nearest directions of that average sparseness, each in the length that brings it nearest to its vector. With
β_i = 1 / (√n_i − 1) the average is σ* where Σ β_i ‖u_i‖₁ = T = Σ β_i √n_i − N σ*, and one number μ ≥ 0 for all shrinks

    u_i(μ) = y_i / ‖y_i‖₂,    y_i = max(|x_i| − μ β_i, 0),         or the first largest entry alone, if none is left.

g(μ) = Σ β_i ‖u_i(μ)‖₁ falls, with g'(μ) = Σ β_i² (‖y_i‖₁² / ‖y_i‖₂² − d_i) / ‖y_i‖₂ for d_i non-zero entries; its root
is found by Newton's method between bounds. g jumps at μ = max|x_i| / β_i if several entries of x_i share the maximum.
If T lies in the jump, u_i is any vector of the right ‖·‖₁ on these entries, here equal parts and an excess on the
first, so that the average is σ* all the same.

Source: Ohib, Gillis, Dalmasso, Shah, Potluru, Plis, "Explicit group sparse projection with applications to deep
learning and NMF", TMLR 2022, arXiv 1912.03896, with weights of one; the treatment of a jump is ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import overload

import torch
from torch import Tensor

from gossamer.errors import InputError, check_fraction
from gossamer.projections.rows import length, magnitudes, polar, rows, signed_as

__all__ = ["group_hoyer_projection"]

_library = torch.library.Library("gossamer", "FRAGMENT")  # compilers can't look into a loop that ends at a root
_library.define("group_level(Tensor[] x, Tensor[] counted, float sparseness) -> (Tensor, Tensor, Tensor)")


@overload
def group_hoyer_projection(x: Tensor, sparseness: float, dim: int = -1, signed: bool = True) -> Tensor: ...


@overload
def group_hoyer_projection(
    x: Sequence[Tensor], sparseness: float, dim: int = -1, signed: bool = True
) -> list[Tensor]: ...


def group_hoyer_projection(
    x: Tensor | Sequence[Tensor], sparseness: float, dim: int = -1, signed: bool = True
) -> Tensor | list[Tensor]:
    """Project a group of vectors to Hoyer's sparseness σ* on average.

    With u = argmin Σ ‖u_i − |x_i|‖² over ‖u_i‖₂ = 1, u_i ≥ 0, (1/N) Σ σ(u_i) ≥ σ*, the result is
    s_i = ⟨u_i, |x_i|⟩ sign(x_i) u_i; the module's docstring has the algorithm. A group that is sparse enough stays as
    it is. A zero row stays zero, and counts as sparseness 1. A row with a NaN or an infinity becomes NaN and does not
    count; but unless ``signed``, −inf counts as 0.

    The projection takes O(n) time for each Newton step, of which there are about ten. Derivatives are those of the
    formulas with μ as a function of all vectors, and right to the second order; in a jump, μ and the entries that jump
    count as constant.

    Args:
        x: the vectors of the group: all rows of a tensor along ``dim``, or of several tensors whose rows may differ in
            length; n ≥ 2 entries each. Floating point; computed in float64 where the device has it.
        sparseness: σ* in (0, 1).
        dim: the dimension of the entries of a vector, in each tensor.
        signed: whether the result may be negative; otherwise |x_i| is max(x_i, 0) in the formula.

    Returns:
        The projected vectors: a tensor for a tensor, a list for a sequence, in the shapes and dtypes of ``x``.

    Raises:
        InputError: ``x`` has no vectors, or vectors of fewer than two entries; ``sparseness`` is outside (0, 1).

    Example:
        >>> weights = torch.randn(20, 50)
        >>> s = gs.functional.group_hoyer_projection(weights, sparseness=0.7)
        >>> gs.measures.hoyer(s).mean()
        tensor(0.7000)

    References:
        Ohib, Gillis, Dalmasso, Shah, Potluru, Plis, "Explicit group sparse projection with applications to deep
        learning and NMF", TMLR 2022, arXiv 1912.03896.
    """
    check_fraction("sparseness", sparseness, open_low=True, open_high=True)
    tensors = [x] if isinstance(x, Tensor) else list(x)
    if not tensors:
        raise InputError("x must have at least one vector, got none")
    sizes, counted, ways_back = [], [], []
    for tensor in tensors:
        size, counts, way_back = _rows_of(tensor, dim, signed)
        sizes.append(size)
        counted.append(counts)
        ways_back.append(way_back)
    done = [way_back(s) for way_back, s in zip(ways_back, _project(sizes, counted, sparseness), strict=True)]
    return done[0] if isinstance(x, Tensor) else done


def _rows_of(x: Tensor, dim: int, signed: bool) -> tuple[Tensor, Tensor, Callable[[Tensor], Tensor]]:
    """The rows of |x|, 1 for each that counts (zero for one that does not), and the way back from such rows."""
    wide, dim = rows(x, dim, least=2)
    moved = wide.movedim(dim, -1).to(torch.float32 if x.device.type == "mps" else torch.float64)
    fine = (moved.isfinite() if signed else moved < math.inf).all(-1, keepdim=True)
    size = torch.where(fine, magnitudes(moved) if signed else moved.clamp(min=0), 0.0)

    def way_back(s: Tensor) -> Tensor:
        s = s.reshape(moved.shape)
        s = signed_as(s, moved) if signed else s
        return torch.where(fine, s, math.nan).movedim(-1, dim).to(x.dtype)

    return size.reshape(-1, x.shape[dim]), fine.reshape(-1, 1).to(size.dtype), way_back


def _project(sizes: list[Tensor], counted: list[Tensor], sparseness: float) -> list[Tensor]:
    """``sizes`` if they are sparse enough, else s."""
    tops = [size.detach().amax() for size in sizes if size.numel()]
    top = torch.stack(tops).amax() if tops else torch.ones(())
    top = torch.where(top > 0, top, 1.0)
    x = [size / top for size in sizes]
    low, high, target = torch.ops.gossamer.group_level([unit.detach() for unit in x], counted, sparseness)
    mu = high
    if torch.is_grad_enabled() and any(unit.requires_grad for unit in x):
        for _ in range(2):  # at the root of g, one Newton step has the first derivative of μ, another the second
            g, slope = _g(x, counted, mu)
            regular = (low == high) & (slope < 0)
            mu = torch.where(regular, mu - (g - target) / torch.where(regular, slope, 1.0), mu)
    with torch.no_grad():
        over, under = _g(x, counted, low)[0], _g(x, counted, high)[0]
        part = torch.where(over > under, (target - under) / (over - under), 0.0)  # of the jump, if there is one
    return [
        torch.where(high > 0, top * _nearest(unit, mu, low, part), size) for unit, size in zip(x, sizes, strict=True)
    ]


def _beta(x: Tensor) -> float:
    return 1 / (math.sqrt(x.shape[1]) - 1)


def _g(x: list[Tensor], counted: list[Tensor], mu: Tensor) -> tuple[Tensor, Tensor]:
    """g(μ) and g'(μ)."""
    totals, slopes = [], []
    for rows_, counts in zip(x, counted, strict=True):
        beta = _beta(rows_)
        y = (rows_ - mu * beta).clamp(min=0)
        some = (y > 0).any(1, keepdim=True)
        size = torch.where(some, length(y, 1), 1.0)
        ratio = torch.where(some, y.sum(1, keepdim=True) / size, 1.0)
        spread = torch.where(some, ratio.square() - (y > 0).sum(1, keepdim=True), 0.0)
        totals.append(beta * (counts * ratio).sum())
        slopes.append(beta**2 * (counts * spread / size).sum())
    return torch.stack(totals).sum(), torch.stack(slopes).sum()


def _level(x: list[Tensor], counted: list[Tensor], sparseness: float) -> tuple[Tensor, Tensor, Tensor]:
    """(μ, μ, T) with g(μ) = T, μ = 0 if g(0) ≤ T already; or, if T lies in a jump, the numbers before and after it."""
    shares = [
        counts.sum() * (_beta(rows_) * math.sqrt(rows_.shape[1]) - sparseness)
        for rows_, counts in zip(x, counted, strict=True)
    ]
    target = torch.stack(shares).sum()
    tolerance = 32 * torch.finfo(target.dtype).eps * float(target)
    tops = [float(rows_.amax()) / _beta(rows_) for rows_ in x if rows_.numel()]
    low, mu, high = 0.0, 0.0, max(tops, default=0.0)
    step = math.inf
    while True:
        number = target.new_tensor(mu)
        g, slope = (float(value) for value in _g(x, counted, number))
        excess = g - float(target)
        if abs(excess) <= tolerance or (mu == 0 and excess < 0):
            return number, number.clone(), target
        low, high = (mu, high) if excess > 0 else (low, mu)
        middle, newton = low + (high - low) / 2, mu - excess / slope if slope < 0 else math.inf
        if not low < middle < high:
            return target.new_tensor(low), target.new_tensor(high), target
        fast = low < newton < high and abs(newton - mu) <= step / 2
        step, mu = abs((newton if fast else middle) - mu), newton if fast else middle


def _level_shapes(x: list[Tensor], counted: list[Tensor], sparseness: float) -> tuple[Tensor, Tensor, Tensor]:
    return x[0].new_empty(()), x[0].new_empty(()), x[0].new_empty(())


_library.impl("group_level", _level, "CompositeExplicitAutograd")
torch.library.register_fake("gossamer::group_level", _level_shapes, lib=_library)


def _nearest(x: Tensor, mu: Tensor, low: Tensor, part: Tensor) -> Tensor:
    """⟨u, x⟩ u for each row of ``x``; in a jump, rows that jump go the given part of it."""
    beta = _beta(x)
    y = (x - mu * beta).clamp(min=0)
    some = (y > 0).any(1, keepdim=True)
    with torch.no_grad():
        tied = (x > low * beta).to(x.dtype)  # of rows without an active entry
        many = tied.sum(1, keepdim=True).clamp(min=1)
        first = (x == x.amax(1, keepdim=True)) & ~some
        first = (first & (first.cumsum(1) == 1)).to(x.dtype)
        norm1 = 1 + part * (many.sqrt() - 1)
        even = norm1 / many * tied
        excess = ((1 - norm1.square() / many) / (norm1.square() - norm1.square() / many)).clamp(min=0).sqrt()
        otherwise = torch.where(many > 1, (1 - excess) * even + excess * norm1 * first, first)
    u = torch.where(some, polar(y, 1)[1], otherwise)
    return u * (u * x).sum(1, keepdim=True)
