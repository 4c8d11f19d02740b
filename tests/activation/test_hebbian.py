"""Winners are pulled, the others pushed, and each layer's cost teaches that layer alone."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from gossamer.activation.divisive import DivisiveNorm
from gossamer.activation.hebbian import HebbianLoss, hebbian_cost
from gossamer.activation.threshold import QuantileThreshold
from gossamer.connectivity.normalized import NormalizedConv2d, NormalizedLinear
from gossamer.errors import InputError

pytestmark = pytest.mark.usefixtures("one_thread")

seeds = st.integers(0, 1000)
shares = st.floats(0.01, 1)
antis = st.floats(0, 1)


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# ---- the cost ------------------------------------------------------------------------------------------------------


def by_sorting(u: Tensor, winners: float, anti: float) -> Tensor:
    """ℓ as it is defined, channels in dim 1."""
    a = u.relu().sort(1, descending=True).values
    k = max(1, math.ceil(winners * u.shape[1] - 1e-9))
    rest = a[:, k:].mean(1) if k < u.shape[1] else 0
    return a[:, :k].mean(1) - anti * rest


def test_literal_channels() -> None:
    u = torch.tensor([[5.0, -1, 3, 1], [0, 0, 0, -2]])
    assert hebbian_cost(u, 0.25, 0.3, "none").tolist() == pytest.approx([5 - 0.3 * 4 / 3, 0])
    assert hebbian_cost(u, 0.5, 0.0, "none").tolist() == [4, 0]
    assert hebbian_cost(u, 0.5, 1.0).item() == pytest.approx((4 - 0.5) / 2)
    assert hebbian_cost(u, 0.5, 1.0, "sum").item() == pytest.approx(4 - 0.5)
    assert hebbian_cost(u.t(), 0.25, 0.3, dim=0).item() == pytest.approx((5 - 0.4) / 2)


@pytest.mark.parametrize(("channels", "winners"), [(64, 7), (128, 13), (256, 26), (100, 10), (3, 1), (1, 1)])
def test_a_tenth_of_the_channels_is_rounded_up(channels: int, winners: int) -> None:
    u = numbers(1, channels).abs().requires_grad_()
    (grad,) = torch.autograd.grad(hebbian_cost(u), u)
    assert (grad > 0).sum() == winners


def test_floating_products_are_not_taken_at_their_word() -> None:
    assert math.ceil(0.07 * 100) == 8  # not 7
    u = numbers(1, 100).abs().requires_grad_()
    assert (torch.autograd.grad(hebbian_cost(u, 0.07), u)[0] > 0).sum() == 7


@given(seeds, shares, antis, st.integers(1, 12))
def test_it_is_what_the_definition_says(seed: int, winners: float, anti: float, channels: int) -> None:
    u = numbers(2, channels, 3, 2, seed=seed)
    torch.testing.assert_close(hebbian_cost(u, winners, anti, "none"), by_sorting(u, winners, anti))
    torch.testing.assert_close(hebbian_cost(u, winners, anti), by_sorting(u, winners, anti).mean())
    torch.testing.assert_close(hebbian_cost(u, winners, anti, "sum"), by_sorting(u, winners, anti).sum())


@given(seeds, shares, antis, st.floats(0.01, 100), st.permutations(range(6)))
def test_scale_factors_out_and_order_does_not_matter(
    seed: int, winners: float, anti: float, scale: float, order: list[int]
) -> None:
    u = numbers(2, 6, 3, seed=seed)
    cost = hebbian_cost(u, winners, anti)
    torch.testing.assert_close(hebbian_cost(scale * u, winners, anti), scale * cost)
    torch.testing.assert_close(hebbian_cost(u[:, order], winners, anti), cost)


@given(seeds, shares, antis, antis)
def test_it_falls_as_the_others_weigh_more(seed: int, winners: float, one: float, other: float) -> None:
    u, (little, much) = numbers(2, 7, 3, seed=seed), sorted((one, other))
    assert hebbian_cost(u, winners, much) <= hebbian_cost(u, winners, little) + 1e-12
    assert (hebbian_cost(u, winners, 0.0, "none") >= 0).all()
    assert (hebbian_cost(u, winners, 1.0, "none") >= -1e-12).all()


def test_equal_channels_cost_nothing_if_the_others_weigh_as_much() -> None:
    u = numbers(2, 1, 4).abs().expand(2, 5, 4)
    torch.testing.assert_close(hebbian_cost(u, 0.4, 1.0, "none"), torch.zeros(2, 4, dtype=torch.float64))
    uneven = u + torch.arange(5.0)[:, None] / 100
    assert (hebbian_cost(uneven, 0.4, 1.0, "none") > 1e-3).all()


def test_the_gradient_is_one_over_the_winners_and_minus_anti_over_the_others() -> None:
    u = numbers(3, 10, 4, 5).requires_grad_()
    (grad,) = torch.autograd.grad(hebbian_cost(u, 0.2, 0.3), u)
    wins = u >= u.topk(2, 1).values.amin(1, keepdim=True)
    expected = torch.where(wins, 1 / 2, torch.full_like(u, -0.3 / 8)) / (3 * 4 * 5)
    torch.testing.assert_close(grad, torch.where(u > 0, expected, 0.0))
    assert (u[wins] > 0).any()


def test_derivatives() -> None:
    u = numbers(2, 5, 3).requires_grad_()
    for winners in (0.1, 0.4, 1.0):
        assert torch.autograd.gradcheck(lambda t, r=winners: hebbian_cost(t, r, 0.3), (u,))


def test_silence_costs_nothing() -> None:
    u = torch.zeros(2, 6, 3, 3, requires_grad=True)
    cost = hebbian_cost(u)
    assert cost.item() == 0
    assert (torch.autograd.grad(cost, u)[0] == 0).all()
    assert hebbian_cost(-numbers(2, 6).abs()).item() == 0


def test_where_all_win_there_is_no_rest() -> None:
    u = numbers(2, 4, 3).abs()
    torch.testing.assert_close(hebbian_cost(u, 1.0, 5.0), u.mean())
    torch.testing.assert_close(hebbian_cost(u[:, :1], 0.1, 5.0), u[:, :1].mean())


def test_nan_shows_at_its_location() -> None:
    u = numbers(2, 5, 3)
    u[0, 1, 2] = math.nan
    assert hebbian_cost(u, reduction="none").isnan().tolist() == [[False, False, True], [False] * 3]
    assert hebbian_cost(u).isnan()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_types_are_computed_in_single_precision(dtype: torch.dtype) -> None:
    u = numbers(4, 64, 8, 8).to(dtype).requires_grad_()
    cost = hebbian_cost(u)
    assert cost.dtype == torch.float32
    torch.testing.assert_close(cost, hebbian_cost(u.float()), rtol=0, atol=0)
    assert torch.autograd.grad(hebbian_cost(u, reduction="sum"), u)[0].dtype == dtype


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"winners": 0.0}, r"winners must be in \(0, 1\], got 0.0"),
        ({"winners": 1.1}, "winners must be"),
        ({"winners": math.nan}, "winners must be"),
        ({"anti": -0.1}, r"anti must be in \[0, inf\), got -0.1"),
        ({"anti": math.inf}, "anti must be"),
        ({"anti": math.nan}, "anti must be"),
        ({"reduction": "max"}, "reduction must be one of 'mean', 'sum', 'none', got 'max'"),
        ({"dim": 3}, "u must be floating point with channels in dim 3"),
        ({"dim": -4}, "u must be"),
        ({"u": torch.ones(2, 3, dtype=torch.int64)}, "u must be floating point"),
        ({"u": torch.ones(0, 3)}, r"not empty, got torch.float32 of \(0, 3\)"),
    ],
)
def test_arguments_out_of_range(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        hebbian_cost(**({"u": torch.ones(2, 4, 3)} | arguments))


# ---- gradients of a network ----------------------------------------------------------------------------------------


class Net(nn.Module):
    """Three HaH layers and a classifier."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.convs = nn.ModuleList(NormalizedConv2d(i, o, 3, padding=1) for i, o in ((2, 12), (12, 12), (12, 20)))
        self.out = nn.Linear(20 * 36, 3)
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        for conv in self.convs:
            x = QuantileThreshold(0.5)(DivisiveNorm()(conv(x).relu()))
        return self.out(x.flatten(1))  # type: ignore[no-any-return]


