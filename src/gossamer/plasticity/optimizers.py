"""Optimizers that can follow a rewiring, and the state that follows.

An optimizer's state for the weights of a sparse layer is found by the parameter and by shape, under any name: tensors
of the shape of ``weight_values`` hold a number for each connection. An optimizer that wraps others (ZeRO, Lookahead,
local SGD, a list of optimizers) may keep the state there, so all of them are searched. State that can't follow is
refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from gossamer.connectivity import SparseLayer
from gossamer.errors import InputError

__all__ = ["check_held", "check_replaceable", "optimizers_in", "states_of"]


def optimizers_in(optimizer: torch.optim.Optimizer) -> Iterator[torch.optim.Optimizer]:
    """``optimizer``, those that it wraps, and those that they wrap, each once."""
    seen: set[int] = set()
    left: list[torch.optim.Optimizer] = [optimizer]
    while left:
        current = left.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        for value in vars(current).values():
            inside = (
                value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else [value]
            )
            left += [item for item in inside if isinstance(item, torch.optim.Optimizer)]


def states_of(
    optimizer: torch.optim.Optimizer | None, name: str, values: Tensor
) -> list[tuple[dict[str, Any], str, Tensor]]:
    """The tensors of the shape of ``values`` in the state for ``values``: the dict of each, its key, and itself.

    Raises:
        InputError: if the state holds numbers that are neither one for each connection nor one for all of them.
    """
    if optimizer is None:
        return []
    found: dict[tuple[int, str], tuple[dict[str, Any], str, Tensor]] = {}
    for holder in optimizers_in(optimizer):
        entries = holder.state.get(values, {})
        for key, value in entries.items():
            if isinstance(value, Tensor) and value.shape == values.shape:
                found[id(entries), key] = entries, key, value
            elif any(tensor.numel() > 1 for tensor in _tensors(value)):
                raise InputError(
                    f"optimizer must hold one number for each connection of layer {name!r} ({values.numel()}) in its "
                    f"state {key!r}, or one for all; {type(holder).__name__} holds {_shape(value)}, which can't follow "
                    "the connections. Use another optimizer, or clear optimizer.state (Rewire: reset_state=True)"
                )
    return list(found.values())


def check_replaceable(layers: Iterable[tuple[str, SparseLayer]]) -> None:
    """Raise `InputError` if the weights of one of the named layers are no ordinary Parameter."""
    for name, layer in layers:
        kind = type(layer._parameters.get("weight_values"))
        if kind is nn.Parameter:
            continue
        if "weight_values" in getattr(layer, "parametrizations", ()):
            got, remedy = "a parametrized one", "call torch.nn.utils.parametrize.remove_parametrizations first"
        else:
            got = "none (FSDP?)" if kind is type(None) else kind.__name__
            remedy = "connections change only in whole layers, so use DistributedDataParallel instead of sharding"
        raise InputError(f"weight_values of layer {name!r} must be an ordinary Parameter, got {got}: {remedy}")


def check_held(
    optimizer: torch.optim.Optimizer, layers: Iterable[tuple[str, SparseLayer]], *, reset: bool = False
) -> None:
    """Raise `InputError` if ``optimizer`` does not train the weights of one of the named layers, or can't follow.

    ``reset``: its state is cleared at each change.
    """
    for holder in optimizers_in(optimizer):
        if isinstance(holder, torch.optim.LBFGS) and not reset:
            raise InputError(
                "optimizer must be one whose state follows the connections, got LBFGS, whose history is of all "
                "parameters together. Use another one, or reset_state=True of Rewire"
            )
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    for name, layer in layers:
        if id(layer.weight_values) not in held:
            raise InputError(
                f"optimizer must hold the values of every layer that is rewired, and lacks {name!r}'s: "
                "make it from the parameters of this net (a copy has others)"
            )


def _tensors(value: object) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)


def _shape(value: object) -> str:
    return f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
