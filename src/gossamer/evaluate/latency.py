"""Latency of a model."""

from __future__ import annotations

from statistics import median
from time import perf_counter

import torch
from torch import Tensor, nn

from gossamer.errors import check_count
from gossamer.evaluate.mode import evaluating

__all__ = ["latency"]


def latency(model: nn.Module, x: Tensor, repeats: int = 30, warmup: int = 5) -> float:
    """Measure the median seconds of ``model(x)`` in evaluation mode without gradients.

    The result is the median because other work on the machine lengthens some calls and shortens none. State hardware,
    dtype and threads (`gossamer.kernels.info`) beside a figure.

    Args:
        model: any module; its mode is restored.
        x: the argument of each call, such as (batch, features).
        repeats: calls that are measured, at least 1.
        warmup: calls before them that are not measured.

    Returns:
        Seconds of one call.

    Raises:
        InputError: ``repeats`` or ``warmup`` is outside its range.

    Example:
        >>> gs.evaluate.latency(nn.Linear(10, 10), torch.rand(5, 10), repeats=3, warmup=1) > 0
        True
    """
    check_count("repeats", repeats, low=1)
    check_count("warmup", warmup)

    def once() -> float:
        start = perf_counter()
        model(x)
        if x.is_cuda:
            torch.cuda.synchronize(x.device)
        return perf_counter() - start

    with evaluating(model):
        for _ in range(warmup):
            once()
        return median(once() for _ in range(repeats))
