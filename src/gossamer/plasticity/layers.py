"""The sparse layers of a network, whatever it is wrapped in."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from gossamer.connectivity import SparseLinear
from gossamer.errors import InputError
from gossamer.kernels import Code

__all__ = ["Where", "bare", "dense_input", "sparse_layers"]

Where = Callable[[str, SparseLinear], bool]


def bare(net: nn.Module) -> nn.Module:
    """``net`` without the wrappers of DistributedDataParallel and torch.compile."""
    while True:
        if isinstance(net, nn.parallel.DistributedDataParallel):
            net = net.module
        elif isinstance(inner := getattr(net, "_orig_mod", None), nn.Module):
            net = inner
        else:
            return net


def sparse_layers(net: nn.Module, where: Where | None = None) -> dict[str, SparseLinear]:
    """The `SparseLinear` layers of ``net`` by name, at which ``where`` is true."""
    layers = {
        name: module
        for name, module in net.named_modules()
        if isinstance(module, SparseLinear) and (where is None or where(name, module))
    }
    if not layers:
        raise InputError("net has no SparseLinear layer to rewire" + (" at which where(…) is true" if where else ""))
    return layers


def dense_input(x: Tensor | Code) -> Tensor:
    """What a layer has read, (…, inputs), whether it came as a tensor or as a code."""
    return x.to_dense() if isinstance(x, Code) else x
