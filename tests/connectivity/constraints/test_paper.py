"""Gap, l1 norm and sign (Baig & Stepanyants 2024) and their intersections, on every kind of layer."""

from __future__ import annotations

import copy
import itertools
import math
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import gossamer as gs
from gossamer import InputError, SparseConv2d, SparseLinear, constraints
from gossamer.connectivity.constraints import Constraint
from gossamer.connectivity.constraints.vectors import label_vectors, vector_blocks

pytestmark = pytest.mark.usefixtures("one_thread")

nan = math.nan
SIGN = constraints.Sign(inhibitory=0.5, seed=3)
EVERY: list[Constraint] = [
    constraints.L1Norm(0.2),
    constraints.L1Norm(0.1, per="input"),
    constraints.L1Norm(0.1, per="layer", signed=False),
    constraints.Gap(0.3),
    constraints.Gap(0.3, signed=False),
    SIGN,
    SIGN & constraints.Gap(0.3),
    SIGN & constraints.Gap(0.3) & constraints.L1Norm(0.2),
    SIGN & constraints.L0(2) & constraints.L1(0.7, per="output"),
    SIGN & constraints.Hoyer(0.6, at_least=True),
    constraints.L0(3, per="input") & constraints.L1Norm(0.2, per="input"),
    constraints.L0(9, per="layer") & constraints.Gap(0.3),
    constraints.Gap(0.3) & constraints.L1(0.9),
]
every = pytest.mark.parametrize("constraint", EVERY, ids=str)


