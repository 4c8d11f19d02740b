"""A constraint holds after every step of any optimizer, and tells when the zeros have settled."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterable

import pytest
import torch
from torch import Tensor, nn

import gossamer as gs
from gossamer import InputError, SparseLinear, constraints
from gossamer.connectivity.constraints import Attached

pytestmark = pytest.mark.usefixtures("one_thread")

HOYER = constraints.Hoyer(0.75)
Make = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(20, 12), nn.ReLU(), nn.Linear(12, 5))


def weight_of(layer: nn.Module) -> Tensor:
    assert isinstance(layer, nn.Linear | nn.Conv2d)
    return layer.weight


def train(net: nn.Module, optimizer: torch.optim.Optimizer, steps: int, seed: int = 0) -> None:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        x = torch.randn(8, 20, generator=generator)

        def loss(x: Tensor = x) -> Tensor:
            optimizer.zero_grad()
            value: Tensor = (net(x) - x[:, :5]).square().mean()
            value.backward()
            return value

        optimizer.step(loss)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "make",
    [
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
        lambda p: torch.optim.AdamW(p, lr=0.01, fused=True),
        lambda p: torch.optim.LBFGS(p, lr=0.1, max_iter=3),
    ],
    ids=["SGD", "AdamW", "LBFGS"],
)
def test_it_holds_after_every_step_of_any_optimizer(make: Make) -> None:
    net = network()
    optimizer = make(net.parameters())
    attached = constraints.attach(net[0], HOYER, optimizer)
    assert HOYER.holds(weight_of(net[0]))
    for step in range(3):
        before = [p.detach().clone() for p in net.parameters()]
        train(net, optimizer, 1, seed=step)
        assert HOYER.holds(weight_of(net[0]))
        assert not any(torch.equal(p, old) for p, old in zip(net.parameters(), before, strict=True))
    assert not HOYER.holds(weight_of(net[2]))
    assert attached.steps == 3
    attached.remove()
    train(net, optimizer, 1)
    assert not HOYER.holds(weight_of(net[0]))
    attached.remove()  # twice is as once


def test_a_step_is_a_step_of_the_optimizer_and_a_projection() -> None:
    net, twin = network(), network()
    optimizers = [torch.optim.SGD(model.parameters(), lr=0.1) for model in (net, twin)]
    constraints.attach(net, HOYER, optimizers[0])
    for layer in (twin[0], twin[2]):
        HOYER.project_(weight_of(layer))
    train(net, optimizers[0], 1)
    train(twin, optimizers[1], 1)
    for layer in (twin[0], twin[2]):
        HOYER.project_(weight_of(layer))
    for ours, theirs in zip(net.parameters(), twin.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_layers_of_a_model_are_chosen_by_name() -> None:
    net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 8), nn.Linear(8, 2))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    attached = constraints.attach(net, constraints.L0(3), optimizer, where=lambda name, _: name != "4")
    assert list(attached.owners) == ["0", "3"]
    assert [len(weight) for weight in attached.weights] == [4, 8]
    assert (weight_of(net[0]).flatten(1) != 0).sum(1).tolist() == [3] * 4
    assert (weight_of(net[4]) != 0).all()
    assert repr(attached) == "Attached(L0(per='output', signed=True, k=3), layers=['0', '3'], steps=0)"


def test_any_parameter_of_a_module() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.W = nn.Parameter(torch.randn(6, 9, generator=torch.Generator().manual_seed(0)))

    model = Tied()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    constraints.attach(model, constraints.Hoyer(0.6, per="input"), optimizer, name="W")
    model.W.square().sum().backward()
    optimizer.step()
    assert constraints.Hoyer(0.6, per="input").holds(model.W)


def test_without_an_optimizer_steps_are_called_by_hand() -> None:
    layer = nn.Linear(8, 6)
    attached = constraints.attach(layer, HOYER, None)
    with torch.no_grad():
        layer.weight.normal_(generator=torch.Generator().manual_seed(0))
    attached.step()
    assert HOYER.holds(layer.weight)
    attached.remove()


# ---- copies and resumption -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["deepcopy", "pickle"])
def test_copies_made_together_stay_constrained(how: str) -> None:
    net = network()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    attached = constraints.attach(net[0], HOYER, optimizer, window=2)
    train(net, optimizer, 3)
    whole = net, optimizer, attached
    net2, optimizer2, attached2 = copy.deepcopy(whole) if how == "deepcopy" else pickle.loads(pickle.dumps(whole))
    before = weight_of(net[0]).detach().clone()
    train(net2, optimizer2, 2)
    assert HOYER.holds(weight_of(net2[0]))
    assert attached2.steps == 5
    assert attached.steps == 3
    assert torch.equal(weight_of(net[0]), before)
    train(net, optimizer, 2)
    assert torch.equal(weight_of(net[0]), weight_of(net2[0]))
    assert attached.stability == attached2.stability
    attached2.remove()
    net3, optimizer3, attached3 = copy.deepcopy((net2, optimizer2, attached2))
    train(net3, optimizer3, 1)
    assert attached3.steps == 5


def test_a_copy_of_the_module_is_free_and_its_state_dict_has_nothing_new() -> None:
    net = network()
    names = list(net.state_dict())
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    constraints.attach(net[0], HOYER, optimizer)
    assert list(net.state_dict()) == names
    free = copy.deepcopy(net)
    train(free, torch.optim.SGD(free.parameters(), lr=0.1), 1)
    assert not HOYER.holds(weight_of(free[0]))


def test_training_resumes_to_the_bit() -> None:
    def start() -> tuple[nn.Sequential, torch.optim.Optimizer, Attached]:
        net = network(seed=1)
        optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
        return net, optimizer, constraints.attach(net, HOYER, optimizer, window=3)

    whole = start()
    train(*whole[:2], 4, seed=1)
    net, optimizer, attached = copy.deepcopy([part.state_dict() for part in whole])
    train(*whole[:2], 3, seed=2)
    resumed = start()
    resumed[0].load_state_dict(net)
    resumed[1].load_state_dict(optimizer)
    resumed[2].load_state_dict(attached)
    train(*resumed[:2], 3, seed=2)
    for a, b in zip(whole[0].parameters(), resumed[0].parameters(), strict=True):
        assert torch.equal(a, b)
    assert resumed[2].steps == whole[2].steps == 7
    assert resumed[2].stability == whole[2].stability > 0
    with pytest.raises(InputError, match="lacks ever, stability"):
        resumed[2].load_state_dict({"steps": 1, "always": []})
    with pytest.raises(InputError, match="state must be of the same weights"):
        resumed[2].load_state_dict({**attached, "ever": []})


# ---- stability and conversion --------------------------------------------------------------------------------------


def test_stability_is_the_share_that_was_live_all_the_time() -> None:
    layer = nn.Linear(4, 1)
    attached = constraints.attach(layer, constraints.L0(2), None, window=2)

    def step(*values: float) -> None:
        with torch.no_grad():
            layer.weight.copy_(torch.tensor([values]))
        attached.step()

    step(9, 8, 0, 0)
    assert attached.stability == 0  # nothing is known yet
    step(9, 8, 0, 0)
    first = attached.stability
    step(9, 8, 1, 1)
    step(9, 7, 8, 1)  # one of two gives way to another
    assert attached.stability == pytest.approx(1 / 3)
    step(1, 2, 3, 4)
    step(9, 0, 9, 0)  # what comes back within the window was not live all the time
    assert attached.stability == pytest.approx(1 / 3)
    step(9, 0, 9, 0)
    step(9, 0, 9, 0)
    assert attached.stability == 1
    assert 0 < first <= 1


def test_once_the_zeros_are_stable_the_layer_is_stored_sparse() -> None:
    net, generator = network(), torch.Generator().manual_seed(3)
    x, teacher = torch.randn(64, 20, generator=generator), torch.randn(20, 5, generator=generator)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.99)
    attached = constraints.attach(net[0], constraints.Hoyer(0.8), optimizer, window=10)
    seen = []
    while attached.stability < 1:
        optimizer.zero_grad()
        (net(x) - x @ teacher).square().mean().backward()
        optimizer.step()
        schedule.step()
        seen.append(attached.stability)
        assert len(seen) < 1000
    assert 0 < seen[10] < 0.9
    y, live = net(x), int((weight_of(net[0]) != 0).sum())
    assert 0 < live < 120
    attached.remove()
    gs.compact_(net, optimizer=optimizer)
    assert isinstance(net[0], SparseLinear)
    assert net[0].nnz == live
    torch.testing.assert_close(net(x), y)
    train(net, optimizer, 3)
    assert net[0].nnz == live


# ---- refusals ------------------------------------------------------------------------------------------------------


def test_what_cannot_be_attached_is_refused_and_nothing_changes() -> None:
    net = network()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    before = copy.deepcopy(net.state_dict())
    grouped = nn.Conv2d(4, 4, 3, groups=2)
    for module, constraint, options, message in (
        (net, constraints.L0(13), {}, "k must be a whole number from 1 to 12"),  # fits the first layer
        (net, HOYER, {"window": 0}, "window must be"),
        (net, HOYER, {"where": lambda *_: False}, r"at which where\(…\) is true"),
        (nn.ReLU(), HOYER, {}, "module must have a parameter 'weight'"),
        (nn.Linear(4, 4), HOYER, {}, "optimizer must hold the weight of every layer that is constrained"),
        (net[0], HOYER, {"name": "bias"}, r"weight must have shape \(out, in, …\), got \(12,\)"),
        (nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)), HOYER, {}, "that no hook computes"),
    ):
        with pytest.raises(InputError, match=message):
            constraints.attach(module, constraint, optimizer, **options)
    with pytest.raises(InputError, match="per must not be 'input' for a convolution of 2 groups"):
        constraints.attach(grouped, constraints.Hoyer(0.5, per="input"), None)
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in before.items())
    assert not optimizer._optimizer_step_post_hooks
