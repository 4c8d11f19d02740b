from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from gossamer import InputError, SparseLinear
from gossamer.activation import AllReLU
from gossamer.connectivity import BridgeoutLinear, BridgeoutSparseLinear
from gossamer.models import MLP


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_layers_are_sparse_but_for_the_output() -> None:
    net = MLP(20, (30, 40), 5, density=0.1, generator=seeded())
    assert [name for name, _ in net.named_children()] == ["linear1", "activation1", "linear2", "activation2", "output"]
    assert isinstance(net.linear1, SparseLinear)
    assert isinstance(net.linear2, SparseLinear)
    assert (net.linear1.nnz, net.linear2.nnz) == (60, 120)
    assert isinstance(net.output, nn.Linear)
    assert net(torch.zeros(3, 20)).shape == (3, 5)


def test_output_density_makes_the_output_sparse() -> None:
    net = MLP(20, (30,), 5, density=0.1, output_density=0.4, generator=seeded())
    assert isinstance(net.output, SparseLinear)
    assert net.output.nnz == 60


def test_er_shares_connections_by_the_sizes_of_the_layers() -> None:
    net = MLP(10, (100, 100), 2, density=0.2, allocate="er", generator=seeded())
    first, second = net.linear1, net.linear2
    assert isinstance(first, SparseLinear)
    assert isinstance(second, SparseLinear)
    assert first.density > second.density
    assert first.nnz + second.nnz == pytest.approx(0.2 * 11_000, abs=2)


def test_a_layer_with_all_connections_is_dense() -> None:
    assert isinstance(MLP(4, (5,), 2, density=1.0, generator=seeded()).linear1, nn.Linear)


def test_the_twin_is_dense_and_has_the_same_names() -> None:
    sparse, dense = (MLP(20, (30,), 5, density=d, dropout=0.5, generator=seeded()) for d in (0.1, None))
    assert [name for name, _ in sparse.named_children()] == [name for name, _ in dense.named_children()]
    assert all(isinstance(layer, nn.Linear) for layer in (dense.linear1, dense.output))


def test_hidden_may_be_empty() -> None:
    assert MLP(4, (), 3, density=0.5, generator=seeded())(torch.ones(2, 4)).shape == (2, 3)


def test_slopes_alternate_from_layer_to_layer() -> None:
    net = MLP(6, (8, 8, 8), 3, density=0.5, activation="allrelu:0.6", generator=seeded())
    assert [layer.position for layer in net.children() if isinstance(layer, AllReLU)] == [1, 2, 3]


@pytest.mark.parametrize("density", [0.3, None])
@pytest.mark.parametrize("activation", ["relu", "srelu"])
def test_the_generator_decides_and_torch_keeps_its_own(density: float | None, activation: str) -> None:
    before = torch.get_rng_state()
    first, same, other = (
        MLP(6, (8,), 3, density=density, activation=activation, generator=seeded(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(before, torch.get_rng_state())
    x = torch.randn(4, 6, generator=seeded())
    assert torch.equal(first(x), same(x))
    assert not torch.equal(first(x), other(x))


@pytest.mark.parametrize("activation", ["relu", "hoyer:0.6", "topk:3", "srelu", "allrelu:0.6", "sigmoid", "none"])
def test_every_parameter_receives_a_gradient(activation: str) -> None:
    net = MLP(6, (8, 8), 3, density=0.5, activation=activation, generator=seeded())
    net(torch.randn(16, 6, generator=seeded())).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


def test_topk_leaves_k_units_live() -> None:
    net = MLP(6, (10,), 3, density=0.9, activation="topk:4", generator=seeded())
    hidden = nn.Sequential(*list(net.children())[:2])(torch.randn(5, 6, generator=seeded()))
    assert ((hidden != 0).sum(1) <= 4).all()


def test_it_can_be_copied_saved_and_loaded() -> None:
    net = MLP(6, (8,), 3, density=0.3, generator=seeded(1))
    other = MLP(6, (8,), 3, density=0.3, generator=seeded(2))
    other.load_state_dict(copy.deepcopy(net).state_dict())
    x = torch.randn(4, 6, generator=seeded())
    assert torch.equal(net(x), other(x))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"in_features": 0}, "in_features"),
        ({"hidden": (8, 0)}, "hidden"),
        ({"out_features": 0}, "out_features"),
        ({"density": 0.0}, "density"),
        ({"density": float("nan")}, "density"),
        ({"output_density": 2.0}, "output_density"),
        ({"density": None, "output_density": 0.5}, "output_density"),
        ({"allocate": "evenly"}, "allocate"),
        ({"dropout": 1.0}, "dropout"),
        ({"activation": "topk:9"}, "from 1 to 8, got 9"),
        ({"activation": "hoyer:0.5", "hidden": (1,)}, "at least 2 units"),
    ],
)
def test_mistakes_are_named(change: dict[str, object], message: str) -> None:
    arguments: dict[str, object] = {"in_features": 4, "hidden": (8,), "out_features": 3, "density": 0.5}
    with pytest.raises(InputError, match=message):
        MLP(**(arguments | change), generator=seeded())  # type: ignore[arg-type]


def test_noise_on_weights_is_in_hidden_layers_alone_and_in_training_alone() -> None:
    net = MLP(20, (30, 8), 5, density=0.1, weight_noise="bridgeout:q=1.5,p=0.3", generator=seeded())
    plain = MLP(20, (30, 8), 5, density=0.1, generator=seeded())
    full = MLP(6, (5,), 2, density=1.0, weight_noise="bridgeout:q=1", generator=seeded())
    assert isinstance(net.linear1, BridgeoutSparseLinear)
    assert repr(net.linear1.noise) == "Bridgeout(p=0.3, q=1.5)"
    assert not isinstance(net.output, BridgeoutLinear)
    assert isinstance(full.linear1, BridgeoutLinear)
    assert full.linear1.masks == "batch"
    x = torch.randn(7, 20, generator=seeded(1))
    assert not torch.equal(net(x), net(x))
    assert torch.equal(net.eval()(x), plain.eval()(x))  # the same connections and weights
    assert set(net.state_dict()) == set(plain.state_dict())
    with pytest.raises(InputError, match="weight_noise"):
        MLP(20, (30,), 5, density=0.1, weight_noise="dropconnect")
