"""Two norms at once: intersections of an l1 ball or sphere with an l2 ball or sphere.

With the sparseness σ of a vector of length λ₂ given by its sum of magnitudes λ₁, the intersection of both spheres is
the set of `hoyer_projection`, given by radii. All four intersections have s = β sign(x) max(|x| − α, 0) as nearest
point; they differ in which of the two norms hold it back:

=================  ===========================================================================================
``sphere-sphere``  both
``ball-sphere``    the length alone where λ₂ x/‖x‖₂ lies in the ball; else both
``sphere-ball``    the sum alone where its nearest point on the l1 sphere lies in the ball; else both
``ball-ball``      none where x lies in both; one of them where its nearest point lies in the other; else both
=================  ===========================================================================================

Source: Liu, Wang, Song, "Projections onto the intersection of a one-norm ball or sphere and a two-norm ball or
sphere", JOTA (2020), arXiv 1911.03946, for all but ``sphere-ball``, which is ours. Their root finder is not used:
the sum alone is a projection to the simplex, by sorting, and both are one by the linear-time kernel.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from gossamer.errors import InputError, check_choice
from gossamer.kernels.projection import project
from gossamer.projections.l1 import onto_simplex
from gossamer.projections.l2 import onto_sphere
from gossamer.projections.rows import length, magnitudes, per_row, rows, signed_as, spoil

__all__ = ["Kind", "l1_l2_projection"]

Kind = Literal["sphere-sphere", "ball-sphere", "sphere-ball", "ball-ball"]


def l1_l2_projection(
    x: Tensor,
    l1: float | Tensor,
    l2: float | Tensor = 1.0,
    kind: Kind = "sphere-sphere",
    dim: int = -1,
    signed: bool = True,
) -> Tensor:
    """Project each row of ``x`` along ``dim`` to the intersection of an l1 ball or sphere and an l2 ball or sphere.

        argmin ‖s − x‖₂   over   ‖s‖₁ = l1 (or ≤ l1), ‖s‖₂ = l2 (or ≤ l2), and s ≥ 0 unless ``signed``

    The nearest point is not unique where both norms are active constraints and more than (λ₁/λ₂)² entries share the
    largest magnitude, as for `hoyer_projection`; on an l2 sphere alone, a row without a positive entry (``signed``:
    zero) gets λ₂ at the first of its largest entries. The gradient is zero in both cases. A row with a NaN or an
    infinity becomes NaN, and only that row; but unless ``signed``, −inf is a masked entry that gets 0.

    Args:
        x: floating point, any shape, n ≥ 1 entries along ``dim``; float16 and bfloat16 are computed in float32.
        l1: λ₁ > 0; one for all rows, or a tensor that broadcasts to the other dimensions of ``x``. May require a
            gradient.
        l2: λ₂ > 0, likewise.
        kind: the set, ``"sphere-sphere"``, ``"ball-sphere"``, ``"sphere-ball"`` or ``"ball-ball"``, that of l1 first.
            Vectors with both norms exist for λ₂ ≤ λ₁ ≤ √n λ₂, so an l2 sphere needs λ₂ ≤ λ₁, and an l1 sphere
            λ₁ ≤ √n λ₂. A tensor on an accelerator or in compiled code is not checked: rows without a feasible point get
            the nearest that has λ₂ or, with an l2 ball, one inside of it.
        dim: the dimension of the entries of a vector.
        signed: whether the result may be negative; a zero counts as positive. Otherwise negative entries are not
            clipped first.

    Returns:
        Tensor of the shape and dtype of ``x``.

    Raises:
        InputError: Radii that are not positive or admit no point, ``x`` not floating point.

    Example:
        >>> s = gs.functional.l1_l2_projection(torch.tensor([3.0, -1.0, 0.5]), l1=1.2, l2=1.0)
        >>> s
        tensor([ 0.9782, -0.2073,  0.0146])
        >>> round(float(s.abs().sum()), 4), round(float(s.norm()), 4)
        (1.2, 1.0)

    References:
        Liu, Wang, Song, "Projections onto the intersection of a one-norm ball or sphere and a two-norm ball or sphere",
        JOTA (2020), arXiv 1911.03946.
    """
    check_choice("kind", kind, ("sphere-sphere", "ball-sphere", "sphere-ball", "ball-ball"))
    wide, dim = rows(x, dim)
    lambda1, lambda2 = per_row("l1", l1, wide, dim), per_row("l2", l2, wide, dim)
    ratio = lambda1 / lambda2
    _check_feasible(ratio, kind, wide.shape[dim], l1, l2)
    lambda1, lambda2 = lambda1.to(wide), lambda2.to(wide)
    size = magnitudes(wide) if signed else wide
    positive = size.clamp(min=0)
    s = _on_both(size, ratio, lambda2, dim)
    if kind == "ball-sphere":
        on_l2 = onto_sphere(positive, lambda2, dim)
        s = torch.where(_sum(on_l2, dim) <= lambda1, on_l2, s)
        s = torch.where(_sum(positive, dim) > 0, s, lambda2 * _first_largest(size, dim))
    elif kind == "sphere-ball":
        on_l1 = onto_simplex(size, lambda1, dim)
        s = torch.where(length(on_l1, dim) <= lambda2, on_l1, s)
    elif kind == "ball-ball":
        on_l1, on_l2 = onto_simplex(positive, lambda1, dim), onto_sphere(positive, lambda2, dim)
        in_l1, in_l2 = _sum(positive, dim) <= lambda1, length(positive, dim) <= lambda2
        s = torch.where(~in_l1 & (length(on_l1, dim) <= lambda2), on_l1, s)
        s = torch.where(~in_l2 & (_sum(on_l2, dim) <= lambda1), on_l2, s)
        s = torch.where(in_l1 & in_l2, positive, s)
    return spoil(signed_as(s, wide) if signed else s, wide, dim, signed).to(x.dtype)


def _check_feasible(ratio: Tensor, kind: Kind, n: int, l1: float | Tensor, l2: float | Tensor) -> None:
    if torch.compiler.is_compiling() or ratio.device.type != "cpu":
        return
    spacing = max(torch.finfo(v.dtype).eps if isinstance(v, Tensor) else 0.0 for v in (l1, l2))
    slack = max(1e-12, 4 * spacing)
    sphere1, sphere2 = (part == "sphere" for part in kind.split("-"))
    low, high = (1.0 if sphere2 else 0.0), (math.sqrt(n) if sphere1 else math.inf)
    outside = (ratio < low * (1 - slack)) | (ratio > high * (1 + slack))
    if bool(outside.any()):
        wrong = ratio[outside].flatten()[0].item()
        raise InputError(f"l1 / l2 must be in [{low:g}, {high:g}] for {kind} and {n} entries, got {wrong:g}")


def _sum(x: Tensor, dim: int) -> Tensor:
    return x.sum(dim, keepdim=True)


def _first_largest(x: Tensor, dim: int) -> Tensor:
    """1 at the largest entry of each row, the first of them, and 0 elsewhere."""
    with torch.no_grad():
        largest = x == x.amax(dim, keepdim=True)
        return (largest & (largest.cumsum(dim) == 1)).to(x.dtype)


def _on_both(size: Tensor, ratio: Tensor, lambda2: Tensor, dim: int) -> Tensor:
    """The nearest s ≥ 0 with ‖s‖₂ = λ₂ and ‖s‖₁ = ratio · λ₂: one entry at ratio 1, equal entries at √n."""
    root = math.sqrt(size.shape[dim])
    lowest, highest = ratio <= 1 + 1e-12, ratio >= root * (1 - 1e-12)
    one = lambda2 * _first_largest(size, dim)
    if root == 1:
        return one
    equal = (size > -math.inf).to(size.dtype)
    equal = lambda2 * equal / _sum(equal, dim).clamp(min=1).sqrt()
    s = lambda2 * project(size, torch.where(lowest | highest, (1 + root) / 2, ratio), dim, False)
    return torch.where(lowest.to(s.device), one, torch.where(highest.to(s.device), equal, s))
