"""Cosines of responses: the published definition, its invariances, and how they are read off a network."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from gossamer import InputError, Pattern, SparseLinear
from gossamer.kernels import Code
from gossamer.plasticity.evidence import PairScores
from gossamer.plasticity.layers import sparse_layers
from gossamer.plasticity.pairs import Factored, Summed
from gossamer.plasticity.similarity import Call, Cosine, CosineSums, affordable_samples, measure_cosines

F64 = torch.float64


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def sparse(inputs: int, outputs: int, seed: int = 0) -> SparseLinear:
    return SparseLinear(inputs, outputs, density=0.6, generator=seeded(seed), dtype=F64)


def samples(rows: int, width: int, seed: int = 0) -> Tensor:
    return torch.randn(rows, width, generator=seeded(seed), dtype=F64)


def calls(*batches: Tensor) -> Iterator[Call]:
    return iter([((batch,), {}) for batch in batches])


def whole(pairs: PairScores) -> Tensor:
    return torch.cat([scores for _, scores in pairs.blocks()]).view(pairs.shape)


def cosines(z: Tensor, u: Tensor) -> Tensor:
    """The definition, with the whole matrix."""
    products = (z.t() @ u).abs()
    norms = z.norm(dim=0)[:, None] * u.norm(dim=0)[None]
    return torch.where(norms > 0, products / norms, 0.0)


def gathered(z: Tensor, u: Tensor, parts: int = 3) -> PairScores:
    sums = CosineSums(z.shape[1], u.shape[1], z)
    for zs, us in zip(z.tensor_split(parts), u.tensor_split(parts), strict=True):
        sums.add(zs, us)
    return sums.finish("layer")(True)


# ---- the statistic -------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 20), st.integers(1, 8), st.integers(1, 8), st.integers(0, 10**6))
def test_equal_to_the_definition_however_it_is_kept(rows: int, outputs: int, inputs: int, seed: int) -> None:
    z, u = samples(rows, outputs, seed), samples(rows, inputs, seed + 1)
    c = gathered(z, u)
    assert isinstance(c, Summed if rows * (outputs + inputs) > outputs * inputs else Factored)
    torch.testing.assert_close(whole(c), cosines(z, u))
    pattern = Pattern.erdos_renyi(outputs, inputs, 0.5, seeded(seed))
    torch.testing.assert_close(c.connections(pattern.structure), cosines(z, u).flatten()[pattern.flat_indices])
    assert 0 <= float(whole(c).min()) <= float(whole(c).max()) <= 1


@pytest.mark.parametrize("rows", [2, 50])
@settings(deadline=None, max_examples=20)
@given(st.floats(-1e3, 1e3).filter(lambda c: abs(c) > 1e-3), st.integers(0, 5), st.integers(0, 6))
def test_unchanged_by_scaling_a_unit(rows: int, constant: float, output: int, feature: int) -> None:
    z, u = samples(rows, 6), samples(rows, 7, 1)
    before = whole(gathered(z, u))
    z[:, output] *= constant
    u[:, feature] *= -constant
    torch.testing.assert_close(whole(gathered(z, u)), before)


@pytest.mark.parametrize("rows", [2, 50])
def test_a_silent_unit_is_like_nothing(rows: int) -> None:
    z, u = samples(rows, 6), samples(rows, 7, 1)
    z[:, 2], u[:, 3] = 0, 0
    c = whole(gathered(z, u))
    assert not c[2].any()
    assert not c[:, 3].any()
    assert int((c > 0).sum()) == 5 * 6


def test_units_that_respond_alike_or_opposite() -> None:
    z = samples(30, 1)
    sums = [CosineSums(1, 2, z) for _ in range(2)]
    for each in sums:
        each.add(z, torch.cat([2 * z, -3 * z], 1))
    absolute, positive = sums[0].finish("layer")(True), sums[1].finish("layer")(False)
    torch.testing.assert_close(whole(absolute), torch.ones(1, 2, dtype=F64))
    torch.testing.assert_close(whole(positive), torch.tensor([[1.0, 0.0]], dtype=F64))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_single(dtype: torch.dtype) -> None:
    z, u = samples(500, 4).to(dtype), samples(500, 5, 1).to(dtype)
    c = whole(gathered(z, u))
    assert c.dtype == torch.float32
    torch.testing.assert_close(c, cosines(z.double(), u.double()).float(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e200])
def test_activations_must_be_finite(bad: float) -> None:
    z, u = samples(5, 3), samples(5, 4)
    z[1, 1] = bad
    with pytest.raises(InputError, match="around layer 'layer' must be finite"):
        gathered(z, u)


# ---- what u and z are ----------------------------------------------------------------------------------------------


def mlp() -> nn.Sequential:
    return nn.Sequential(
        sparse(6, 8), nn.ReLU(), nn.Dropout(0.5), sparse(8, 7, 1), nn.Tanh(), nn.Linear(7, 3, dtype=F64), nn.Softmax(-1)
    )


def measured(net: nn.Module, cosine: Cosine, *batches: Tensor) -> dict[str, Tensor]:
    found = measure_cosines(net, sparse_layers(net), [cosine], calls(*batches))
    return {name: whole(statistics[cosine]) for name, statistics in found.items()}


def test_pre_activations_of_both_sides() -> None:
    net, x = mlp(), samples(40, 6)
    z_1 = net[0](x).detach()
    z_2 = net[3](net[1](z_1)).detach()
    found = measured(net, Cosine("pre"), x[:15], x[15:])
    torch.testing.assert_close(found["0"], cosines(z_1, x))
    torch.testing.assert_close(found["3"], cosines(z_2, z_1))


def test_post_activations_of_both_sides() -> None:
    net, x = mlp(), samples(40, 6)
    h_1 = net[1](net[0](x)).detach()
    h_2 = net[4](net[3](h_1)).detach()
    found = measured(net, Cosine("post"), x)
    torch.testing.assert_close(found["0"], cosines(h_1, x))
    torch.testing.assert_close(found["3"], cosines(h_2, h_1))


def test_post_activation_of_the_last_layer_is_what_the_network_returns() -> None:
    net, x = nn.Sequential(sparse(6, 5), nn.Softmax(-1)), samples(20, 6)
    torch.testing.assert_close(measured(net, Cosine("post"), x)["0"], cosines(net(x).detach(), x))
    torch.testing.assert_close(measured(net, Cosine("pre"), x)["0"], cosines(net[0](x).detach(), x))


class Branched(nn.Module):
    """Two branches read one layer, their sum is read by another; each call has the same width."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.left, self.right, self.top = (sparse(6, 6, seed) for seed in range(4))

    def forward(self, x: Tensor, shift: float = 0.0) -> Tensor:
        h = self.stem(x).tanh()
        left, right = self.left(h), self.right(h)
        left += right  # in place: the measurement must not see it in z of "left"
        y: Tensor = self.top(left.relu_()) + shift
        return y


