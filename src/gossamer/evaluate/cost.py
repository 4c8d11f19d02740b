"""What a model costs: parameters, bytes and multiply-adds, layer by layer.

==========================  =========================================================================================
``connections``             live connections of a sparse layer, in · out of a dense one (zeros in it are stored too)
``weight_bytes``            weights and biases
``gradient_bytes``          their gradients in training: as many again where a gradient is required
``optimizer_bytes``         tensors that the optimizer holds for them, as found in ``optimizer.state``
``index_bytes``             the five int32 index buffers of a sparse layer
``macs_per_sample``         multiply-adds of W x for one input vector: one for each connection
``active_macs_per_sample``  those of them that leave an active input: Σ_i fan_out_i · P_i, P_i = share of x_i ≠ 0
==========================  =========================================================================================
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from gossamer.connectivity import SparseLinear
from gossamer.errors import InputError, check_fraction
from gossamer.evaluate.units import UnitActivity, linear_layers

__all__ = ["Cost", "LayerCost", "cost"]


@dataclass(frozen=True)
class LayerCost:
    """What one layer costs; the quantities are those at the head of this file. ``shape`` is (out, in)."""

    name: str
    kind: str = ""
    shape: tuple[int, int] | None = None
    parameters: int = 0
    connections: int = 0
    weight_bytes: int = 0
    gradient_bytes: int = 0
    optimizer_bytes: int | None = None
    index_bytes: int = 0
    macs_per_sample: int = 0
    active_macs_per_sample: float | None = None

    @property
    def density(self) -> float | None:
        """Live fraction of the connections; None where there is no one shape."""
        return None if self.shape is None else self.connections / (self.shape[0] * self.shape[1])

    @property
    def training_bytes(self) -> int | None:
        """Weights, gradients, optimizer state and indices; None while the optimizer's state is unknown."""
        if self.optimizer_bytes is None:
            return None
        return self.weight_bytes + self.gradient_bytes + self.optimizer_bytes + self.index_bytes


@dataclass(frozen=True)
class Cost:
    """What a model costs: its linear layers, and in ``other`` the parameters that belong to none of them."""

    layers: tuple[LayerCost, ...]
    other: LayerCost

    @property
    def total(self) -> LayerCost:
        """The sums; a quantity that is unknown of one part is unknown of the whole."""
        parts = (*self.layers, self.other)
        optimizer_bytes = [part.optimizer_bytes for part in parts if part.optimizer_bytes is not None]
        active = [layer.active_macs_per_sample for layer in self.layers if layer.active_macs_per_sample is not None]
        return LayerCost(
            name="total",
            parameters=sum(part.parameters for part in parts),
            connections=sum(part.connections for part in parts),
            weight_bytes=sum(part.weight_bytes for part in parts),
            gradient_bytes=sum(part.gradient_bytes for part in parts),
            optimizer_bytes=sum(optimizer_bytes) if len(optimizer_bytes) == len(parts) else None,
            index_bytes=sum(part.index_bytes for part in parts),
            macs_per_sample=sum(part.macs_per_sample for part in parts),
            active_macs_per_sample=sum(active) if len(active) == len(self.layers) else None,
        )


def cost(
    model: nn.Module,
    optimizer: Optimizer | None = None,
    activity: Mapping[str, float | UnitActivity] | Mapping[str, float] | Mapping[str, UnitActivity] | None = None,
) -> Cost:
    """Count what the linear layers of ``model`` store and compute, and the parameters beside them.

    Args:
        model: any module.
        optimizer: its state is measured, not guessed. Optimizers make their state at the first step: before that, and
            without an optimizer, ``optimizer_bytes`` is None.
        activity: by qualified layer name, the active share of the layer's inputs in [0, 1], or what `measure_activity`
            found, which weighs each input by the connections that leave it. ``active_macs_per_sample`` is None for
            layers that are not in it.

    A parameter that several modules share is counted with the first. Multiply-adds are for one input vector of each
    layer: a layer that is called at T time steps does T times as many.
    """
    layers = linear_layers(model)
    activity = {} if activity is None else activity
    for name in activity:
        if name not in layers:
            raise InputError(f"activity must name linear layers of the model, {sorted(layers)}, got {name!r}")
    seen: set[int] = set()
    counted = tuple(_layer(name, layer, optimizer, activity.get(name), seen) for name, layer in layers.items())
    return Cost(counted, LayerCost("other", **_storage(model.parameters(), optimizer, seen)))


def _layer(
    name: str,
    layer: nn.Linear | SparseLinear,
    optimizer: Optimizer | None,
    activity: float | UnitActivity | None,
    seen: set[int],
) -> LayerCost:
    connections = layer.nnz if isinstance(layer, SparseLinear) else layer.in_features * layer.out_features
    if activity is None:
        active = None
    elif isinstance(activity, UnitActivity):
        active = activity.active_connections
    else:
        active = check_fraction(f"activity[{name!r}]", activity) * connections
    return LayerCost(
        name=name,
        kind=type(layer).__name__,
        shape=(layer.out_features, layer.in_features),
        connections=connections,
        index_bytes=sum(_bytes(t) for t in layer.pattern.structure) if isinstance(layer, SparseLinear) else 0,
        macs_per_sample=connections,
        active_macs_per_sample=active,
        **_storage(layer.parameters(), optimizer, seen),
    )


def _storage(parameters: Iterable[nn.Parameter], optimizer: Optimizer | None, seen: set[int]) -> dict[str, Any]:
    """What those parameters that were not ``seen`` take, which are added to it."""
    fresh = []
    for parameter in parameters:
        if id(parameter) not in seen:
            seen.add(id(parameter))
            fresh.append(parameter)
    trained = [parameter for parameter in fresh if parameter.requires_grad]
    state = None
    if optimizer is not None and optimizer.state:
        state = sum(_state_bytes(optimizer.state[p]) for p in fresh if p in optimizer.state)
    return {
        "parameters": sum(p.numel() for p in fresh),
        "weight_bytes": sum(_bytes(p) for p in fresh),
        "gradient_bytes": sum(_bytes(p) for p in trained),
        "optimizer_bytes": state,
    }


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _state_bytes(state: object) -> int:
    """Bytes of all tensors in nested dictionaries and lists."""
    if isinstance(state, Tensor):
        return _bytes(state)
    if isinstance(state, Mapping):
        return sum(_state_bytes(value) for value in state.values())
    if isinstance(state, list | tuple):
        return sum(_state_bytes(value) for value in state)
    return 0
