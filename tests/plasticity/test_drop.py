"""Each rule of removal on weights that are written down, and what the published controls say about them."""

from __future__ import annotations

import math
import pickle

import pytest
import torch
from torch import Tensor, nn

from gossamer import InputError, Pattern, SparseLinear
from gossamer.plasticity import Rewire, drop, schedule
from gossamer.plasticity.drop import Drop
from gossamer.plasticity.evidence import Evidence
from gossamer.plasticity.pairs import Summed
from gossamer.plasticity.similarity import Cosine

WEIGHTS = [0.3, -0.1, 0.0, 0.1, -0.4, 0.2, -0.2, -0.3]
COSINES = [0.1, 1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 0.2]  # products .03 −.1 0 .1 0 .2 −.2 −.06


def evidence(cosines: list[float], weights: list[float] = WEIGHTS) -> Evidence:
    layer = SparseLinear(4, 3, pattern=Pattern.from_flat_indices(torch.arange(8), 3, 4))
    with torch.no_grad():
        layer.weight_values.copy_(torch.tensor(weights))
    layer.weight_values.grad = torch.tensor([0.1, 4.0, 9.0, 1.0, 0.1, 1.0, 1.0, 0.0])
    matrix = torch.tensor([*cosines, 0, 0, 0, 0]).view(3, 4)
    return Evidence("layer", layer, torch.Generator().manual_seed(0), {Cosine(): Summed(matrix)})


def dropped(rule: Drop, cosines: list[float] = COSINES) -> list[int]:
    return [int(i) for i in rule(evidence(cosines), 0).nonzero().flatten()]


def test_every_rule_on_literal_weights() -> None:
    assert dropped(drop.signed_magnitude(0.5)) == [1, 2, 3, 6]
    assert dropped(drop.magnitude(0.5)) == [1, 2, 3, 5]  # of 0.2 and −0.2 the lower position
    assert dropped(drop.magnitude_cosine(0.5)) == [0, 2, 4, 7]  # of +.03 .1 .2 one, of −.1 −.2 −.06 one, all zeros
    assert dropped(drop.sensitivity(0.5)) == [0, 2, 4, 7]  # .03 .4 0 .1 .04 .2 .2 0
    assert dropped(drop.largest(0.25)) == [0, 4]  # of 0.3 and −0.3 the lower position
    assert dropped(drop.gap(0.2)) == [1, 2, 3]
    assert len(dropped(drop.random(0.5))) == 4


def test_cosine_removal_is_signed_magnitude_of_the_product() -> None:
    products = [w * c for w, c in zip(WEIGHTS, COSINES, strict=True)]
    for fraction in (0.0, 0.3, 0.5, 1.0):
        expected = drop.signed_magnitude(fraction)(evidence(COSINES, products), 0)
        assert torch.equal(drop.magnitude_cosine(fraction)(evidence(COSINES), 0), expected)


def test_cosine_removal_with_constant_similarity_is_set() -> None:
    for fraction in (0.0, 0.3, 0.5, 1.0):
        assert dropped(drop.magnitude_cosine(fraction), [0.25] * 8) == dropped(drop.signed_magnitude(fraction))


def test_fractions_nought_and_one() -> None:
    assert dropped(drop.signed_magnitude(0.0)) == [2]  # exact zeros always go
    assert dropped(drop.magnitude(0.0)) == []
    assert dropped(drop.magnitude(1.0)) == list(range(8))


def test_gap_may_spare_some() -> None:
    e = evidence(COSINES, [0.1] * 8)
    spared = sum(8 - int(drop.gap(0.2, spared=0.25)(e, 0).sum()) for _ in range(500))
    assert spared / 4000 == pytest.approx(0.25, abs=0.03)
    assert not bool(drop.gap(0.1)(e, 0).any())  # not below the width


def test_fraction_may_follow_a_schedule() -> None:
    rule = drop.magnitude(schedule.cosine(1.0, 2))
    assert [int(rule(evidence(COSINES), step).sum()) for step in range(4)] == [8, 4, 0, 0]
    with pytest.raises(InputError, match=r"fraction must be in \[0, 1\], got 2"):
        drop.magnitude(lambda step: 2)(evidence(COSINES), 0)


def test_mistakes_are_named() -> None:
    e = evidence(COSINES)
    e.layer.weight_values.grad = None
    with pytest.raises(InputError, match=r"'layer' has no gradient: step after backward\(\)"):
        drop.sensitivity(0.3)(e, 0)
    for bad in (-0.1, 1.01, math.nan):
        with pytest.raises(InputError, match="fraction must be in"):
            drop.random(bad)
        with pytest.raises(InputError, match="width" if bad != 1.01 else "spared"):
            drop.gap(bad, spared=bad)
    with pytest.raises(InputError, match="magnitude of layer 'layer' must be numbers, got NaN"):
        drop.magnitude(0.3)(evidence(COSINES, [math.nan] * 8), 0)


def test_rules_can_be_sent_to_another_process() -> None:
    for rule in (drop.magnitude_cosine(0.2), drop.gap(0.1), drop.magnitude(schedule.cubic(0.3, 5))):
        assert dropped(pickle.loads(pickle.dumps(rule))) == dropped(rule)


# ---- controls ------------------------------------------------------------------------------------------------------


def digits() -> tuple[Tensor, Tensor]:
    datasets = pytest.importorskip("sklearn.datasets")
    x, y = datasets.load_digits(return_X_y=True)
    return torch.tensor(x / 16, dtype=torch.float32), torch.tensor(y)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of scikit-learn's own imports
def test_removing_large_weights_ruins_what_removing_small_ones_leaves_intact() -> None:
    x, y = digits()
    g = torch.Generator().manual_seed(0)
    net = nn.Sequential(
        SparseLinear(64, 100, density=0.3, generator=g), nn.ReLU(), SparseLinear(100, 10, density=0.5, generator=g)
    )
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    for _ in range(15):
        for rows in torch.randperm(1400, generator=g).split(50):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
            optimizer.step()
    trained = {name: tensor.clone() for name, tensor in net.state_dict().items()}

    def accuracy(rule: Drop | None) -> float:
        net.load_state_dict(trained)
        if rule is not None:
            Rewire(net, drop=rule).step()
        with torch.no_grad():
            return float((net(x[1400:]).argmax(1) == y[1400:]).float().mean())

    whole, small, chance, large = map(accuracy, (None, drop.signed_magnitude(0.3), drop.random(0.3), drop.largest(0.3)))
    assert whole > 0.85
    assert small > whole - 0.05
    assert chance < small - 0.1
    assert large < 0.25  # ten classes: hardly better than guessing
