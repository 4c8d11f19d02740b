"""Costs of a model: parameters, bytes and multiply-adds, layer by layer.

==========================  =========================================================================================
``connections``             connections of a sparse layer, in · out of a dense one (zeros in it are stored too)
``weight_bytes``            weights and biases
``gradient_bytes``          their gradients in training: as many again where a gradient is required
``optimizer_bytes``         tensors that the optimizer holds for them, as found in ``optimizer.state``
``index_bytes``             the index buffers of a sparse layer
``macs_per_sample``         multiply-adds of W x: one for each connection, each time that the layer reads
``active_macs_per_sample``  those of them that leave an active input: Σ_i fan_out_i · P_i, P_i = share of x_i ≠ 0
==========================  =========================================================================================

A linear layer is taken to read once for a sample, unless measured activations show otherwise (time steps, repeated
calls). How often a convolution reads, at each position of its kernel, is known from samples alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import Tensor, nn
from torch.optim import Optimizer

from gossamer.connectivity import SparseLayer
from gossamer.errors import InputError, check_fraction
from gossamer.evaluate.unit_activations import Layer, UnitActivations, linear_layers, measure_activations

__all__ = ["Cost", "LayerCost", "cost"]

Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class LayerCost:
    """Costs of one layer; the quantities are defined in the module's docstring.

    Attributes:
        name: qualified name of the layer.
        kind: name of its class.
        shape: (out, in), of a convolution (channels out, channels that each of them reads · positions of the kernel).
        kernel: (height, width) of a convolution's kernel, () of a linear layer.
        parameters: numbers that are trained or frozen, biases included.
        connections: connections of a sparse layer, in · out of a dense one.
        weight_bytes: bytes of weights and biases.
        gradient_bytes: bytes of their gradients in training.
        optimizer_bytes: bytes of the optimizer's state for them; None while it is unknown.
        index_bytes: bytes of the index buffers.
        macs_per_sample: multiply-adds for one sample; None while the size of a convolution's images is unknown.
        active_macs_per_sample: those of them that read an active input; None while activations are unknown.

    Example:
        >>> gs.evaluate.cost(gs.SparseLinear(100, 20, density=0.1)).layers[0].weight_bytes
        880
    """

    name: str
    kind: str = ""
    shape: tuple[int, int] | None = None
    kernel: tuple[int, ...] = ()
    parameters: int = 0
    connections: int = 0
    weight_bytes: int = 0
    gradient_bytes: int = 0
    optimizer_bytes: int | None = None
    index_bytes: int = 0
    macs_per_sample: int | None = 0
    active_macs_per_sample: float | None = None

    @property
    def density(self) -> float | None:
        """Density of the connections; None where there is no one shape."""
        return None if self.shape is None else self.connections / (self.shape[0] * self.shape[1])

    @property
    def training_bytes(self) -> int | None:
        """Weights, gradients, optimizer state and indices; None while the optimizer's state is unknown."""
        if self.optimizer_bytes is None:
            return None
        return self.weight_bytes + self.gradient_bytes + self.optimizer_bytes + self.index_bytes


@dataclass(frozen=True)
class Cost:
    """Costs of a model.

    Attributes:
        layers: the linear layers and convolutions, in the order of the model.
        other: all remaining parameters.

    Example:
        >>> net = nn.Sequential(gs.SparseLinear(100, 20, density=0.1), nn.BatchNorm1d(20))
        >>> costs = gs.evaluate.cost(net)
        >>> costs.total.parameters, costs.other.parameters
        (260, 40)
    """

    layers: tuple[LayerCost, ...]
    other: LayerCost

    @property
    def total(self) -> LayerCost:
        """The sums; a quantity that is unknown of one part is unknown of the whole."""
        parts = (*self.layers, self.other)
        return LayerCost(
            name="total",
            parameters=sum(part.parameters for part in parts),
            connections=sum(part.connections for part in parts),
            weight_bytes=sum(part.weight_bytes for part in parts),
            gradient_bytes=sum(part.gradient_bytes for part in parts),
            optimizer_bytes=_sum(part.optimizer_bytes for part in parts),
            index_bytes=sum(part.index_bytes for part in parts),
            macs_per_sample=_sum(layer.macs_per_sample for layer in self.layers),
            active_macs_per_sample=_sum(layer.active_macs_per_sample for layer in self.layers),
        )


