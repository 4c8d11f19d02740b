"""Layers inside DistributedDataParallel, whose parameters must keep their lengths."""

from __future__ import annotations

import gc
from collections.abc import Iterable

from torch import distributed, nn

from gossamer.errors import InputError

__all__ = ["check_resizable"]


def check_resizable(layers: Iterable[nn.Module], remedy: str) -> None:
    """Raise `InputError` if one of ``layers`` is inside a DistributedDataParallel that is alive.

    That wrapper has sized its buffers and hooked the gradients of its parameters. With another length, gradients would
    not be summed over the ranks. A parameter doesn't know its wrapper, so wrappers are searched among all objects:
    once for each change, and only in a process that belongs to a group.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return
    inside = set(layers)
    for other in gc.get_objects():
        wraps = issubclass(type(other), nn.parallel.DistributedDataParallel) and "_modules" in other.__dict__
        if wraps and not inside.isdisjoint(other.modules()):
            raise InputError(
                f"the number of connections can't change inside DistributedDataParallel: {remedy}, wrap then"
            )
