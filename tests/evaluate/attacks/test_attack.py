"""Laws that hold for every attack."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gossamer import InputError, Sparseout
from gossamer.evaluate.attacks import APGD, FGSM, PGD, Attack, Box, Square, evaluate
from gossamer.evaluate.attacks.ball import Norm
from gossamer.evaluate.attacks.objective import Loss, objective

ATTACKS: list[tuple[type[Attack], dict[str, Any]]] = [
    (FGSM, {}),
    (PGD, {"steps": 8, "restarts": 2}),
    (APGD, {"steps": 8}),
    (APGD, {"steps": 8, "loss": "dlr"}),
    (APGD, {"steps": 4, "loss": "dlr", "targeted": True}),
    (Square, {"queries": 20}),
]
every_attack = pytest.mark.parametrize(("kind", "settings"), ATTACKS, ids=lambda value: getattr(value, "__name__", ""))
every_norm = pytest.mark.parametrize("norm", ["linf", "l2"])


def seeded(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def distance(a: Tensor, b: Tensor, norm: str) -> float:
    step = (a - b).flatten(1)
    return float(step.abs().amax() if norm == "linf" else step.norm(dim=1).amax())


@every_attack
@every_norm
def test_the_result_is_near_and_possible_and_no_better(
    kind: type[Attack], settings: dict[str, Any], norm: Norm, net: nn.Module, x: Tensor, y: Tensor
) -> None:
    x = x.clone()
    x[0] = 0  # a corner of the box
    x[1, 0] = 1.5  # outside of it
    y = net(x).argmax(1)
    before = x.clone()
    attack = kind(norm=norm, radius=0.2, **settings)
    found = attack(net, x, y, box=Box(0, 1), generator=seeded())
    assert torch.equal(x, before)
    assert found.shape == x.shape
    assert found.dtype == x.dtype
    assert not found.requires_grad
    assert distance(found, x, norm) <= 0.2 + 1e-12
    assert found.min() >= 0
    assert found[1, 0] <= 1.5
    others = torch.cat([found[:1], found[2:]])
    assert others.max() <= 1
    broken = net(found).argmax(1) != y
    loss: Loss = "margin" if settings.get("targeted") else attack.objective
    gained = objective(loss, net(found), y) - objective(loss, net(x), y)
    assert (gained[~broken] >= -1e-9).all()
    assert broken.any()


@every_attack
def test_equal_generators_give_equal_results(
    kind: type[Attack], settings: dict[str, Any], net: nn.Module, x: Tensor, y: Tensor, box: Box
) -> None:
    attack = kind(radius=0.1, **settings)
    a, b, c = (attack(net, x, y, box=box, generator=seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(a, b)
    if kind is not FGSM:
        assert not torch.equal(a, c)


@every_attack
def test_radius_zero_gives_the_sample(
    kind: type[Attack], settings: dict[str, Any], net: nn.Module, x: Tensor, y: Tensor, box: Box
) -> None:
    found = kind(radius=0, **settings)(net, x, y, box=box, generator=seeded())
    assert torch.equal(found, x)
    assert found.data_ptr() != x.data_ptr()


@every_attack
@every_norm
@pytest.mark.parametrize("shape", [(1,), (1, 1, 1), (2, 1, 5), (3, 4)])
def test_other_shapes_and_two_classes(
    kind: type[Attack], settings: dict[str, Any], norm: Norm, shape: tuple[int, ...], box: Box
) -> None:
    x = torch.rand(3, *shape, generator=seeded())
    weight = torch.randn(2, x[0].numel(), generator=seeded())
    net = nn.Sequential(nn.Flatten(), nn.Linear(x[0].numel(), 2, bias=False))
    net[1].weight.data = weight
    found = kind(norm=norm, radius=0.1, **settings)(net, x, net(x).argmax(1), box=box, generator=seeded())
    assert found.shape == x.shape
    assert distance(found, x, norm) <= 0.1 + 1e-6


@every_attack
def test_constant_inputs_and_logits(kind: type[Attack], settings: dict[str, Any], box: Box) -> None:
    net = nn.Linear(3, 4)
    nn.init.zeros_(net.weight)
    nn.init.zeros_(net.bias)
    x = torch.full((2, 3), 0.5)
    found = kind(norm="l2", radius=0.1, **settings)(net, x, torch.tensor([0, 1]), box=box, generator=seeded())
    assert found.isfinite().all()


@every_attack
def test_one_sample_is_attacked_as_in_a_batch(
    kind: type[Attack], settings: dict[str, Any], net: nn.Module, x: Tensor, y: Tensor, box: Box
) -> None:
    attack = kind(radius=0.1, **settings)
    one = attack(net, x[:1], y[:1], box=box, generator=seeded())
    assert one.shape == (1, 6)
    if kind is FGSM:
        torch.testing.assert_close(one, attack(net, x, y, box=box, generator=seeded())[:1])


class Everything(nn.Module):
    """Layers with a state that an attack could leave changed."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.drop = nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.5)
        self.noise = Sparseout(0.5, q=1.0, generator=seeded(3))
        self.last = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.last(self.noise(self.drop(self.norm(self.first(x)))))
        return logits


