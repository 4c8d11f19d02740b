"""Capacity and robustness of a threshold unit under constraints, as curves in any parameter.

The solution without l0 and gap at κ̃ = 0 is the root of one falling function of one unknown. From there the equations
are continued to the given robustness or load, and from there to the density or gap.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gossamer.associative.theory.continuation import ConvergenceError, follow
from gossamer.associative.theory.equations import CUT, EQUATIONS, ETA, KAPPA, LAMBDA, RHO, System, Z
from gossamer.associative.theory.sites import check_threshold, numbers, sites
from gossamer.associative.theory.solution import Solution
from gossamer.associative.theory.special import D, E, F, Floats
from gossamer.errors import InputError

__all__ = ["capacity", "max_robustness"]

_RESIDUAL = 1e-8


def capacity(
    robustness: ArrayLike,
    *,
    threshold: ArrayLike = 0.0,
    f_in: ArrayLike = 0.5,
    f_out: ArrayLike = 0.5,
    signs: ArrayLike | None = None,
    inhibitory: ArrayLike | None = None,
    density: ArrayLike | None = None,
    gap: ArrayLike | None = None,
) -> Solution:
    """Compute the capacity α_c at a given robustness.

    α_c = max m/N for which, N → ∞, some J̃ satisfies s ((1/N) J̃·X − h̃) ≥ κ̃/√N for all m associations, subject to

        ⟨|J̃_i|⟩ = 1                    always (l1)
        J̃_i g_i ≥ 0                    with ``signs`` or ``inhibitory``
        J̃_i ≠ 0 for N p inputs         with ``density`` p (l0)
        J̃_i = 0 or |J̃_i| ≥ δ̃           with ``gap`` δ̃

    With a mean weight w: J̃ = J/w, h̃ = h/(N w), κ̃ = κ/(w √N), δ̃ = δ/w. Exact for l1 and l1 with signs; with l0 or a gap
    an upper bound, since replica symmetry is broken there. l0 and the gap exclude each other.

    All parameters but ``signs`` broadcast against each other, and the result is a curve (or a grid) of their shape.

    Args:
        robustness: κ̃ ≥ 0.
        threshold: h̃, in the range of ⟨f_i J̃_i⟩, that is |h̃| < max f_i with free signs.
        f_in: f_i = P(X_i = 1) in (0, 1): a number; (n,) for inputs, or equally large classes of inputs, that differ; or
            (…, n) to vary them along the curve, for which (points, 1) is one probability per point.
        f_out: P(y = 1) in (0, 1).
        signs: g_i = ±1 (n,), of the inputs in ``f_in``. None for free signs.
        inhibitory: φ in [0, 1], instead of ``signs``: the fraction of inputs with g = −1, the same for all f_i.
        density: p in (0, 1], the fraction of weights that aren't zero.
        gap: δ̃ ≥ 0.

    Returns:
        A `Solution`.

    Raises:
        InputError: parameters outside their range, or that exclude each other.
        ConvergenceError: no solution found at some point. No number is ever returned with a residual above 1e-8.

    Example:
        >>> from gossamer.associative.theory import capacity
        >>> curve = capacity([0.1, 0.3, 0.5])
        >>> curve.load.round(4).tolist(), (1 - curve.density).round(4).tolist()
        ([1.5742, 1.0523, 0.7582], [0.12, 0.315, 0.4574])

    References:
        M. M. J. Baig, A. Stepanyants, "Sparse learning enabled by constraints on connectivity and function",
        arXiv 2409.04946, supplement.
    """
    target = numbers("robustness", robustness, 0, np.inf)
    return _solve(target, False, threshold, f_in, f_out, signs, inhibitory, density, gap)


def max_robustness(
    load: ArrayLike,
    *,
    threshold: ArrayLike = 0.0,
    f_in: ArrayLike = 0.5,
    f_out: ArrayLike = 0.5,
    signs: ArrayLike | None = None,
    inhibitory: ArrayLike | None = None,
    density: ArrayLike | None = None,
    gap: ArrayLike | None = None,
) -> Solution:
    """κ̃_max(α): the largest κ̃ with `capacity` (κ̃) = α, the inverse of that function.

    Args:
        load: α > 0, below the capacity at κ̃ = 0.
        threshold: h̃, as in `capacity`.
        f_in: f_i, as in `capacity`.
        f_out: as in `capacity`.
        signs: g_i, as in `capacity`.
        inhibitory: φ, as in `capacity`.
        density: p, as in `capacity`.
        gap: δ̃, as in `capacity`.

    Returns:
        A `Solution` whose ``load`` is α.

    Raises:
        InputError: also where the capacity at κ̃ = 0 is no larger than ``load``.
        ConvergenceError: no solution found at some point.

    Example:
        >>> from gossamer.associative.theory import max_robustness
        >>> max_robustness(1.2784515).robustness.round(5).item()
        0.1978
    """
    target = numbers("load", load, 0, np.inf, open_low=True)
    return _solve(target, True, threshold, f_in, f_out, signs, inhibitory, density, gap)


def _solve(
    target: Floats,
    by_load: bool,
    threshold: ArrayLike,
    f_in: ArrayLike,
    f_out: ArrayLike,
    signs: ArrayLike | None,
    inhibitory: ArrayLike | None,
    density: ArrayLike | None,
    gap: ArrayLike | None,
) -> Solution:
    if density is not None and gap is not None:
        raise InputError("density and gap exclude each other in the theory, got both; leave one out")
    if signs is not None and inhibitory is not None:
        raise InputError("signs and inhibitory exclude each other, got both; leave one out")
    f = numbers("f_in", f_in, 0, 1, open_low=True, open_high=True)
    f = f[None] if f.ndim == 0 else f
    if f.shape[-1] == 0:
        raise InputError(f"f_in must hold at least one probability, got shape {f.shape}")
    parts = [
        target,
        numbers("threshold", threshold, -np.inf, np.inf),
        numbers("f_out", f_out, 0, 1, open_low=True, open_high=True),
        numbers("gap", 0.0 if gap is None else gap, 0, np.inf),
        numbers("density", 1.0 if density is None else density, 0, 1, open_low=True),
        numbers("inhibitory", 0.0 if inhibitory is None else inhibitory, 0, 1),
    ]
    try:
        shape = np.broadcast_shapes(f.shape[:-1], *(part.shape for part in parts))
    except ValueError:
        shapes = [part.shape for part in parts]
        raise InputError(
            f"parameters must broadcast to one shape, got {shapes} and f_in of {f.shape[:-1]} points"
        ) from None
    goal, h, out, delta, p, phi = (np.broadcast_to(part, shape).reshape(-1) for part in parts)
    f, share, free = sites(f, shape, signs, None if inhibitory is None else phi)
    check_threshold(h, f, share)
    l1 = System(f, share, h, out, np.zeros(len(goal)), False, None, np.zeros(len(goal)))
    unknowns = _without_robustness(l1)
    unknowns = _reach_target(l1, unknowns, goal, by_load, shape)
    system = replace(l1, target=np.log(goal) if by_load else goal, by_load=by_load)
    binding = np.zeros(len(goal), np.bool_)
    if density is not None:
        system, unknowns, binding = _reach_density(system, unknowns, np.log(p), shape)
    elif delta.any():
        system, unknowns = _reach_gap(system, unknowns, delta, shape)
        binding = delta > 0
    return _solution(system, unknowns, binding, free, shape)


def _without_robustness(system: System) -> Floats:
    """κ̃ = 0 for l1 and l1 with signs: Σ c F(c z) = 0 with c = h̃/σ_i − s F_i, whose left side rises with z."""
    sigma = np.sqrt(system.f * (1 - system.f))
    c = (system.threshold[:, None] / sigma)[..., None] - (system.f / sigma)[..., None] * np.array([1.0, -1.0])

    def balance(z: Floats) -> Floats:
        result: Floats = (system.share * c * F(c * z[:, None, None])).sum((1, 2))
        return result

    zero = np.zeros(len(c))
    low, high = zero - 1, zero + 1
    for _ in range(60):
        low_off, high_off = balance(low) > 0, balance(high) < 0
        if not (low_off.any() or high_off.any()):
            break
        low, high = np.where(low_off, 2 * low, low), np.where(high_off, 2 * high, high)
    z = zero.copy()
    for _ in range(80):
        value = balance(z)
        low, high = np.where(value < 0, z, low), np.where(value > 0, z, high)
        slope = (2 * system.share * c * c * E(c * z[:, None, None])).sum((1, 2))
        step = z - value / np.maximum(slope, 1e-300)
        step = np.where((step > low) & (step < high), step, (low + high) / 2)
        step = np.where(value == 0, z, step)
        if (np.abs(step - z) <= 1e-15 * (1 + np.abs(z))).all():
            break
        z = step
    a = c * z[:, None, None]
    unknowns = np.zeros((len(c), 5))
    unknowns[:, Z], unknowns[:, ETA] = z, -2 * system.threshold * z
    unknowns[:, LAMBDA] = np.log((system.share * F(a) / sigma[..., None]).sum((1, 2)) / 2)
    unknowns[:, RHO] = np.log(2) + unknowns[:, LAMBDA] - np.log((system.share * D(a)).sum((1, 2))) / 2
    return unknowns


def _reach_target(l1: System, unknowns: Floats, goal: Floats, by_load: bool, shape: tuple[int, ...]) -> Floats:
    if by_load:
        start, end = l1.log_capacity(unknowns), np.log(goal)
        _check_load(goal, np.exp(start), shape)
        unknowns, t, residual = follow(
            lambda t: replace(l1, by_load=True, target=start + t * (end - start)), unknowns, first=0.1
        )
    else:
        end = np.arcsinh(goal)
        unknowns, t, residual = follow(lambda t: replace(l1, target=np.sinh(t * end)), unknowns, first=0.1)
    _check_reached("robustness or load", t, residual, shape, goal)
    return unknowns


def _reach_density(
    l1: System, unknowns: Floats, goal: Floats, shape: tuple[int, ...]
) -> tuple[System, Floats, NDArray[np.bool_]]:
    natural = np.log((l1.share * l1.moments(unknowns)[0].P).sum((1, 2)))
    binding = goal < natural
    end = np.minimum(goal, natural)
    system = replace(l1, density=end)
    unknowns = np.column_stack([unknowns, np.zeros(len(goal))])
    if binding.any():
        some = np.flatnonzero(binding)
        part, first, last = system.at(some), natural[some], end[some]
        found, t, residual = follow(
            lambda t: replace(part, density=first + t * (last - first)), unknowns[some], first=0.1
        )
        unknowns[some] = found
        all_t, all_residual = np.ones(len(goal)), np.zeros(len(goal))
        all_t[some], all_residual[some] = t, residual
        _check_positive(all_t, l1.by_load, unknowns, shape, "density", np.exp(goal))
        _check_reached("density", all_t, all_residual, shape, np.exp(goal))
    return system, unknowns, binding


def _reach_gap(l1: System, unknowns: Floats, goal: Floats, shape: tuple[int, ...]) -> tuple[System, Floats]:
    first = min(0.1, 0.25 / float(goal.max()))
    unknowns, t, residual = follow(lambda t: replace(l1, gap=t * goal), unknowns, first=first)
    _check_positive(t, l1.by_load, unknowns, shape, "gap", goal)
    _check_reached("gap", t, residual, shape, goal)
    return replace(l1, gap=goal), unknowns


def _solution(
    system: System, unknowns: Floats, binding: NDArray[np.bool_], free: bool, shape: tuple[int, ...]
) -> Solution:
    """The numbers of a solution, after the last check that it is one."""
    residual, _ = system.residuals(unknowns)
    worst = np.abs(residual).max(1)
    bad = ~(worst < _RESIDUAL)  # NaN is not
    if system.density is not None:
        bad |= unknowns[:, CUT] < -_RESIDUAL
    bad |= unknowns[:, KAPPA] < (-_RESIDUAL if not system.by_load else 0)
    if bad.any():
        where = int(np.flatnonzero(bad)[0])
        equation = EQUATIONS[int(np.argmax(np.abs(residual[where])))]
        raise ConvergenceError(
            f"not converged{_place(where, shape)}: the residual of the equation of the {equation} is "
            f"{worst[where]:.2g}, unknowns {unknowns[where]}"
        )
    targets = system.outputs(unknowns)
    r = np.exp(unknowns[:, RHO])
    cut = np.maximum(unknowns[:, CUT], 0) if system.density is not None else np.zeros(len(r))
    connected = (system.share * system.moments(unknowns)[0].P).sum((1, 2))
    values = {
        "load": np.exp(system.log_capacity(unknowns)),
        "robustness": np.maximum(unknowns[:, KAPPA], 0),
        "density": connected,
        "margin": targets.margin,
        "variance": 2 / r**2,
        "binding": binding,
        "threshold": system.threshold,
        "f_out": system.f_out,
        "gap": system.gap,
        "u_plus": targets.u_plus,
        "u_minus": targets.u_minus,
        "z": unknowns[:, Z],
        "eta": unknowns[:, ETA],
        "Q": np.exp(unknowns[:, LAMBDA]),
        "cut": cut,
    }
    shaped = {name: value.reshape(shape) for name, value in values.items()}
    n = system.f.shape[1]
    return Solution(**shaped, f=system.f.reshape(*shape, n), share=system.share.reshape(*shape, n, 2), free_signs=free)


def _check_load(goal: Floats, largest: Floats, shape: tuple[int, ...]) -> None:
    over = np.flatnonzero(goal >= largest)
    if len(over):
        i = over[0]
        raise InputError(
            f"load must be below {largest[i]:.6g}, the capacity without robustness, got {goal[i]:g}{_place(i, shape)}"
        )


def _check_positive(
    t: Floats, by_load: bool, unknowns: Floats, shape: tuple[int, ...], name: str, goal: Floats
) -> None:
    """With the load given, κ̃ falls as a constraint tightens: below zero the load is above the capacity."""
    if not by_load:
        return
    over = np.flatnonzero((unknowns[:, KAPPA] <= 0) & (t > 0))
    if len(over):
        i = over[0]
        raise InputError(
            f"load must be below the capacity without robustness, which is exceeded{_place(i, shape)} with {name} "
            f"{goal[i]:g}; lower the load or loosen the constraint"
        )


def _check_reached(name: str, t: Floats, residual: Floats, shape: tuple[int, ...], goal: Floats) -> None:
    stuck = np.flatnonzero(t < 1)
    if len(stuck):
        i = stuck[0]
        raise ConvergenceError(
            f"not converged{_place(i, shape)}: the continuation in {name} to {goal[i]:g} stopped {100 * t[i]:.1f} % of "
            f"the way, the largest residual of the next step being {residual[i]:.2g}"
        )


def _place(i: Any, shape: tuple[int, ...]) -> str:
    return f" at point {tuple(int(k) for k in np.unravel_index(int(i), shape))}" if shape else ""
