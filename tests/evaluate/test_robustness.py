from __future__ import annotations

import math
from statistics import NormalDist

import pytest
import torch
from torch import Tensor, nn

from gossamer import InputError, SparseLinear
from gossamer.evaluate import accuracy_under, accuracy_under_noise, add_noise


class Sign(nn.Module):
    """Class 1 where the only feature is positive."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([-x, x], 1)


def test_accuracy_falls_as_the_normal_law_says() -> None:
    x = torch.ones(20_000, 1)
    y = torch.ones(20_000, dtype=torch.int64)
    found = accuracy_under_noise(Sign(), x, y, (0.0, 0.5, 1.0, 4.0), seed=1)
    assert [sigma for sigma, _ in found] == [0.0, 0.5, 1.0, 4.0]
    assert found[0][1] == 1.0
    for sigma, accuracy in found[1:]:
        assert accuracy == pytest.approx(NormalDist().cdf(1 / sigma), abs=0.01)


def test_a_sparse_network_and_its_dense_twin_see_the_same_noise() -> None:
    generator = torch.Generator().manual_seed(0)
    sparse = SparseLinear(20, 5, 0.3, generator=generator)
    x = torch.randn(100, 20, generator=generator)
    y = sparse(x).argmax(1)
    found = accuracy_under_noise(sparse, x, y, (0.0, 0.3, 1.0), seed=3, batch_size=32)
    assert found == accuracy_under_noise(sparse.to_dense(), x, y, (0.0, 0.3, 1.0), seed=3, batch_size=32)
    assert found != accuracy_under_noise(sparse, x, y, (0.0, 0.3, 1.0), seed=4, batch_size=32)
    assert found[0][1] == 1.0
    assert found[2][1] < 1.0


def test_torchs_own_generator_and_the_mode_are_left_alone() -> None:
    model = nn.Sequential(nn.Dropout(0.9), Sign()).train()
    before = torch.get_rng_state()
    found = accuracy_under_noise(model, torch.ones(50, 1), torch.ones(50, dtype=torch.int64), [0.0])
    assert found == [(0.0, 1.0)]  # in evaluation mode nothing is dropped
    assert model.training
    assert torch.equal(torch.get_rng_state(), before)


def test_inputs_can_be_kept_in_their_range() -> None:
    largest = []

    class Watch(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            largest.append((float(x.min()), float(x.max())))
            return torch.cat([-x, x], 1)

    accuracy_under_noise(Watch(), torch.full((500, 1), 0.5), torch.ones(500, dtype=torch.int64), [5.0], clip=(0, 1))
    assert largest == [(0.0, 1.0)]


def test_uniform_noise_has_the_same_deviation_and_its_own_law() -> None:
    x, y = torch.ones(20_000, 1), torch.ones(20_000, dtype=torch.int64)
    found = dict(accuracy_under_noise(Sign(), x, y, (0.5, 1.0, 4.0), noise="uniform"))
    for sigma, accuracy in found.items():
        half = sigma * math.sqrt(3)
        assert accuracy == pytest.approx(min(1.0, (half + 1) / (2 * half)), abs=0.01)
    n = add_noise(torch.zeros(20_000), 2.0, torch.Generator().manual_seed(0), "uniform")
    assert n.std() == pytest.approx(2, abs=0.03)
    assert n.abs().max() <= 2 * math.sqrt(3)


def test_several_draws_are_averaged_and_each_input_can_have_its_own_range() -> None:
    x, y = torch.ones(100, 1), torch.ones(100, dtype=torch.int64)
    once = dict(accuracy_under_noise(Sign(), x, y, (1.0,)))[1.0]
    often = dict(accuracy_under_noise(Sign(), x, y, (1.0,), draws=200))[1.0]
    assert once * 100 == round(once * 100)
    assert often == pytest.approx(NormalDist().cdf(1), abs=0.01)
    clip = torch.tensor([0.5, -1.0]), torch.tensor([0.6, 1.0])
    noisy = add_noise(torch.zeros(1000, 2), 3.0, torch.Generator().manual_seed(0), clip=clip)
    assert noisy.amin(0).tolist() == pytest.approx([0.5, -1.0])
    assert noisy.amax(0).tolist() == pytest.approx([0.6, 1.0])


def test_a_change_is_given_each_batch_with_one_generator() -> None:
    seen = []

    def change(x: Tensor, generator: torch.Generator) -> Tensor:
        seen.append((len(x), float(torch.rand(1, generator=generator))))
        return -x

    x, y = torch.ones(5, 1), torch.tensor([0, 0, 0, 1, 1])
    assert accuracy_under(Sign(), x, y, change, seed=4, draws=2, batch_size=3) == 3 / 5
    expected = torch.rand(4, generator=torch.Generator().manual_seed(4)).tolist()
    assert seen == list(zip([3, 3, 2, 2], expected, strict=True))


def test_scores_that_are_no_numbers_are_wrong() -> None:
    x, y = torch.tensor([[math.nan], [1.0]]), torch.tensor([0, 1])
    assert accuracy_under_noise(Sign(), x, y, [0.0]) == [(0.0, 0.5)]  # argmax of NaN would be class 0


def test_wrong_arguments_are_refused() -> None:
    x, y = torch.ones(4, 1), torch.ones(4, dtype=torch.int64)
    for sigma in (-0.1, math.nan, math.inf):
        with pytest.raises(InputError, match=r"sigma must be in \[0, inf\), got"):
            accuracy_under_noise(Sign(), x, y, [sigma])
    for this_x, this_y in ((x, y[:3]), (x[:0], y[:0]), (x, y[:, None]), (torch.tensor(1.0), y)):
        with pytest.raises(InputError, match="x and y must hold as many samples"):
            accuracy_under_noise(Sign(), this_x, this_y, [0.1])
    with pytest.raises(InputError, match=r"model\(x\) must have shape \(samples, classes\), got \(4,\)"):
        accuracy_under_noise(nn.Flatten(0), x, y, [0.1])
    with pytest.raises(InputError, match="y must hold class numbers"):
        accuracy_under_noise(Sign(), x, y.float(), [0.1])
    with pytest.raises(InputError, match="noise must be one of 'gaussian', 'uniform', got 'pink'"):
        accuracy_under_noise(Sign(), x, y, [0.1], noise="pink")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="draws must be a whole number of at least 1"):
        accuracy_under_noise(Sign(), x, y, [0.1], draws=0)
    with pytest.raises(InputError, match="batch_size must be a whole number of at least 1"):
        accuracy_under_noise(Sign(), x, y, [0.1], batch_size=0)