@every_attack
@pytest.mark.parametrize("stochastic", [False, True])
def test_the_network_is_left_as_it_was(
    kind: type[Attack], settings: dict[str, Any], stochastic: bool, x: Tensor, box: Box
) -> None:
    net, inputs, y = Everything(), x.float(), torch.arange(40) % 3
    net.drop.eval()
    net.first.weight.requires_grad_(False)
    net.last(torch.ones(1, 8)).sum().backward()
    gradient = net.last.weight.grad
    modes = [module.training for module in net.modules()]
    state = {name: value.clone() for name, value in net.state_dict().items()}
    needed = [parameter.requires_grad for parameter in net.parameters()]
    noise, common = net.noise.generator, torch.get_rng_state()
    assert noise is not None
    noise_state = noise.get_state()
    attack = kind(radius=0.1, stochastic=stochastic, expectation=2, **settings)
    a, b = (attack(net, inputs, y, box=box, generator=seeded()) for _ in range(2))
    assert torch.equal(a, b)
    assert [module.training for module in net.modules()] == modes
    assert [parameter.requires_grad for parameter in net.parameters()] == needed
    assert net.last.weight.grad is gradient
    assert net.first.bias.grad is None
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    assert net.noise.generator is noise
    assert torch.equal(noise.get_state(), noise_state)
    assert torch.equal(torch.get_rng_state(), common)


def test_the_network_is_left_as_it_was_after_an_error(x: Tensor, box: Box) -> None:
    net = nn.Sequential(nn.Dropout(), nn.Linear(6, 1))
    with pytest.raises(InputError, match="at least 2 classes"):
        PGD(radius=0.1, stochastic=True)(
            net, x.float(), torch.zeros(40, dtype=torch.int64), box=box, generator=seeded()
        )
    assert net.training
    assert net[1].weight.requires_grad


