"""Run folders as the trainer leaves them, built from a formula and a seed."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gossamer.io.seal import EMPTY_SEAL, seal
from gossamer.runs.robustness import Cell, Check, Kind, Robustness
from gossamer.runs.schema import dump

MakeRun = Callable[..., Path]


def _histogram(values: np.ndarray[Any, np.dtype[np.int64]]) -> dict[str, list[float]]:
    counts, edges = np.histogram(values, bins=min(24, max(1, int(np.ptp(values)))))
    return {"counts": counts.tolist(), "edges": edges.tolist()}


def _layers(shape: Sequence[int], density: float, rng: np.random.Generator) -> list[dict[str, Any]]:
    layers = []
    for i, (inputs, outputs) in enumerate(itertools.pairwise(shape)):
        last = i == len(shape) - 2
        share = 1.0 if density == 1 else min(1.0, density * (2.0 if last else 1.0))
        fan_in = rng.binomial(inputs, share, outputs)
        layers.append(
            {
                "name": str(2 * i),
                "in_features": inputs,
                "out_features": outputs,
                "density": share,
                "connections": int(fan_in.sum()),
                "active_fraction": None if last else float(0.15 + 0.5 * density**0.5 + 0.05 * i),
                "dead_units": 0 if last else int(rng.integers(0, 4)),
                "isolated_units": int((fan_in == 0).sum()),
                "fan_in": _histogram(fan_in),
                "fan_out": _histogram(rng.binomial(outputs, share, inputs)),
            }
        )
    return layers


def _network(name: str, seed: int, test: int, shape: Sequence[int], density: float, epochs: int) -> dict[str, Any]:
    rng = np.random.default_rng([seed, name == "dense"])
    layers = _layers(shape, density if name == "sparse" else 1.0, rng)
    connections = sum(layer["connections"] for layer in layers)
    correct = round(test * ((0.968 if name == "sparse" else 0.964) + rng.normal(0, 0.005)))
    parameters = connections + sum(shape[1:])
    slope = 0.26 if name == "sparse" else 0.32
    return {
        "network": name,
        "seed": seed,
        "test_accuracy": correct / test,
        "test_loss": 0.1 + float(rng.uniform(0, 0.02)),
        "test_correct": correct,
        "parameters": parameters,
        "connections": connections,
        "weight_bytes": 4 * parameters,
        "gradient_bytes": 4 * parameters,
        "optimizer_bytes": 8 * parameters,
        "index_bytes": 12 * connections if name == "sparse" else 0,
        "macs_per_sample": float(connections),
        "macs_per_sample_active": connections * (0.31 if name == "sparse" else 0.65),
        "training_seconds": (14.2 if name == "sparse" else 11.1) + float(rng.uniform(0, 0.6)),
        "epochs": epochs,
        "latency_ms": {"1": 0.061 if name == "sparse" else 0.038, "128": 0.44 if name == "sparse" else 0.97},
        "noise": [
            {"sigma": sigma, "accuracy": max(0.1, correct / test - slope * sigma**2 + (0.01 * seed - 0.01) * sigma)}
            for sigma in (0.0, 0.25, 0.5, 0.75, 1.0)
        ],
        "layers": layers,
    }


def _metrics(network: dict[str, Any], rng: np.random.Generator) -> list[dict[str, Any]]:
    lines = []
    rate = 0.45 if network["network"] == "dense" else 0.33
    for epoch in range(1, network["epochs"] + 1):
        train = 0.995 - 0.6 * np.exp(-rate * epoch) + rng.normal(0, 0.002)
        gap = 0.025 if network["network"] == "sparse" else 0.032
        validation = train - gap * (1 - np.exp(-rate * epoch)) + rng.normal(0, 0.008)
        moved = int(0.3 * network["connections"] * (1 - epoch / (1.3 * network["epochs"])))
        rewired = moved if network["network"] == "sparse" and epoch < network["epochs"] else 0
        connections = {layer["name"]: layer["connections"] for layer in network["layers"][:-1]}
        apart = {name: round(rewired * count / sum(connections.values())) for name, count in connections.items()}
        rewired = sum(apart.values())
        lines.append(
            {
                "network": network["network"],
                "seed": network["seed"],
                "epoch": epoch,
                "train_loss": float(2.3 * np.exp(-rate * epoch) + 0.02),
                "train_accuracy": float(min(1, train)),
                "validation_loss": float(2.3 * np.exp(-rate * epoch) + 0.08 + 0.002 * epoch + rng.normal(0, 0.006)),
                "validation_accuracy": float(min(1, validation)),
                "connections": network["connections"],
                "seconds": network["training_seconds"] / network["epochs"],
                "grown": rewired,
                "dropped": rewired,
                "moved": {name: [count, count] for name, count in apart.items()} if rewired else {},
            }
        )
    return lines


def _connectivity(path: Path, features: int, image: Sequence[int] | None, epochs: int) -> None:
    """Connections that start anywhere and move to the data: the middle of an image, or every fifth column."""
    rng = np.random.default_rng(7)
    if image:
        height, width, channels = image
        y, x = np.mgrid[:height, :width]
        pull = np.exp(-(((x - width / 2 + 0.5) / width * 3.2) ** 2 + ((y - height / 2 + 0.5) / height * 3) ** 2))
        pull = np.repeat(pull.ravel(), channels)
    else:
        pull = np.where(np.arange(features) % 5 == 0, 1.0, 0.15) * rng.uniform(0.4, 1, features)
    mean = 40.0
    shares = np.linspace(0, 1, epochs + 1) ** 0.6
    noise = rng.normal(0, 0.14, (epochs + 1, features)).cumsum(axis=0) * 0.3 + rng.normal(0, 0.16, features)
    rate = (1 - shares[:, None]) * pull.mean() + shares[:, None] * pull
    degree = np.clip(np.round(mean * rate / pull.mean() * (1 + noise * 0.6)), 0, None).astype(np.int32)
    strength = (degree * (0.03 + 0.05 * shares[:, None] * pull)).astype(np.float32)
    buffer = io.BytesIO()
    np.savez(buffer, strength=strength, degree=degree, epochs=np.arange(epochs + 1))
    path.write_bytes(seal(buffer.getvalue()))


def robustness(networks: Sequence[dict[str, Any]], rows: int, *, failed: bool = True) -> Robustness:
    """Accuracies that fall with the strength; the gradient-free check fails for the sparse networks if ``failed``."""
    cells, checks = [], []
    for network in networks:
        job = network["network"], network["seed"]
        layers = [layer["name"] for layer in network["layers"]]

        def cell(
            kind: Kind, name: str, norm: str, strength: float, fall: float, snr: Any = None, job: Any = job
        ) -> Cell:
            slope = fall * (1.0 if job[0] == "sparse" else 1.3)
            correct = round(rows * max(0.05, 0.95 - slope * strength + 0.004 * job[1]))
            return Cell(job[0], job[1], kind, name, norm, strength, rows, 1, correct, 0.5, snr)

        cells.append(cell("clean", "", "", 0.0, 0.0))
        for sigma in (0.1, 0.2, 0.3):
            snr = {layer: 20 - 50 * sigma - i if i else None for i, layer in enumerate(layers)}
            cells.append(cell("noise", "gaussian", "", sigma, 1.0, snr))
        cells += [cell("attack", "apgd-ce", "linf", radius, 6.0) for radius in (0.05, 0.1)]
        cells += [
            cell("corruption", name, "", severity, 0.1)
            for name in ("jpeg", "motion_blur", "contrast")
            for severity in (1.0, 2.0, 3.0, 4.0, 5.0)
        ]
        for name in ("zero gradients", "gradient free"):
            bad = failed and name == "gradient free" and job[0] == "sparse"
            share = 0.1 if bad else 0.0
            sentence = f"{name}: {100 * share:.1f} % of the <samples>"
            checks.append(Check(*job, "apgd-ce", "linf", 0.05, "full", name, not bad, share, 0.02, sentence))
    return Robustness(1, "0.1.0", rows, 0, 3, "pixels from 0 to 1", (), tuple(cells), tuple(checks))


@pytest.fixture(scope="session")
def make_run() -> MakeRun:
    """A builder: ``make_run(folder, seeds=3, image=True, ...)`` writes a finished run and returns its folder."""

    def make(
        folder: Path,
        *,
        seeds: int = 3,
        image: bool = True,
        dense: bool = True,
        connectivity: bool = True,
        density: float = 0.1,
        epochs: int = 20,
        test: int = 360,
        name: str | None = None,
        feature_names: Sequence[str] | None = None,
        rewire: bool = True,
        evaluated: bool = False,
        failed: bool = True,
    ) -> Path:
        folder.mkdir(parents=True)
        features = 784 if image else 30
        shape = (features, 300, 100, 10) if image else (features, 40, 2)
        pictured = [28, 28, 1] if image else None
        names = ("sparse", "dense") if dense else ("sparse",)
        networks = [_network(net, seed, test, shape, density, epochs) for seed in range(seeds) for net in names]
        lines = [
            line
            for net in networks
            for line in _metrics(net, np.random.default_rng([net["seed"], net["network"] == "dense"]))
        ]
        if not rewire:
            lines = [line | {"grown": 0, "dropped": 0, "moved": {}} for line in lines]
        data: dict[str, Any] = {
            "name": name or ("digits" if image else "breast_cancer"),
            "train": 1150,
            "validation": 287,
            "test": test,
            "features": features,
            "classes": [str(i) for i in range(shape[-1])],
            "image": pictured,
        }
        if feature_names is not None:
            data["features_names"] = list(feature_names)
        machine = {"processor": "AMD EPYC 7763", "threads": 2, "system": "Linux", "device": "cpu"}
        results = {"format": 1, "gossamer": "0.1.0", "torch": "2.13.0", "machine": machine, "data": data}
        (folder / "results.json").write_bytes(dump(results | {"networks": networks}))
        (folder / "metrics.jsonl").write_bytes(b"".join(map(dump, lines)))
        text = (
            f'# {EMPTY_SEAL}\ndata = "{data["name"]}"\nhidden = {list(shape[1:-1])}\ndensity = {density}\n'
            'activation = "hoyer:0.8"\n'
            f'rewire = "CoDACoRSET"\nepochs = {epochs}\nbatch_size = 100\noptimizer = "adam"\nlearning_rate = 0.001\n'
            f"augment = false\nseeds = {list(range(seeds))}\n"
        )
        (folder / "config.toml").write_bytes(seal(text.encode()))
        if connectivity:
            _connectivity(folder / "connectivity.npz", features, pictured, epochs)
        if evaluated:
            (folder / "robustness.json").write_bytes(dump(robustness(networks, test, failed=failed)))
        return folder

    return make
