"""Summary of a model: connections, activations and costs, one line for each layer."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor, nn

from gossamer.evaluate.cost import Cost, LayerCost, cost
from gossamer.evaluate.units import UnitActivations, isolated, linear_layers, measure_activations

__all__ = ["Summary", "summary"]


@dataclass(frozen=True, eq=False)
class Summary:
    """Costs, activations and isolated units of a model; ``str`` makes a table of them.

    Attributes:
        cost: bytes and multiply-adds of each layer.
        activation: by layer name, how often units are active; empty if no samples were given.
        isolated: by layer name, the number of inputs that no connection leaves and of outputs that none reaches.

    Example:
        >>> gs.summary(nn.Linear(100, 20)).isolated
        {'': (0, 0)}
    """

    cost: Cost
    activation: dict[str, UnitActivations]
    isolated: dict[str, tuple[int, int]]

    def __str__(self) -> str:
        header = ["layer", "kind", "in", "out", "density", "connections", "weights", "indices"]
        header += ["positions"] if any(found.positions != 1 for found in self.activation.values()) else []
        header += ["MACs"]
        header += ["active MACs", "active in", "active out", "dead out"] if self.activation else []
        header += ["isolated in", "isolated out"]
        rows = [dict(zip(header, header, strict=True)), *map(self._layer_row, self.cost.layers)]
        if self.cost.other.parameters:
            rows.append({"layer": "other", "weights": _size(self.cost.other.weight_bytes)})
        rows.append({"layer": "total", **_numbers(self.cost.total)})
        cells = [[row.get(column, "") for column in header] for row in rows]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = [_aligned(row, widths) for row in cells]
        rule = "─" * max(map(len, lines))
        return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])

    def _layer_row(self, layer: LayerCost) -> dict[str, str]:
        assert layer.shape is not None
        out, into = layer.shape
        row = {
            "layer": layer.name or "(model)",
            "kind": layer.kind,
            "in": "×".join(map(str, (into // math.prod(layer.kernel), *layer.kernel))),
            "out": str(out),
            "density": f"{layer.density:.4g}",
            **_numbers(layer),
        }
        if found := self.activation.get(layer.name):  # it did run
            row["positions"] = f"{found.positions:,.10g}"
            row["active in"] = f"{found.input_active_fraction:.1%}"
            if found.output_active_fraction is not None:
                row["active out"] = f"{found.output_active_fraction:.1%}"
                row["dead out"] = f"{found.dead_units:,}"
        row["isolated in"], row["isolated out"] = (f"{count:,}" for count in self.isolated[layer.name])
        return row


def _numbers(layer: LayerCost) -> dict[str, str]:
    macs, active = layer.macs_per_sample, layer.active_macs_per_sample
    return {
        "connections": f"{layer.connections:,}",
        "weights": _size(layer.weight_bytes),
        "indices": _size(layer.index_bytes),
        "MACs": "" if macs is None else f"{macs:,}",
        "active MACs": "" if active is None else f"{active:,.0f}",
    }


def _aligned(row: list[str], widths: list[int]) -> str:
    names = [cell.ljust(width) for cell, width in zip(row[:2], widths[:2], strict=True)]
    numbers = [cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True)]
    return "  ".join(names + numbers).rstrip()


def summary(model: nn.Module, x: Tensor | None = None) -> Summary:
    """Summarize storage, computation and, on samples ``x``, activations of each linear layer and 2-D convolution.

    ``print(summary(model, x))`` shows a table. Bytes are decimal (1 kB = 1000 B); a MAC is one multiply-add, counted
    for one sample (see `cost`: those of a convolution depend on ``x``); "active" and "dead" are as in
    `measure_activations`. The inputs of a convolution are written channels × height × width of its kernel, and
    "positions" is how often the layer reads for one sample.

    Args:
        model: any module.
        x: samples (batch, …) on which activations are measured.

    Returns:
        The summary.

    Example:
        >>> net = nn.Sequential(gs.SparseLinear(784, 100, density=0.05), nn.ReLU(), nn.Linear(100, 10))
        >>> print(gs.summary(net))
        layer  kind           in  out  density  connections  weights  indices   MACs  isolated in  isolated out
        ...
        0      SparseLinear  784  100     0.05        3,920  16.1 kB  34.9 kB  3,920 ...
        2      Linear        100   10        1        1,000   4.0 kB      0 B  1,000            0             0
        ...
        total                                         4,920  20.1 kB  34.9 kB  4,920
    """
    activation = {} if x is None else measure_activations(model, x)
    idle = {name: isolated(layer) for name, layer in linear_layers(model).items()}
    return Summary(cost(model, activation=activation), activation, idle)


def _size(count: int) -> str:
    if count < 1000:
        return f"{count} B"
    number = float(count)
    for unit in ("kB", "MB", "GB"):
        number /= 1000
        if number < 999.95 or unit == "GB":
            break
    return f"{number:,.1f} {unit}"