def cost(
    model: nn.Module,
    optimizer: Optimizer | None = None,
    activation: Mapping[str, float | UnitActivations]
    | Mapping[str, float]
    | Mapping[str, UnitActivations]
    | None = None,
    x: Tensor | None = None,
) -> Cost:
    """Count stored bytes and multiply-adds of linear layers and 2-D convolutions, and the parameters beside them.

    A parameter that several modules share is counted with the first. Multiply-adds at the borders of an image, with
    padding, are counted as all others. The module's docstring defines the quantities.

    Args:
        model: any module.
        optimizer: its state is measured, not guessed. Optimizers make their state at the first step: before that, and
            without an optimizer, ``optimizer_bytes`` is None.
        activation: by qualified layer name, the active share of the layer's inputs in [0, 1], or the result of
            `measure_activations`, which weighs each input by the connections that leave it.
            ``active_macs_per_sample`` is None for layers that are not in it.
        x: samples (batch, …), on which `measure_activations` measures layers that are missing in ``activation``. A
            convolution's multiply-adds depend on the size of its images, and are None without either.

    Returns:
        The costs, layer by layer.

    Raises:
        InputError: ``activation`` names a layer that does not exist, or a share outside [0, 1].

    Example:
        >>> net = nn.Sequential(gs.SparseLinear(784, 100, density=0.05), nn.ReLU(), nn.Linear(100, 10))
        >>> [(layer.connections, layer.macs_per_sample) for layer in gs.evaluate.cost(net).layers]
        [(3920, 3920), (1000, 1000)]
    """
    layers = linear_layers(model)
    measured = {} if x is None else measure_activations(model, x)
    activation = {} if activation is None else activation
    for name in activation:
        if name not in layers:
            raise InputError(f"activation must name linear layers of the model, {sorted(layers)}, got {name!r}")
    seen: set[int] = set()
    counted = []
    for name, layer in layers.items():
        given, found = activation.get(name), measured.get(name)
        if isinstance(given, UnitActivations):
            given, found = None, given
        counted.append(_layer(name, layer, optimizer, found, given, seen))
    return Cost(tuple(counted), LayerCost("other", **_storage(model.parameters(), optimizer, seen)))


def _layer(
    name: str,
    layer: Layer,
    optimizer: Optimizer | None,
    found: UnitActivations | None,
    share: float | None,
    seen: set[int],
) -> LayerCost:
    """``share``: the active share of the layer's inputs, if it is given instead of ``found``."""
    if isinstance(layer, SparseLayer):
        shape, connections = (layer.out_features, layer.in_features), layer.nnz
        index_bytes = sum(_bytes(tensor) for tensor in layer.pattern.structure)
    else:
        shape, connections, index_bytes = (len(layer.weight), layer.weight[0].numel()), layer.weight.numel(), 0
    kernel: tuple[int, ...] = getattr(layer, "kernel_size", ())
    positions = found.positions if found is not None else None if kernel else 1.0
    active = None if found is None else found.active_connections
    if share is not None:
        active = check_fraction(f"activation[{name!r}]", share) * connections
    return LayerCost(
        name=name,
        kind=type(layer).__name__,
        shape=shape,
        kernel=kernel,
        connections=connections,
        index_bytes=index_bytes,
        macs_per_sample=None if positions is None else round(connections * positions),
        active_macs_per_sample=None if active is None or positions is None else active * positions,
        **_storage(layer.parameters(), optimizer, seen),
    )


def _storage(parameters: Iterable[nn.Parameter], optimizer: Optimizer | None, seen: set[int]) -> dict[str, Any]:
    """Costs of the parameters that are not in ``seen``, which are added to it."""
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


def _sum(parts: Iterable[Number | None]) -> Number | None:
    """None if one of them is."""
    listed = list(parts)
    known = [part for part in listed if part is not None]
    return sum(known) if len(known) == len(listed) else None


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
