"""Summary of a model: connections, costs and active units, one line for each layer."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor, nn

from gossamer.evaluate.cost import Cost, LayerCost, cost
from gossamer.evaluate.unit_activations import UnitActivations, isolated, linear_layers, measure_activations

__all__ = ["Summary", "summary"]


_WIDTH = 100  # columns of a terminal; longer names of layers lose their middle


@dataclass(frozen=True, eq=False)
class Summary:
    """Costs, activations and isolated units of a model; ``str`` makes tables of at most 100 columns of them.

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
        storage = ["layer", "kind", "size", "density", "connections", "weights", "indices"]
        storage += ["isolated"] if self.activation else ["MACs", "isolated"]
        rows = [self._storage_row(layer) for layer in self.cost.layers]
        if self.cost.other.parameters:
            rows.append({"layer": "other", "weights": _size(self.cost.other.weight_bytes)})
        text = _table(storage, rows, _numbers(self.cost.total))
        if self.activation:
            work = ["layer", "MACs", "active MACs", "active in", "active out", "dead out"]
            if any(found.positions != 1 for found in self.activation.values()):
                work.insert(1, "positions")
            rows = [self._work_row(layer) for layer in self.cost.layers]
            text += "\n\n" + _table(work, rows, _numbers(self.cost.total))
        return text

    def _storage_row(self, layer: LayerCost) -> dict[str, str]:
        assert layer.shape is not None
        out, into = layer.shape
        kernel = "×".join(map(str, (into // math.prod(layer.kernel), *layer.kernel)))
        return {
            "layer": layer.name or "(model)",
            "kind": _shortened(layer.kind, 14),
            "size": f"{kernel}→{out}",
            "density": f"{layer.density:.4g}",
            **_numbers(layer),
            "isolated": " / ".join(f"{count:,}" for count in self.isolated[layer.name]),
        }

    def _work_row(self, layer: LayerCost) -> dict[str, str]:
        row = {"layer": layer.name or "(model)", **_numbers(layer)}
        if found := self.activation.get(layer.name):  # it did run
            row["positions"] = f"{found.positions:,.10g}"
            row["active in"] = f"{found.input_active_fraction:.1%}"
            if found.output_active_fraction is not None:
                row["active out"] = f"{found.output_active_fraction:.1%}"
                row["dead out"] = f"{found.dead_units:,}"
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


def _table(header: list[str], rows: list[dict[str, str]], total: dict[str, str]) -> str:
    rows = [dict(zip(header, header, strict=True)), *rows, {"layer": "total", **total}]
    cells = [[row.get(column, "") for column in header] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    left = 2 if "kind" in header else 1
    for column in range(left):  # of strings, which can be shortened
        excess = max(0, sum(widths) + 2 * (len(widths) - 1) - _WIDTH)
        widths[column] = min(widths[column], max(8, widths[column] - excess))
    lines = []
    for row in cells:
        names = [_shortened(cell, width).ljust(width) for cell, width in zip(row[:left], widths[:left], strict=True)]
        numbers = [cell.rjust(width) for cell, width in zip(row[left:], widths[left:], strict=True)]
        lines.append("  ".join(names + numbers).rstrip())
    rule = "─" * max(map(len, lines))
    return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])


def _shortened(name: str, width: int) -> str:
    """``name`` in at most ``width`` characters, its middle replaced by an ellipsis."""
    if len(name) <= width:
        return name
    front = (width - 1) // 2
    return f"{name[:front]}…{name[len(name) - (width - 1 - front) :]}"


def summary(model: nn.Module, x: Tensor | None = None) -> Summary:
    """Summarize storage, computation and, on samples ``x``, active units of each linear layer and 2-D convolution.

    ``print(summary(model, x))`` shows tables of at most 100 columns. Bytes are decimal (1 kB = 1000 B); a MAC is one
    multiply-add, counted for one sample (see `cost`: those of a convolution depend on ``x``); "active" and "dead" are
    as in `measure_activations`; "isolated" counts inputs without outgoing and outputs without incoming connections. The
    size of a convolution is input channels × height × width of its kernel → output channels, and "positions" is the
    number of places at which it is applied to one sample.

    Args:
        model: any module.
        x: samples (batch, …) on which activations are measured.

    Returns:
        The summary.

    Example:
        >>> net = nn.Sequential(gs.SparseLinear(784, 100, density=0.05), nn.ReLU(), nn.Linear(100, 10))
        >>> print(gs.summary(net))
        layer  kind             size  density  connections  weights  indices   MACs  isolated
        ...
        0      SparseLinear  784→100     0.05        3,920  16.1 kB  34.9 kB  3,920 ...
        2      Linear         100→10        1        1,000   4.0 kB      0 B  1,000     0 / 0
        ...
        total                                        4,920  20.1 kB  34.9 kB  4,920
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
