"""Turning models sparse in place."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from gossamer import InputError, SparseLinear, allocate_densities, compact_, sparsify_, to_dense
from gossamer.connectivity.conversion import parts_of

pytestmark = pytest.mark.usefixtures("one_thread")


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(20, 30), nn.ReLU(), nn.Sequential(nn.Linear(30, 10, bias=False), nn.ReLU()), nn.Linear(10, 4)
    )


def sparse_layers(model: nn.Module) -> dict[str, SparseLinear]:
    return {name: module for name, module in model.named_modules() if isinstance(module, SparseLinear)}


def test_all_linear_layers_are_replaced_in_place() -> None:
    model = network()
    assert sparsify_(model, 0.2) is model
    assert not any(isinstance(module, nn.Linear) for module in model.modules())
    layers = sparse_layers(model)
    assert list(layers) == ["0", "2.0", "3"]
    assert [layer.nnz for layer in layers.values()] == [120, 60, 8]
    assert [layer.bias is not None for layer in layers.values()] == [True, False, True]
    model(torch.randn(5, 20, generator=seeded(0))).sum().backward()


@pytest.mark.parametrize("density", [0.01, 0.1, 0.35, 0.9, 1.0])
@pytest.mark.parametrize("allocate", ["uniform", "er", "erk"])
def test_the_total_is_the_budget(density: float, allocate: str) -> None:
    model = sparsify_(network(), density, allocate)  # type: ignore[arg-type]
    layers = list(sparse_layers(model).values())
    assert abs(sum(layer.nnz for layer in layers) - density * (600 + 300 + 40)) <= len(layers) / 2
    shares = allocate_densities([(30, 20), (10, 30), (4, 10)], density, allocate)  # type: ignore[arg-type]
    for layer, share in zip(layers, shares, strict=True):
        assert layer.nnz == max(1, round(share * layer.in_features * layer.out_features))


def test_seeds_are_reproducible() -> None:
    models = [sparsify_(network(), 0.2, generator=seeded(seed)) for seed in (1, 1, 2)]
    states = [torch.cat([layer.weight_values.detach() for layer in sparse_layers(m).values()]) for m in models]
    positions = [torch.cat([layer.pattern.flat_indices for layer in sparse_layers(m).values()]) for m in models]
    assert torch.equal(states[0], states[1])
    assert torch.equal(positions[0], positions[1])
    assert not torch.equal(positions[0], positions[2])


def test_where_chooses_by_name_and_layer() -> None:
    model = sparsify_(network(), 0.2, where=lambda name, _: name != "3")
    assert list(sparse_layers(model)) == ["0", "2.0"]
    model = sparsify_(network(), 0.2, where=lambda _, layer: layer.out_features == 4)
    assert list(sparse_layers(model)) == ["3"]
    with pytest.raises(InputError, match=r"no layer to make sparse .* at which where\(…\) is true"):
        sparsify_(network(), 0.2, where=lambda name, layer: False)


def test_keeping_the_largest_weights() -> None:
    model = network()
    dense = [module.weight.detach().clone() for module in model.modules() if isinstance(module, nn.Linear)]
    bias = model[0].bias
    assert isinstance(bias, nn.Parameter)
    bias = bias.detach().clone()
    sparsify_(model, 0.25, keep="magnitude")
    for weight, layer in zip(dense, sparse_layers(model).values(), strict=True):
        kept = layer.to_dense().weight.detach()
        live = kept != 0
        assert int(live.sum()) == layer.nnz == weight.numel() // 4
        assert torch.equal(kept[live], weight[live])
        assert float(weight[live].abs().min()) >= float(weight[~live].abs().max())
    assert torch.equal(sparse_layers(model)["0"].bias, bias)  # type: ignore[arg-type]


def test_drawn_weights_start_for_the_live_fan_in() -> None:
    torch.manual_seed(0)
    model = sparsify_(nn.Sequential(nn.Linear(400, 300)), 0.04, generator=seeded(0))
    values = sparse_layers(model)["0"].weight_values.detach()
    assert float(values.var()) == pytest.approx(1 / (3 * 16), rel=0.15)


def test_a_model_keeps_its_dtype_mode_and_frozen_layers() -> None:
    model = network().double().eval()
    model[0].requires_grad_(False)
    sparsify_(model, 0.2)
    assert all(p.dtype == torch.float64 for p in model.parameters())
    assert not any(module.training for module in model.modules())
    layers = sparse_layers(model)
    assert not layers["0"].weight_values.requires_grad
    assert layers["3"].weight_values.requires_grad
    model(torch.randn(5, 20, generator=seeded(0), dtype=torch.float64))


class Twice(nn.Module):
    """One layer at three places."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(8, 8)
        self.block = nn.Sequential(self.first, nn.ReLU(), self.first)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.first(self.block(x))  # type: ignore[no-any-return]


