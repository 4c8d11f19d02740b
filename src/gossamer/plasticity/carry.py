"""Connectivity a layer anew while everything that belongs to a surviving connection stays what it was."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from gossamer.connectivity import Pattern, SparseLayer
from gossamer.errors import InputError
from gossamer.kernels import follow, merge

__all__ = ["LayerChange", "carry_", "check_held"]


@dataclass(frozen=True, repr=False)
class LayerChange:
    """What one step has done to one layer.

    ``dropped`` and ``grown`` are the flat indices row · cols + col of the positions that were emptied and filled,
    ascending; a position in both was dropped and grown again as a new connection. ``core_degrees`` (in_features)
    counts, for each input, the connections that survived, before growth; evolved inputs are ranked by it. The inputs
    of a convolution are the positions (channel, row, column) of its kernel.
    """

    layer: str
    step: int
    nnz: int
    dropped: Tensor
    grown: Tensor
    core_degrees: Tensor

    def __repr__(self) -> str:
        dropped, grown = self.dropped.numel(), self.grown.numel()
        return f"LayerChange(layer={self.layer!r}, step={self.step}, nnz={self.nnz}, {dropped} dropped, {grown} grown)"


def check_held(optimizer: torch.optim.Optimizer, layers: Iterable[tuple[str, SparseLayer]]) -> None:
    """Raise `InputError` if ``optimizer`` does not train the ``values`` of one of the named layers."""
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    for name, layer in layers:
        if id(layer.weight_values) not in held:
            raise InputError(f"optimizer must hold the values of every layer that is rewired, and lacks {name!r}'s")


def core_degrees(kept: Tensor, layer: SparseLayer) -> Tensor:
    """(in_features) int32: how many of the positions ``kept`` belong to each input."""
    return torch.bincount(kept % layer.in_features, minlength=layer.in_features).to(torch.int32)


@torch.no_grad()
def carry_(
    layer: SparseLayer,
    kept: Tensor,
    survives: Tensor,
    grown: Tensor,
    weights: Tensor,
    optimizer: torch.optim.Optimizer | None,
) -> None:
    """Wire ``layer`` anew; survivors keep weight and optimizer state to the bit, new connections have state 0.

    Args:
        layer: changed in place.
        kept: the positions of the connections that stay, ascending.
        survives: (nnz before) bool, which they are.
        grown: the positions of new connections, ascending.
        weights: (connections grown) the weights they start with.
        optimizer: every tensor of its state for ``layer.weight_values`` that has the shape of ``values`` (a momentum,
            Adam's moments, whatever its name) follows the connections.

    If the number of connections stays the same, weights and state are written in place, so references to them stay
    good; otherwise ``values.data`` and the state tensors are replaced by tensors of the new length.
    """
    flat_indices, old = merge(kept, grown)
    pattern = Pattern.from_flat_indices(flat_indices, layer.out_features, layer.in_features)
    del flat_indices
    shape = layer.weight_values.shape
    values = follow(layer.weight_values.detach(), survives, old).masked_scatter_(~old, weights.to(layer.weight_values))
    state = {} if optimizer is None else optimizer.state.get(layer.weight_values, {})
    for key, tensor in state.items():
        if isinstance(tensor, Tensor) and tensor.shape == shape:
            moved = follow(tensor, survives, old)
            if moved.shape == shape:
                tensor.copy_(moved)
            else:
                state[key] = moved
    layer.set_pattern(pattern, values)
