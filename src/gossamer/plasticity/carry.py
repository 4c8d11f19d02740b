"""New connectivity for a layer, while everything that belongs to a surviving connection stays unchanged.

A change is made in two steps, so that it is done wholly or not at all. `prepare` computes a layer's new pattern,
weights and optimizer state, and changes nothing. `commit` then puts the prepared changes of all layers in place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gossamer.connectivity import Pattern, SparseLayer
from gossamer.kernels import follow, merge
from gossamer.plasticity.optimizers import states_of

__all__ = ["LayerChange", "Prepared", "core_degrees", "prepare"]


@dataclass(frozen=True, repr=False)
class LayerChange:
    """Changes of one layer in one step.

    Attributes:
        layer: qualified name of the layer.
        step: number of the step.
        nnz: number of connections afterwards.
        dropped: flat indices row · cols + col of the positions that were emptied, ascending.
        grown: flat indices of the positions that were filled, ascending; a position in both was dropped and grown again
            as a new connection.
        core_degrees: (in_features), for each input, the connections that survived, before growth; evolved inputs are
            ranked by it. The inputs of a convolution are the positions (channel, row, column) of its kernel.

    Example:
        >>> net = gs.SparseLinear(10, 5, density=0.4)
        >>> (change,) = gs.Rewire(net, drop=gs.drop.magnitude(0.25)).step()
        >>> change.nnz, len(change.dropped), int(change.core_degrees.sum())
        (20, 5, 15)
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


def core_degrees(kept: Tensor, layer: SparseLayer) -> Tensor:
    """Count the positions ``kept`` of each input: (in_features) int32."""
    return torch.bincount(kept % layer.in_features, minlength=layer.in_features).to(torch.int32)


@dataclass(frozen=True)
class Prepared:
    """The new pattern, weights and optimizer state of a layer, which `put` puts in place; it may be called again."""

    layer: SparseLayer
    pattern: Pattern
    values: Tensor
    state: Sequence[tuple[dict[str, Any], str, Tensor]]  # where it belongs, its name there, its new value

    def put(self) -> None:
        """Change the layer and the state that its optimizer holds."""
        for entries, key, moved in self.state:
            if entries[key].shape == moved.shape:
                entries[key].copy_(moved)
            else:
                entries[key] = moved
        self.layer.set_pattern(self.pattern, self.values)


@torch.no_grad()
def prepare(
    name: str,
    layer: SparseLayer,
    kept: Tensor,
    survives: Tensor,
    grown: Tensor,
    weights: Tensor,
    optimizer: torch.optim.Optimizer | None,
    values: Tensor | None = None,
) -> Prepared:
    """Compute a change of ``layer``: survivors keep weight and optimizer state to the bit, new ones have state 0.

    Args:
        name: of the layer, for errors.
        layer: is only read.
        kept: the positions of the connections that stay, ascending.
        survives: (nnz before) bool, which they are.
        grown: the positions of new connections, ascending.
        weights: (connections grown) the weights they start with.
        optimizer: every tensor of its state for ``layer.weight_values`` that has the shape of ``weight_values`` (a
            momentum, Adam's moments, under any name) follows the connections, also in the optimizers that it wraps.
        values: (nnz before) the weights that survivors take with them, if not those of ``layer``.

    If the number of connections stays the same, `Prepared.put` writes weights and state in place, so references to them
    stay good; otherwise the data of ``weight_values`` and the state tensors are replaced by tensors of the new length.

    Raises:
        InputError: the state has tensors of other shapes, which cannot follow.
    """
    flat_indices, old = merge(kept, grown)
    pattern = Pattern.from_flat_indices(flat_indices, layer.out_features, layer.in_features)
    del flat_indices
    before = layer.weight_values.detach() if values is None else values
    values = follow(before, survives, old).masked_scatter_(~old, weights.to(layer.weight_values))
    state = [
        (entries, key, follow(tensor, survives, old))
        for entries, key, tensor in states_of(optimizer, name, layer.weight_values)
    ]
    return Prepared(layer, pattern, values, state)
