"""Small networks and samples on which attacks are compared."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from gossamer.evaluate import attacks


@pytest.fixture(autouse=True)
def _small(one_thread: None) -> None:
    """Small tensors are fastest on one thread."""


@pytest.fixture
def box() -> attacks.Box:
    return attacks.Box(0, 1)


@pytest.fixture
def net(generator: torch.Generator) -> nn.Sequential:
    """Six features, four classes, in double precision."""
    made = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 4)).double().eval()
    for parameter in made.parameters():
        with torch.no_grad():
            parameter.normal_(generator=generator)
    return made


@pytest.fixture
def x(generator: torch.Generator) -> Tensor:
    return torch.rand(40, 6, generator=generator, dtype=torch.float64)


@pytest.fixture
def y(net: nn.Module, x: Tensor) -> Tensor:
    """The classes that the network gives: every sample is correct."""
    with torch.no_grad():
        labels: Tensor = net(x).argmax(1)
    return labels
