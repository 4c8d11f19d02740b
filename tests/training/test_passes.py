from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import gossamer as gs
from gossamer.data import Dataset
from gossamer.models import VGG
from gossamer.runs import Options
from gossamer.training import Augment, Samples, evaluate
from gossamer.training.architecture import build
from gossamer.training.passes import Pass, one_pass
from gossamer.training.task import MULTICLASS, REGRESSION


def test_evaluate_agrees_with_a_pass_by_hand_and_leaves_the_mode(options: Options, dataset: Dataset) -> None:
    x, y = torch.from_numpy(dataset.train.x), torch.from_numpy(dataset.train.y)
    model = build(options, x.shape[1], 3, sparse=True, seed=0)
    model.train()
    loss, correct = evaluate(model, Samples(x, y), batch_size=7)
    assert model.training
    logits = model.eval()(x)
    assert correct == int((logits.argmax(1) == y).sum())
    assert loss == pytest.approx(float(nn.functional.cross_entropy(logits, y).detach()), rel=1e-5)
    assert evaluate(model, Samples(x[:0], y[:0])) == (0.0, 0)


def test_noise_follows_the_seed_of_a_pass_unless_a_layer_has_its_own_source() -> None:
    chance = torch.Generator().manual_seed(0)
    x, y = torch.randn(20, 6, generator=chance), torch.randn(20, 3, generator=chance)
    own = torch.Generator().manual_seed(5)

    def trained(seed: int, generator: torch.Generator | None = None) -> Tensor:
        noise, linear = gs.Sparseout(0.5, 1.5, generator=generator), nn.Linear(6, 3, bias=False)
        nn.init.ones_(linear.weight)
        optimizer = torch.optim.SGD(linear.parameters(), lr=0.1)
        one_pass(nn.Sequential(noise, linear), optimizer, Samples(x, y), REGRESSION, batch_size=20, seed=(seed, 0))
        assert noise.generator is generator
        return linear.weight.detach()

    assert torch.equal(trained(1), trained(1))
    assert not torch.allclose(trained(1), trained(2))
    state = own.get_state()
    trained(1, own)
    assert not torch.equal(own.get_state(), state)


def test_evaluation_leaves_each_module_in_its_mode() -> None:
    frozen = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    model = nn.Sequential(frozen, nn.Dropout(0.5), nn.Linear(3, 2))
    model.train()
    frozen.eval()  # as in fine-tuning: its statistics must not move
    before = [module.training for module in model.modules()]
    x, y = torch.randn(8, 3), torch.zeros(8, dtype=torch.int64)
    evaluate(model, Samples(x, y))
    assert [module.training for module in model.modules()] == before
    with pytest.raises(RuntimeError):
        evaluate(model, Samples(torch.randn(8, 4), y))
    assert [module.training for module in model.modules()] == before


def test_augmentation_is_drawn_by_the_seed_of_the_pass_and_leaves_measurements_alone() -> None:
    x = torch.rand(30, 1, 5, 5, generator=torch.Generator().manual_seed(0))
    images = Samples(x, torch.arange(30) % 3)

    def trained(augment: Augment | None, epoch: int = 1) -> tuple[Pass, torch.Tensor]:
        generator = torch.Generator().manual_seed(0)
        net = VGG((4, "M"), in_channels=1, classes=3, image_size=5, hebbian_blocks=0, generator=generator)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        result = one_pass(net, optimizer, images, MULTICLASS, batch_size=10, seed=(0, epoch), augment=augment)
        return result, net.classifier.weight.detach()

    augment = Augment(1, True)
    (result, first), (_, same), (_, next_epoch), (plain, without) = (
        trained(*arguments) for arguments in ((augment,), (augment,), (augment, 2), (None,))
    )
    assert torch.equal(first, same)
    assert not torch.equal(first, next_epoch)
    assert not torch.equal(first, without)
    assert (result.fallback, plain.fallback) == ("the samples are augmented", "the samples are images")
    assert torch.equal(x, torch.rand(30, 1, 5, 5, generator=torch.Generator().manual_seed(0)))


def test_images_are_measured_in_batches_that_fit_into_memory() -> None:
    sizes: list[int] = []

    class Watched(nn.Flatten):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            sizes.append(len(x))
            return super().forward(x)[:, :2]

    images = Samples(torch.rand(40, 1, 128, 256), torch.zeros(40, dtype=torch.int64))
    assert evaluate(Watched(), images) == pytest.approx(evaluate(Watched(), images, batch_size=3))
    assert sizes[:5] == [8] * 5
    assert max(sizes[5:]) == 3
