"""Comparable times on a machine that does other work too.

Contenders take turns (round-robin, another one first in every round), so that other work on the machine slows all of
them. A turn is an untimed call, which brings back the contender's own caches and wakes its threads, and then
as many timed calls as fill `_TURN` seconds, counted as one observation. The result is the median over the rounds; the
quartiles show how reliable it is. (`torch.utils.benchmark` times one contender after the other, so that a slow minute
falls on one of them.)
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import numpy as np

from gossamer.errors import check_count, check_fraction

__all__ = ["NOISY", "Sample", "Step", "interleave"]

Step = Callable[[], object]

NOISY = 0.2
"""A sample whose interquartile range is a larger share of its median is marked as noisy."""

_TURN = 2e-3
_LONG = 0.05  # seconds after which cold caches no longer matter: such a call needs no untimed one before it
_PAUSE = 0.02  # longer than idle OpenMP threads keep spinning, which would slow threads of another OpenMP runtime
_LEAST_ROUNDS, _MOST_ROUNDS = 3, 200
_PATIENCE = 8


@dataclass(frozen=True)
class Sample:
    """Median and quartiles of observations.

    Attributes:
        median: in seconds or bytes.
        low: the lower quartile.
        high: the upper quartile.
        count: number of observations.

    Example:
        >>> gs.bench.Sample.of([1.0, 2.0, 4.0]).median
        2.0
    """

    median: float
    low: float
    high: float
    count: int

    @staticmethod
    def of(observations: Collection[float]) -> Sample:
        """Compute median and quartiles.

        Args:
            observations: at least one.

        Returns:
            The sample.
        """
        low, median, high = np.percentile(list(observations), [25, 50, 75])
        return Sample(float(median), float(low), float(high), len(observations))

    @property
    def noisy(self) -> bool:
        """Whether the interquartile range exceeds `NOISY` of the median."""
        return self.spread > NOISY

    @property
    def spread(self) -> float:
        """The interquartile range as a share of the median."""
        return (self.high - self.low) / self.median if self.median else 0.0


def interleave(
    steps: Mapping[str, Step], *, rounds: int = 5, seconds: float = 0.5, apart: Collection[str] = ()
) -> dict[str, Sample]:
    """Measure the seconds of one call of each of ``steps``, in turns.

    Args:
        steps: the contenders by name; each is called without arguments.
        rounds: turns that each contender gets, or more while there is time; but only three if they take long, eight
            times ``seconds``.
        seconds: rounds continue until so much time has passed (200 rounds at most).
        apart: names of contenders with another thread pool: there is a pause where the turn passes to or from
            one of these, until the threads of the other side sleep.

    Returns:
        The seconds of one call, by name.

    Raises:
        InputError: an argument is outside its range.

    Example:
        >>> x = torch.rand(100, 100)
        >>> times = gs.bench.interleave({"sum": x.sum, "product": lambda: x @ x}, rounds=3, seconds=0.01)
        >>> times["sum"].median > 0
        True
    """
    check_count("rounds", rounds, low=1)
    check_fraction("seconds", seconds, high=float("inf"), open_high=True)
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        return _interleave(dict(steps), rounds, seconds, apart)
    finally:
        if collecting:
            gc.enable()


def _interleave(steps: dict[str, Step], rounds: int, seconds: float, apart: Collection[str]) -> dict[str, Sample]:
    paces = {}
    for name, step in steps.items():
        paces[name] = _clock(step, 1)
        if paces[name] < _LONG:  # the first call may include work that is done only once
            paces[name] = min(_clock(step, 1) for _ in range(2))
    calls = {name: max(1, min(1000, round(_TURN / max(pace, 1e-9)))) for name, pace in paces.items()}
    found: dict[str, list[float]] = {name: [] for name in steps}
    names, before = list(steps), None
    start = time.perf_counter()
    for turn in range(_MOST_ROUNDS):
        spent = time.perf_counter() - start
        if (turn >= rounds and spent >= seconds) or (turn >= _LEAST_ROUNDS and spent >= _PATIENCE * seconds > 0):
            break
        first = turn % max(1, len(names))
        for name in names[first:] + names[:first]:
            if before is not None and (name in apart) != (before in apart):
                time.sleep(_PAUSE)
            if paces[name] < _LONG:
                steps[name]()
            found[name].append(_clock(steps[name], calls[name]))
            before = name
    return {name: Sample.of(observations) for name, observations in found.items()}


def _clock(step: Step, calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        step()
    return (time.perf_counter() - start) / calls
