"""The numbers behind the charts, as plain JSON values; numbers that aren't finite become null.

The connectivity map is the only large part. Per metric (strength, degree) it is an array (snapshots, cells) of uint16
in base64, little-endian, where 65535 stands for ``max``: cells are pixels (summed over channels) for image data, else
the inputs that were ever among the `RANKED` best connected. Snapshots are thinned evenly to `BUDGET` values for one
metric.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .accuracy_curves import comparison_curves, curve_series
from .compare import accuracy, batch_sizes, headline, known
from .read import Connectivity, EpochLine, NetworkName, Run

__all__ = ["BUDGET", "RANKED", "comparison_series", "run_series"]

RANKED = 20
"""How many of the best connected inputs the bars show."""

BUDGET = 400_000
"""The most values of the connectivity map that a page holds for one metric."""

NAMES: tuple[NetworkName, ...] = ("sparse", "dense")
QUANTITIES = ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy")


def _finite(values: NDArray[Any] | Sequence[float]) -> list[float | None]:
    """Six significant digits of each value, null where it isn't finite."""
    return [float(f"{value:.6g}") if math.isfinite(value) else None for value in map(float, values)]


def _curves(run: Run, name: NetworkName) -> dict[str, Any]:
    """Each seed's learning curves and their mean over the epochs that all seeds have."""
    seeds: dict[int, list[EpochLine]] = {}
    for line in run.epochs:
        if line.network == name:
            seeds.setdefault(line.seed, []).append(line)
    columns = {
        seed: {quantity: np.array([getattr(line, quantity) for line in lines]) for quantity in QUANTITIES}
        | {"epoch": np.array([line.epoch for line in lines]), "time": np.cumsum([line.seconds for line in lines])}
        for seed, lines in seeds.items()
    }
    shared = min((len(lines) for lines in seeds.values()), default=0)
    mean: dict[str, Any] = {}
    if columns:
        first = next(iter(columns.values()))
        mean = {key: _finite(np.mean([column[key][:shared] for column in columns.values()], axis=0)) for key in first}
    lines = [{key: _finite(values) for key, values in column.items()} for column in columns.values()]
    return {"mean": mean, "seeds": lines if len(lines) > 1 else []}


def _noise(run: Run, name: NetworkName) -> dict[str, Any]:
    networks = run.networks(name)
    levels = sorted(set.intersection(*(set(network.noise_accuracy) for network in networks))) if networks else []
    lines = [
        {"sigma": levels, "accuracy": _finite([network.noise_accuracy[s] for s in levels])} for network in networks
    ]
    mean = [sum(network.noise_accuracy[level] for network in networks) / len(networks) for level in levels]
    return {"mean": {"sigma": levels, "accuracy": _finite(mean)}, "seeds": lines if len(lines) > 1 else []}


def _rewired(run: Run) -> dict[str, Any]:
    """Connections grown and dropped after each epoch, in total and by rewired layer, averaged over the seeds."""
    epochs = sorted({line.epoch for line in run.epochs if line.network == "sparse"})
    lines = {
        epoch: [line for line in run.epochs if (line.network, line.epoch) == ("sparse", epoch)] for epoch in epochs
    }

    def of_layer(layer: str, which: int) -> list[float]:
        return [float(np.mean([line.moved.get(layer, (0, 0))[which] for line in lines[epoch]])) for epoch in epochs]

    connected = {layer.name: layer.connections for layer in run.sparse[0].layers}
    layers = dict.fromkeys(layer for line in run.epochs for layer in line.moved)
    return {
        "epoch": epochs,
        "layers": [
            {
                "layer": layer,
                "connections": connected[layer],
                "grown": of_layer(layer, 0),
                "dropped": of_layer(layer, 1),
            }
            for layer in layers
            if connected.get(layer)
        ],
        "grown": [float(np.mean([line.grown for line in lines[epoch]])) for epoch in epochs],
        "dropped": [float(np.mean([line.dropped for line in lines[epoch]])) for epoch in epochs],
        "connections": [float(np.mean([line.connections for line in lines[epoch]])) for epoch in epochs],
    }