def weight(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 0.6


def layers() -> dict[str, nn.Module]:
    generator = torch.Generator().manual_seed(1)
    torch.manual_seed(0)
    return {
        "linear": nn.Linear(9, 6),
        "conv": nn.Conv2d(4, 5, 2),
        "sparse": SparseLinear(9, 6, density=0.5, generator=generator),
        "sparse conv": SparseConv2d(4, 5, 2, density=0.5, generator=generator),
    }


def values(layer: nn.Module) -> Tensor:
    found = layer.weight_values if isinstance(layer, SparseLinear | SparseConv2d) else layer.weight
    assert isinstance(found, Tensor)
    return found


@every
@pytest.mark.parametrize("kind", ["linear", "conv", "sparse", "sparse conv"])
def test_it_holds_on_every_layer_and_twice_is_once(constraint: Constraint, kind: str) -> None:
    layer = layers()[kind]
    with torch.no_grad():
        values(layer).mul_(3)
    assert not constraint.holds(layer)
    assert constraint.project_(layer) is layer
    assert constraint.holds(layer)
    once = values(layer).detach().clone()
    constraint.project_(layer)
    torch.testing.assert_close(values(layer).detach(), once)
    assert not bool((once.view(-1).signbit() & (once.view(-1) == 0)).any())  # no negative zeros
    assert constraint.guarantee


@every
def test_on_a_sparse_layer_it_is_the_projection_of_what_exists(constraint: Constraint) -> None:
    """Where the connections are a matrix of whole rows, it is the projection of a dense weight with as many positions:
    the others are zeros that stay."""
    mask = torch.zeros(6, 9, dtype=torch.bool)
    mask[:, :5] = True
    layer = SparseLinear(9, 6, pattern=gs.Pattern.from_mask(mask), density=None)
    with torch.no_grad():
        layer.weight_values.mul_(5)
    before = layer.to_dense().weight.detach().clone()
    constraint.project_(layer)
    after = layer.to_dense().weight.detach()
    assert bool((after[:, 5:] == 0).all())
    assert constraint.holds(after[:, :5] if constraint.per == "input" else after)  # as dense, it is in the same set
    if not any(isinstance(part, constraints.L1Norm) for part in getattr(constraint, "parts", (constraint,))):
        torch.testing.assert_close(after, constraint.project(before))  # zeros are nearest where nothing is to be filled


@pytest.mark.parametrize("constraint", EVERY, ids=str)
def test_no_random_point_of_the_set_is_nearer(constraint: Constraint) -> None:
    w = weight(6, 8)
    distance = (constraint.project(w) - w).norm()
    for seed in range(20):
        other = constraint.project(w + 0.3 * weight(6, 8, seed=seed + 1))
        assert (other - w).norm() >= distance - 1e-5


numbers = st.floats(-3, 3, width=32)


@settings(max_examples=60, deadline=None)
@given(st.lists(numbers, min_size=4, max_size=4), st.sampled_from([0.05, 0.4, 1.0]))
def test_sign_gap_and_norm_together_are_nearest(row: list[float], mean: float) -> None:
    """Against a grid of all supports and a fine division of the norm among them."""
    signs, width = torch.tensor([1.0, -1.0, 1.0, 1.0]), 0.15
    joint = constraints.Sign(signs) & constraints.Gap(width) & constraints.L1Norm(mean)
    total = 4 * mean
    w = torch.tensor([row], dtype=torch.float64)
    s = joint.project(w)
    assert joint.holds(s, 1e-9)
    least = float((w - s).square().sum())
    parts = torch.linspace(0, 1, 9, dtype=torch.float64)
    for size in range(1, 5):
        if size * width > total:
            break
        for support in itertools.combinations(range(4), size):
            for shares in itertools.product(parts.tolist(), repeat=size - 1):
                if sum(shares) > 1:
                    continue
                y = torch.zeros(4, dtype=torch.float64)
                for i, share in zip(support, [*shares, 1 - sum(shares)], strict=True):
                    y[i] = width + share * (total - size * width)
                assert float((w[0] - y * signs).square().sum()) >= least - 1e-9


# ---- signs -----------------------------------------------------------------------------------------------------------


def test_signs_belong_to_inputs_or_weights() -> None:
    signs = torch.tensor([1, -1, 1, -1])
    dale = constraints.Sign(signs)
    conv = layers()["conv"]
    dale.project_(conv)
    w = values(conv)
    assert bool((w[:, signs == 1] >= 0).all())
    assert bool((w[:, signs == -1] <= 0).all())
    sparse = layers()["sparse conv"]
    assert isinstance(sparse, SparseConv2d)
    dale.project_(sparse)
    dense = sparse.to_dense().weight
    assert bool((dense * signs.view(1, 4, 1, 1) >= 0).all())
    assert bool((dense != 0).any())
    each = torch.where(weight(6, 8, seed=5) > 0, 1, -1)
    w = weight(6, 8)
    assert torch.equal(constraints.Sign(each).project(w), torch.where(w * each > 0, w, 0.0))


def test_drawn_signs_depend_on_seed_and_inputs_alone() -> None:
    w = weight(3, 50)
    drawn = [constraints.Sign(inhibitory=0.2, seed=s)._signs(w) for s in (0, 0, 1)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert int((drawn[0] < 0).sum()) == 10
    for share, count in ((0.0, 0), (1.0, 50)):
        assert int((constraints.Sign(inhibitory=share)._signs(w) < 0).sum()) == count


# ---- what is refused -------------------------------------------------------------------------------------------------


def test_combinations_without_a_projection_are_refused() -> None:
    gap, norm, hoyer = constraints.Gap(0.1), constraints.L1Norm(0.2), constraints.Hoyer(0.7)
    with pytest.raises(InputError, match="Hoyer can be combined with Sign alone, got Hoyer, Gap"):
        hoyer & gap
    with pytest.raises(InputError, match="different kinds, got Gap, Gap"):
        gap & constraints.Gap(0.2)
    with pytest.raises(InputError, match="one of L1 and L1Norm"):
        norm & constraints.L1(1.0)
    with pytest.raises(InputError, match="per must be the same for all parts, got 'input' and 'output'"):
        norm & constraints.L0(2, per="input")
    with pytest.raises(InputError, match="signed must be True"):
        SIGN & constraints.Gap(0.1, signed=False)
    with pytest.raises(InputError, match="two constraints or more, got 1"):
        constraints.Intersection([gap])
    with pytest.raises(InputError, match="parts must be constraints, got 3"):
        constraints.Intersection([gap, 3])  # type: ignore[list-item]
    w = weight(3, 4)
    before = w.clone()
    with pytest.raises(InputError, match=r"width must be at most the sum of magnitudes, 0\.4"):
        (constraints.Gap(0.5) & constraints.L1Norm(0.1)).project_(w)
    assert torch.equal(w, before)


def test_mistakes_are_named() -> None:
    for bad in (0.0, -1.0, nan, math.inf):
        for make in (constraints.Gap, constraints.L1Norm):
            with pytest.raises(InputError, match="must be in"):
                make(bad)
    with pytest.raises(InputError, match="inhibitory must be in"):
        constraints.Sign(inhibitory=1.5)
    with pytest.raises(InputError, match=r"signs must be a tensor of \+1 and -1"):
        constraints.Sign(torch.tensor([1, 0]))
    with pytest.raises(
        InputError, match=r"signs must have the shape of the inputs, \(8,\), or of the weight, \(6, 8\)"
    ):
        constraints.Sign(torch.ones(7)).project_(weight(6, 8))
    with pytest.raises(InputError, match=r"floating point, got torch\.int64"):
        constraints.Gap(0.1).project_(torch.ones(2, 2, dtype=torch.int64))
    for one in (constraints.Gap(0.1), SIGN):
        with pytest.raises(InputError, match="shape"):
            one.project_(torch.ones(3))
    with pytest.raises(InputError, match="a layer that has a weight, got ReLU"):
        constraints.Gap(0.1).project_(nn.ReLU())
    grouped = nn.Conv2d(4, 4, 3, groups=2)
    with pytest.raises(InputError, match="each weight of a convolution of 2 groups"):
        SIGN.project_(grouped)
    with pytest.raises(InputError, match="per must not be 'input'"):
        constraints.L0(1, per="input").project_(grouped)
    with pytest.raises(InputError, match="AverageHoyer is for dense layers"):
        constraints.AverageHoyer(0.8).project_(layers()["sparse"])
    with pytest.raises(InputError, match="at_least=True, where a vector has"):
        constraints.Hoyer(0.3).project_(SparseLinear(50, 4, density=0.1, generator=torch.Generator().manual_seed(0)))


@every
def test_nan_zeros_and_empty_weights(constraint: Constraint) -> None:
    w = torch.full((6, 8), nan)
    assert not constraint.holds(constraint.project_(w))  # NaN is never hidden
    assert constraint.holds(constraint.project_(torch.zeros(6, 8)))
    assert constraint.project_(torch.empty(0, 8)).shape == (0, 8)


def test_vectors_without_connections_are_left_alone() -> None:
    layer = SparseLinear(4, 3, pattern=gs.Pattern.from_mask(torch.zeros(3, 4, dtype=torch.bool)), density=None)
    assert constraints.L1Norm(0.5).project_(layer).nnz == 0
    assert constraints.L1Norm(0.5).holds(layer)


def test_every_connection_is_in_one_block() -> None:
    for kind in ("sparse", "sparse conv"):
        layer = layers()[kind]
        assert isinstance(layer, SparseLinear | SparseConv2d)
        for per in ("output", "input", "layer"):
            labels, positions = label_vectors(layer, per)
            blocks = list(vector_blocks(labels))
            assert sorted(torch.cat([b.flatten() for b in blocks]).tolist()) == list(range(layer.nnz))
            assert all(len(set(labels[row].tolist())) == 1 for block in blocks for row in block)
            assert all(block.shape[1] <= positions for block in blocks)


# ---- in training -----------------------------------------------------------------------------------------------------


def test_a_sparse_layer_stays_in_the_set_while_it_is_rewired_and_pruned() -> None:
    generator = torch.Generator().manual_seed(0)
    net = nn.Sequential(SparseLinear(12, 10, density=0.5, generator=generator), nn.ReLU(), nn.Linear(10, 2))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.05)
    joint = SIGN & constraints.Gap(0.05) & constraints.L1Norm(0.1)
    attached = constraints.attach(net[0], joint, optimizer, window=2)
    rewire = gs.Rewire(net, optimizer)
    for step in range(6):
        optimizer.zero_grad()
        net(torch.randn(8, 12, generator=generator)).square().mean().backward()
        optimizer.step()
        assert joint.holds(net[0])
        rewire.step()
        if step == 3:
            gs.magnitude_prune_(net, 0.3, optimizer)
    state = copy.deepcopy(attached.state_dict())
    attached.load_state_dict(state)
    copied, _, _ = copy.deepcopy((net, optimizer, attached))
    assert joint.holds(copied[0]) == joint.holds(net[0])


def test_attaching_to_what_cannot_be_projected_changes_nothing() -> None:
    net = nn.Sequential(nn.Linear(30, 4), SparseLinear(4, 3, density=0.5, generator=torch.Generator().manual_seed(0)))
    before = copy.deepcopy(net.state_dict())
    with pytest.raises(InputError, match="width must be at most"):
        constraints.attach(net, constraints.Gap(0.3) & constraints.L1Norm(0.02), None)
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())


