"""Wide residual networks have the sizes of the paper, and their parts may be sparse."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import gossamer as gs
from gossamer.connectivity import SparseConv2d, SparseLinear
from gossamer.errors import InputError
from gossamer.models.wide_residual import ResidualBlock, WideResidual

pytestmark = pytest.mark.usefixtures("one_thread")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=seeded(seed))


def small(seed: int = 0, depth: int = 10, width: int = 1, **options: Any) -> WideResidual:
    arguments = {"in_channels": 1, "classes": 10, "image_size": 8}
    return WideResidual(depth, width, **(arguments | options), generator=seeded(seed))


@pytest.mark.parametrize(("depth", "width", "millions"), [(40, 1, 0.6), (40, 2, 2.2), (16, 4, 2.7), (16, 8, 11.0)])
def test_numbers_of_parameters_are_those_of_the_paper(depth: int, width: int, millions: float) -> None:
    net = small(depth=depth, width=width, in_channels=3, image_size=32)
    assert round(sum(p.numel() for p in net.parameters()) / 1e6, 1) == pytest.approx(millions, abs=0.051)
    convolutions = [m for m in net.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    assert len(convolutions) == 1 + 6 * (depth - 4) // 6


def test_a_block_computes_its_formula() -> None:
    x = images(4, 6, 5, 5) - 0.5
    same = ResidualBlock(6, 6, generator=seeded()).eval()
    assert same.short is None
    h = F.relu(x / (1 + 1e-5) ** 0.5)  # the statistics of a new normalisation are 0 and 1
    inner = F.relu(same.conv1(h) / (1 + 1e-5) ** 0.5)
    torch.testing.assert_close(same(x), x + same.conv2(inner))
    other = ResidualBlock(6, 8, stride=2, generator=seeded()).eval()
    assert other.short is not None
    inner = F.relu(other.conv1(h) / (1 + 1e-5) ** 0.5)
    torch.testing.assert_close(other(x), other.short(h) + other.conv2(inner))
    assert other(x).shape == (4, 8, 3, 3)


def test_shapes_on_the_way() -> None:
    net, shapes = small(width=2, image_size=(12, 9), in_channels=3), list[tuple[int, ...]]()
    for name in ("conv", "group1", "group2", "group3"):
        net.get_submodule(name).register_forward_hook(lambda _m, _a, y: shapes.append(tuple(y.shape[1:])))
    assert net(images(2, 3, 12, 9)).shape == (2, 10)
    assert shapes == [(16, 12, 9), (32, 12, 9), (64, 6, 5), (128, 3, 3)]


def test_density_is_that_of_all_convolutions_together() -> None:
    for allocate in ("uniform", "er", "erk"):
        net = small(width=2, density=0.3, allocate=allocate)
        layers = [layer for layer in gs.evaluate.cost(net).layers if layer.kernel]
        possible = sum(layer.shape[0] * layer.shape[1] for layer in layers if layer.shape)
        assert sum(layer.connections for layer in layers) == pytest.approx(0.3 * possible, rel=2e-3)
        assert isinstance(net.get_submodule("group3.block1.conv2"), SparseConv2d)
        assert type(net.classifier) is nn.Linear
    assert not any(isinstance(m, SparseConv2d) for m in small(density=1.0).modules())
    assert isinstance(small(output_density=0.5).classifier, SparseLinear)


@pytest.mark.parametrize("activation", ["relu", "hoyer:0.6", "topk:5", "srelu", "allrelu:0.5"])
def test_it_learns_with_any_activation(activation: str) -> None:
    net, x = small(density=0.5, activation=activation, dropout=0.1), images(32, 1, 8, 8)
    for module in net.modules():
        if isinstance(module, gs.models.noise.Dropout):
            module.generator = seeded()
    y = torch.arange(32) % 10
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_channels_compete_at_each_location() -> None:
    block = ResidualBlock(4, 6, activation="topk:2", generator=seeded())
    maps = block.activation2(images(2, 6, 3, 3))
    assert ((maps != 0).sum(1) == 2).all()
    assert isinstance(block.dropout, nn.Identity)


def test_the_generator_decides_and_torch_keeps_its_own() -> None:
    before = torch.get_rng_state()
    first, same, other = (small(seed, density=0.5).eval() for seed in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    x = images(2, 1, 8, 8)
    assert torch.equal(first(x), same(x))
    assert not torch.equal(first(x), other(x))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depth": 12}, r"depth must be 6n \+ 4 for n blocks in a group, such as 10, 16, 22 or 28, got 12"),
        ({"depth": 4}, "depth must be a whole number of at least 10, got 4"),
        ({"width": 0}, "width must be a whole number of at least 1"),
        ({"image_size": 3}, "image_size must be at least 4 for a wide residual network, got 3"),
        ({"density": 1.5}, "density must be in"),
        ({"dropout": 1.0}, "dropout must be in"),
        ({"activation": "topk:17"}, "k must be a whole number from 1 to 16, got 17"),
        ({"std": 0.0}, "std must be positive"),
    ],
)
def test_mistakes_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        small(**change)


def test_images_of_another_size_are_refused() -> None:
    with pytest.raises(InputError, match=r"x must have shape \(N, 1, 8, 8\), got \(2, 1, 8, 9\)"):
        small()(images(2, 1, 8, 9))
