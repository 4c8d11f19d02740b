"""Sources of the samples on which similarities are measured: given ones, or the last that the network has read."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from gossamer.connectivity.pattern import sample_flat_indices
from gossamer.errors import InputError
from gossamer.plasticity.layers import bare, uncompiled
from gossamer.plasticity.similarity import Call

__all__ = ["InputMemory", "Inputs", "calls_of", "take"]

Inputs = Tensor | Iterable[Any]
_BATCH = 1024
_PIXELS = 1 << 18  # in a batch of images, whose layers hold many times as many numbers


class InputMemory:
    """Keeps the arguments of the last training passes of ``net``, ``samples`` rows of them or a batch; not copied."""

    def __init__(self, net: nn.Module, samples: int) -> None:
        self.inner, self.samples = bare(net), samples
        self.calls: deque[Call] = deque()
        self.handle = net.register_forward_pre_hook(self._keep, with_kwargs=True)

    @uncompiled
    def _keep(self, net: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self.inner.training:
            self.calls.append(_map_tensors((args, kwargs), torch.Tensor.detach))
            while sum(map(_rows, self.calls)) - _rows(self.calls[0]) >= self.samples:
                self.calls.popleft()

    def remove(self) -> None:
        """Remove the hook."""
        self.handle.remove()


def calls_of(inputs: Inputs, device: torch.device, samples: int, generator: torch.Generator) -> Iterator[Call]:
    """Yield arguments for calls of a network: ``inputs`` by batches, on ``device``.

    A tensor (samples, …) is cut into batches, after drawing ``samples`` of its rows if there are more. Of an iterable,
    each batch is a tensor, a tuple or list whose first element is one (as of a DataLoader), or a mapping of keyword
    arguments.
    """
    if not isinstance(inputs, Iterable) or (isinstance(inputs, Tensor) and not inputs.dim()):
        raise InputError(f"inputs must be a tensor (samples, …) or an iterable of batches, got {inputs!r}")
    if isinstance(inputs, Tensor):
        if samples < len(inputs):
            inputs = inputs[sample_flat_indices(len(inputs), samples, generator).to(inputs.device)]
        images = inputs.dim() == 4 and inputs.numel() > 0
        inputs = inputs.split(max(1, min(_BATCH, _PIXELS // inputs[0].numel())) if images else _BATCH)
    for batch in inputs:
        if isinstance(batch, Mapping):
            yield _map_tensors(((), dict(batch)), lambda x: x.to(device))
            continue
        x = batch[0] if isinstance(batch, (tuple, list)) and len(batch) else batch
        if not isinstance(x, Tensor):
            raise InputError(f"inputs must give tensors, tuples that start with one, or mappings, got {type(x)}")
        yield (x.to(device),), {}


def take(calls: Iterable[Call], samples: int) -> Iterator[Call]:
    """Yield the first ``samples`` rows of these calls."""
    left = samples
    for call in calls:
        rows = _rows(call)
        if rows >= left:
            yield _map_tensors(call, lambda x, rows=rows, left=left: x[:left] if x.shape[:1] == (rows,) else x)
            return
        yield call
        left -= rows


def _rows(call: Call) -> int:
    for x in (*call[0], *call[1].values()):
        if isinstance(x, Tensor) and x.dim():
            return len(x)
    return 1


def _map_tensors(call: Call, f: Any) -> Call:
    args, kwargs = call
    return (
        tuple(f(x) if isinstance(x, Tensor) else x for x in args),
        {key: f(x) if isinstance(x, Tensor) else x for key, x in kwargs.items()},
    )
