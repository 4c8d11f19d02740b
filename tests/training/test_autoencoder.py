"""Training of the supervised auto-encoder: it learns, stays in its set, and depends on its seed alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gossamer import InputError, measures
from gossamer.models.autoencoder import SupervisedAutoencoder, exponential_schedule
from gossamer.training import DivergedError, Samples
from gossamer.training.autoencoder import Descent, train_autoencoder


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def samples() -> Samples:
    """Three kinds of noisy stripes of 12 pixels."""
    y = torch.arange(90) % 3
    x = 0.2 * torch.rand(90, 12, generator=seeded())
    x[torch.arange(90)[:, None], 4 * y[:, None] + torch.arange(4)] += 1
    return Samples(x, y)


def network(data: Samples, seed: int = 0, **options: object) -> SupervisedAutoencoder:
    arguments = {"activation": "hoyer:0.7", "connectivity": 0.6, "samples": data.x} | options
    return SupervisedAutoencoder(12, 20, 3, generator=seeded(seed), **arguments)  # type: ignore[arg-type]


def test_it_learns_to_classify_and_to_reconstruct(samples: Samples) -> None:
    assert isinstance(samples.x, Tensor)
    net = network(samples, samples=None)
    assert isinstance(samples.y, Tensor)
    before = net.loss(samples.x, samples.y, 0.0).item()
    epochs = list(train_autoencoder(net, samples, epochs=30, alpha=exponential_schedule(15), batch_size=10))
    assert [epoch.epoch for epoch in epochs] == list(range(1, 31))
    assert epochs[-1].train_loss < 0.7 * epochs[0].train_loss
    assert all(epoch.seconds > 0 for epoch in epochs)
    assert (net(samples.x).argmax(1) == samples.y).all()
    assert net.loss(samples.x, samples.y, 0.0).item() < 0.5 * before


@pytest.mark.parametrize("every", [1, 4, 1000])
def test_weights_are_projected_after_each_epoch_at_least(samples: Samples, every: int) -> None:
    net = network(samples)
    for _ in train_autoencoder(net, samples, epochs=2, alpha=lambda epoch: 0.5, batch_size=10, project_every=every):
        torch.testing.assert_close(measures.hoyer(net.weight), torch.full((20,), 0.6), rtol=0, atol=1e-5)
        torch.testing.assert_close(net.weight.norm(dim=1), torch.ones(20))


def test_between_projections_weights_are_free(samples: Samples) -> None:
    assert isinstance(samples.x, Tensor)
    assert isinstance(samples.y, Tensor)
    net = network(samples)
    descent = Descent(net, 0.01, project_every=2)
    inside = []
    for _ in range(4):
        descent.step(samples.x, samples.y, 0.5)
        inside.append(bool((measures.hoyer(net.weight) - 0.6).abs().max() < 1e-5))
    assert inside == [False, True, False, True]


def test_the_seed_decides_and_torch_keeps_its_own_generator(samples: Samples) -> None:
    def trained(seed: int) -> Tensor:
        net = network(samples)
        for _ in train_autoencoder(net, samples, epochs=2, alpha=lambda epoch: 0.5, batch_size=10, seed=seed):
            pass
        return net.weight.detach()

    before = torch.get_rng_state()
    assert torch.equal(trained(1), trained(1))
    assert not torch.equal(trained(1), trained(2))
    assert torch.equal(before, torch.get_rng_state())


def test_the_schedule_is_asked_in_fractions_of_epochs(samples: Samples) -> None:
    asked: list[float] = []

    def alpha(epoch: float) -> float:
        asked.append(epoch)
        return 0.5

    list(train_autoencoder(network(samples), samples, epochs=2, alpha=alpha, batch_size=40))
    assert asked == pytest.approx([0, 1 / 3, 2 / 3, 1, 4 / 3, 5 / 3])


def test_the_learning_rate_rises_and_falls(samples: Samples) -> None:
    net = network(samples, connectivity=None)
    rates: list[float] = []
    step = Descent.step

    def noted(self: Descent, x: Tensor, y: Tensor, alpha: float, scale: float, weight: Tensor | None) -> Tensor:
        rates.append(scale)
        return step(self, x, y, alpha, scale)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Descent, "step", noted)
        list(train_autoencoder(net, samples, epochs=10, alpha=lambda epoch: 0.5, batch_size=9))
    top = rates.index(max(rates))
    assert top == 10
    assert rates[:11] == sorted(rates[:11])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 < rates[0] < 0.1
    assert 0 < rates[-1] < 0.01


def test_augmentation_makes_the_rows_of_each_epoch(samples: Samples) -> None:
    assert isinstance(samples.x, Tensor)
    seen: list[Tensor] = []

    def augment(x: Tensor, generator: torch.Generator) -> Tensor:
        assert x is samples.x
        seen.append(torch.rand(3, generator=generator))
        return x + 0.1

    plain, changed = network(samples), network(samples)
    list(train_autoencoder(plain, samples, epochs=2, alpha=lambda epoch: 0.5, batch_size=30))
    list(train_autoencoder(changed, samples, epochs=2, alpha=lambda epoch: 0.5, batch_size=30, augment=augment))
    assert len(seen) == 2
    assert not torch.equal(*seen)
    assert not torch.equal(plain.weight, changed.weight)


def test_divergence_is_told(samples: Samples) -> None:
    net = network(samples, activation="none", connectivity=None)
    with pytest.raises(DivergedError, match="Lower the learning rate"):
        list(train_autoencoder(net, samples, epochs=50, alpha=lambda epoch: 1.0, learning_rate=1e30))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "epochs"),
        ({"batch_size": 0}, "batch_size"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"project_every": 0}, "project_every"),
    ],
)
def test_mistakes_are_named(samples: Samples, change: dict[str, object], message: str) -> None:
    arguments: dict[str, object] = {"epochs": 1, "alpha": lambda epoch: 0.5}
    with pytest.raises(InputError, match=message):
        list(train_autoencoder(network(samples), samples, **(arguments | change)))  # type: ignore[arg-type]
