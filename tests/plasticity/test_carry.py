"""What belongs to a surviving connection follows it, to the bit."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gossamer import Pattern, SparseLinear
from gossamer.plasticity.carry import prepare


def layer_2x3() -> tuple[SparseLinear, torch.optim.Optimizer]:
    layer = SparseLinear(3, 2, pattern=Pattern.from_flat_indices(torch.tensor([0, 2, 4, 5]), 2, 3))
    with torch.no_grad():
        layer.weight_values.copy_(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    optimizer = torch.optim.Adam(layer.parameters())
    state = optimizer.state[layer.weight_values]
    state["step"] = torch.tensor(7.0)
    state["anything"] = torch.tensor([10.0, 20.0, 30.0, 40.0])
    state["counter"] = torch.tensor([1, 2, 3, 4])
    state["text"] = "kept"
    return layer, optimizer


def flat_indices(*numbers: int) -> Tensor:
    return torch.tensor(sorted(numbers), dtype=torch.int64)


def test_state_of_any_name_follows_the_connections() -> None:
    layer, optimizer = layer_2x3()
    parameter, state = layer.weight_values, optimizer.state[layer.weight_values]
    reference = state["anything"]
    survives = torch.tensor([False, True, False, True])
    prepared = prepare(
        "body", layer, flat_indices(2, 5), survives, flat_indices(1, 3), torch.tensor([0.5, -0.5]), optimizer
    )
    assert layer.weight_values.tolist() == [1.0, 2.0, 3.0, 4.0]  # nothing has changed
    assert reference.tolist() == [10.0, 20.0, 30.0, 40.0]
    for _ in range(2):  # a second time changes nothing more
        prepared.put()
    assert layer.pattern.flat_indices.tolist() == [1, 2, 3, 5]
    assert layer.weight_values is parameter
    assert layer.weight_values.tolist() == [0.5, 2.0, -0.5, 4.0]
    assert state["anything"] is reference
    assert reference.tolist() == [0.0, 20.0, 0.0, 40.0]
    assert state["counter"].tolist() == [0, 2, 0, 4]
    assert (float(state["step"]), state["text"]) == (7.0, "kept")


def test_fewer_links_shorten_weights_and_state() -> None:
    layer, optimizer = layer_2x3()
    survives = torch.tensor([True, False, False, True])
    prepare("body", layer, flat_indices(0, 5), survives, flat_indices(), torch.empty(0), optimizer).put()
    assert layer.weight_values.tolist() == [1.0, 4.0]
    assert optimizer.state[layer.weight_values]["anything"].tolist() == [10.0, 40.0]
    layer(torch.ones(1, 3)).sum().backward()


@settings(deadline=None, max_examples=40)
@given(st.sets(st.integers(0, 29), min_size=1), st.data())
def test_survivors_are_bit_identical(live: set[int], data: st.DataObject) -> None:
    kept = data.draw(st.sets(st.sampled_from(sorted(live))))
    free = sorted(set(range(30)) - kept)
    grown = set(data.draw(st.permutations(free))[: len(live) - len(kept)])
    pattern = Pattern.from_flat_indices(flat_indices(*live), 5, 6)
    layer = SparseLinear(6, 5, pattern=pattern, generator=torch.Generator().manual_seed(0))
    before = dict(zip(sorted(live), layer.weight_values.tolist(), strict=True))
    survives = torch.tensor([c in kept for c in sorted(live)])
    weights = torch.full((len(grown),), 9.0)
    prepare("body", layer, flat_indices(*kept), survives, flat_indices(*grown), weights, None).put()
    assert layer.weight_values.tolist() == [before[c] if c in kept else 9.0 for c in sorted(kept | grown)]
