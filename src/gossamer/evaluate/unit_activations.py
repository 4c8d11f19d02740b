"""Activations of units: how often each is active, and which never are.

For a layer that reads x (batch, in), the activation of input unit i is P_i = share of the samples in which x_i ≠ 0. A
unit with P_i = 0 is dead. The layer needs Σ_i fan_out_i · P_i multiplications a sample, where fan_out_i is the number
of connections that leave i: a unit at zero needs none.

The units of a convolution are channels, active where a pixel is not zero: P_i is the share of the pixels of all
samples. Its multiplications are counted at each position of its kernel, and padding is zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from gossamer.connectivity import SparseLinear
from gossamer.connectivity.layer_input import layer_input
from gossamer.connectivity.windows import Convolution, windows
from gossamer.errors import InputError, check_count
from gossamer.evaluate.mode import evaluating

__all__ = ["Layer", "UnitActivations", "fan_out", "isolated", "linear_layers", "measure_activations"]

Layer = nn.Linear | SparseLinear | Convolution


def linear_layers(model: nn.Module) -> dict[str, Layer]:
    """Linear layers and 2-D convolutions, dense and sparse, by qualified name; one that occurs twice is listed once."""
    return {name: module for name, module in model.named_modules() if isinstance(module, Layer)}


def fan_out(layer: Layer) -> Tensor:
    """Count the connections that leave each input of the layer, a feature or a channel: (in)."""
    leaving = _fan_out_of_positions(layer)
    return leaving.view(layer.in_channels, -1).sum(1) if isinstance(layer, Convolution) else leaving


def _fan_out_of_positions(layer: Layer) -> Tensor:
    """(in), or (in_channels · kh · kw) of a convolution: connections that leave each thing that an output can read."""
    if isinstance(layer, SparseLinear):
        return layer.pattern.fan_out
    if isinstance(layer, nn.Linear):
        return torch.full((layer.in_features,), layer.out_features, device=layer.weight.device)
    outputs = layer.out_channels // layer.groups
    if isinstance(layer, nn.Conv2d):
        positions = layer.in_channels * layer.weight[0, 0].numel()
        return torch.full((positions,), outputs, device=layer.weight.device)
    pattern = layer.pattern
    group = pattern.row_indices // outputs
    return torch.bincount(group * layer.in_features + pattern.col_indices, minlength=layer.groups * layer.in_features)


def isolated(layer: Layer) -> tuple[int, int]:
    """Count the inputs that no connection leaves, and the outputs that none reaches; features, or channels."""
    if isinstance(layer, nn.Linear | nn.Conv2d):
        return 0, 0
    return int((fan_out(layer) == 0).sum()), int((layer.pattern.fan_in == 0).sum())


@dataclass(frozen=True, eq=False)
class UnitActivations:
    """Activations of the units around one layer.

    Attributes:
        samples: number of samples that the layer has read.
        input_active: (in) float64 on the CPU, the share of the samples, of a convolution their pixels, in which each
            input is not zero.
        output_active: (out), the same for the layer's output units as the next layer reads them, after the activation
            function between the two; None for the last layer, or if the next layer reads something else.
        fan_out: (in), connections that leave each input.
        active_connections: connections that leave an active input, in the mean over the inputs that the layer reads.
        positions: how often the layer reads for one sample of the model: 1, or as often as there are time steps, calls,
            or positions of a convolution's kernel.

    Example:
        >>> x = torch.tensor([[1.0, 0.0], [2.0, 0.0]])
        >>> gs.evaluate.measure_activations(nn.Sequential(nn.Linear(2, 3)), x)["0"].dead_inputs
        1
    """

    samples: int
    input_active: Tensor
    output_active: Tensor | None
    fan_out: Tensor
    active_connections: float
    positions: float

    @property
    def input_active_fraction(self) -> float:
        """Mean share of the inputs that are not zero."""
        return float(self.input_active.mean())

    @property
    def dead_inputs(self) -> int:
        """Number of inputs that were zero in every sample."""
        return int((self.input_active == 0).sum())

    @property
    def output_active_fraction(self) -> float | None:
        """Mean share of the output units that are active; None where ``output_active`` is."""
        return None if self.output_active is None else float(self.output_active.mean())

    @property
    def dead_units(self) -> int | None:
        """Number of output units that were active in no sample; None where ``output_active`` is."""
        return None if self.output_active is None else int((self.output_active == 0).sum())


class _Counter:
    """Counts, over the calls of one layer, where its inputs are not zero."""

    def __init__(self, layer: Layer) -> None:
        self.layer = layer
        self.fan_out = fan_out(layer).cpu()
        self.leaving = _fan_out_of_positions(layer).cpu().double()
        self.samples = self.seen = self.read = 0  # samples; rows or pixels; rows or positions
        self.active = torch.zeros(len(self.fan_out), dtype=torch.int64)
        self.connections = 0.0

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        x, layer, units = layer_input(args, kwargs), self.layer, len(self.active)
        if isinstance(layer, Convolution):
            x = x[None] if x.dim() == 3 else x
            if x.dim() != 4 or x.shape[1] != units:
                return  # the layer itself raises the error
            read = windows(x, layer)
            active, positions = x.count_nonzero((0, 2, 3)), _nonzero_positions(read)
            seen, times = x[:, 0].numel(), read[:, 0, 0, 0].numel()
        else:
            if x.dim() == 0 or x.shape[-1] != units:
                return
            x = x.reshape(-1, units)
            active = positions = x.count_nonzero(0)
            seen = times = len(x)
        self.samples += len(x)
        self.seen += seen
        self.read += times
        self.active += active.cpu()
        self.connections += float(self.leaving @ positions.cpu().double())


def _nonzero_positions(read: Tensor) -> Tensor:
    """(C · kh · kw): at how many positions each is not zero; one kernel position at a time, as windows overlap."""
    kernel = [(k, i) for k in range(read.shape[2]) for i in range(read.shape[3])]
    return torch.stack([read[:, :, k, i].count_nonzero((0, 2, 3)) for k, i in kernel], 1).flatten()


def measure_activations(model: nn.Module, x: Tensor, batch_size: int = 512) -> dict[str, UnitActivations]:
    """Run ``x`` through ``model`` in evaluation mode and count active units at each linear layer and 2-D convolution.

    Leading dimensions of a linear layer's input (time steps, patches) count as samples, and so do repeated calls. The
    output units of a layer are taken to be the inputs of the layer that runs next, if it has as many; of a convolution,
    also if a linear layer reads its channels flattened, one after the other. The model's modes are restored and its
    gradients untouched.

    Args:
        model: any module.
        x: samples (samples, …), cut into batches along the first dimension.
        batch_size: samples run at a time.

    Returns:
        The activations of the layers that ran, by qualified name, in the order of their first call.

    Raises:
        InputError: ``x`` holds no sample, or ``batch_size`` is less than 1.

    Example:
        >>> net = nn.Sequential(nn.Linear(4, 8), gs.TopK(2), nn.Linear(8, 3))
        >>> found = gs.evaluate.measure_activations(net, torch.rand(10, 4))
        >>> found["2"].input_active_fraction
        0.25
    """
    check_count("batch_size", batch_size, low=1)
    if x.dim() == 0 or x.shape[0] == 0:
        raise InputError(f"x must hold at least one sample, got shape {tuple(x.shape)}")
    counters = {name: _Counter(layer) for name, layer in linear_layers(model).items()}
    order: list[str] = []
    handles = []
    for name, counter in counters.items():

        def count(
            module: nn.Module,
            args: tuple[Any, ...],
            kwargs: dict[str, Any],
            name: str = name,
            counter: _Counter = counter,
        ) -> None:
            counter(module, args, kwargs)
            if name not in order:
                order.append(name)

        handles.append(counter.layer.register_forward_pre_hook(count, with_kwargs=True))
    try:
        with evaluating(model):
            for batch in x.split(batch_size):
                model(batch)
    finally:
        for handle in handles:
            handle.remove()

    shares = {name: counters[name].active.double() / max(counters[name].seen, 1) for name in order}
    following = dict(pairwise(order))
    result = {}
    for name in order:
        counter, after = counters[name], following.get(name)
        result[name] = UnitActivations(
            samples=counter.samples,
            input_active=shares[name],
            output_active=None if after is None else _of_outputs(counter.layer, counters[after].layer, shares[after]),
            fan_out=counter.fan_out,
            active_connections=counter.connections / max(counter.read, 1),
            positions=counter.read / len(x),
        )
    return result


def _of_outputs(layer: Layer, after: Layer, shares: Tensor) -> Tensor | None:
    """Convert ``shares`` of the inputs of ``after`` to shares of the outputs of ``layer``; None if they differ."""
    if not isinstance(layer, Convolution):
        return shares if len(shares) == layer.out_features else None
    pixels = isinstance(after, nn.Linear | SparseLinear) and len(shares) % layer.out_channels == 0
    if len(shares) == layer.out_channels or pixels:
        return shares.view(layer.out_channels, -1).mean(1)
    return None