X, Y = numbers(5, 2, 6, 6, seed=1), torch.tensor([0, 1, 2, 0, 1])
ALPHA = (0.5, 0.3, 0.2)


def weights(net: Net) -> list[Tensor]:
    return [conv.get_parameter("weight") for conv in net.convs]


def clear_and_back_propagate(alpha: tuple[float, ...]) -> list[Tensor | None]:
    """Gradients as the released code makes them: from deep to shallow, each clears its own before its turn."""
    net, outputs = Net(), {}
    for k, conv in enumerate(net.convs):
        conv.register_forward_hook(lambda _m, _a, u, k=k: outputs.update({k: u}))
    net(X)
    for k in reversed(range(3)):
        weights(net)[k].grad = None
        (-alpha[k] * hebbian_cost(outputs[k], 0.2, 0.3)).backward(retain_graph=True)
    F.cross_entropy(net(X), Y).backward()
    return [parameter.grad for parameter in net.parameters()]


def gradients(
    alpha: float | tuple[float, ...], mode: Any, make: Callable[[], Net] = Net
) -> tuple[Tensor, list[Tensor | None]]:
    net = make()
    hebbian = HebbianLoss(net.convs, alpha, winners=0.2, anti=0.3, gradient=mode)
    loss = F.cross_entropy(net(X), Y) + hebbian()
    loss.backward()
    return loss.detach(), [parameter.grad for parameter in net.parameters()]