def test_random_layers_are_active_on_demand(box: Box) -> None:
    seen: list[tuple[bool, bool]] = []

    class Watched(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.drop, self.norm = nn.Dropout(0.5), nn.BatchNorm1d(4)

        def forward(self, x: Tensor) -> Tensor:
            seen.append((self.drop.training, self.norm.training))
            return self.norm(self.drop(x))  # type: ignore[no-any-return]

    x, y = torch.rand(5, 4), torch.arange(5) % 4
    FGSM(radius=0.1)(Watched(), x, y, box=box, generator=seeded())
    assert set(seen) == {(False, False)}
    seen.clear()
    FGSM(radius=0.1, stochastic=True)(Watched(), x, y, box=box, generator=seeded())
    assert set(seen) == {(True, False)}


def test_the_expectation_finds_the_direction_that_noise_hides() -> None:
    class Noisy(nn.Module):
        """The second feature counts, the first is multiplied by noise of mean 0."""

        def __init__(self) -> None:
            super().__init__()
            self.drop = nn.Dropout(0.5)

        def forward(self, x: Tensor) -> Tensor:
            noise = self.drop(torch.ones(len(x), 1)) - 1  # ±1
            score = 20 * x[:, :1] * noise + x[:, 1:]
            return torch.cat([score, torch.zeros_like(score)], 1)

    x, y = torch.zeros(200, 2), torch.zeros(200, dtype=torch.int64)

    def aligned(expectation: int) -> float:
        attack = FGSM(radius=0.1, norm="l2", stochastic=True, expectation=expectation)
        found = attack(Noisy(), x, y, box=Box(-1, 1), generator=seeded())
        return float(-found[:, 1].mean() / 0.1)

    assert aligned(1) < 0.1
    assert aligned(400) > 2.5 * aligned(1)


def test_it_works_in_inference_mode(net: nn.Module, x: Tensor, y: Tensor, box: Box) -> None:
    expected = PGD(radius=0.1, steps=3)(net, x, y, box=box, generator=seeded())
    with torch.inference_mode():
        inputs, labels = x + 0, y + 0
        found = PGD(radius=0.1, steps=3)(net, inputs, labels, box=box, generator=seeded())
    torch.testing.assert_close(found, expected)


def test_a_network_without_derivative_has_the_gradient_zero(x: Tensor, y: Tensor, box: Box) -> None:
    net = nn.Linear(6, 4).double()

    class Detached(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return net(x.detach())  # type: ignore[no-any-return]

    labels = net(x).argmax(1)
    result = evaluate(Detached(), x, labels, FGSM(radius=0.1), box=box, generator=seeded())
    assert result.gradient_zero_share == 1
    assert torch.equal(result.adversarial, x)


BAD: list[tuple[Tensor, Tensor, str]] = [
    (torch.rand(3, 2), torch.rand(3), "y must hold class numbers, got torch.float32; attacks are for classifiers"),
    (torch.rand(3, 2), torch.zeros(3, 2, dtype=torch.int64), "as many samples"),
    (torch.rand(3, 2), torch.zeros(2, dtype=torch.int64), "as many samples"),
    (torch.rand(0, 2), torch.zeros(0, dtype=torch.int64), "at least one"),
    (torch.rand(3), torch.zeros(3, dtype=torch.int64), "as many samples"),
    (torch.rand(3, 0), torch.zeros(3, dtype=torch.int64), "at least one feature"),
    (torch.ones(3, 2, dtype=torch.int64), torch.zeros(3, dtype=torch.int64), "x must be float32 or float64"),
    (torch.ones(3, 2, dtype=torch.float16), torch.zeros(3, dtype=torch.int64), "x must be float32 or float64"),
    (torch.tensor([[0.0, 1.0], [torch.nan, 0.0]]), torch.tensor([0, 1]), "x must be finite, got NaN .* in 1 of 2"),
    (torch.tensor([[0.0, torch.inf]]), torch.tensor([0]), "x must be finite"),
    (torch.rand(3, 2), torch.tensor([0, 1, 2]), "y must be class numbers from 0 to 1, got 0 to 2"),
    (torch.rand(3, 2), torch.tensor([0, 1, -1]), "y must be class numbers from 0 to 1, got -1 to 1"),
]


@pytest.mark.parametrize(("x", "y", "message"), BAD)
def test_invalid_samples(x: Tensor, y: Tensor, message: str, box: Box) -> None:
    for attack in (PGD(radius=0.1), Square(radius=0.1), FGSM(radius=0)):
        with pytest.raises(InputError, match=message):
            attack(nn.Identity(), x, y, box=box, generator=seeded())
        with pytest.raises(InputError, match=message):
            evaluate(nn.Identity(), x, y, attack, box=box, generator=seeded())


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (lambda x: x[:, :1], r"at least 2 classes, got \(3, 1\); attacks are for classifiers, not for regression"),
        (lambda x: x[:, 0], "shape \\(samples, classes\\)"),
        (lambda x: (x, x), "got tuple"),
        (lambda x: x * torch.nan, "network\\(x\\) must be finite, got NaN or infinite logits for 3 of 3 samples"),
        (lambda x: x / torch.tensor([[1.0], [0.0], [1.0]]), "for 1 of 3 samples"),
    ],
)
def test_invalid_outputs(layer: Any, message: str, box: Box) -> None:
    class Net(nn.Module):
        def forward(self, x: Tensor) -> Any:
            return layer(x)

    x, y = torch.rand(3, 2) + 0.1, torch.tensor([0, 1, 0])
    with pytest.raises(InputError, match=message):
        PGD(radius=0.1)(Net(), x, y, box=box, generator=seeded())


def test_a_gradient_that_is_not_a_number(box: Box) -> None:
    class Rooted(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + (0 * x).sqrt()

    x, y = torch.rand(3, 2), torch.tensor([0, 1, 0])
    with pytest.raises(InputError, match=r"gradient of network at x must be finite.* attack it with square"):
        PGD(radius=0.1)(Rooted(), x, y, box=box, generator=seeded())
    assert Square(radius=0.1, queries=3)(Rooted(), x, y, box=box, generator=seeded()).isfinite().all()


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (FGSM, {"radius": -1}, "radius must be in"),
        (FGSM, {"radius": torch.nan}, "radius must be in"),
        (FGSM, {"radius": torch.inf}, "radius must be in"),
        (FGSM, {"radius": 1, "norm": "l1"}, "norm must be one of 'linf', 'l2', got 'l1'"),
        (FGSM, {"radius": 1, "expectation": 0}, "expectation must be"),
        (PGD, {"radius": 1, "steps": 0}, "steps must be"),
        (PGD, {"radius": 1, "restarts": 0}, "restarts must be"),
        (PGD, {"radius": 1, "step_size": 0}, "step_size must be"),
        (PGD, {"radius": 1, "loss": "hinge"}, "loss must be one of"),
        (APGD, {"radius": 1, "targets": 0}, "targets must be"),
        (APGD, {"radius": 1, "loss": "hinge"}, "loss must be one of"),
        (Square, {"radius": 1, "queries": 0}, "queries must be"),
        (Square, {"radius": 1, "window": 0}, "window must be in"),
    ],
)
def test_invalid_settings(kind: type[Attack], settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        kind(**settings)
