"""The published rules run, keep the count, and are what their names say."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import gossamer as gs
from gossamer import InputError, SparseLinear
from gossamer.plasticity import PRESETS, Rewire, preset, schedule


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_trains_a_network(name: str) -> None:
    g = torch.Generator().manual_seed(0)
    net = nn.Sequential(
        SparseLinear(20, 30, density=0.2, generator=g), nn.ReLU(), nn.Dropout(0.3), SparseLinear(30, 4, density=0.5)
    )
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    rewire = Rewire(net, optimizer, **preset(name))
    x, y = torch.randn(64, 20, generator=g), torch.randint(4, (64,), generator=g)
    counts = [layer.nnz for layer in rewire.layers.values()]
    for epoch in range(4):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
        changes = rewire.step(score=float(epoch))
        assert [layer.nnz for layer in rewire.layers.values()] == counts
        assert all(change.dropped.numel() == change.grown.numel() for change in changes)
        assert all(bool(layer.weight_values.isfinite().all()) for layer in rewire.layers.values())
    assert any(entry["grown"] for entry in rewire.log)


def test_cosine_algorithms_differ_from_set_in_drop_and_grow_alone() -> None:
    names = {name: (preset(name)["drop"].name, preset(name)["grow"].name) for name in PRESETS}
    assert names["SET"] == ("signed_magnitude", "uniform")
    assert names["CoDASET"] == ("signed_magnitude", "cosine")
    assert names["CoPASET"] == ("signed_magnitude", "cosine_proportional")
    assert names["CoRSET"] == ("magnitude_cosine", "uniform")
    assert names["CoDACoRSET"] == ("magnitude_cosine", "cosine")
    assert names["CoPACoRSET"] == ("magnitude_cosine", "cosine_proportional")


def test_published_fractions_and_others() -> None:
    assert (preset("SET")["drop"].fraction, preset("CTRE")["drop"].fraction) == (0.3, 0.2)
    curve = schedule.cosine(0.3, 10)
    assert preset("RigL", curve)["drop"].fraction == curve
    with pytest.raises(InputError, match="name must be one of 'SET', 'CoDASET'"):
        preset("set")


def test_a_name_is_a_function_that_rewires() -> None:
    for rule in (gs.SET, gs.CoDASET, gs.CoPASET, gs.CoRSET, gs.CoDACoRSET, gs.CoPACoRSET, gs.CTRE, gs.RigL):
        net = nn.Sequential(SparseLinear(6, 8, density=0.5), nn.ReLU(), SparseLinear(8, 3, density=0.5))
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        rewire = rule(net, optimizer, fraction=0.1, inputs=torch.ones(4, 6), seed=5, where=lambda name, _: name == "0")
        assert (rewire.net, rewire.optimizer, rewire.seed, list(rewire.layers)) == (net, optimizer, 5, ["0"])
        assert (rewire.drop.name, rewire.drop.fraction) == (preset(repr(rule))["drop"].name, 0.1)
        assert rewire.grow.name == preset(repr(rule))["grow"].name
        assert PRESETS[repr(rule)] is rule
    assert gs.CTRE(nn.Sequential(SparseLinear(3, 3, density=0.5))).regrown == "keeps"
    assert gs.SET(SparseLinear(3, 3, density=0.5)).drop.fraction == 0.3
