from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gossamer import InputError, SparseConv2d, SparseLinear, report
from gossamer.data import Dataset, Preprocessing, Split
from gossamer.runs import Options, RunFolder
from gossamer.runs.folder import Job
from gossamer.runs.results import describe_machine, measure, results
from gossamer.runs.schema import Network as Measured
from gossamer.runs.schema import dump
from gossamer.training import Fit, Samples

OPTIONS = Options(data="pixels", hidden=(), epochs=2, batch_size=16, threads=1)
NAMES = tuple(f"pixel_{i}_{j}" for i in range(6) for j in range(6))


def images(rows: int, seed: int) -> Samples:
    x = torch.randn(rows, 1, 6, 6, generator=torch.Generator().manual_seed(seed))
    y = torch.arange(rows) % 3
    return Samples(x + y[:, None, None, None], y)


class Network(nn.Module):
    """Two convolutions and a layer above them, and, if ``idle``, a convolution that it never asks."""

    def __init__(self, *, sparse: bool, idle: bool) -> None:
        super().__init__()
        chance = torch.Generator().manual_seed(0)
        first = SparseConv2d(1, 6, 3, padding=1, density=0.5, generator=chance)
        second = SparseConv2d(6, 4, 3, stride=2, groups=2, density=0.25, generator=chance)
        last = SparseLinear(16, 3, density=0.5, generator=chance)
        self.first, self.second, self.last = (m if sparse else m.to_dense() for m in (first, second, last))
        self.idle = nn.Conv2d(1, 2, 3) if idle else None

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.last(self.second(self.first(x).relu()).relu().flatten(1))
        return logits


def measured(*, sparse: bool, idle: bool = False) -> tuple[Fit, Measured]:
    fit = Fit(
        OPTIONS,
        sparse=sparse,
        seed=0,
        outputs=3,
        train=images(48, 0),
        validation=images(12, 1),
        model=Network(sparse=sparse, idle=idle),
    )
    for _ in fit.run():
        pass
    return fit, measure(fit, images(24, 2))


def write_run(path: Path, *, idle: bool) -> Path:
    """The folder of a run of convolutional networks."""
    pixels, labels = np.zeros((24, 36), np.float32), np.zeros(24, np.int64)
    split = Split(pixels, labels)
    preprocessing = Preprocessing.fit(pixels, kind="scale", columns=NAMES)
    data = Dataset("pixels", split, split, split, ("a", "b", "c"), NAMES, (6, 6, 1), preprocessing)
    folder = RunFolder.create(path, "pixels")
    folder.begin(OPTIONS, "none")
    folder.prepare([])
    networks = []
    for sparse in (True, False):
        fit, result = measured(sparse=sparse, idle=idle)
        networks.append(result)
        for epoch in fit.history:
            folder.add_metrics(Job("sparse" if sparse else "dense", 0), epoch)
        folder.write_connectivity(fit.connectivity)
    folder.write_results(results(data, networks, describe_machine(1, torch.device("cpu"))))
    return path


def test_layers_of_a_convolutional_network_add_up() -> None:
    for sparse in (True, False):
        fit, found = measured(sparse=sparse)
        layers = found.layers
        assert [(layer.name, layer.out_features, layer.in_features) for layer in layers] == [
            ("first", 6, 9),
            ("second", 4, 27),
            ("last", 3, 16),
        ]
        connections = [27, 27, 24] if sparse else [54, 108, 48]
        assert [layer.connections for layer in layers] == connections
        assert (found.step, found.fallback) == ("autograd", fit.fallback)
        assert found.fallback == "the samples are images"
        assert found.connections == sum(connections) == fit.history[-1].connections
        # The first reads at 6 × 6 places, the second at 2 × 2.
        assert found.macs_per_sample is not None
        assert found.macs_per_sample == np.dot(connections, [36, 4, 1])
        assert found.macs_per_sample_active is not None
        assert 0 < found.macs_per_sample_active < found.macs_per_sample
        for layer in layers:
            assert sum(layer.fan_in.counts) == layer.out_features
            assert sum(layer.fan_out.counts) == layer.in_features


@pytest.mark.parametrize("idle", [False, True])
def test_a_run_of_convolutional_networks_makes_a_page(tmp_path: Path, idle: bool) -> None:
    path = write_run(tmp_path / "run", idle=idle)
    written = json.loads((path / "results.json").read_bytes())["networks"]
    assert all((network["macs_per_sample"] is None) == idle for network in written)
    assert all((network["macs_per_sample_active"] is None) == idle for network in written)
    run = report.read(path)
    assert run.connectivity is None
    assert not (path / "connectivity.npz").exists()
    rows = {row.label: row for row in report.rows(run)}
    macs = rows["Multiply-adds per sample"]
    assert (macs.sparse == macs.dense == "–", macs.ratio == "no ratio", macs.verdict == "even") == (idle,) * 3
    assert ("multiply-adds" in report.compare.summary(run)) != idle
    page = report.write(path).read_text(encoding="utf-8")
    assert "not finite" not in page
    assert "NaN" not in page
    assert report.write([path, path]).exists()


def test_what_is_not_known_is_null_and_nothing_else(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run", idle=True)
    whole = json.loads((path / "results.json").read_bytes())
    for value in ("many", True):
        whole["networks"][0]["macs_per_sample"] = value
        (path / "results.json").write_bytes(dump({key: whole[key] for key in whole if key != "digest"}))
        with pytest.raises(InputError, match=r"macs_per_sample: Expected `float \| null`"):
            report.read(path)
    del whole["networks"][0]["macs_per_sample"]
    (path / "results.json").write_bytes(dump({key: whole[key] for key in whole if key != "digest"}))
    with pytest.raises(InputError, match="Object missing required field `macs_per_sample`"):
        report.read(path)
