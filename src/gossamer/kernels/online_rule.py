"""The online rule of associative units in C++, many units at once; `gossamer.associative.rule` defines the rule."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gossamer.kernels import _cpu

__all__ = ["learn_units"]


def learn_units(
    inputs: NDArray[np.uint8],
    targets: NDArray[np.int8],
    numbers: NDArray[np.float64],
    gap: NDArray[np.float64],
    signs: NDArray[np.int8] | None,
    seeds: NDArray[np.uint64],
    weights: NDArray[np.float64],
    steps: NDArray[np.int64],
    report: NDArray[np.float64],
    status: NDArray[np.int32],
    history: NDArray[np.float64] | None,
    *,
    every: int,
    first_record: int,
    max_steps: int,
    l1_step: float,
    tolerance: float,
    chance: int,
    older: bool,
    seconds: float,
) -> None:
    """Continue each unit whose ``status`` is 0 until it stops or so many ``seconds`` have passed.

    PyTorch's threads share the units. The outputs are the arrays ``weights``, ``steps``, ``report``, ``status`` and
    ``history`` of the caller. No unit depends on another.

    Args:
        inputs: (m, N) of 0 and 1 for all units, or (units, m, N).
        targets: (units, m) of 0 and 1.
        numbers: (units, 6): threshold, robustness, w, β, quantum, bound.
        gap: (N,) or (units, N).
        signs: (N,) or (units, N) of ±1, or None.
        seeds: (units,).
        weights: (units, N).
        steps: (units,), the number made so far.
        report: (units, 4): violated associations, sign violations, gap violations, mean|J|.
        status: (units,): 0 running, 1 success, 2 out of steps, 3 diverged.
        history: (units, records, 3): violated associations, share of zeros, mean|J| / w; None for no history.
        every: the number of steps between records.
        first_record: number of the first one, in units of ``every``.
        max_steps: where a unit is out of steps.
        l1_step: β_w.
        tolerance: of the mean.
        chance: ε, in units of 2⁻³².
        older: the rule of 2019.
        seconds: how long.
    """
    units, n = weights.shape
    m = targets.shape[1]
    records = 0 if history is None else history.shape[1]
    own = inputs.ndim == 3
    _cpu.online_learn(
        torch.get_num_threads(),
        units,
        n,
        m,
        _address("inputs", inputs, np.uint8, (units, m, n) if own else (m, n)),
        m * n if own else 0,
        _address("targets", targets, np.int8, (units, m)),
        _address("numbers", numbers, np.float64, (units, 6)),
        _address("gap", gap, np.float64, (units, n) if gap.ndim == 2 else (n,)),
        n if gap.ndim == 2 else 0,
        0 if signs is None else _address("signs", signs, np.int8, (units, n) if signs.ndim == 2 else (n,)),
        n if signs is not None and signs.ndim == 2 else 0,
        _address("seeds", seeds, np.uint64, (units,)),
        _address("weights", weights, np.float64, (units, n)),
        _address("steps", steps, np.int64, (units,)),
        _address("report", report, np.float64, (units, 4)),
        0 if history is None else _address("history", history, np.float64, (units, records, 3)),
        0 if history is None else every,
        records,
        first_record,
        _address("status", status, np.int32, (units,)),
        max_steps,
        l1_step,
        tolerance,
        chance,
        older,
        seconds,
    )


def _address(name: str, array: NDArray[Any], dtype: type, shape: tuple[int, ...]) -> int:
    """Return the address of an array that C++ may read and write in place."""
    if array.dtype != dtype or array.shape != shape or not array.flags.c_contiguous:
        raise ValueError(
            f"{name} must be a contiguous array of {np.dtype(dtype)} and shape {shape}, "
            f"got {array.dtype} and {array.shape}"
        )
    return int(array.ctypes.data)
