"""The parameters of the theory as arrays, and the classes of equal inputs that they describe."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from gossamer.associative.problem import check_signs
from gossamer.associative.theory.special import Floats
from gossamer.errors import InputError

__all__ = ["check_threshold", "numbers", "sites"]


def sites(
    f: Floats, shape: tuple[int, ...], signs: ArrayLike | None, phi: Floats | None
) -> tuple[Floats, Floats, bool]:
    """Return f (B, n) and share (B, n, 2) of classes of equal inputs."""
    n = f.shape[-1]
    g = check_signs(signs, n)
    weight = np.full((n, 2), 1 / n)
    if g is not None:
        weight *= np.stack([g > 0, g < 0], 1)
    if f.size == n:  # the same inputs at each point: equal ones are one class
        values, group = np.unique(f.reshape(n), return_inverse=True)
        merged = np.zeros((len(values), 2))
        np.add.at(merged, group.reshape(-1), weight)
        f, weight = values, merged
    f = np.broadcast_to(f, (*shape, f.shape[-1])).reshape(-1, f.shape[-1])
    share = np.broadcast_to(weight, (len(f), *weight.shape))
    if phi is not None:
        share = share * np.stack([1 - phi, phi], 1)[:, None, :]
    return f, share, signs is None and phi is None


def numbers(
    name: str, value: ArrayLike, low: float, high: float, *, open_low: bool = False, open_high: bool = False
) -> Floats:
    """``value`` as an array of finite numbers in a range; `InputError` names the first that is not."""
    try:
        array = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{name} must be a number or an array of numbers, got {value!r}") from None
    with np.errstate(invalid="ignore"):
        inside = (array > low if open_low else array >= low) & (array < high if open_high else array <= high)
    inside &= np.isfinite(array)
    if not inside.all():
        odd = array[~inside].flat[0]
        if np.isfinite(low) or np.isfinite(high):
            closing = f"{high:g}{')' if open_high or np.isinf(high) else ']'}"
            allowed = f"in {'(' if open_low or np.isinf(low) else '['}{low:g}, {closing}"
        else:
            allowed = "finite"
        raise InputError(f"{name} must be {allowed}, got {odd:g}")
    if array.size == 0:
        raise InputError(f"{name} must hold at least one number, got shape {array.shape}")
    return array


def check_threshold(h: Floats, f: Floats, share: Floats) -> None:
    """h̃ must lie inside the range of ⟨f_i J̃_i⟩ at ⟨|J̃_i|⟩ = 1."""
    able = share > 0
    value = f[..., None] * np.array([1.0, -1.0])
    high = np.where(able, value, -np.inf).max((1, 2))
    low = np.where(able, value, np.inf).min((1, 2))
    outside = np.flatnonzero(~((h > low) & (h < high)))
    if len(outside):
        i = outside[0]
        raise InputError(
            f"threshold must be in ({low[i]:g}, {high[i]:g}), the range of the mean input with these f_in and signs, "
            f"got {h[i]:g}"
        )
