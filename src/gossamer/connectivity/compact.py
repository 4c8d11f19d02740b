"""Dense layers whose weights are largely zero, stored as sparse ones: the same function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from gossamer.connectivity.layer import SparseLayer
from gossamer.connectivity.pattern import Pattern
from gossamer.connectivity.sparsify import SPARSE, Dense, find_places, put
from gossamer.errors import check_fraction

__all__ = ["compact_"]

Model = TypeVar("Model", bound=nn.Module)


def compact_(
    model: Model,
    max_density: float = 0.5,
    where: Callable[[str, Any], bool] | None = None,
    *,
    optimizer: torch.optim.Optimizer | None = None,
) -> Model:
    """Replace layers of ``model`` by sparse ones that store their non-zero weights, in place, and return the model.

    The function stays the same, up to rounding: this is for weights that a projection (`gossamer.constraints`) or
    pruning has set to exact zeros. From now on zeros stay zero.

    Args:
        model: any module with layers inside that `sparsify_` can replace.
        max_density: layers of which a larger share than this, in (0, 1], is not zero stay dense, where they are faster.
        where: ``where(name, layer)`` tells which layers are looked at (default: all); name is its first in the model.
        optimizer: goes on with the new parameters in the place of the old ones; its state (a momentum, Adam's moments,
            whatever its name) follows the weights that stay.

    Layers that occur twice, subclasses, shared weights and unusual convolutions are treated as `sparsify_` does. A
    constraint that is attached to a layer speaks of its dense weight: `Attached.remove` it first.
    """
    check_fraction("max_density", max_density, open_low=True)
    for layer, spots in find_places(model, where).items():
        live = layer.weight.detach().flatten(1) != 0
        if int(live.sum()) <= max_density * live.numel():
            twin = SPARSE[type(layer)](layer, Pattern.from_mask(live))
            put(spots, twin)
            if optimizer is not None:
                _hand_over(optimizer, layer, twin)
    return model


def _hand_over(optimizer: torch.optim.Optimizer, dense: Dense, sparse: SparseLayer) -> None:
    """Let ``optimizer`` train the parameters of ``sparse`` instead of those of ``dense``, with the state it has."""
    successors: dict[Tensor, nn.Parameter] = {dense.weight: sparse.weight_values}
    if dense.bias is not None and sparse.bias is not None:
        successors[dense.bias] = sparse.bias  # type: ignore[assignment]
    for group in optimizer.param_groups:
        group["params"] = [successors.get(parameter, parameter) for parameter in group["params"]]
    flat_indices = sparse.pattern.flat_indices
    for old, new in successors.items():
        state = optimizer.state.pop(old, None)
        if state is not None:
            for key, value in state.items():
                if old is dense.weight and isinstance(value, Tensor) and value.shape == old.shape:
                    state[key] = value.flatten()[flat_indices]
            optimizer.state[new] = state
