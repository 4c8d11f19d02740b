"""Many associative units learning by the online rule, compiled and on several threads.

    problem = random_associations(400, 120, np.random.default_rng(0), n_units=1000)
    result = learn_online(problem, robustness=6.0, gap=1.5, generator=np.random.default_rng(1))
    result.success.mean(), result.sparsity.mean()

The rule itself, with its constants, is in `gossamer.associative.rule`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gossamer.associative.conditions import StopConditions
from gossamer.associative.philox import philox
from gossamer.associative.problem import Associations
from gossamer.associative.rule import Grid, OnlineRule
from gossamer.errors import InputError, check_count, check_fraction
from gossamer.kernels.online_rule import learn_units

__all__ = ["OnlineResult", "OnlineState", "learn_online"]

Floats = NDArray[np.float64]

_STATUS = ("running", "success", "out of steps", "diverged")
_SLICE = 0.5  # seconds of one call into C++, between which Python can interrupt and report


@dataclass(frozen=True, eq=False)
class OnlineState:
    """The state of units: all that the rule keeps between two steps.

    Args:
        weights: J, (units, N) float64.
        steps: the number of steps made, (units,) int64.
        seeds: (units,) uint64; a unit's random numbers follow from its seed and the number of the step.
    """

    weights: Floats
    steps: NDArray[np.int64]
    seeds: NDArray[np.uint64]

    def __getitem__(self, units: slice | NDArray[np.int64] | NDArray[np.bool_]) -> OnlineState:
        """The state of some of the units."""
        return OnlineState(self.weights[units], self.steps[units], self.seeds[units])


@dataclass(frozen=True, eq=False)
class OnlineResult:
    """Where the units are, each attribute with one entry per unit.

    Args:
        state: weights, steps and seeds, from which learning can continue.
        conditions: the four stop conditions, one by one.
        codes: 0 running (out of time), 1 success, 2 out of steps, 3 diverged.
        history: (units, records, 3): violated associations, share of zero weights, mean|J| / w; NaN for steps that a
            unit did not reach. None without a history.
        history_steps: the number of the step before which each record was made, (records,).
    """

    state: OnlineState
    conditions: StopConditions
    codes: NDArray[np.int32]
    history: Floats | None = None
    history_steps: NDArray[np.int64] | None = None

    @property
    def weights(self) -> Floats:
        """J, (units, N)."""
        return self.state.weights

    @property
    def steps(self) -> NDArray[np.int64]:
        """The number of steps made, (units,)."""
        return self.state.steps

    @property
    def success(self) -> NDArray[np.bool_]:
        """Whether all four stop conditions hold, (units,)."""
        return np.asarray(self.codes == 1)

    @property
    def status(self) -> list[str]:
        """The outcome of each unit: "success", "out of steps", "diverged" or, where the time was over, "running"."""
        return [_STATUS[code] for code in self.codes]

    @property
    def sparsity(self) -> Floats:
        """The share of weights that are zero, (units,)."""
        return np.asarray((self.weights == 0).mean(1))


def learn_online(
    associations: Associations | Sequence[Associations],
    *,
    robustness: ArrayLike,
    threshold: ArrayLike = 0.0,
    weight_norm: ArrayLike = 1.0,
    gap: ArrayLike = 0.0,
    signs: ArrayLike | None = None,
    rule: OnlineRule | None = None,
    max_steps: int = 100_000,
    weights: ArrayLike | None = None,
    state: OnlineState | None = None,
    history: int = 0,
    generator: np.random.Generator | int | None = None,
    time_limit: float = math.inf,
    progress: Callable[[int, int], None] | None = None,
) -> OnlineResult:
    """Let units learn by the online rule until each stops or is out of steps.

    Weights start at (w + δ) g with signs, and at (w + δ) U(−1, 1) without. All quantities are unscaled: κ = κ̃ w √N.
    Units share PyTorch's threads (`torch.set_num_threads`); results do not depend on their number, on the other units
    or on pauses.

    Args:
        associations: of one unit, targets (m,), or of a layer, targets (m, units), with the same inputs for all; or a
            sequence with one for each unit, all of the same m and N.
        robustness: κ ≥ 0, one for all units or (units,).
        threshold: h, likewise; any finite number.
        weight_norm: w > 0, the mean of |J|, likewise.
        gap: δ ≥ 0, one for all, (N,) for each input or (units, N). Rounded up to the grid.
        signs: g of ±1, (N,) or (units, N); None for weights of either sign.
        rule: the constants of the rule (default: `OnlineRule()`); `OnlineRule.older()` for that of 2019, which needs
            signs and no gap.
        max_steps: the number of steps, those of ``state`` included, after which a unit gives up.
        weights: J to start from, (units, N), rounded to the grid.
        state: of an earlier result, to continue; the run is as it would have been without the pause, to the last
            bit, if all other arguments are the same.
        history: the number of steps between two records; 0 for no history.
        generator: draws the seeds of the units; a number is a seed of one. Needed without ``state``.
        time_limit: seconds after which the units that still learn are left as they are, "running".
        progress: called about twice a second with the numbers of finished and of all units.

    Returns:
        The weights, and for each unit the four conditions, whether it succeeded and after how many steps.

    Raises:
        InputError: an argument out of range or of a wrong shape.

    Example:
        >>> from gossamer.associative import learn_online, random_associations
        >>> problem = random_associations(100, 20, np.random.default_rng(0))
        >>> result = learn_online(problem, robustness=3.0, gap=1.5, generator=0)
        >>> result.status, bool(result.sparsity[0] > 1 - 1 / 1.5 - 0.01)
        (['success'], True)

    References:
        Baig, Stepanyants, arXiv 2409.04946, Suppl. Eq. 47.
    """
    rule = OnlineRule() if rule is None else rule
    inputs, targets = _patterns(associations)
    units, n = len(targets), inputs.shape[-1]
    h = _per_unit("threshold", threshold, units, low=-math.inf)
    kappa = _per_unit("robustness", robustness, units)
    w = _per_unit("weight_norm", weight_norm, units, open_low=True)
    delta = _per_input("gap", gap, units, n)
    g = _signs(signs, units, n)
    if rule.variant == "2019" and (g is None or delta.any()):
        raise InputError("signs must be given, and gap be 0, for the rule of 2019")
    grids = [Grid.of(rule, n, float(norm), np.broadcast_to(delta, (units, n))[i]) for i, norm in enumerate(w)]
    delta = _above(grids, delta)
    begun = _begin(state, weights, generator, grids, w, delta, g, n)
    max_steps, every = check_count("max_steps", max_steps, high=2**62), check_count("history", history)
    check_fraction("time_limit", time_limit, high=math.inf)

    numbers = np.array(
        [(*own, grid.kick, grid.quantum, grid.bound) for *own, grid in zip(h, kappa, w, grids, strict=True)]
    )
    report, codes = np.zeros((units, 4)), np.zeros(units, np.int32)
    first_record = int(begun.steps.min()) // every if every and units else 0
    records = np.full((units, max_steps // every - first_record + 1, 3), np.nan) if every else None
    deadline = time.monotonic() + time_limit
    while units:
        learn_units(
            inputs,
            targets,
            numbers,
            delta,
            g,
            begun.seeds,
            begun.weights,
            begun.steps,
            report,
            codes,
            records,
            every=every,
            first_record=first_record,
            max_steps=max_steps,
            l1_step=rule.l1_step,
            tolerance=rule.tolerance,
            chance=rule.chance,
            older=rule.variant == "2019",
            seconds=min(_SLICE, max(0.01, deadline - time.monotonic())),
        )
        finished = int((codes != 0).sum())
        if progress is not None:
            progress(finished, units)
        if finished == units or time.monotonic() >= deadline:
            break
    violated, wrong_signs, in_gap = report[:, :3].astype(np.int64).T
    conditions = StopConditions(violated, wrong_signs, in_gap, report[:, 3] / w - 1)
    steps = None if records is None else every * np.arange(first_record, first_record + records.shape[1])
    return OnlineResult(begun, conditions, codes, records, steps)


def _patterns(given: Associations | Sequence[Associations]) -> tuple[NDArray[np.uint8], NDArray[np.int8]]:
    """Inputs (m, N) or (units, m, N), and targets (units, m)."""
    if isinstance(given, Associations):
        inputs, targets = given.inputs, np.atleast_2d(given.targets.T)
    else:
        if not given or not all(isinstance(one, Associations) and one.targets.ndim == 1 for one in given):
            raise InputError(
                "associations must be Associations, or at least one of them with targets (m,) for each unit"
            )
        if len(shapes := {one.inputs.shape for one in given}) > 1:
            raise InputError(f"associations must all have inputs of one shape, got {sorted(shapes)}")
        inputs, targets = np.stack([one.inputs for one in given]), np.stack([one.targets for one in given])
    return np.ascontiguousarray(inputs != 0).view(np.uint8), np.ascontiguousarray(targets != 0, np.int8)


def _numbers(name: str, value: ArrayLike, low: float, open_low: bool) -> Floats:
    try:
        array = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{name} must be a number or an array of numbers, got {value!r}") from None
    bad = ~(np.isfinite(array) & ((array > low) if open_low else (array >= low)))
    if bad.any():
        allowed = "finite" if low == -math.inf else f"finite and {'>' if open_low else '≥'} {low:g}"
        raise InputError(f"{name} must be {allowed}, got {array[bad][0]:g}")
    return array


def _per_unit(name: str, value: ArrayLike, units: int, low: float = 0.0, open_low: bool = False) -> Floats:
    array = _numbers(name, value, low, open_low)
    if array.shape not in ((), (units,)):
        raise InputError(f"{name} must be a number or have shape ({units},), one for each unit, got {array.shape}")
    return np.broadcast_to(array, (units,)).copy()


def _per_input(name: str, value: ArrayLike, units: int, n: int) -> Floats:
    array = _numbers(name, value, 0.0, False)
    if array.shape not in ((), (n,), (units, n)):
        raise InputError(f"{name} must be a number or have shape ({n},) or ({units}, {n}), got {array.shape}")
    return np.broadcast_to(array, (n,)).copy() if array.ndim < 2 else array.copy()


def _above(grids: list[Grid], delta: Floats) -> Floats:
    """δ rounded up to the grid of each unit: (N,) if that is the same for all."""
    if delta.ndim == 2:
        return np.stack([grid.above(row) for grid, row in zip(grids, delta, strict=True)]) if grids else delta
    rounded = {grid.quantum: grid.above(delta) for grid in grids}
    if all(np.array_equal(delta, row) for row in rounded.values()):
        return delta
    return np.stack([rounded[grid.quantum] for grid in grids])


def _signs(value: ArrayLike | None, units: int, n: int) -> NDArray[np.int8] | None:
    if value is None:
        return None
    array = np.asarray(value)
    if array.shape not in ((n,), (units, n)) or array.dtype.kind not in "iuf" or not np.isin(array, (-1, 1)).all():
        raise InputError(
            f"signs must be of −1 and 1 with shape ({n},) or ({units}, {n}), got {array.dtype} {array.shape}"
        )
    return np.ascontiguousarray(array, np.int8)


def _begin(
    state: OnlineState | None,
    weights: ArrayLike | None,
    generator: np.random.Generator | int | None,
    grids: list[Grid],
    w: Floats,
    delta: Floats,
    signs: NDArray[np.int8] | None,
    n: int,
) -> OnlineState:
    """A state of its own, that a run may change."""
    units = len(grids)
    if state is not None:
        if weights is not None or generator is not None:
            raise InputError("weights and generator must be None where state is given: it has both")
        seeds, steps, given = np.array(state.seeds, np.uint64), np.array(state.steps, np.int64), state.weights
        if seeds.shape != (units,) or steps.shape != (units,) or (steps < 0).any():
            raise InputError(f"state must be of {units} units, got seeds {seeds.shape} and steps {steps.shape}")
    else:
        if generator is None:
            raise InputError("generator must be a numpy.random.Generator or a seed, got None")
        draw = generator if isinstance(generator, np.random.Generator) else np.random.default_rng(generator)
        seeds, steps = draw.integers(2**64, size=units, dtype=np.uint64), np.zeros(units, np.int64)
        given = np.asarray(_first_weights(seeds, w, delta, signs, n) if weights is None else weights)
    start = _numbers("weights", given, -math.inf, False)
    if start.shape != (units, n):
        raise InputError(f"weights must have shape ({units}, {n}), got {start.shape}")
    start = np.stack([grid.nearest(row) for grid, row in zip(grids, start, strict=True)]) if units else start
    for unit, grid in enumerate(grids):
        if not (total := np.abs(start[unit]).sum()) <= grid.bound:
            raise InputError(f"weights must have Σ|J| ≤ {grid.bound:g}, got {total:g} at unit {unit}")
    return OnlineState(start, steps, seeds)


def _first_weights(
    seeds: NDArray[np.uint64], w: Floats, delta: Floats, signs: NDArray[np.int8] | None, n: int
) -> Floats:
    size = w[:, None] + delta
    if signs is not None:
        return np.asarray(size * signs)
    counter = np.zeros(((n + 1) // 2, 4), np.uint64)
    counter[:, 0] = np.arange(len(counter))
    words = philox(counter, seeds[:, None]).reshape(len(seeds), len(counter) * 2, 2)[:, :n].astype(np.float64)
    uniform = (np.floor(words[..., 0] / 2**5) * 2**26 + np.floor(words[..., 1] / 2**6)) / 2**53
    return np.asarray(size * (2 * uniform - 1))