def _fans(run: Run) -> list[dict[str, Any]]:
    """How many connections a unit has, per layer of the sparse network of the first seed."""
    return [
        {
            "layer": layer.name,
            "fan_in": {"counts": layer.fan_in.counts, "edges": layer.fan_in.edges, "full": layer.in_features},
            "fan_out": {"counts": layer.fan_out.counts, "edges": layer.fan_out.edges, "full": layer.out_features},
        }
        for layer in run.sparse[0].layers
    ]


def _half(values: NDArray[np.float64]) -> list[int]:
    """For each snapshot the least number of inputs that together hold half of all connections or strength."""
    ordered = -np.sort(-values, axis=1)
    total = ordered.sum(axis=1, keepdims=True)
    return [int(count) for count in np.sum(np.cumsum(ordered, axis=1) < total / 2, axis=1) + (total[:, 0] > 0)]


def _packed(values: NDArray[np.float64]) -> dict[str, Any]:
    top = float(values.max(initial=0.0))
    scaled = np.round(values * (65535 / top if top > 0 else 0.0)).astype("<u2")
    return {"max": top, "values": base64.b64encode(scaled.tobytes()).decode("ascii")}


def _connectivity(run: Run, connectivity: Connectivity) -> dict[str, Any] | None:
    strength = np.nan_to_num(connectivity.strength.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    metrics = {"strength": strength, "degree": connectivity.degree.astype(np.float64)}
    half = {name: _half(values) for name, values in metrics.items()}
    if run.data.image:
        height, width, channels = run.data.image
        metrics = {name: values.reshape(-1, height * width, channels).sum(axis=2) for name, values in metrics.items()}
        labels = None
    else:
        best = [np.argsort(-values, axis=1, kind="stable")[:, :RANKED] for values in metrics.values()]
        kept = np.unique(np.concatenate(best))
        metrics = {name: values[:, kept] for name, values in metrics.items()}
        names = run.data.features_names
        labels = [names[i] if names else f"input {i}" for i in kept.tolist()]
    snapshots, cells = metrics["strength"].shape
    if not snapshots:
        return None
    chosen = np.unique(np.linspace(0, snapshots - 1, min(snapshots, max(2, BUDGET // cells))).round().astype(int))
    return {
        "epochs": connectivity.epochs[chosen].tolist(),
        "image": run.data.image[:2] if run.data.image else None,
        "features": run.data.features,
        "labels": labels,
        "cells": cells,
        "ranked": min(RANKED, cells),
    } | {
        name: _packed(values[chosen]) | {"half": [half[name][i] for i in chosen.tolist()]}
        for name, values in metrics.items()
    }


def run_series(run: Run) -> dict[str, Any]:
    """Everything that the charts of one run draw."""
    return {
        "curves": {name: _curves(run, name) for name in NAMES},
        "noise": {name: _noise(run, name) for name in NAMES},
        "robustness": curve_series(run),
        "rewired": _rewired(run),
        "fans": _fans(run),
        "connectivity": _connectivity(run, run.connectivity) if run.connectivity else None,
    }


def comparison_series(runs: Sequence[Run]) -> dict[str, Any]:
    """One point for each run and network: accuracy with its interval against every cost."""
    points = []
    for number, run in enumerate(runs):
        for name in NAMES:
            networks, interval = run.networks(name), accuracy(run, name)
            if interval is None:
                continue
            costs: dict[str, float] = {
                "connections": float(np.mean([network.connections for network in networks])),
                "memory": float(np.mean([network.training_bytes for network in networks])),
                "macs": float(np.mean([known(network.macs_per_sample_active) for network in networks])),
                "time": float(np.mean([network.training_seconds for network in networks])),
            }
            if 1 in batch_sizes(run):
                costs["latency"] = float(np.mean([network.latency_ms[1] for network in networks])) / 1000
            points.append(
                {"run": number, "name": run.name, "network": name, "headline": headline(run)}
                | {"accuracy": interval.center, "low": interval.low, "high": interval.high}
                | {key: value if math.isfinite(value) else None for key, value in costs.items()}
            )
    return {"points": points, "robustness": comparison_curves(runs)}
