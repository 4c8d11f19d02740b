from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from gossamer import InputError, TopK
from gossamer.evaluate.attacks import FGSM, PGD, Attack, Box, SanityReport, Square, sanity
from gossamer.evaluate.attacks.sanity import _BUDGETS, _Budget
from gossamer.evaluate.attacks.substitute import substitute


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Fewer steps are enough for networks as small as these."""
    if "whole_budget" not in request.fixturenames:
        monkeypatch.setitem(_BUDGETS, "quick", _Budget(30, 1, 60, 2, 150))


@pytest.fixture
def whole_budget() -> None:
    """With the steps that users get."""


def seeded(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Before(nn.Module):
    """A function of the input, then a network."""

    def __init__(self, change: object, network: nn.Module) -> None:
        super().__init__()
        self.change, self.network = change, network

    def forward(self, x: Tensor) -> Tensor:
        return self.network(self.change(x))  # type: ignore[operator, no-any-return]


def report(network: nn.Module, x: Tensor, y: Tensor, attack: Attack | None = None, radius: float = 0.1) -> SanityReport:
    with torch.no_grad():
        kept = network(x).argmax(1) == y
    return sanity(network, x[kept], y[kept], box=Box(0, 1), radius=radius, generator=seeded(), attack=attack)


def failed(result: SanityReport) -> set[str]:
    return {check.name for check in result.checks if not check.passed}


def test_a_plain_network_is_trustworthy(whole_budget: None, net: nn.Module, x: Tensor, y: Tensor) -> None:
    result = report(net, x, y)
    assert str(result) == "trustworthy: 5 of 5 checks passed"
    assert result.trustworthy
    names = ["zero gradients", "gradient free", "large radius", "more steps", "transfer"]
    assert [check.name for check in result.checks] == names
    assert result.clean_accuracy == 1
    assert 0 < result.accuracy < 0.9
    assert result.samples == 40


@pytest.mark.parametrize("change", [lambda x: x.detach(), lambda x: (16 * x).round() / 16])
def test_hidden_gradients_are_found(change: object, net: nn.Module, x: Tensor, y: Tensor) -> None:
    masked = Before(change, net)
    result = report(masked, x, y)
    assert {"zero gradients", "gradient free"} <= failed(result)
    assert str(result).startswith("not trustworthy: the input gradient is exactly zero for 100.0 % of the samples; ")
    zero = result.checks[0]
    assert (zero.measured, zero.passed) == (1, False)
    assert result.accuracy < report(net, x, y).accuracy + 0.2  # the searches without gradients are in it


def test_gradients_that_point_elsewhere_are_found(net: nn.Module, x: Tensor, y: Tensor) -> None:
    """Waves of a length far below the radius, on which a gradient says nothing."""
    shattered = Before(lambda x: x + 2e-4 * (1e5 * x).sin(), net)
    assert failed(report(shattered, x, y)) & {"gradient free", "transfer", "more steps"}


def test_saturation_is_found_by_another_loss(net: nn.Module, x: Tensor, y: Tensor) -> None:
    class Scaled(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return 1e5 * net(x)  # type: ignore[no-any-return]

    assert {"zero gradients", "other loss"} <= failed(report(Scaled(), x, y, PGD(radius=0.1)))


@pytest.mark.parametrize(("attack", "expected"), [(FGSM(radius=9), True), (Square(radius=9, queries=150), False)])
def test_a_weak_attack_is_found(attack: Attack, expected: bool, net: nn.Module, x: Tensor, y: Tensor) -> None:
    result = report(net, x, y, attack, radius=0.3)
    assert ("more steps" in failed(result)) == expected
    assert ("gradient free" in {check.name for check in result.checks}) != isinstance(attack, Square)


def test_gates_are_opened(generator: torch.Generator, x: Tensor) -> None:
    net = nn.Sequential(nn.Linear(6, 12), TopK(3), nn.Linear(12, 4)).double()
    for parameter in net.parameters():
        parameter.data.normal_(generator=generator)
    result = report(net, x, net(x).argmax(1))
    assert "straight through" in {check.name for check in result.checks}


def test_a_constant_network_is_not_robust(x: Tensor) -> None:
    net = nn.Linear(6, 3).double()
    nn.init.zeros_(net.weight)
    result = report(net, x, net(x).argmax(1))
    assert result.accuracy == 1
    assert {"zero gradients", "large radius"} <= failed(result)


def test_a_source_is_used(net: nn.Module, x: Tensor, y: Tensor) -> None:
    """The undisturbed network breaks its own disturbed copy."""
    masked, kept = Before(lambda x: x.detach(), net), slice(0, 30)
    result = sanity(masked, x[kept], y[kept], box=Box(0, 1), radius=0.1, generator=seeded(), source=net)
    assert "transfer" in failed(result)


def test_equal_generators_give_equal_reports(net: nn.Module, x: Tensor, y: Tensor) -> None:
    attack = FGSM(radius=1)
    assert report(net, x[:10], y[:10], attack) == report(net, x[:10], y[:10], attack)


def test_no_sample_is_correct(net: nn.Module, x: Tensor, y: Tensor) -> None:
    result = sanity(net, x, (y + 1) % 4, box=Box(0, 1), radius=0.1, generator=seeded())
    assert result.accuracy == result.clean_accuracy == 0


def test_progress_after_every_check(net: nn.Module, x: Tensor, y: Tensor) -> None:
    seen: list[tuple[int, int]] = []
    sanity(net, x[:5], y[:5], box=Box(0, 1), radius=0.9, generator=seeded(), progress=lambda *n: seen.append(n))
    assert seen == [(i, 5) for i in range(1, 6)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"radius": -1}, "radius must be in"),
        ({"norm": "l1"}, "norm must be one of"),
        ({"budget": "huge"}, "budget must be one of 'quick', 'full', got 'huge'"),
        ({"batch_size": 0}, "batch_size must be"),
        ({"box": Box(0, torch.inf)}, "box must be finite"),
    ],
)
def test_invalid_arguments(settings: dict[str, object], message: str, net: nn.Module, x: Tensor, y: Tensor) -> None:
    valid = {"box": Box(0, 1), "radius": 0.1, "generator": seeded()}
    with pytest.raises(InputError, match=message):
        sanity(net, x, y, **(valid | settings))  # type: ignore[arg-type]


def test_a_substitute_gives_the_same_classes(net: nn.Module, x: Tensor, y: Tensor, box: Box) -> None:
    masked = Before(lambda x: x.detach(), net)
    made = substitute(masked, x, box=box, norm="linf", radius=0.1, generator=seeded())
    assert (made(x).argmax(1) == y).double().mean() > 0.9
    again = substitute(masked, x, box=box, norm="linf", radius=0.1, generator=seeded())
    assert torch.equal(made(x), again(x))
