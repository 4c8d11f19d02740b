"""What fires: how often each unit is active, and which units never are.

For a layer that reads x (batch, in), the activity of input unit i is P_i = share of the samples in which x_i ≠ 0. A
unit with P_i = 0 is dead. The layer needs Σ_i fan_out_i · P_i multiplications a sample, where fan_out_i is the number
of live connections that leave i: what rests at zero needs none.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from gossamer.connectivity import SparseLinear
from gossamer.errors import InputError, check_count
from gossamer.evaluate.mode import evaluating
from gossamer.kernels import Code

__all__ = ["UnitActivity", "fan_out", "linear_layers", "measure_activity"]


def linear_layers(model: nn.Module) -> dict[str, nn.Linear | SparseLinear]:
    """The linear layers of a model, dense and sparse, by qualified name; one that occurs twice is listed once."""
    return {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear | SparseLinear)}


def fan_out(layer: nn.Linear | SparseLinear) -> Tensor:
    """(in): connections that leave each input of the layer."""
    if isinstance(layer, SparseLinear):
        return layer.pattern.fan_out
    return torch.full((layer.in_features,), layer.out_features, device=layer.weight.device)


@dataclass(frozen=True, eq=False)
class UnitActivity:
    """Activity of the units around one layer, over ``samples`` samples.

    ``input_active`` (in) float64 on the CPU: share of the samples in which each input is not zero.
    ``output_active`` (out): the same for the layer's output units, as the next layer reads them, behind whatever
    transfer function stands between the two; None for the last layer, or if the next reads something else.
    ``fan_out`` (in): live connections that leave each input.
    """

    samples: int
    input_active: Tensor
    output_active: Tensor | None
    fan_out: Tensor

    @property
    def input_active_fraction(self) -> float:
        """Mean share of the inputs that are not zero."""
        return float(self.input_active.mean())

    @property
    def dead_inputs(self) -> int:
        """Inputs that were zero in every sample."""
        return int((self.input_active == 0).sum())

    @property
    def output_active_fraction(self) -> float | None:
        """Mean share of the output units that are active; None where ``output_active`` is."""
        return None if self.output_active is None else float(self.output_active.mean())

    @property
    def dead_units(self) -> int | None:
        """Output units that were active in no sample; None where ``output_active`` is."""
        return None if self.output_active is None else int((self.output_active == 0).sum())

    @property
    def active_connections(self) -> float:
        """Connections that leave an active input, in the mean over samples: Σ_i fan_out_i · P_i."""
        return float(self.fan_out.to(self.input_active) @ self.input_active)


class _Counter:
    """Counts, over the calls of one layer, the samples in which each input is not zero."""

    def __init__(self, features: int) -> None:
        self.samples = 0
        self.active = torch.zeros(features, dtype=torch.int64)

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given: Tensor | Code = args[0] if args else next(iter(kwargs.values()))
        x = given.to_dense() if isinstance(given, Code) else given
        if x.dim() == 0 or x.shape[-1] != self.active.numel():
            return  # the layer itself says what is wrong
        active = x.reshape(-1, x.shape[-1]) != 0
        self.samples += active.shape[0]
        self.active += active.sum(0).cpu()


def measure_activity(model: nn.Module, x: Tensor, batch_size: int = 512) -> dict[str, UnitActivity]:
    """Run ``x`` through ``model`` in evaluation mode and count what is active at each linear layer, dense or sparse.

    ``x`` (samples, …) is cut into batches along its first dimension. The result has the layers that ran, by qualified
    name, in the order of their first call. Leading dimensions of a layer's input (time steps, patches) count as
    samples, and so do repeated calls. The output units of a layer are taken to be what the layer that runs next reads,
    if it has as many inputs. The model's modes are restored and its gradients untouched.
    """
    check_count("batch_size", batch_size, low=1)
    if x.dim() == 0 or x.shape[0] == 0:
        raise InputError(f"x must hold at least one sample, got shape {tuple(x.shape)}")
    layers = linear_layers(model)
    counters = {name: _Counter(layer.in_features) for name, layer in layers.items()}
    order: list[str] = []
    handles = []
    for name, layer in layers.items():

        def count(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], name: str = name) -> None:
            counters[name](module, args, kwargs)
            if name not in order:
                order.append(name)

        handles.append(layer.register_forward_pre_hook(count, with_kwargs=True))
    try:
        with evaluating(model):
            for batch in x.split(batch_size):
                model(batch)
    finally:
        for handle in handles:
            handle.remove()

    shares = {name: counters[name].active.double() / max(counters[name].samples, 1) for name in order}
    following = dict(pairwise(order))
    result = {}
    for name in order:
        after = following.get(name)
        joined = after is not None and layers[after].in_features == layers[name].out_features
        result[name] = UnitActivity(
            samples=counters[name].samples,
            input_active=shares[name],
            output_active=shares[after] if joined and after is not None else None,
            fan_out=fan_out(layers[name]).cpu(),
        )
    return result
