"""Handing an optimizer over from the parameters of a dense layer to those of its sparse replacement."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from gossamer.connectivity.layer import SparseLayer
from gossamer.errors import InputError

__all__ = ["check_holds", "hand_over"]

Dense = nn.Linear | nn.Conv2d


def check_holds(optimizer: torch.optim.Optimizer | None, layers: Iterable[Dense]) -> None:
    """Raise `InputError` unless ``optimizer`` is None, or trains the weight of each layer that is not frozen."""
    if optimizer is None:
        return
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise InputError(f"optimizer must be one of torch.optim or None, got {optimizer!r}")
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    for layer in layers:
        if layer.weight.requires_grad and id(layer.weight) not in held:
            raise InputError(
                f"optimizer must hold the parameters of every layer that is replaced, and lacks those of {layer}: "
                "give the optimizer that trains them, or leave the layer out with where(…)"
            )


def hand_over(optimizer: torch.optim.Optimizer, dense: Dense, sparse: SparseLayer, *, state: bool = True) -> None:
    """Let ``optimizer`` train the parameters of ``sparse`` instead of those of ``dense``.

    With ``state`` it keeps its state for the weights that stay (a momentum, Adam's moments, under any name);
    otherwise it starts anew, as for weights that were drawn anew.
    """
    successors: dict[Tensor, nn.Parameter] = {dense.weight: sparse.weight_values}
    if dense.bias is not None and sparse.bias is not None:
        successors[dense.bias] = sparse.bias  # type: ignore[assignment]
    for group in optimizer.param_groups:
        group["params"] = [successors.get(parameter, parameter) for parameter in group["params"]]
    flat_indices = sparse.pattern.flat_indices
    for old, new in successors.items():
        kept = optimizer.state.pop(old, None)
        if kept is not None and state:
            for key, value in kept.items():
                if old is dense.weight and isinstance(value, Tensor) and value.shape == old.shape:
                    kept[key] = value.flatten()[flat_indices]
            optimizer.state[new] = kept
