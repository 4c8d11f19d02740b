"""A small run that every part of the campaign starts from, and what of it must not depend on interruptions."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gossamer.runs import Options, RunFolder, load_data
from gossamer.runs.run import jobs_of, train

__all__ = ["Figure", "finished_run", "options_for", "outcome"]


@dataclass
class Figure:
    """What a part of the campaign found."""

    name: str
    trials: int = 0
    failures: list[str] = field(default_factory=list)


def options_for(folder: Path, epochs: int = 2) -> Options:
    """A run of two small networks on a table in ``folder``."""
    table = folder / "blobs.csv"
    if not table.exists():
        rng = np.random.default_rng(0)
        labels = np.arange(60) % 3
        x = rng.normal(size=(60, 4)) + 2 * np.eye(4)[labels]
        rows = [",".join([*(f"{v:.5f}" for v in row), "abc"[label]]) for row, label in zip(x, labels, strict=True)]
        table.write_text("\n".join(["x0,x1,x2,x3,kind", *rows]) + "\n")
    return Options(
        data=str(table), target="kind", hidden=(6,), density=0.5, dropout=0.1, activation="hoyer:0.6", epochs=epochs,
        batch_size=16, threads=1,
    )  # fmt: skip


def finished_run(folder: Path, epochs: int = 2) -> RunFolder:
    """A run that nothing interrupted, in ``folder/whole``."""
    options = options_for(folder, epochs)
    return train(options, load_data(options), folder / "whole")


def outcome(folder: RunFolder) -> dict[str, Any]:
    """Everything but times."""
    results = json.loads(folder.results.read_bytes())
    for network in results["networks"]:
        del network["training_seconds"], network["latency_ms"]
    lines = [json.loads(line) for line in (folder.path / "metrics.jsonl").read_text().splitlines()]
    weights = {}
    for job in jobs_of(folder.options()):
        state = folder.load(job)
        assert state is not None
        weights[job] = {name: tensor.numpy().tobytes() for name, tensor in state["model"].items()}
    return {
        "networks": results["networks"],
        "metrics": [line | {"seconds": 0, "digest": ""} for line in lines],
        "weights": weights,
        "model": folder.model.read_bytes(),
        "connectivity": folder.connectivity.read_bytes(),
    }