def test_local_gradients_are_those_of_clearing_and_back_propagating() -> None:
    for ours, theirs in zip(gradients(ALPHA, "local")[1], clear_and_back_propagate(ALPHA), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


def test_the_loss_is_the_same_and_joint_gradients_differ_but_for_the_deepest_layer() -> None:
    (value, local), (same, joint) = gradients(ALPHA, "local"), gradients(ALPHA, "joint")
    torch.testing.assert_close(value, same)
    assert [torch.allclose(a, b, rtol=0, atol=1e-9) for a, b in zip(local, joint, strict=True)] == [  # type: ignore[arg-type]
        *(False, False, True),
        *(True, True),
    ]


def test_joint_gradients_are_those_of_the_loss_as_it_stands() -> None:
    net = Net()
    x, loss = X, torch.zeros((), dtype=torch.float64)
    for conv, alpha in zip(net.convs, ALPHA, strict=True):
        u = conv(x)
        loss = loss - alpha * hebbian_cost(u, 0.2, 0.3)
        x = QuantileThreshold(0.5)(DivisiveNorm()(u.relu()))
    (loss + F.cross_entropy(net.out(x.flatten(1)), Y)).backward()
    for ours, parameter in zip(gradients(ALPHA, "joint")[1], net.parameters(), strict=True):
        torch.testing.assert_close(ours, parameter.grad)


@pytest.mark.parametrize("changed", [0, 1, 2])
def test_a_local_gradient_depends_on_its_own_alpha_only(changed: int) -> None:
    alpha = [*ALPHA]
    alpha[changed] *= 2
    before, after = gradients(ALPHA, "local")[1], gradients(tuple(alpha), "local")[1]
    equal = [torch.equal(a, b) for a, b in zip(before, after, strict=True)]  # type: ignore[arg-type]
    assert equal == [k != changed for k in range(5)]


def test_alpha_zero_is_no_cost_at_all() -> None:
    net = Net()
    loss = F.cross_entropy(net(X), Y)
    loss.backward()
    for mode in ("local", "joint"):
        value, grads = gradients(0.0, mode)
        assert value == loss.detach()
        for grad, parameter in zip(grads, net.parameters(), strict=True):
            torch.testing.assert_close(grad, parameter.grad)


def test_steps_on_the_cost_alone_raise_it_at_every_layer() -> None:
    net = Net()
    hebbian = HebbianLoss(net.convs, 1.0, winners=0.2)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.3)
    seen = []
    for _ in range(15):
        optimizer.zero_grad()
        net(X)
        loss = hebbian()
        loss.backward()
        optimizer.step()
        assert hebbian.costs is not None
        assert loss.item() == pytest.approx(-hebbian.costs.sum().item())
        seen.append(hebbian.costs)
    assert (seen[-1] > 1.1 * seen[0]).all()
    assert net.out.weight.grad is None


def test_frozen_layers_take_nothing_and_biases_are_parameters_too() -> None:
    net = Net()
    weights(net)[0].requires_grad_(False)
    hebbian = HebbianLoss(net.convs, 1.0)
    net(X)
    hebbian().backward()
    assert [w.grad is None for w in weights(net)] == [True, False, False]
    layer = NormalizedLinear(4, 6, bias=True)
    hebbian = HebbianLoss([layer], 1.0)
    layer(torch.ones(3, 4))
    hebbian().backward()
    assert layer.bias is not None
    assert layer.bias.grad is not None


