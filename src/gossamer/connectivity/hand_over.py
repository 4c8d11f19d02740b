"""Handing an optimizer over from the parameters of a dense module to those of its sparse counterpart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from gossamer.connectivity.conversion import parts_of
from gossamer.errors import InputError

__all__ = ["check_holds", "hand_over"]


def check_holds(optimizer: torch.optim.Optimizer | None, layers: Iterable[nn.Module]) -> None:
    """Raise `InputError` unless ``optimizer`` is None, or trains the weights of each layer that are not frozen."""
    if optimizer is None:
        return
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise InputError(f"optimizer must be one of torch.optim or None, got {optimizer!r}")
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    for layer in layers:
        for part in parts_of(layer):
            weight = layer.get_parameter(part.weight)
            if weight.requires_grad and id(weight) not in held:
                raise InputError(
                    f"optimizer must hold the parameters of every layer that is replaced, and lacks those of {layer}: "
                    "give the optimizer that trains them, or leave the layer out with where(…)"
                )


def hand_over(optimizer: torch.optim.Optimizer, dense: nn.Module, sparse: nn.Module, *, state: bool = True) -> None:
    """Let ``optimizer`` train the parameters of ``sparse`` instead of those of ``dense``.

    With ``state`` it keeps its state for the weights that stay (a momentum, Adam's moments, under any name);
    otherwise it starts anew, as for weights that were drawn anew.
    """
    successors: dict[Tensor, list[tuple[nn.Parameter, Tensor]]] = {}
    for old, new, positions in _pairs(dense, sparse):
        successors.setdefault(old, []).append((new, positions))
    for group in optimizer.param_groups:
        group["params"] = [
            new
            for parameter in group["params"]
            for new in ([found for found, _ in successors[parameter]] if parameter in successors else [parameter])
        ]
    for old, followers in successors.items():
        kept = optimizer.state.pop(old, None)
        if kept is None or not state:
            continue
        for new, positions in followers:
            optimizer.state[new] = {key: _followed(value, old, positions) for key, value in kept.items()}


def _pairs(dense: nn.Module, sparse: nn.Module) -> Iterator[tuple[Tensor, nn.Parameter, Tensor]]:
    """Each dense parameter with a sparse one that takes numbers from it, and their flat indices there."""
    for part in parts_of(dense):
        weight, layer = dense.get_parameter(part.weight), part.layer(sparse)
        first = part.rows.indices(len(weight))[0] * weight[0].numel()
        yield weight, layer.weight_values, layer.pattern.flat_indices + first
        if layer.bias is not None:
            bias = dense.get_parameter(part.bias)
            yield bias, layer.bias, torch.arange(*part.bias_rows.indices(len(bias)), device=bias.device)  # type: ignore[misc]


def _followed(value: object, old: Tensor, positions: Tensor) -> object:
    if not isinstance(value, Tensor):
        return value
    return value.flatten()[positions] if value.shape == old.shape else value.clone()
