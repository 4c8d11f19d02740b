"""Wiring a layer anew while everything that belongs to a surviving link stays what it was."""

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

    ``died`` and ``born`` are the numbers row · cols + col of the cells that were emptied and filled, ascending; a cell
    in both has died and been born again as a new link. ``core_degrees`` (in_features) counts, for each input, the links
    that survived: the wiring before growth, by which evolved inputs are ranked. The inputs of a convolution are the
    cells (channel, row, column) of its kernel.
    """

    layer: str
    step: int
    nnz: int
    died: Tensor
    born: Tensor
    core_degrees: Tensor

    def __repr__(self) -> str:
        died, born = self.died.numel(), self.born.numel()
        return f"LayerChange(layer={self.layer!r}, step={self.step}, nnz={self.nnz}, {died} died, {born} born)"


def check_held(optimizer: torch.optim.Optimizer, layers: Iterable[tuple[str, SparseLayer]]) -> None:
    """Raise `InputError` if ``optimizer`` does not train the ``values`` of one of the named layers."""
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    for name, layer in layers:
        if id(layer.values) not in held:
            raise InputError(f"optimizer must hold the values of every layer that is rewired, and lacks {name!r}'s")


def core_degrees(kept: Tensor, layer: SparseLayer) -> Tensor:
    """(in_features) int32: how many of the cells ``kept`` belong to each input."""
    return torch.bincount(kept % layer.in_features, minlength=layer.in_features).to(torch.int32)


@torch.no_grad()
def carry_(
    layer: SparseLayer,
    kept: Tensor,
    survives: Tensor,
    born: Tensor,
    weights: Tensor,
    optimizer: torch.optim.Optimizer | None,
) -> None:
    """Wire ``layer`` anew; survivors keep weight and optimizer state to the bit, newborns have state 0.

    Args:
        layer: changed in place.
        kept: the cells of the links that stay, ascending.
        survives: (nnz before) bool, which they are.
        born: the cells of new links, ascending.
        weights: (links born) the weights they start with.
        optimizer: every tensor of its state for ``layer.values`` that has the shape of ``values`` (a momentum, Adam's
            moments, whatever its name) follows the links.

    If the number of links stays the same, weights and state are written in place, so references to them stay good;
    otherwise ``values.data`` and the state tensors are replaced by tensors of the new length.
    """
    cells, old = merge(kept, born)
    pattern = Pattern.from_cells(cells, layer.out_features, layer.in_features)
    del cells
    shape = layer.values.shape
    values = follow(layer.values.detach(), survives, old).masked_scatter_(~old, weights.to(layer.values))
    state = {} if optimizer is None else optimizer.state.get(layer.values, {})
    for key, tensor in state.items():
        if isinstance(tensor, Tensor) and tensor.shape == shape:
            moved = follow(tensor, survives, old)
            if moved.shape == shape:
                tensor.copy_(moved)
            else:
                state[key] = moved
    layer.set_pattern(pattern, values)
