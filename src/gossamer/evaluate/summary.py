"""A model at a glance: what is wired, what fires and what it costs, a line for each layer."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from gossamer.connectivity import SparseLinear
from gossamer.evaluate.cost import Cost, LayerCost, cost
from gossamer.evaluate.units import UnitActivity, linear_layers, measure_activity

__all__ = ["Summary", "summary"]


@dataclass(frozen=True, eq=False)
class Summary:
    """``cost`` and ``activity`` of a model; ``str`` makes a table of them.

    ``unwired``: by layer name, how many inputs no connection leaves and how many outputs none reaches.
    ``activity`` is empty if no data was given.
    """

    cost: Cost
    activity: dict[str, UnitActivity]
    unwired: dict[str, tuple[int, int]]

    def __str__(self) -> str:
        header = ["layer", "kind", "in", "out", "density", "connections", "weights", "indices", "MACs"]
        if self.activity:
            header += ["active MACs", "active in", "active out", "dead out"]
        rows = [[*header, "unwired in", "unwired out"]]
        rows += [self._layer_row(layer) for layer in self.cost.layers]
        if self.cost.other.parameters:
            other = ["other", *[""] * (len(header) + 1)]
            other[header.index("weights")] = _size(self.cost.other.weight_bytes)
            rows.append(other)
        total = self._numbers(self.cost.total)
        rows.append(["total", "", "", "", "", *total, *[""] * (len(rows[0]) - 5 - len(total))])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [_aligned(row, widths) for row in rows]
        rule = "─" * max(map(len, lines))
        return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])

    def _layer_row(self, layer: LayerCost) -> list[str]:
        assert layer.shape is not None
        assert layer.density is not None
        out, into = layer.shape
        row = [layer.name or "(model)", layer.kind, f"{into}", f"{out}", f"{layer.density:.4g}", *self._numbers(layer)]
        found = self.activity.get(layer.name)
        if found is not None:
            share, dead = found.output_active_fraction, found.dead_units
            row += [f"{found.input_active_fraction:.1%}", "" if share is None else f"{share:.1%}"]
            row += ["" if dead is None else f"{dead:,}"]
        elif self.activity:  # a layer that did not run
            row += ["", "", ""]
        return [*row, *(f"{count:,}" for count in self.unwired[layer.name])]

    def _numbers(self, layer: LayerCost) -> list[str]:
        sizes = [f"{layer.connections:,}", _size(layer.weight_bytes), _size(layer.index_bytes)]
        active = layer.active_macs_per_sample
        live = ["" if active is None else f"{active:,.0f}"] if self.activity else []
        return [*sizes, f"{layer.macs_per_sample:,}", *live]


def _aligned(row: list[str], widths: list[int]) -> str:
    names = [cell.ljust(width) for cell, width in zip(row[:2], widths[:2], strict=True)]
    numbers = [cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True)]
    return "  ".join(names + numbers).rstrip()


def summary(model: nn.Module, x: Tensor | None = None) -> Summary:
    """What each linear layer of ``model`` stores, computes and, on the samples ``x``, activates.

    ``print(summary(model, x))`` shows a table. Bytes are decimal (1 kB = 1000 B); a MAC is one multiply-add, counted
    for one input vector; "active" and "dead" are as in `measure_activity`.
    """
    activity = {} if x is None else measure_activity(model, x)
    unwired = {}
    for name, layer in linear_layers(model).items():
        if isinstance(layer, SparseLinear):
            pattern = layer.pattern
            unwired[name] = (int((pattern.fan_out == 0).sum()), int((pattern.fan_in == 0).sum()))
        else:
            unwired[name] = (0, 0)
    return Summary(cost(model, activity=activity), activity, unwired)


def _size(count: int) -> str:
    if count < 1000:
        return f"{count} B"
    number = float(count)
    for unit in ("kB", "MB", "GB"):
        number /= 1000
        if number < 999.95 or unit == "GB":
            break
    return f"{number:,.1f} {unit}"
