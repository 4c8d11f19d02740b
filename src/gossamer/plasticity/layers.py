"""The sparse layers of a network, in any wrapper."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import torch
from torch import nn

from gossamer.connectivity import SparseLayer
from gossamer.connectivity.layer import check_plain
from gossamer.errors import InputError

__all__ = ["Where", "bare", "sparse_layers", "uncompiled"]

P = ParamSpec("P")
R = TypeVar("R")

Where = Callable[[str, Any], bool]


def bare(net: nn.Module) -> nn.Module:
    """Return ``net`` without the wrappers of DistributedDataParallel and torch.compile."""
    while True:
        if isinstance(net, nn.parallel.DistributedDataParallel):
            net = net.module
        elif isinstance(inner := getattr(net, "_orig_mod", None), nn.Module):
            net = inner
        else:
            return net


def sparse_layers(net: nn.Module, where: Where | None = None) -> dict[str, SparseLayer]:
    """Return the sparse layers of ``net``, linear and convolutional, by name, at which ``where`` is true."""
    layers = {
        name: module
        for name, module in net.named_modules()
        if isinstance(module, SparseLayer) and (where is None or where(name, module))
    }
    if not layers:
        raise InputError("net has no sparse layer to rewire" + (" at which where(…) is true" if where else ""))
    for name, layer in layers.items():
        check_plain(layer, name)
    return layers


def uncompiled(function: Callable[P, R]) -> Callable[P, R]:
    """Return ``function`` so that ``torch.compile`` leaves it alone.

    ``torch.compiler.disable`` does the same, but imports the compiler where it decorates, not where one calls.
    """

    @functools.wraps(function)
    def call(*arguments: P.args, **named: P.kwargs) -> R:
        if not hasattr(function, "uncompiled"):
            function.uncompiled = torch.compiler.disable(function)  # type: ignore[attr-defined]
        return function.uncompiled(*arguments, **named)  # type: ignore[attr-defined, no-any-return]

    return call