def test_a_shared_layer_stays_shared() -> None:
    model = sparsify_(Twice(), 0.5)
    assert isinstance(model.first, SparseLinear)
    assert model.block[0] is model.first
    assert model.block[2] is model.first
    assert len(list(model.parameters())) == 2
    model(torch.randn(3, 8, generator=seeded(0))).sum().backward()
    model = sparsify_(Twice(), 0.5, where=lambda name, _: name == "first")
    assert model.block[2] is model.first
    with pytest.raises(InputError, match="no layer to make sparse"):
        sparsify_(Twice(), 0.5, where=lambda name, _: name == "block.0")


class Tied(nn.Module):
    """Output weights that are the embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(10, 4)
        self.hidden = nn.Linear(4, 4)
        self.output = nn.Linear(4, 10, bias=False)
        self.output.weight = self.embedding.weight


def test_tied_weights_are_refused_before_anything_is_replaced() -> None:
    model = Tied()
    with pytest.raises(InputError, match=r"the weight of 'output' is shared with another module: leave it out"):
        sparsify_(model, 0.5)
    assert not sparse_layers(model)
    sparsify_(model, 0.5, where=lambda name, _: name != "output")
    assert list(sparse_layers(model)) == ["hidden"]
    assert model.output.weight is model.embedding.weight


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
def test_weights_that_a_hook_computes_are_refused() -> None:
    for model in (
        nn.Sequential(nn.utils.weight_norm(nn.Linear(4, 4))),
        nn.Sequential(prune.l1_unstructured(nn.Linear(4, 4), "weight", 0.5)),
    ):
        with pytest.raises(InputError, match="the weight of '0' is computed by a hook"):
            sparsify_(model, 0.5)


class Special(nn.Linear):
    """Does something else with its weights."""


def test_subclasses_are_left_alone() -> None:
    model = nn.Sequential(nn.Linear(4, 4), Special(4, 4), nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)))
    with pytest.warns(UserWarning, match=r"69% of the parameters stay dense, the largest being 1\.weight"):
        sparsify_(model, 0.5)
    assert list(sparse_layers(model)) == ["0"]
    assert type(model[1]) is Special
    with pytest.raises(InputError, match=r"model has no layer to make sparse \(nn\.Linear, .*\)$"):
        sparsify_(nn.Sequential(Special(4, 4), nn.ReLU()), 0.5)


def test_a_layer_is_no_model() -> None:
    with pytest.raises(InputError, match=r"use SparseLinear.from_dense"):
        sparsify_(nn.Linear(4, 4), 0.5)


@pytest.mark.parametrize("density", [0, -0.5, 1.5, math.nan])
def test_densities_outside_are_refused_and_nothing_is_replaced(density: float) -> None:
    model = network()
    with pytest.raises(InputError, match=r"density must be in \(0, 1\], got"):
        sparsify_(model, density)
    assert not sparse_layers(model)


def test_unknown_choices_are_refused() -> None:
    with pytest.raises(InputError, match="keep must be one of 'random', 'magnitude', got 'best'"):
        sparsify_(network(), 0.5, keep="best")
    with pytest.raises(InputError, match="allocate must be one of"):
        sparsify_(network(), 0.5, "equal")  # type: ignore[arg-type]


def test_a_sparse_model_has_nothing_left_to_replace() -> None:
    model = sparsify_(network(), 0.2)
    with pytest.raises(InputError, match="model has no layer to make sparse"):
        sparsify_(model, 0.2)


def everything() -> Any:
    torch.manual_seed(0)
    return nn.ModuleDict(
        {
            "lstm": nn.LSTM(6, 5, 2, bidirectional=True),
            "gru": nn.GRU(6, 5),
            "attention": nn.MultiheadAttention(6, 2),
            "mixed": nn.MultiheadAttention(6, 2, kdim=4, bias=False),
            "linear": nn.Linear(6, 5),
        }
    )


@pytest.mark.parametrize("keep", ["random", "magnitude"])
def test_recurrent_layers_and_attention_are_replaced(keep: str) -> None:
    dense = everything()
    model = sparsify_(everything(), 0.3, "er", keep=keep, generator=seeded(0))
    kinds = {name: type(module).__name__ for name, module in model.named_children()}
    assert kinds == {
        "lstm": "SparseLSTM",
        "gru": "SparseGRU",
        "attention": "SparseMultiheadAttention",
        "mixed": "SparseMultiheadAttention",
        "linear": "SparseLinear",
    }
    layers = sparse_layers(model)
    assert len(layers) == 8 + 2 + 4 + 4 + 1
    total = sum(layer.in_features * layer.out_features for layer in layers.values())
    assert abs(sum(layer.nnz for layer in layers.values()) - 0.3 * total) <= len(layers) / 2
    if keep == "magnitude":
        kept = layers["attention.k_proj"].to_dense().weight.detach()
        weight = dense["attention"].in_proj_weight.detach()[6:12]
        assert torch.equal(kept[kept != 0], weight[kept != 0])
        assert float(weight[kept != 0].abs().min()) >= float(weight[kept == 0].abs().max())
        bias = layers["lstm.hh_l1_reverse"].bias
        assert bias is not None
        assert torch.equal(bias, dense["lstm"].bias_hh_l1_reverse)


@pytest.mark.parametrize("make", [torch.optim.Adam, lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9)])
def test_an_optimizer_follows_all_their_weights(make: type[torch.optim.Optimizer]) -> None:
    """After pruning, the next step is that of the dense model with the same gradients, for each weight that stays."""
    dense = everything()
    optimizer = make(dense.parameters())  # type: ignore[call-arg]

    def step(model: nn.Module, optimizer: torch.optim.Optimizer, gradients: dict[str, torch.Tensor]) -> None:
        for name, parameter in model.named_parameters():
            parameter.grad = gradients[name]
        optimizer.step()

    def drawn(seed: int) -> dict[str, torch.Tensor]:
        return {n: torch.randn(p.shape, generator=seeded(seed)) for n, p in dense.named_parameters()}

    step(dense, optimizer, drawn(1))
    model = copy.deepcopy(dense)
    other = make(model.parameters())  # type: ignore[call-arg]
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    sparsify_(model, 0.3, keep="magnitude", optimizer=other)
    gradients = drawn(2)
    step(dense, optimizer, gradients)
    expected: dict[str, torch.Tensor] = {}
    following: dict[str, torch.Tensor] = {}
    for name, module in everything().named_children():
        for part in parts_of(module):
            layer = part.layer(model[name])
            full = f"{name}.{part.name}".rstrip(".")
            kept = layer.pattern.flat_indices
            following[f"{full}.weight_values"] = gradients[f"{name}.{part.weight}"][part.rows].flatten()[kept]
            expected[f"{full}.weight_values"] = (
                dense.get_parameter(f"{name}.{part.weight}").detach()[part.rows].flatten()[kept]
            )
            if layer.bias is not None:
                following[f"{full}.bias"] = gradients[f"{name}.{part.bias}"][part.bias_rows]
                expected[f"{full}.bias"] = dense.get_parameter(f"{name}.{part.bias}").detach()[part.bias_rows]
    step(model, other, following)
    assert set(expected) == {name for name, _ in model.named_parameters()}
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.detach(), expected[name])


def test_recurrent_layers_and_attention_that_do_not_fit_are_refused() -> None:
    for layer, message in (
        (nn.LSTM(4, 3, proj_size=2), r"'0' projects its output \(proj_size=2\): leave it out with where"),
        (nn.MultiheadAttention(4, 2, add_bias_kv=True), r"'0' adds keys and values of its own"),
        (nn.MultiheadAttention(4, 2, add_zero_attn=True), r"'0' adds keys and values of its own"),
    ):
        model = nn.Sequential(layer, nn.Linear(4, 4))
        with pytest.raises(InputError, match=message):
            sparsify_(model, 0.5)
        assert not sparse_layers(model)
    tied = nn.Sequential(nn.LSTM(4, 3), nn.LSTM(4, 3))
    tied[1].weight_hh_l0 = tied[0].weight_hh_l0
    with pytest.raises(InputError, match="the weight_hh_l0 of '0' is shared with another module"):
        sparsify_(tied, 0.5)
    hooked = nn.Sequential(nn.LSTM(4, 3))
    prune.l1_unstructured(hooked[0], "weight_hh_l0", 0.5)
    with pytest.raises(InputError, match="the weight_hh_l0 of '0' is computed by a hook"):
        sparsify_(hooked, 0.5)
    with pytest.raises(InputError, match=r"use SparseLSTM\.from_dense"):
        sparsify_(nn.LSTM(4, 3), 0.5)
    model = nn.Sequential(nn.LSTM(4, 3), nn.Linear(3, 3))
    optimizer = torch.optim.SGD(model[1].parameters(), lr=0.1)
    with pytest.raises(InputError, match="optimizer must hold the parameters of every layer"):
        sparsify_(model, 0.5, optimizer=optimizer)


def test_zeros_of_recurrent_layers_and_attention_are_compacted() -> None:
    dense = everything()
    with torch.no_grad():
        for name, parameter in dense.named_parameters():
            if "weight" in name and not name.startswith("linear"):
                parameter.mul_(torch.rand(parameter.shape, generator=seeded(3)) < 0.2)
    x = torch.randn(4, 2, 6, generator=seeded(1))
    expected = [dense["lstm"](x)[0], dense["gru"](x)[0], dense["attention"](x, x, x)[0], dense["linear"](x)]
    compact_(dense)
    assert type(dense["linear"]) is nn.Linear
    found = [dense["lstm"](x)[0], dense["gru"](x)[0], dense["attention"](x, x, x)[0], dense["linear"](x)]
    for mine, right in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, right)
    assert len(sparse_layers(dense)) == 18


def test_weights_and_biases_are_frozen_each_for_itself() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[0].weight.requires_grad_(False)
    model[1].bias.requires_grad_(False)
    sparsify_(model, 0.5)
    assert [p.requires_grad for p in model.parameters()] == [False, True, True, False]
    assert [p.requires_grad for p in to_dense(model).parameters()] == [False, True, True, False]
