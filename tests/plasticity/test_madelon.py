"""On Madelon (20 informative features among 500), similarity wires the informative ones: needs GOSSAMER_DATA."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from gossamer import SparseLinear
from gossamer.activation.units import SReLU
from gossamer.data.catalogue import MADELON_INFORMATIVE
from gossamer.plasticity import Rewire, preset

INFORMATIVE = set(MADELON_INFORMATIVE)
FOLDER = Path(os.environ.get("GOSSAMER_DATA", "nowhere")) / "madelon"


@pytest.mark.skipif(not FOLDER.is_dir(), reason="GOSSAMER_DATA names no folder with madelon")
def test_evolved_degrees_find_the_informative_features() -> None:
    x = torch.tensor(np.loadtxt(FOLDER / "madelon_train.data"), dtype=torch.float32)
    y = torch.tensor(np.loadtxt(FOLDER / "madelon_train.labels") > 0).long()
    x = (x - x.mean(0)) / x.std(0)
    torch.manual_seed(0)  # for dropout
    g = torch.Generator().manual_seed(0)

    def block(inputs: int) -> list[nn.Module]:
        density = 20 * (inputs + 1000) / (inputs * 1000)
        return [SparseLinear(inputs, 1000, density, generator=g), SReLU(1000, generator=g), nn.Dropout(0.3)]

    net = nn.Sequential(*block(500), *block(1000), nn.Linear(1000, 2))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    rewire = Rewire(net, optimizer, **preset("CoDACoRSET"), inputs=x)
    assert [layer.nnz for layer in rewire.layers.values()] == [30000, 40000]
    for _ in range(20):
        for rows in torch.randperm(2000, generator=g).split(100):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
            optimizer.step()
        rewire.step()
    best = rewire.core_degrees("0")[-1].topk(20).indices.tolist()
    assert len(INFORMATIVE & set(best)) >= 18
