"""Blocks of strong, sparse activations, and networks of them."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import gossamer as gs
from gossamer import measures
from gossamer.activation.hebbian import HebbianLoss
from gossamer.activation.threshold import straight_through
from gossamer.connectivity import SparseConv2d, SparseLinear
from gossamer.connectivity.normalized import NormalizedConv2d, NormalizedSparseConv2d
from gossamer.errors import InputError
from gossamer.models.blocks import HaHBlock, StandardBlock
from gossamer.models.vgg import HEBBIAN_ALPHA, VGG, Layers, vgg16

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL: Layers = (8, 8, "M", 12, 12, "M")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=seeded(seed))


def small(seed: int = 0, **options: Any) -> VGG:
    arguments = {"in_channels": 1, "classes": 10, "image_size": 8, "hebbian_blocks": 3, "mean": 0.305, "std": 0.376}
    return VGG(SMALL, **(arguments | options), generator=seeded(seed))


# ---- one block -----------------------------------------------------------------------------------------------------


def test_a_block_has_its_kernel_and_nothing_else() -> None:
    block = HaHBlock(3, 16, generator=seeded())
    assert {name: p.shape for name, p in block.named_parameters()} == {"conv.weight": (16, 3, 3, 3)}
    assert not list(block.buffers())
    assert [name for name, _ in block.named_children()] == ["conv", "relu", "norm", "threshold"]
    assert block(images(2, 3, 9, 7)).shape == (2, 16, 9, 7)


@pytest.mark.parametrize(("side", "most"), [(32, 205 / 1024), (16, 52 / 256), (8, 13 / 64), (4, 4 / 16), (2, 1 / 4)])
def test_its_activation_is_bounded(side: int, most: float) -> None:
    z = HaHBlock(3, 16, generator=seeded())(images(4, 3, side, side) - 0.5)
    active = measures.active_fraction(z.flatten(2))
    assert active.max().item() == pytest.approx(most)
    assert (active <= most + 1e-7).all()


@given(st.floats(0.05, 1), st.floats(0.05, 1))
def test_a_larger_quantile_leaves_less_active(one: float, other: float) -> None:
    x, (few, many) = images(2, 3, 6, 6), sorted((one, other))
    live = [HaHBlock(3, 8, quantile=1 - r, generator=seeded())(x) != 0 for r in (few, many)]
    assert (live[0] <= live[1]).all()


def test_pooling_raises_the_active_fraction_at_most_fourfold() -> None:
    z = HaHBlock(3, 32, generator=seeded())(images(4, 3, 32, 32) - 0.5)
    before, after = ((maps != 0).float().mean().item() for maps in (z, F.max_pool2d(z, 2)))
    assert 1.5 * before < after <= 4 * before


def test_it_is_blind_to_the_scale_of_its_input_and_of_its_kernel() -> None:
    block, x = HaHBlock(8, 16, generator=seeded()), images(4, 8, 16, 16) - 0.5
    z = block(x)
    assert ((block(5 * x) - z).abs().max() / z.abs().max()).item() <= 5e-6
    with torch.no_grad():
        block.conv.weight.mul_(7.3)
    assert ((block(x) - z).abs().max() / z.abs().max()).item() <= 5e-5


def test_it_does_the_same_in_training_and_evaluation_and_image_by_image() -> None:
    block, x = HaHBlock(3, 8, generator=seeded()), images(4, 3, 8, 8)
    z = block.train()(x)
    assert torch.equal(block.eval()(x), z)
    torch.testing.assert_close(torch.cat([block(image[None]) for image in x]), z)


def test_an_image_of_zeros_gives_zeros_with_finite_gradients() -> None:
    for x in (torch.zeros(2, 3, 8, 8), torch.cat([torch.zeros(1, 3, 8, 8), images(1, 3, 8, 8)])):
        block, x = HaHBlock(3, 8, generator=seeded()), x.requires_grad_()
        hebbian = HebbianLoss([block.conv], 1.0)
        z = block(x)
        assert (z[0] == 0).all()
        loss = z.square().sum() + hebbian()
        assert bool(loss == 0) == bool((x == 0).all())
        loss.backward()
        assert all(t.grad is not None and t.grad.isfinite().all() for t in (x, block.conv.weight))


def test_nan_shows_in_its_own_image_alone() -> None:
    block, x = HaHBlock(3, 8, generator=seeded()), images(3, 3, 8, 8)
    clean = block(x)
    x[1, 0, 4, 4] = torch.nan
    z = block(x)
    assert z[1].isnan().any()
    torch.testing.assert_close(z[[0, 2]], clean[[0, 2]])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_types(dtype: torch.dtype) -> None:
    block, x = HaHBlock(3, 8, generator=seeded()).to(dtype), images(2, 3, 8, 8).to(dtype)
    z = block(x)
    assert z.dtype == dtype
    z.float().sum().backward()
    assert block.conv.weight.grad is not None
    assert block.conv.weight.grad.isfinite().all()


@pytest.mark.parametrize("window", [1, 3, 5])
@pytest.mark.parametrize("gate", ["hard", "straight_through"])
def test_one_operator_gives_what_the_modules_give(window: int, gate: Any) -> None:
    block, g = HaHBlock(3, 20, window=window, generator=seeded()).double(), images(4, 20, 9, 7, seed=2).double()
    block.threshold.gate = gate  # type: ignore[union-attr]
    results = []
    for net in (block, nn.Sequential(*block)):
        x = (images(4, 3, 9, 7, seed=1).double() - 0.5).requires_grad_()
        z = net(x)
        results.append([z.detach(), *torch.autograd.grad(z, (x, block.conv.weight), g)])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


def test_modules_that_are_observed_or_replaced_run() -> None:
    block, x, seen = HaHBlock(3, 8, generator=seeded()), images(2, 3, 8, 8) - 0.5, []
    z = block(x)
    for name in ("relu", "norm", "threshold"):
        for register in ("register_forward_hook", "register_forward_pre_hook"):
            handle = getattr(getattr(block, name), register)(lambda *_: seen.append(0))
            torch.testing.assert_close(block(x), z)
            handle.remove()
    assert len(seen) == 6
    with torch.nn.modules.module.register_module_forward_hook(lambda *_: seen.append(0)):
        block(x)
    assert len(seen) == 6 + 5
    block.norm = nn.Identity()
    dense = F.conv2d(x, gs.functional.unit_filters(block.conv.weight), padding=1).relu()
    torch.testing.assert_close(block(x), gs.functional.quantile_threshold(dense))
    block.norm, block.threshold = gs.DivisiveNorm(0.2, 3, "l2"), gs.MeanThreshold()
    torch.testing.assert_close(block(x), gs.functional.mean_threshold(gs.functional.divisive_norm(dense, 0.2, 3, "l2")))


def test_between_the_passes_little_more_than_one_map_is_kept() -> None:
    x, kept = images(2, 3, 16, 16).requires_grad_(), {}
    block = HaHBlock(3, 32, generator=seeded())
    hebbian = HebbianLoss([block.conv], 1.0)

    def keep(t: Tensor) -> Tensor:
        kept[t.untyped_storage().data_ptr()] = t
        return t

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        loss = block(x).sum() + hebbian()
    assert loss.isfinite()
    maps = sum(t.untyped_storage().nbytes() for t in kept.values() if t.shape[2:] == (16, 16) or t.dim() == 3)
    assert maps <= 4 * (x.numel() + 2 * 32 * 256 + 3 * 2 * 256)


def test_a_standard_block_normalises_behind_the_relu() -> None:
    block = StandardBlock(3, 8, generator=seeded())
    assert [type(part) for part in block] == [nn.Conv2d, nn.ReLU, nn.BatchNorm2d]
    y = block(images(8, 3, 6, 6) - 0.5)
    torch.testing.assert_close(y.mean((0, 2, 3)), torch.zeros(8), atol=1e-5, rtol=0)
    assert (y < 0).any()
    unit = StandardBlock(3, 8, normalized=True, generator=seeded())
    assert isinstance(unit.conv, NormalizedConv2d)
    torch.testing.assert_close(unit(images(8, 3, 6, 6) - 0.5), y, atol=0.05, rtol=0.05)  # scale is taken away anyway


# ---- networks ------------------------------------------------------------------------------------------------------


def test_vgg16_has_the_sizes_of_the_paper() -> None:
    net, baseline = vgg16(generator=seeded()), vgg16(hebbian_blocks=0, generator=seeded())
    assert sum(p.numel() for p in net.parameters()) == 14_722_250
    assert sum(p.numel() for p in baseline.parameters()) == 14_724_042
    for model in (net, baseline):
        weights = [p for name, p in model.named_parameters() if name.endswith("conv.weight")]
        assert [len(w) for w in weights] == [64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
        assert sum(w.numel() for w in weights) == 14_710_464
        assert model.classifier.weight.shape == (10, 512)
    assert [layer.out_channels for layer in net.hebbian_layers] == [64, 64, 128, 128, 256, 256]
    assert len(HEBBIAN_ALPHA) == len(net.hebbian_layers)
    assert not baseline.hebbian_layers
    assert all(type(m) is not nn.Conv2d for m in net.modules())
    assert not any(isinstance(m, NormalizedConv2d) for m in baseline.modules())
    plain = vgg16(normalized=False, generator=seeded())
    assert sum(type(m) is nn.Conv2d for m in plain.modules()) == 7
    shapes: list[tuple[int, ...]] = []
    for module in net.features:
        module.register_forward_hook(lambda _m, _a, y: shapes.append(tuple(y.shape[1:])))
    with torch.no_grad():
        assert net.eval()(images(2, 3, 32, 32)).shape == (2, 10)
    assert shapes[:3] == [(64, 32, 32), (64, 32, 32), (64, 16, 16)]
    assert shapes[-1] == (512, 1, 1)


def test_images_are_standardised_inside() -> None:
    mean, std, x = (0.2, 0.4), (0.1, 0.5), images(2, 2, 8, 8)
    plain = small(in_channels=2, mean=0.0, std=1.0).eval()
    net = small(in_channels=2, mean=mean, std=std).eval()
    by_hand = (x - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    torch.testing.assert_close(net(x), plain(by_hand))
    assert not torch.allclose(net(x), plain(x))
    assert {"mean", "std"} <= net.state_dict().keys()


def test_names_and_kinds_of_blocks() -> None:
    net = small()
    names = ["block1", "block2", "pool1", "block3", "block4", "pool2"]
    assert [name for name, _ in net.features.named_children()] == names
    kinds = [HaHBlock, HaHBlock, nn.MaxPool2d, HaHBlock, StandardBlock, nn.MaxPool2d]
    assert [type(module) for module in net.features] == kinds
    assert net.classifier.in_features == 12 * 4
    twice = VGG((4, "M", "M"), in_channels=1, classes=2, image_size=9, hebbian_blocks=1, generator=seeded())
    assert twice(images(1, 1, 9, 9)).shape == (1, 2)
    assert twice.classifier.in_features == 4 * 4
    assert VGG((), in_channels=1, classes=2, image_size=2, hebbian_blocks=0)(images(3, 1, 2, 2)).shape == (3, 2)


def test_options_reach_the_blocks() -> None:
    block = small(quantile=0.4, sigma=1.0, window=1).features[0]
    assert "quantile=0.4" in repr(block)
    assert "sigma=1, window=1" in repr(block)


@pytest.mark.parametrize("blocks", [0, 3])
def test_the_generator_decides_and_torch_keeps_its_own(blocks: int) -> None:
    before = torch.get_rng_state()
    first, same, other = (small(seed, hebbian_blocks=blocks).eval() for seed in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    x = images(2, 1, 8, 8)
    assert torch.equal(first(x), same(x))
    assert not torch.equal(first(x), other(x))
    bound = 1 / 72**0.5
    weight = first.features.block2.conv.weight  # type: ignore[union-attr]
    assert 0.9 * bound < weight.abs().max() <= bound  # type: ignore[operator]


def test_it_can_be_copied_saved_and_loaded() -> None:
    net, x = small(1), images(2, 1, 8, 8)
    net(x)  # running statistics
    other = small(2, mean=0.0)
    other.load_state_dict(copy.deepcopy(net).state_dict())
    assert torch.equal(net.eval()(x), other.eval()(x))
    assert net.double()(x.double()).dtype == torch.float64


def test_summary_knows_its_layers() -> None:
    net = small()
    kinds = [layer.kind for layer in gs.evaluate.cost(net, x=images(2, 1, 8, 8)).layers]
    assert kinds == ["NormalizedConv2d"] * 4 + ["Linear"]
    with pytest.warns(UserWarning, match="of the parameters stay dense"):  # normalised convolutions among them
        gs.sparsify_(net, density=0.5)
    assert isinstance(net.classifier, gs.SparseLinear)
    assert len(net.hebbian_layers) == 3  # a sparse layer in their place would have no norm


@pytest.mark.parametrize("gradient", ["local", "joint"])
def test_a_few_steps_lower_the_loss_and_raise_the_costs(gradient: Any) -> None:
    net = small()
    hebbian = HebbianLoss(net.hebbian_layers, 0.1, gradient=gradient)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.005)
    y = torch.arange(40) % 10
    x = (images(10, 1, 8, 8)[y] + 0.1 * torch.randn(40, 1, 8, 8, generator=seeded(1))).clamp(0, 1)
    losses, costs = [], []
    for _ in range(15):
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x), y)
        (loss + hebbian()).backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
        optimizer.step()
        losses.append(loss.item())
        assert hebbian.costs is not None
        costs.append(hebbian.costs)
    assert losses[-1] < 0.5 * losses[0]
    assert costs[-1][0] > costs[0][0]


def test_straight_through_gates_change_gradients_and_not_answers() -> None:
    net, x = small().eval(), images(2, 1, 8, 8).requires_grad_()
    hard = net(x)
    with straight_through(net):
        open_ = net(x)
    assert torch.equal(hard, open_)
    (closed,), (through,) = (torch.autograd.grad(y.sum(), x) for y in (hard, open_))
    assert not torch.allclose(closed, through)


def test_compiles_without_a_break() -> None:
    net, x = small().eval(), images(2, 1, 8, 8)
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), net(x))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"in_channels": 0}, "in_channels"),
        ({"classes": 0}, "classes"),
        ({"image_size": 3}, "image_size must be at least 4 for the 2 poolings in layers, got 3"),
        ({"image_size": 0}, "image_size"),
        ({"image_size": (8, 3)}, r"image_size must be at least 4 for the 2 poolings in layers, got \(8, 3\)"),
        ({"image_size": (8, 8, 1)}, r"image_size must be a whole number or a pair \(height, width\)"),
        ({"density": 0.0}, "density must be in"),
        ({"output_density": 2.0}, "output_density must be in"),
        ({"density": 0.5, "allocate": "best"}, "allocate must be one of"),
        ({"activation": "topk:13", "hebbian_blocks": 0}, "k must be a whole number from 1 to 8, got 13"),
        ({"dropout": 1.0}, "dropout must be in"),
        ({"hebbian_blocks": 5}, "hebbian_blocks must be a whole number from 0 to 4, got 5"),
        ({"hebbian_blocks": -1}, "hebbian_blocks"),
        ({"quantile": 1.0}, "quantile"),
        ({"sigma": 2.0}, "sigma"),
        ({"window": 2}, "window"),
        ({"mean": (0.1, 0.2)}, "mean must be one finite number or one for each of 1 channels"),
        ({"mean": float("nan")}, "mean must be"),
        ({"std": 0.0}, "std must be positive, got 0.0"),
    ],
)
def test_mistakes_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        small(**change)


@pytest.mark.parametrize("blocks", [0, 3])
def test_convolutions_may_be_sparse(blocks: int) -> None:
    net = small(hebbian_blocks=blocks, density=0.3, allocate="er", output_density=0.5)
    layers = [layer for layer in gs.evaluate.cost(net).layers if layer.kernel]
    possible = sum(layer.shape[0] * layer.shape[1] for layer in layers if layer.shape)
    assert sum(layer.connections for layer in layers) == pytest.approx(0.3 * possible, rel=1e-2)
    assert layers[0].density == 1  # "er" leaves a small layer dense
    kinds = [NormalizedSparseConv2d if blocks else SparseConv2d] * 3
    convolutions = [net.features.get_submodule(f"block{i}").conv for i in (2, 3, 4)]
    assert [type(layer) for layer in convolutions] == kinds
    assert isinstance(net.classifier, SparseLinear)
    assert net.classifier.density == pytest.approx(0.5)
    x, y = images(16, 1, 8, 8), torch.arange(16) % 10
    F.cross_entropy(net(x), y).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
    dense = small(hebbian_blocks=blocks, density=1.0)
    assert [layer.density for layer in gs.evaluate.cost(dense).layers] == [1.0] * 5


def test_the_cost_of_sparse_blocks_reaches_their_own_weights_alone() -> None:
    net = small(density=0.3, allocate="uniform")
    hebbian = HebbianLoss(net.hebbian_layers, alpha=0.1)
    net(images(4, 1, 8, 8))
    hebbian().backward()
    trained = {name for name, p in net.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert trained == {f"features.block{i}.conv.weight_values" for i in (1, 2, 3)}


def test_other_activations_come_after_the_normalisation() -> None:
    block = StandardBlock(3, 8, activation="topk:2", generator=seeded())
    assert [name for name, _ in block.named_children()] == ["conv", "norm", "activation"]
    assert ((block(images(4, 3, 5, 5)) != 0).sum(1) == 2).all()  # of the channels at each location
    hoyer = StandardBlock(3, 8, activation="hoyer:0.6", generator=seeded())(images(4, 3, 5, 5)).movedim(1, -1)
    torch.testing.assert_close(measures.hoyer(hoyer), torch.full((4, 5, 5), 0.6), atol=1e-4, rtol=0)
    srelu = StandardBlock(3, 8, activation="srelu", generator=seeded())
    assert sum(p.numel() for name, p in srelu.named_parameters() if name.startswith("activation")) == 4 * 8
    assert srelu(images(4, 3, 5, 5)).shape == (4, 8, 5, 5)
    slopes = [
        small(hebbian_blocks=0, activation="allrelu:0.5").features.get_submodule(f"block{i}.activation").position
        for i in (1, 4)
    ]
    assert slopes == [1, 4]


def test_dropout_follows_each_block() -> None:
    net = small(dropout=0.2)
    names = ["block1", "dropout1", "block2", "dropout2", "pool1", "block3", "dropout3", "block4", "dropout4", "pool2"]
    assert [name for name, _ in net.features.named_children()] == names


def test_images_need_not_be_square() -> None:
    net = small(image_size=(8, 13))
    assert net(images(2, 1, 8, 13)).shape == (2, 10)
    assert net.classifier.in_features == 12 * 2 * 3


def test_wrong_widths_and_images() -> None:
    for layers in ((0,), ("m",), (2.5,)):
        with pytest.raises(InputError, match="out_channels must be a whole number"):
            VGG(layers, in_channels=1, classes=2, image_size=4, hebbian_blocks=1)  # type: ignore[arg-type]
    for shape in ((1, 8, 8), (2, 1, 8, 9), (2, 3, 8, 8)):
        with pytest.raises(InputError, match=r"x must have shape \(N, 1, 8, 8\), got"):
            small()(images(*shape))
