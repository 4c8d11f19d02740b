"""Each rule of removal on weights that are written down, and what the published controls say about them."""

from __future__ import annotations

import math
import pickle

import pytest
import torch
from torch import Tensor, nn

import gossamer as gs
from gossamer import InputError, Pattern, SparseLinear
from gossamer.plasticity import Rewire, drop, grow, schedule
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


def _always(width: float) -> schedule.Schedule:
    return lambda step: width


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


def test_gap_moves_some_weak_connections_over_it() -> None:
    rule, moved, turned = drop.gap(0.2, kept=0.15, flipped=0.1), 0, 0
    assert rule.kick is not None
    e = evidence(COSINES, [0.1, -0.1, 0.1, -0.1, 0.3, -0.3, 0.2, 0.0])
    for _ in range(400):
        to_drop = rule(e, 0)
        assert not bool(to_drop[4:7].any())  # not below the width
        assert bool(to_drop[7])  # 0 has no sign: nothing to move
        after = rule.kick(e, to_drop, 0.2)
        assert torch.equal(after[4:7], e.values[4:7])
        weak = ~to_drop[:4]
        assert bool((after[:4][weak].abs() >= 0.2).all())
        moved += int(weak.sum())
        turned += int((after[:4][weak] * e.values[:4][weak] < 0).sum())
    assert moved / 1600 == pytest.approx(0.25, abs=0.03)
    assert turned / moved == pytest.approx(0.4, abs=0.06)
    assert not bool(drop.gap(0.1)(evidence(COSINES, [0.1] * 8), 0).any())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_a_network_prunes_itself_by_the_gap(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    net = torch.nn.Sequential(gs.SparseLinear(40, 30, density=1.0, generator=generator), torch.nn.Linear(30, 2)).to(
        dtype
    )
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    opening = schedule.linear(0.0, 4, end=0.1)
    rewire = gs.Rewire(
        net, optimizer, drop=drop.gap(opening, kept=0.1, flipped=0.1), grow=grow.none(), record="indices"
    )
    layer = net[0]
    assert isinstance(layer, SparseLinear)
    counts = [1200]
    for step in range(6):
        optimizer.zero_grad()
        net(torch.randn(8, 40, generator=generator).to(dtype)).square().sum().backward()
        optimizer.step()
        before = dict(zip(layer.pattern.flat_indices.tolist(), layer.weight_values.tolist(), strict=True))
        momentum = dict(zip(before, optimizer.state[layer.weight_values]["exp_avg"].tolist(), strict=True))
        change = rewire.step()[0]
        after = dict(zip(layer.pattern.flat_indices.tolist(), layer.weight_values.tolist(), strict=True))
        width = opening(step)
        assert all(abs(w) >= width for w in after.values())
        assert all(w == before[i] for i, w in after.items() if abs(before[i]) >= width)
        assert not set(change.dropped.tolist()) & set(after)
        assert layer.nnz == len(after) == layer.indices.numel() == change.nnz
        state = optimizer.state[layer.weight_values]["exp_avg"]
        assert state.tolist() == [momentum[i] for i in after]
        counts.append(layer.nnz)
    assert counts == sorted(counts, reverse=True)
    assert 0 < counts[-1] < 900
    assert rewire.log[-1]["grown"] == 0


def test_the_gap_goes_on_where_its_state_was_taken() -> None:
    def made() -> tuple[gs.SparseLinear, gs.Rewire]:
        layer = gs.SparseLinear(40, 30, density=0.9, generator=torch.Generator().manual_seed(0))
        return layer, gs.Rewire(layer, drop=drop.gap(0.05, kept=0.2, flipped=0.2), grow=grow.none(), seed=5)

    (first, rewire), (second, other) = made(), made()
    rewire.step()
    second.load_state_dict(first.state_dict())
    other.load_state_dict(rewire.state_dict())
    for layer, it in ((first, rewire), (second, other)):
        with torch.no_grad():
            layer.weight_values.mul_(0.6)
        it.step()
    assert torch.equal(first.weight_values, second.weight_values)
    assert torch.equal(first.indices, second.indices)


def test_nothing_grows_with_none() -> None:
    layer = gs.SparseLinear(10, 10, density=1.0, generator=torch.Generator().manual_seed(0))
    change = gs.Rewire(layer, drop=drop.magnitude(0.25), grow=grow.none()).step()[0]
    assert (change.grown.numel(), change.dropped.numel(), layer.nnz) == (0, 25, 75)
    with pytest.raises(InputError, match="redistribute must be None where nothing is grown"):
        gs.Rewire(layer, grow=grow.none(), redistribute="magnitude")


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
        with pytest.raises(InputError, match="kept must be in"):
            drop.gap(0.1, kept=bad)
        with pytest.raises(InputError, match="flipped must be in"):
            drop.gap(0.1, flipped=bad)
    for bad in (-0.1, math.nan, math.inf):
        with pytest.raises(InputError, match="width must be in"):
            drop.gap(bad)
        with pytest.raises(InputError, match="width must be in"):
            drop.gap(_always(bad))(e, 0)
    with pytest.raises(InputError, match=r"kept \+ flipped must be at most 1"):
        drop.gap(0.1, kept=0.6, flipped=0.5)
    with pytest.raises(InputError, match="magnitude of layer 'layer' must be numbers, got NaN"):
        drop.magnitude(0.3)(evidence(COSINES, [math.nan] * 8), 0)


def test_rules_can_be_sent_to_another_process() -> None:
    for rule in (drop.magnitude_cosine(0.2), drop.gap(0.1, kept=0.1), drop.magnitude(schedule.cubic(0.3, 5))):
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
