from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gossamer import InputError, QuantileThreshold
from gossamer.evaluate.attacks import APGD, FGSM, PGD, Attack, Box, Square, evaluate, transfer


def seeded(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_only_correct_samples_are_attacked(net: nn.Module, x: Tensor, y: Tensor, box: Box) -> None:
    labels = y.clone()
    labels[:10] = (y[:10] + 1) % 4
    result = evaluate(net, x, labels, FGSM(radius=0.05), box=box, generator=seeded())
    assert result.clean.tolist() == [False] * 10 + [True] * 30
    assert not result.correct[:10].any()
    assert torch.equal(result.adversarial[:10], x[:10])
    assert result.queries == 2 * 30
    assert result.clean_accuracy == 0.75
    assert result.accuracy == int(result.correct.sum()) / 40 < 0.75


def test_the_result_agrees_with_the_network(net: nn.Module, x: Tensor, y: Tensor, box: Box) -> None:
    for attack in (PGD(radius=0.1, steps=10), APGD(radius=0.1, steps=10, norm="l2"), Square(radius=0.1, queries=20)):
        result = evaluate(net, x, y, attack, box=box, generator=seeded(), batch_size=7)
        assert torch.equal(result.correct, net(result.adversarial).argmax(1) == y)
        torch.testing.assert_close(result.loss, F.cross_entropy(net(result.adversarial), y, reduction="none").detach())
        assert result.gradient_zero_share == 0


def test_all_samples_are_misclassified_already(net: nn.Module, x: Tensor, y: Tensor, box: Box) -> None:
    result = evaluate(net, x, (y + 1) % 4, PGD(radius=0.1), box=box, generator=seeded())
    assert result.accuracy == result.clean_accuracy == result.gradient_zero_share == result.queries == 0
    assert torch.equal(result.adversarial, x)


@pytest.mark.parametrize("attack", [PGD(radius=0, steps=5), Square(radius=0)])
def test_radius_zero_changes_nothing(attack: Attack, net: nn.Module, x: Tensor, y: Tensor, box: Box) -> None:
    result = evaluate(net, x, y, attack, box=box, generator=seeded())
    assert result.accuracy == 1
    assert torch.equal(result.adversarial, x)


def test_accuracy_falls_with_the_radius(net: nn.Module, x: Tensor, y: Tensor, box: Box) -> None:
    found = [
        evaluate(net, x, y, APGD(radius=radius, steps=30), box=box, generator=seeded()).accuracy
        for radius in (0.0, 0.03, 0.1, 1.0)
    ]
    assert found == sorted(found, reverse=True)
    assert len(set(found)) == 4
    assert found[0] == 1
    assert found[-1] == 0


def test_progress_after_every_batch(net: nn.Module, x: Tensor, y: Tensor, box: Box) -> None:
    seen: list[tuple[int, int]] = []
    evaluate(
        net, x, y, FGSM(radius=0.1), box=box, generator=seeded(), batch_size=16, progress=lambda *n: seen.append(n)
    )
    assert seen == [(16, 40), (32, 40), (40, 40)]


def test_an_attack_of_the_network_itself_is_the_strongest_transfer(
    net: nn.Sequential, x: Tensor, y: Tensor, box: Box
) -> None:
    other = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 4)).double()
    attack = PGD(radius=0.1, steps=20, restarts=1)
    direct = evaluate(net, x, y, attack, box=box, generator=seeded())
    transferred = transfer(other, net, x, y, attack, box=box, generator=seeded())
    assert direct.accuracy < transferred.accuracy <= 1
    assert torch.equal(transferred.clean, direct.clean)
    assert torch.equal(transferred.correct, net(transferred.adversarial).argmax(1) == y)


def test_inputs_of_a_copy_transfer(net: nn.Sequential, x: Tensor, y: Tensor, box: Box) -> None:
    class Hidden(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return net(x.detach())  # type: ignore[no-any-return]

    attack = PGD(radius=0.1, steps=20, restarts=1)
    assert evaluate(Hidden(), x, y, attack, box=box, generator=seeded()).accuracy > 0.7
    expected = evaluate(net, x, y, attack, box=box, generator=seeded()).accuracy
    assert transfer(net, Hidden(), x, y, attack, box=box, generator=seeded()).accuracy == pytest.approx(
        expected, abs=0.05
    )


def test_straight_through_gradients_pass_a_threshold(generator: torch.Generator) -> None:
    """A gate that removes what matters: its gradient is zero, and the straight-through gradient is not."""
    net = nn.Sequential(nn.ReLU(), QuantileThreshold(0.75), nn.Flatten(), nn.Linear(4, 2, bias=False))
    net[3].weight.data = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0, 4.0, 0.0, 0.0]])
    x = torch.tensor([[0.6, 0.4, 0.1, 0.2]]).view(1, 1, 2, 2)  # only the first pixel passes
    y, box = torch.tensor([0]), Box(0, 1)
    plain, past = (
        evaluate(net, x, y, FGSM(radius=0.15, straight_through=way), box=box, generator=seeded())
        for way in (False, True)
    )
    assert plain.accuracy == 1
    assert past.accuracy == 0
    assert net[1].gate == "hard"


def test_another_number_of_classes(net: nn.Module, x: Tensor, y: Tensor, box: Box) -> None:
    source = nn.Linear(6, 2).double()
    with pytest.raises(InputError, match="y must be class numbers from 0 to 1"):
        transfer(source, net, x, y, FGSM(radius=0.1), box=box, generator=seeded())


def test_no_batch(net: nn.Module, x: Tensor, y: Tensor, box: Box) -> None:
    with pytest.raises(InputError, match="batch_size"):
        evaluate(net, x, y, FGSM(radius=0.1), box=box, generator=seeded(), batch_size=0)
