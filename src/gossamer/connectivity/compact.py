"""Compaction: dense layers whose weights are largely zero become sparse layers of the same function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import nn

from gossamer.connectivity.conversion import make_sparse, parts_of
from gossamer.connectivity.hand_over import check_holds, hand_over
from gossamer.connectivity.pattern import Pattern
from gossamer.connectivity.sparsify import find_places, leave_fast_paths, put
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
    """Replace layers of ``model`` by sparse ones that store their non-zero weights, in place.

    The function stays the same, up to rounding: this is for weights that a projection (`gossamer.constraints`) or
    pruning has set to exact zeros. From now on zeros stay zero. Layers that occur twice, subclasses, shared weights and
    unusual convolutions are treated as by `sparsify_`. A constraint that is attached to a layer applies to its dense
    weight: `Attached.remove` it first.

    Args:
        model: any module with layers inside that `sparsify_` can replace.
        max_density: layers of which a larger share than this, in (0, 1], is not zero stay dense, where they are faster.
        where: ``where(name, layer)`` selects layers (default: all); name is its first in the model.
        optimizer: continues with the new parameters in the place of the old ones; its state (a momentum, Adam's
            moments, under any name) follows the weights that stay.

    Returns:
        ``model``.

    Raises:
        InputError: ``model`` has no layer to replace, an argument is outside its range, or ``optimizer`` does not hold
            the weight of a layer that is replaced.

    Example:
        >>> net = nn.Sequential(nn.Linear(20, 10))
        >>> _ = net[0].weight.data.copy_(gs.functional.l0_projection(net[0].weight.data, k=3))
        >>> gs.compact_(net)
        Sequential(
          (0): SparseLinear(in_features=20, out_features=10, density=0.15, nnz=30, bias=True)
        )
    """
    check_fraction("max_density", max_density, open_low=True)
    chosen: dict[nn.Module, tuple[list[tuple[nn.Module, str]], dict[str, Pattern]]] = {}
    for layer, spots in find_places(model, where).items():
        connected = {part.name: part.matrix(layer).detach().flatten(1) != 0 for part in parts_of(layer)}
        count = sum(int(mask.sum()) for mask in connected.values())
        if count <= max_density * sum(mask.numel() for mask in connected.values()):
            chosen[layer] = spots, {name: Pattern.from_mask(mask) for name, mask in connected.items()}
    check_holds(optimizer, chosen)
    for layer, (spots, patterns) in chosen.items():
        twin = make_sparse(layer, patterns)
        put(spots, twin)
        if optimizer is not None:
            hand_over(optimizer, layer, twin)
    leave_fast_paths(model)
    return model
