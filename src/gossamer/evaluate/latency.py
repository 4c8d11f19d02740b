"""How long a model takes."""

from __future__ import annotations

from statistics import median
from time import perf_counter

import torch
from torch import Tensor, nn

from gossamer.errors import check_count
from gossamer.evaluate.mode import evaluating

__all__ = ["latency"]


def latency(model: nn.Module, x: Tensor, repeats: int = 30, warmup: int = 5) -> float:
    """Median seconds of ``model(x)`` in evaluation mode without gradients.

    Of ``repeats`` calls, after ``warmup`` that are not counted. The median, because other work on the machine lengthens
    some calls and shortens none. Say which hardware, dtype and threads (`gossamer.kernels.info`) a figure belongs to.
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