# ---- by name ---------------------------------------------------------------------------------------------------------


def test_constraints_have_names() -> None:
    assert constraints.parse("gap:0.02") == constraints.Gap(0.02)
    assert constraints.parse(" L0:5 ") == constraints.L0(5)
    assert constraints.parse("l1:2") == constraints.L1(2.0)
    assert constraints.parse("l1norm:0.5") == constraints.L1Norm(0.5)
    assert constraints.parse("hoyer:0.8") == constraints.Hoyer(0.8, norm="preserve", at_least=True)
    both = constraints.parse("sign:0.3+gap:0.1", seed=7)
    assert isinstance(both, constraints.Intersection)
    assert [type(part).__name__ for part in both.parts] == ["Sign", "Gap"]
    assert pickle.loads(pickle.dumps(both)).project(weight(4, 4)).tolist() == both.project(weight(4, 4)).tolist()
    for bad in ("", "gap", "gap:", "gap:x", "l0:1.5", "gap:0.1+", "sparse:3", "sign:"):
        with pytest.raises(InputError, match="constraint must be gap:WIDTH"):
            constraints.parse(bad)
    for bad in ("gap:-1", "gap:nan", "l0:0", "sign:2", "hoyer:1"):
        with pytest.raises(InputError, match=f"constraint '{bad}': "):
            constraints.parse(bad)
