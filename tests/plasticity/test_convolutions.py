"""Rewiring of convolutions, alone and beside linear layers: the laws that hold for linear ones."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gossamer import InputError, SparseConv2d, SparseLinear, sparsify_
from gossamer.connectivity import SparseLayer
from gossamer.plasticity import (
    GradualMagnitudePruning,
    LossGradient,
    Rewire,
    drop,
    grow,
    importance_prune_,
    magnitude_prune_,
    preset,
)
from gossamer.plasticity.evidence import PairScores
from gossamer.plasticity.gradient import GradientMemory
from gossamer.plasticity.layers import sparse_layers
from gossamer.plasticity.similarity import Cosine, measure_cosines

F64 = torch.float64
Batches = Iterator[tuple[Tensor, Tensor]]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def conv(into: int, out: int, kernel: Any, seed: int = 0, density: float = 0.4, **options: Any) -> SparseConv2d:
    return SparseConv2d(into, out, kernel, density=density, generator=seeded(seed), dtype=F64, **options)


def small_net(seed: int = 0) -> nn.Sequential:
    return nn.Sequential(
        conv(2, 6, 3, seed, padding=1),
        nn.BatchNorm2d(6, dtype=F64),
        nn.ReLU(inplace=True),
        conv(6, 4, (2, 1), seed + 1, groups=2, stride=2),
        nn.Tanh(),
        nn.Flatten(),
        SparseLinear(4 * 3 * 3, 5, 0.2, generator=seeded(seed + 2), dtype=F64),
    )


def batches(skip: int = 0) -> Batches:
    g = seeded(7)
    pairs = (
        (torch.randn(8, 2, 6, 5, generator=g, dtype=F64), torch.randn(8, 5, generator=g, dtype=F64))
        for _ in iter(int, 1)
    )
    return itertools.islice(pairs, skip, None)


def loss(y: Tensor, target: Tensor | float = 1.0) -> Tensor:
    return (y - target).square().mean()


def train(net: nn.Module, optimizer: torch.optim.Optimizer, data: Batches, steps: int) -> None:
    for x, y in itertools.islice(data, steps):
        optimizer.zero_grad()
        loss(net(x), y).backward()
        optimizer.step()


def weight_of(net: nn.Module, name: str) -> Tensor:
    weight = net.get_submodule(name).weight
    assert isinstance(weight, Tensor)
    return weight


def whole(pairs: PairScores) -> Tensor:
    return torch.cat([scores for _, scores in pairs.blocks()]).view(pairs.shape)


# ---- the count, the survivors and the new ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["SET", "CoDASET", "CoPASET", "CoRSET", "CoDACoRSET", "CoPACoRSET", "CTRE", "CTRE_seq", "RigL"]
)
def test_every_published_rule_moves_links_of_convolutions_and_linear_layers(name: str) -> None:
    net = small_net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    rewire, data = Rewire(net, optimizer, **preset(name), record="degrees"), batches()
    counts = {name: layer.nnz for name, layer in rewire.layers.items()}
    assert list(counts) == ["0", "3", "6"]
    for step in range(4):
        train(net, optimizer, data, 2)
        weights = {name: layer.to_dense().weight.detach().flatten() for name, layer in rewire.layers.items()}
        momenta = {
            name: torch.zeros_like(weights[name]).index_put(
                (layer.pattern.flat_indices,), optimizer.state[layer.weight_values]["momentum_buffer"]
            )
            for name, layer in rewire.layers.items()
        }
        changes = rewire.step(score=-step)
        assert [change.layer for change in changes] == list(counts)
        for change in changes:
            layer = rewire.layers[change.layer]
            assert layer.nnz == layer.weight_values.numel() == counts[change.layer]
            assert change.dropped.numel() == change.grown.numel()
            survived = ~torch.isin(layer.pattern.flat_indices, change.grown)
            flat_indices = layer.pattern.flat_indices[survived]
            assert torch.equal(layer.weight_values.detach()[survived], weights[change.layer][flat_indices])
            momentum = optimizer.state[layer.weight_values]["momentum_buffer"]
            assert torch.equal(momentum[survived], momenta[change.layer][flat_indices])
            assert not momentum[~survived].any()
            assert rewire.core_degrees(change.layer).shape == (step + 1, layer.in_features)
    assert [(entry["layer"], entry["nnz"]) for entry in rewire.log[:3]] == list(counts.items())
    assert all(entry["grown"] for entry in rewire.log[:3])


def test_training_with_rewiring_equals_a_masked_dense_convolution() -> None:
    net = small_net()
    oracle = nn.Sequential(*(m.to_dense() if isinstance(m, SparseLayer) else m for m in small_net()))
    masks = {name: layer.pattern.to_mask() for name, layer in sparse_layers(net).items()}
    for name in masks:
        weight_of(oracle, name).register_hook(lambda grad, name=name: grad * masks[name].view(grad.shape))
    optimizers = [torch.optim.Adam(m.parameters(), lr=0.01) for m in (net, oracle)]
    data = [batches(), batches()]
    rewire = Rewire(net, optimizers[0])
    for _ in range(4):
        for model, optimizer, samples in zip((net, oracle), optimizers, data, strict=True):
            train(model, optimizer, samples, 3)
        for change in rewire.step():
            fresh, weight = torch.cat([change.dropped, change.grown]), weight_of(oracle, change.layer)
            with torch.no_grad():
                weight.view(-1)[fresh] = 0
                for tensor in optimizers[1].state[weight].values():
                    if tensor.shape == weight.shape:
                        tensor.view(-1)[fresh] = 0
            masks[change.layer] = rewire.layers[change.layer].pattern.to_mask()
    x, _ = next(data[0])
    torch.testing.assert_close(net(x), oracle(x))
    for name, layer in rewire.layers.items():
        torch.testing.assert_close(layer.to_dense().weight, weight_of(oracle, name))


@pytest.mark.parametrize("name", ["SET", "CoDACoRSET", "RigL", "momentum"])
def test_a_resumed_run_is_the_same_run(name: str) -> None:
    def rewiring(net: nn.Module, optimizer: torch.optim.Optimizer) -> Rewire:
        if name == "momentum":
            return Rewire(net, optimizer, drop.magnitude(0.3), grow.momentum(0.9, 4), record="indices", seed=3)
        return Rewire(net, optimizer, **preset(name), record="indices", seed=3)

    net, data = small_net(), batches()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    rewire = rewiring(net, optimizer)
    for _ in range(2):
        train(net, optimizer, data, 3)
        rewire.step()
    train(net, optimizer, data, 2)
    file = io.BytesIO()
    torch.save({"net": net.state_dict(), "optimizer": optimizer.state_dict(), "rewire": rewire.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    net_2 = small_net(seed=9)
    net_2.load_state_dict(saved["net"])
    optimizer_2 = torch.optim.Adam(net_2.parameters(), lr=0.01)
    optimizer_2.load_state_dict(saved["optimizer"])
    rewire_2 = rewiring(net_2, optimizer_2)
    rewire_2.load_state_dict(saved["rewire"])
    for each, its_optimizer, its_rewire, rest in (
        (net, optimizer, rewire, data),
        (net_2, optimizer_2, rewire_2, batches(8)),
    ):
        its_rewire.step()
        train(each, its_optimizer, rest, 3)
        its_rewire.step()
    for key, tensor in net.state_dict().items():
        assert torch.equal(tensor, net_2.state_dict()[key]), key
    assert [e["grown_indices"].tolist() for e in rewire.log] == [e["grown_indices"].tolist() for e in rewire_2.log]


@pytest.mark.filterwarnings("ignore")  # the compiler warns of its own doings
@pytest.mark.parametrize("name", ["CoDACoRSET", "RigL"])
def test_a_compiled_network_is_rewired_alike(name: str) -> None:
    weights = []
    for compiled in (False, True):
        torch._dynamo.reset()
        net = small_net()
        model: Any = torch.compile(net, backend="eager") if compiled else net
        optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
        rewire, data = Rewire(model, optimizer, **preset(name)), batches()
        for _ in range(2):
            train(model, optimizer, data, 2)
            rewire.step()
        weights.append([layer.to_dense().weight.detach() for layer in rewire.layers.values()])
    for mine, right in zip(*weights, strict=True):
        torch.testing.assert_close(mine, right)


def test_where_chooses_among_both_kinds_of_layer() -> None:
    net = small_net()
    assert list(Rewire(net, where=lambda _, layer: isinstance(layer, SparseConv2d)).layers) == ["0", "3"]
    assert list(Rewire(net, where=lambda name, _: name == "6").layers) == ["6"]
    for parameter in net[3].parameters():
        parameter.requires_grad_(False)
    assert [change.layer for change in Rewire(net).step()] == ["0", "6"]


@pytest.mark.parametrize(("new_weights", "bound"), [("he", (6 / 18) ** 0.5), ("xavier", (6 / (18 + 54)) ** 0.5)])
def test_new_links_start_as_torch_counts_the_fans_of_a_convolution(new_weights: Any, bound: float) -> None:
    layer = conv(2, 6, 3)
    nn.init.zeros_(layer.weight_values)
    Rewire(layer, new_weights=new_weights).step()
    assert 0.8 * bound < float(layer.weight_values.detach().abs().max()) <= bound
    dense, gain = layer.to_dense().weight, {"he": nn.init.kaiming_uniform_, "xavier": nn.init.xavier_uniform_}
    most = float(gain[new_weights](dense).detach().abs().max())  # type: ignore[operator]
    assert 0.8 * bound < most <= bound


def test_weak_links_of_a_convolution_go() -> None:
    layer = conv(2, 6, 3)
    with torch.no_grad():
        layer.weight_values.copy_(torch.linspace(-1, 1, layer.nnz))
    change = Rewire(layer, drop=drop.gap(0.25)).step()[0]
    assert change.dropped.numel() == int((torch.linspace(-1, 1, layer.nnz).abs() < 0.25).sum())
    assert int((layer.weight_values != 0).sum()) == layer.nnz - change.grown.numel()


# ---- the gradient of every weight that could exist -----------------------------------------------------------------


class Shared(nn.Module):
    """A convolution that is called twice, once by name and with a single image."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = conv(3, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        first = self.layer(x).tanh()
        y: Tensor = torch.stack([self.layer(x=image) for image in first])
        return y


