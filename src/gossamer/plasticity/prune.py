"""Pruning: removing connections for good; their number falls, and weights, optimizer state and patterns follow.

Pruning changes the length of ``weight_values``, which wrappers that have sized their buffers (DistributedDataParallel)
can't follow: prune first, wrap then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from gossamer.connectivity import SparseLayer
from gossamer.connectivity.distributed import check_resizable
from gossamer.connectivity.pattern import connection_count
from gossamer.errors import InputError, check_choice, check_count, check_fraction
from gossamer.kernels import split
from gossamer.plasticity.carry import LayerChange, Prepared, core_degrees, prepare
from gossamer.plasticity.commit import commit
from gossamer.plasticity.flat_indices import smallest
from gossamer.plasticity.layers import Where, sparse_layers
from gossamer.plasticity.optimizers import check_held, check_replaceable
from gossamer.plasticity.schedule import cubic

__all__ = ["GradualMagnitudePruning", "importance_prune_", "magnitude_prune_"]

Scope = Literal["layer", "net"]


@torch.no_grad()
def magnitude_prune_(
    net: nn.Module,
    density: float,
    optimizer: torch.optim.Optimizer | None = None,
    *,
    scope: Scope = "layer",
    where: Where | None = None,
    step: int = 0,
) -> list[LayerChange]:
    """Remove the connections of smallest |weight| until the given density is reached, in place.

    Of equal magnitudes the lowest flat index goes first.

    Args:
        net: changed in place.
        density: in (0, 1], of each layer (a layer that is sparser already stays unchanged), or, with ``scope="net"``,
            of all layers together, one threshold for all.
        optimizer: its state follows.
        scope: ``"layer"`` or ``"net"``.
        where: which layers (default: all).
        step: a number for the records that are returned.

    Returns:
        The changes, one for each layer.

    Raises:
        InputError: there is no sparse layer, weights are NaN, or an argument is outside its range.

    Example:
        >>> net = gs.SparseLinear(100, 50, density=0.4)
        >>> _ = gs.magnitude_prune_(net, density=0.1)
        >>> net.density
        0.1
    """
    layers = _layers(net, where, optimizer)
    if check_choice("scope", scope, ("layer", "net")) == "net":
        to_drop = _weakest_of_all(layers, density)
    else:
        to_drop = {name: _weakest(name, layer, density) for name, layer in layers.items()}
    return _remove(to_drop, layers, optimizer, step)


@torch.no_grad()
def importance_prune_(
    net: nn.Module,
    fraction: float = 0.2,
    optimizer: torch.optim.Optimizer | None = None,
    *,
    where: Where | None = None,
    step: int = 0,
) -> list[LayerChange]:
    """Remove all incoming connections of the least important units, in place.

    The importance of unit j, a feature or a channel, is Σ_i |W[j, i]|. Units at or below the ``fraction`` quantile of
    their layer's importances (linear between order statistics, isolated units counted too) lose their connections;
    the most important never do. Rewiring that follows keeps the smaller count, and may connect a pruned unit again.

    Args:
        net: changed in place.
        fraction: of the units, in [0, 1].
        optimizer: its state follows.
        where: which layers (default: all but the last, whose units are the network's outputs).
        step: a number for the records that are returned.

    Returns:
        The changes, one for each layer.

    Raises:
        InputError: there is no sparse layer but the last, weights are NaN, or ``fraction`` is outside its range.

    Example:
        >>> net = nn.Sequential(gs.SparseLinear(20, 10, density=0.5), nn.ReLU(), gs.SparseLinear(10, 3, density=0.5))
        >>> _ = gs.importance_prune_(net, fraction=0.3)
        >>> int((net[0].pattern.fan_in == 0).sum())
        3

    References:
        Curci, Mocanu, Pechenizkiy, "Truly sparse neural networks at scale", arXiv 2102.01732.
    """
    fraction = check_fraction("fraction", fraction)
    layers = _layers(net, where, optimizer)
    if where is None:
        if len(layers) == 1:
            raise InputError("net has one sparse layer only, its last: choose it by where(…) to prune its units")
        layers.popitem()
    to_drop = {}
    for name, layer in layers.items():
        rows = layer.pattern.row_indices
        strength = torch.zeros(layer.out_features, dtype=torch.float64, device=rows.device)
        strength.index_add_(0, rows, _weights(name, layer).abs().double())
        ordered = strength.sort().values
        place = fraction * (len(ordered) - 1)
        below, above = ordered[int(place)], ordered[min(int(place) + 1, len(ordered) - 1)]
        weak = (strength <= below + (place - int(place)) * (above - below)) & (strength < ordered[-1])
        to_drop[name] = weak[rows]
    return _remove(to_drop, layers, optimizer, step)


class GradualMagnitudePruning:
    """Prune by magnitude along a cubic curve; see `magnitude_prune_`.

    From the densities d₀ that the layers have at the first `step`, after t of ``steps`` steps each layer has
    d(t) = d + (d₀ − d)(1 − t / steps)³, which is ``density`` from t = steps on.

    Args:
        net: changed in place at each step.
        optimizer: its state follows.
        density: d in (0, 1], at the end.
        steps: number of steps to the end, ≥ 1.
        scope: ``"layer"``, or ``"net"``: d₀ and ``density`` are those of all layers together, with one threshold.
        where: which layers (default: all).

    Raises:
        InputError: there is no sparse layer, or an argument is outside its range.

    Example:
        >>> net = gs.SparseLinear(100, 50, density=1.0)
        >>> pruning = gs.GradualMagnitudePruning(net, density=0.1, steps=4)
        >>> for _ in range(4):
        ...     _ = pruning.step()
        ...     print(f"{net.density:.3f}")
        0.480
        0.212
        0.114
        0.100

    References:
        Zhu, Gupta, "To prune, or not to prune: exploring the efficacy of pruning for model compression", arXiv
        1710.01878 (2017), equation 1.
    """

    def __init__(
        self,
        net: nn.Module,
        optimizer: torch.optim.Optimizer | None = None,
        *,
        density: float,
        steps: int,
        scope: Scope = "layer",
        where: Where | None = None,
    ) -> None:
        self.optimizer = optimizer
        self.density = check_fraction("density", density, open_low=True)
        self.horizon = check_count("steps", steps, low=1)
        self.scope = check_choice("scope", scope, ("layer", "net"))
        self.layers = _layers(net, where, optimizer)
        self.start = {name: layer.density for name, layer in self.layers.items()}
        self.steps = 0

    @torch.no_grad()
    def step(self) -> list[LayerChange]:
        """Prune once; call it between updates of the weights, ``steps`` times or more.

        Returns:
            The changes, one for each layer.

        Raises:
            InputError: weights are NaN.
        """
        check_resizable(self.layers.values(), "prune first")
        step = self.steps + 1
        if self.scope == "net":
            sizes = {name: layer.in_features * layer.out_features for name, layer in self.layers.items()}
            start = sum(self.start[name] * size for name, size in sizes.items()) / sum(sizes.values())
            to_drop = _weakest_of_all(self.layers, self._density(start, step))
        else:
            to_drop = {
                name: _weakest(name, layer, self._density(self.start[name], step))
                for name, layer in self.layers.items()
            }
        return _remove(to_drop, self.layers, self.optimizer, step, partial(setattr, self, "steps", step))

    def _density(self, start: float, step: int) -> float:
        return cubic(min(1.0, max(start, self.density)), self.horizon, end=self.density)(step)

    def state_dict(self) -> dict[str, Any]:
        """Return the state.

        Returns:
            The step and the densities at the start.
        """
        return {"steps": self.steps, "start": dict(self.start)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where `state_dict` was taken; load network and optimizer too.

        Args:
            state: the result of `state_dict`.
        """
        self.steps = int(state["steps"])
        self.start = {name: float(density) for name, density in state["start"].items()}


def _layers(net: nn.Module, where: Where | None, optimizer: torch.optim.Optimizer | None) -> dict[str, SparseLayer]:
    if isinstance(net, nn.parallel.DistributedDataParallel):
        raise InputError("net must be pruned before it is wrapped in DistributedDataParallel, got a wrapped one")
    layers = sparse_layers(net, where)
    check_replaceable(layers.items())
    check_resizable(layers.values(), "prune first")
    if optimizer is not None:
        check_held(optimizer, layers.items())
    return layers


def _weights(name: str, layer: SparseLayer) -> Tensor:
    weights = layer.weight_values.detach()
    if bool(weights.isnan().any()):
        raise InputError(f"weights of layer {name!r} must be numbers, got NaN")
    return weights


def _weakest(name: str, layer: SparseLayer, density: float) -> Tensor:
    """(nnz) bool: the connections to remove from ``layer`` to leave it with ``density``."""
    target = connection_count(layer.out_features, layer.in_features, density)
    return smallest(_weights(name, layer).abs(), layer.nnz - target)


def _weakest_of_all(layers: Mapping[str, SparseLayer], density: float) -> dict[str, Tensor]:
    """The connections to remove from all layers together, by one threshold, to leave them with ``density``."""
    everything = torch.cat([_weights(name, layer).abs() for name, layer in layers.items()])
    target = connection_count(1, sum(layer.in_features * layer.out_features for layer in layers.values()), density)
    masks = smallest(everything, everything.numel() - target).split([layer.nnz for layer in layers.values()])
    return dict(zip(layers, masks, strict=True))


def _remove(
    to_drop: Mapping[str, Tensor],
    layers: Mapping[str, SparseLayer],
    optimizer: torch.optim.Optimizer | None,
    step: int,
    *finish: Callable[[], None],
) -> list[LayerChange]:
    """Remove the marked connections of all layers together, then call ``finish``."""
    changes: list[LayerChange] = []
    planned: list[Prepared] = []
    for name, mask in to_drop.items():
        layer = layers[name]
        kept, dropped = split(layer.pattern.flat_indices, ~mask)
        if dropped.numel():
            none = layer.weight_values.new_empty(0)
            planned.append(prepare(name, layer, kept, ~mask, dropped[:0], none, optimizer))
        changes.append(LayerChange(name, step, kept.numel(), dropped, dropped[:0], core_degrees(kept, layer)))
    commit([*(prepared.put for prepared in planned), *finish])
    return changes