def test_branches_are_told_apart() -> None:
    net, x = Branched(), samples(30, 6)
    with torch.no_grad():
        stem = net.stem(x)
        left, right = net.left(stem.tanh()), net.right(stem.tanh())
        mixed = (left + right).relu()
        top = net.top(mixed)
    found = measured(net, Cosine("pre"), x)
    torch.testing.assert_close(found["left"], cosines(left, stem))
    torch.testing.assert_close(found["right"], cosines(right, stem))
    torch.testing.assert_close(found["top"], cosines(top, mixed))  # of two sources: its own input


class Coded(nn.Module):
    """Its second layer reads a sparse code."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = sparse(6, 8), sparse(8, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.second(Code.pack(self.first(x).relu()))
        return y


def test_sparse_codes_count_as_what_they_stand_for() -> None:
    net, x = Coded(), samples(20, 6)
    z_1 = net.first(x).detach()
    z_2 = net.second(z_1.relu()).detach()
    torch.testing.assert_close(measured(net, Cosine("pre"), x)["second"], cosines(z_2, z_1))
    torch.testing.assert_close(measured(net, Cosine("post"), x)["second"], cosines(z_2, z_1.relu()))
    torch.testing.assert_close(measured(net, Cosine("post"), x)["first"], cosines(z_1.relu(), x))


def test_frozen_layers_are_seen_too() -> None:
    net, x = mlp().requires_grad_(False), samples(20, 6)
    z_1 = net[0](x)
    torch.testing.assert_close(measured(net, Cosine("pre"), x)["3"], cosines(net[3](net[1](z_1)), z_1))


def test_sequences_and_repeated_calls_are_more_samples() -> None:
    layer, x = sparse(4, 4), samples(12, 4)
    torch.testing.assert_close(
        measured(layer, Cosine("pre"), x.view(3, 4, 4))[""], measured(layer, Cosine("pre"), x)[""]
    )
    twice = nn.Sequential(layer, layer)
    z_1 = layer(x).detach()
    both_z, both_u = torch.cat([z_1, layer(z_1).detach()]), torch.cat([x, z_1])
    torch.testing.assert_close(measured(twice, Cosine("pre"), x)["0"], cosines(both_z, both_u))


# ---- what a measurement leaves behind ------------------------------------------------------------------------------


def test_nothing_is_left_behind() -> None:
    net = nn.Sequential(sparse(6, 8), nn.BatchNorm1d(8, dtype=F64), nn.Dropout(0.5), sparse(8, 3))
    net.train()
    net[2].eval()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    torch.manual_seed(7)
    measured(net, Cosine("pre"), samples(9, 6))
    expected, got = torch.Generator().manual_seed(7), torch.rand(3)
    assert torch.equal(got, torch.rand(3, generator=expected))
    assert [module.training for module in net.modules()] == [True, True, True, False, True]
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())
    assert not any(module._forward_hooks for module in net.modules())


def test_modes_come_back_after_an_error() -> None:
    net = mlp().train()
    with pytest.raises(InputError, match="must have shape"):
        measured(net, Cosine("pre"), samples(4, 5).float())
    assert all(module.training for module in net.modules())
    assert not any(module._forward_hooks for module in net.modules())


def test_arguments_by_name_and_in_order() -> None:
    net, x = Branched(), samples(10, 6)
    cosine = Cosine()
    batches: list[Call] = [((x,), {"shift": 2.0}), ((), {"x": x})]
    found = measure_cosines(net, sparse_layers(net), [cosine], iter(batches))
    torch.testing.assert_close(whole(found["stem"][cosine]), measured(net, cosine, x)["stem"])


def test_mistakes_are_named() -> None:
    net = mlp()
    with pytest.raises(InputError, match="at least one sample"):
        measured(net, Cosine())
    with pytest.raises(InputError, match="at least one sample"):
        measured(net, Cosine(), samples(40, 6)[:0])
    with pytest.raises(InputError, match="activation must be one of"):
        Cosine("during")  # type: ignore[arg-type]
    layers = {"used": sparse(3, 2), "idle": sparse(3, 2)}
    with pytest.raises(InputError, match="did not use 'idle'"):
        measure_cosines(nn.Sequential(layers["used"]), layers, [Cosine()], calls(samples(2, 3)))


class Moody(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = sparse(3, 3), sparse(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.a(self.b(x)) if len(x) > 4 else self.b(self.a(x))
        return y


def test_a_net_that_changes_its_order_is_refused() -> None:
    with pytest.raises(InputError, match="same order"):
        measured(Moody(), Cosine(), samples(9, 3), samples(2, 3))


def test_as_many_samples_as_half_a_gibibyte_holds() -> None:
    def layer(n_out: int, n_in: int) -> SparseLinear:
        return SparseLinear(n_in, n_out, pattern=Pattern.from_flat_indices(torch.arange(3), n_out, n_in))

    assert affordable_samples([layer(1000, 784), layer(1000, 1000)]) == 10_000
    assert affordable_samples([layer(100_000, 100_000)]) == 2**27 // 200_000 == 671
    assert affordable_samples([layer(2_000_000, 2_000_000)]) == 100