def gradients(net: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """|∂L/∂W| of the same network with dense layers."""
    names = list(sparse_layers(net))
    twin = type(net)() if isinstance(net, Shared) else nn.Sequential(*net.children())
    for name in names:
        layer = net.get_submodule(name)
        assert isinstance(layer, SparseLayer)
        twin.add_module(name, layer.to_dense())
    if isinstance(twin, Shared):
        dense = twin.layer
        twin.forward = lambda x: dense(dense(x).tanh())  # type: ignore[method-assign]
    loss(twin(x)).backward()
    found = {name: weight_of(twin, name).grad for name in names}
    return {name: grad.abs().flatten(1) for name, grad in found.items() if grad is not None}


@pytest.mark.parametrize("net", [small_net(), Shared()])
def test_gradient_of_every_index(net: nn.Module) -> None:
    x = (
        next(batches())[0]
        if isinstance(net, nn.Sequential)
        else torch.randn(4, 3, 5, 6, generator=seeded(0), dtype=F64)
    )
    memory = GradientMemory(net, sparse_layers(net), 1)
    loss(net(x)).backward()
    found = memory.measure(memory.kept, LossGradient())
    for name, expected in gradients(net, x).items():
        torch.testing.assert_close(whole(found[name]), expected)


def test_rigl_grows_where_the_dense_gradient_is_largest() -> None:
    net, x = small_net(), next(batches())[0]
    rewire = Rewire(net, drop=drop.magnitude(0.3), grow=grow.gradient())
    loss(net(x)).backward()
    dense = {name: grad.flatten() for name, grad in gradients(net, x).items()}
    for change in rewire.step():
        kept = set(rewire.layers[change.layer].pattern.flat_indices.tolist()) - set(change.grown.tolist())
        ranked = dense[change.layer].index_fill(0, torch.tensor(sorted(kept)), -1).topk(change.grown.numel()).indices
        assert change.grown.tolist() == ranked.sort().values.tolist()


def test_momentum_over_images_of_several_sizes() -> None:
    net = nn.Sequential(conv(2, 4, 3), nn.Tanh(), conv(4, 3, 3, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    memory = GradientMemory(net, sparse_layers(net), 2)
    xs = [torch.randn(3, 2, height, 8, generator=seeded(height), dtype=F64) for height in (6, 9, 7)]
    each = []
    for x in xs:
        loss(net(x)).backward()
        twin = nn.Sequential(*(m.to_dense() if isinstance(m, SparseLayer) else m for m in net))
        loss(twin(x)).backward()
        grad = weight_of(twin, "0").grad
        assert grad is not None
        each.append(grad.flatten(1))
    found = memory.measure(memory.kept, LossGradient(2, 0.5))
    torch.testing.assert_close(whole(found["0"]), (each[2] + 0.5 * each[1]).abs())


def test_gradients_under_autocast() -> None:
    net, x = small_net().float(), next(batches())[0].float()
    rewire = Rewire(net, drop=drop.magnitude(0.3), grow=grow.gradient())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = net(x)
    loss(y.float()).backward()
    assert all(change.grown.numel() for change in rewire.step())


def test_gradients_must_be_finite() -> None:
    net = small_net()
    rewire = Rewire(net, drop=drop.magnitude(0.3), grow=grow.gradient())
    with pytest.raises(InputError, match="layer '0' has no gradient yet"):
        rewire.step()
    (loss(net(next(batches())[0])) * float("inf")).backward()
    with pytest.raises(InputError, match="gradients of layer '0' must be finite"):
        rewire.step()


# ---- how alike a channel and a position of its kernel respond --------------------------------------------------------


def cosines(z: Tensor, u: Tensor, layer: SparseConv2d) -> Tensor:
    """The definition, by unfolding: images z that ``layer`` makes of images u."""
    dense = layer.to_dense()
    read = nn.functional.unfold(u, dense.kernel_size, dense.dilation, dense.padding, dense.stride)  # type: ignore[arg-type]
    read = read.transpose(0, 1).reshape(layer.groups, layer.in_features, -1)
    made = z.transpose(0, 1).reshape(layer.groups, layer.out_channels // layer.groups, -1)
    products = (made @ read.transpose(1, 2)).abs()
    norms = made.norm(dim=2)[:, :, None] * read.norm(dim=2)[:, None]
    return torch.where(norms > 0, products / norms, 0.0).flatten(0, 1)


def measured(net: nn.Module, cosine: Cosine, *xs: Tensor) -> dict[str, Tensor]:
    found = measure_cosines(net, sparse_layers(net), [cosine], iter([((x,), {}) for x in xs]))
    return {name: whole(statistics[cosine]) for name, statistics in found.items()}


def test_cosines_of_images_before_and_after_activation() -> None:
    net, x = small_net().eval(), next(batches())[0]
    first, second = net[0], net[3]
    assert isinstance(first, SparseConv2d)
    assert isinstance(second, SparseConv2d)
    with torch.no_grad():
        z_1 = first(x)
        h_1 = net[1](z_1).relu()
        z_2 = second(h_1)
    pre, post = measured(net, Cosine("pre"), x[:3], x[3:]), measured(net, Cosine("post"), x)
    torch.testing.assert_close(pre["0"], cosines(z_1, x, first))
    torch.testing.assert_close(pre["3"], cosines(z_2, z_1, second))
    torch.testing.assert_close(post["0"], cosines(h_1, x, first))
    torch.testing.assert_close(
        post["3"], cosines(z_2, h_1, second)
    )  # the next layer reads it flattened: its own output
    flat = z_2.tanh().flatten(1)
    z_3 = net[6](flat).detach()
    expected = (z_3.t() @ flat).abs() / (z_3.norm(dim=0)[:, None] * flat.norm(dim=0))
    torch.testing.assert_close(pre["6"], expected)


@pytest.mark.parametrize("samples", [1, 4])
def test_cosines_behind_pooling_and_of_a_last_convolution(samples: int) -> None:
    net = nn.Sequential(conv(2, 30, 3), nn.MaxPool2d(2), conv(30, 40, 1, 1, density=0.1), nn.Softmax(1)).eval()
    x = torch.randn(samples, 2, 6, 6, generator=seeded(0), dtype=F64)  # few positions beside 30 × 40 pairs
    last = net[2]
    assert isinstance(last, SparseConv2d)
    with torch.no_grad():
        pooled = net[1](net[0](x))
        z = last(pooled)
    torch.testing.assert_close(measured(net, Cosine("pre"), x)["2"], cosines(z, pooled, last))
    torch.testing.assert_close(measured(net, Cosine("post"), x)["2"], cosines(z.softmax(1), pooled, last))


def test_residual_sums_and_single_images() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.inner, self.top = conv(2, 4, 1), conv(4, 4, 3, 1, padding=1), conv(4, 3, 1, 2)

        def forward(self, x: Tensor) -> Tensor:
            h = self.stem(x)
            h += self.inner(h.relu())  # in place: the measurement must not see it
            y: Tensor = self.top(h)
            return y

    net, x = Block(), torch.randn(3, 2, 5, 5, generator=seeded(0), dtype=F64)
    with torch.no_grad():
        stem = net.stem(x)
        inner = net.inner(stem.relu())
        mixed = stem + inner
        top = net.top(mixed)
    for calls in ([x], list(x)):  # a batch, and images without one
        found = measured(net, Cosine("pre"), *calls)
        torch.testing.assert_close(found["inner"], cosines(inner, stem, net.inner))
        torch.testing.assert_close(found["top"], cosines(top, mixed, net.top))


def test_a_network_that_returns_a_number_may_be_measured() -> None:
    class Mean(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = conv(2, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.layer(x)
            return y.mean()

    net, x = Mean(), next(batches())[0]
    expected = cosines(net.layer(x).detach(), x, net.layer)
    torch.testing.assert_close(measured(net, Cosine("post"), x)["layer"], expected)


# ---- pruning -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", ["layer", "net"])
def test_magnitude_pruning(scope: Any) -> None:
    net = small_net()
    optimizer = torch.optim.Adam(net.parameters())
    train(net, optimizer, batches(), 1)
    magnitude_prune_(net, 0.1, optimizer, scope=scope)
    counts = [layer.nnz for layer in sparse_layers(net).values()]
    positions = [layer.in_features * layer.out_features for layer in sparse_layers(net).values()]
    assert (
        counts == [round(0.1 * n) for n in positions]
        if scope == "layer"
        else sum(counts) == round(0.1 * sum(positions))
    )
    train(net, optimizer, batches(1), 1)


def test_unimportant_channels_lose_their_connections() -> None:
    net = small_net()
    first = net[0]
    assert isinstance(first, SparseConv2d)
    strength = first.to_dense().weight.detach().abs().sum((1, 2, 3))
    importance_prune_(net, 0.4)  # the quantile is the third of six
    assert torch.equal(first.pattern.fan_in > 0, strength > strength.sort().values[2])
    assert not first(next(batches())[0]).detach().sub(first.bias[:, None, None])[:, first.pattern.fan_in == 0].any()  # type: ignore[index]


def test_gradual_pruning() -> None:
    net = small_net()
    pruning = GradualMagnitudePruning(net, density=0.1, steps=3)
    counts = [[change.nnz for change in pruning.step()] for _ in range(3)]
    assert counts[2] == [round(0.1 * layer.in_features * layer.out_features) for layer in sparse_layers(net).values()]
    assert counts[0][0] > counts[1][0] > counts[2][0]


# ---- a residual network --------------------------------------------------------------------------------------------


class Residual(nn.Module):
    """Two convolutions beside a path that skips them."""

    def __init__(self, into: int, out: int, stride: int) -> None:
        super().__init__()
        self.first, self.norm_1 = nn.Conv2d(into, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out)
        self.second, self.norm_2 = nn.Conv2d(out, out, 3, 1, 1, bias=False), nn.BatchNorm2d(out)
        self.skip = nn.Conv2d(into, out, 1, stride, bias=False) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm_2(self.second(self.norm_1(self.first(x)).relu())) + self.skip(x)
        return y.relu()


def stripes(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Noisy pictures of stripes, and their direction: of four."""
    g = seeded(seed)
    label = torch.randint(4, (count,), generator=g)
    phase = 6.28 * torch.rand(count, 1, 1, generator=g)
    i, j = torch.meshgrid(torch.arange(10.0), torch.arange(10.0), indexing="ij")
    along = torch.stack([i, j, i + j, i - j])[label]
    x = (1.6 * along + phase).sin() + 0.7 * torch.randn(count, 10, 10, generator=g)
    return x[:, None], label


@pytest.mark.parametrize("name", ["SET", "RigL"])
def test_a_residual_network_trains_while_it_is_rewired(name: str) -> None:
    torch.manual_seed(0)
    stem = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 4))
    net = nn.Sequential(stem, Residual(16, 16, 1), Residual(16, 32, 2), head)
    sparsify_(net, 0.2, "erk", generator=seeded(0))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    rewire = Rewire(net, optimizer, **preset(name, 0.2))
    counts = {name: layer.nnz for name, layer in rewire.layers.items()}
    before = {name: layer.pattern.flat_indices for name, layer in rewire.layers.items()}
    assert len(counts) == 7
    x, y = stripes(320, 0)
    for epoch in range(6):
        for rows in torch.randperm(len(x), generator=seeded(epoch)).split(32):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
            optimizer.step()
        if epoch < 5:
            rewire.step()
        assert {name: layer.nnz for name, layer in rewire.layers.items()} == counts
    moved = [
        int((~torch.isin(layer.pattern.flat_indices, before[name])).sum()) for name, layer in rewire.layers.items()
    ]
    assert all(moved[i] > 0 for i, layer in enumerate(rewire.layers.values()) if layer.density < 1)
    x, y = stripes(200, 1)
    assert float((net.eval()(x).argmax(1) == y).double().mean()) > 0.9