def test_sequences_have_their_channels_last() -> None:
    layer = NormalizedLinear(4, 6)
    hebbian = HebbianLoss([layer], 1.0, dim=-1)
    u = layer(torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(hebbian(), -hebbian_cost(u, dim=-1))


def test_the_last_pass_in_training_with_gradients_counts() -> None:
    net = Net()
    hebbian = HebbianLoss(net.convs, ALPHA)
    net(X)
    expected = hebbian().detach()
    net(2 + X)
    net(X)
    net.eval()(3 * X)
    with torch.no_grad():
        net.train()(5 * X)
    assert torch.equal(hebbian().detach(), expected)
    for before in (lambda: None, lambda: net.eval()(X)):
        before()
        with pytest.raises(InputError, match=r"layers must all have run in training mode.*layer 0, Norm.*has not"):
            hebbian()
    net.train()
    hebbian.remove()
    net(X)
    with pytest.raises(InputError, match="layers must all have run"):
        hebbian()


def test_copies_observe_their_own_network() -> None:
    net = Net()
    hebbian = HebbianLoss(net.convs, ALPHA)
    net(X)
    pairs: list[tuple[Net, HebbianLoss]] = [copy.deepcopy((net, hebbian)), pickle.loads(pickle.dumps((net, hebbian)))]
    expected = hebbian().detach()
    for other, loss in pairs:
        with torch.no_grad():
            other.convs[0].weight.neg_()  # type: ignore[operator]
        with pytest.raises(InputError, match="must all have run"):
            loss()
        other(X)
        assert loss().item() != expected.item()
        loss.remove()
        assert not any(conv._forward_hooks for conv in other.convs)
    assert all(conv._forward_hooks for conv in net.convs)
    assert list(net.state_dict()) == list(Net().state_dict())


@pytest.mark.parametrize("mode", ["local", "joint"])
def test_a_compiled_network_learns_the_same(mode: str) -> None:
    def compiled() -> Net:
        net = Net()
        net.forward = torch.compile(net.forward, backend="aot_eager")  # type: ignore[method-assign]
        return net

    for ours, theirs in zip(gradients(ALPHA, mode, compiled)[1], gradients(ALPHA, mode)[1], strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("needs_x", [False, True])
def test_twins_change_the_way_and_not_the_gradients(needs_x: bool) -> None:
    results = []
    for twins in (True, False):
        net, x = Net(), X.clone().requires_grad_(needs_x)
        hebbian = HebbianLoss(net.convs, ALPHA, winners=0.2, anti=0.3)
        for conv in net.convs:
            assert conv.gives_twin
            conv.gives_twin = twins  # type: ignore[assignment]
        (F.cross_entropy(net(x), Y) + hebbian()).backward()
        results.append([p.grad for p in net.parameters()] + [x.grad] * needs_x)
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-13)


def test_there_is_a_twin_where_a_local_cost_in_training_asks_for_it() -> None:
    layer, x = NormalizedConv2d(2, 4, 3), X.float()
    assert not hasattr(layer(x), "twin")
    hebbian = HebbianLoss([layer], 1.0, gradient="joint")
    assert not hasattr(layer(x), "twin")
    hebbian.remove()
    hebbian = HebbianLoss([layer], 1.0)
    assert torch.equal(layer(x).twin, layer(x))
    assert not hasattr(layer.eval()(x), "twin")
    with torch.no_grad():
        assert not hasattr(layer.train()(x), "twin")
    for other, images in (
        (NormalizedConv2d(2, 4, 3, bias=True), x),
        (NormalizedConv2d(2, 4, 3, padding="same"), x),
        (NormalizedConv2d(2, 4, 3, padding=1, padding_mode="reflect"), x),
        (NormalizedConv2d(2, 4, 3), x[0]),
        (layer.requires_grad_(False), x),
    ):
        loss = HebbianLoss([other], 1.0, dim=-3)
        assert not hasattr(other(images.requires_grad_()), "twin")
        assert loss().isfinite()


def test_under_autocast_gradients_are_those_of_the_call() -> None:
    net = Net().float()
    hebbian = HebbianLoss(net.convs, ALPHA)
    with torch.autocast("cpu", torch.bfloat16):
        loss = F.cross_entropy(net(X.float()), Y) + hebbian()
    loss.backward()
    assert all(w.grad is not None and w.grad.isfinite().all() for w in weights(net))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layers": []}, "layers must be different modules, at least one, got 0"),
        ({"layers": [nn.Linear(2, 2)] * 2}, "layers must be different modules"),
        ({"alpha": (1.0, 2.0)}, "alpha must be one number or one for each of 1 layers"),
        ({"alpha": -1.0}, r"alpha must be in \[0, inf\)"),
        ({"alpha": math.nan}, "alpha must be"),
        ({"winners": 0.0}, "winners must be"),
        ({"anti": -1.0}, "anti must be"),
        ({"gradient": "global"}, "gradient must be one of 'local', 'joint', got 'global'"),
    ],
)
def test_what_cannot_be_used_is_refused_and_leaves_no_trace(arguments: dict[str, Any], message: str) -> None:
    layer = nn.Linear(2, 2)
    usual: dict[str, Any] = {"layers": [layer], "alpha": 1.0}
    with pytest.raises(InputError, match=message):
        HebbianLoss(**(usual | arguments))
    assert not layer._forward_hooks
