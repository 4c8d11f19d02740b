"""The laws of growth, on score matrices that are written down."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gossamer import InputError, Pattern, SparseLinear
from gossamer.plasticity import grow
from gossamer.plasticity.evidence import Evidence
from gossamer.plasticity.grow import Grow
from gossamer.plasticity.pairs import Factored, Score, Summed
from gossamer.plasticity.similarity import Cosine

COSINE = Cosine()
LITERAL = torch.tensor([[0.9, 0.1, 0.5, 0.0], [0.5, 0.8, 0.5, 0.2], [0.0, 0.3, 0.7, 0.6]])  # positions 0 … 11


def ascending(*flat_indices: int) -> Tensor:
    return torch.tensor(sorted(flat_indices), dtype=torch.int64)


def evidence(scores: Tensor, seed: int = 0, block: int = 1 << 22) -> Evidence:
    rows, cols = scores.shape
    layer = SparseLinear(cols, rows, pattern=Pattern.from_flat_indices(torch.zeros(1, dtype=torch.int64), rows, cols))
    generator = torch.Generator().manual_seed(seed)
    return Evidence("layer", layer, generator, {COSINE: Summed(scores, block=block)})


def grown(rule: Grow, scores: Tensor, kept: Tensor, dropped: Tensor, count: int, seed: int = 0) -> list[int]:
    return [int(flat_index) for flat_index in rule(evidence(scores, seed), kept, dropped, count)]


def chi_square(counts: dict[tuple[int, ...], int], law: dict[tuple[int, ...], float], draws: int) -> float:
    return sum((counts.get(key, 0) - draws * p) ** 2 / (draws * p) for key, p in law.items())


# ---- the best ------------------------------------------------------------------------------------------------------


def test_cosine_takes_the_best_empty_cells_and_of_equals_the_lowest() -> None:
    assert grown(grow.cosine(), LITERAL, ascending(0, 10), ascending(5), 3) == [2, 5, 11]  # .8, .6, then .5 at 2, 4, 6
    assert grown(grow.cosine(), LITERAL, ascending(0, 10), ascending(5), 4) == [2, 4, 5, 11]


def test_cells_that_have_just_dropped_may_be_excluded() -> None:
    rule = grow.cosine(exclude_removed=True)
    assert grown(rule, LITERAL, ascending(0, 10), ascending(5), 3) == [2, 4, 11]
    full = ascending(*range(8))  # 8 kept, 3 dropped, one other position is empty
    flat_indices = grown(rule, LITERAL, full, ascending(8, 9, 10), 3)
    assert 11 in flat_indices
    assert len(set(flat_indices) - set(full.tolist())) == 3


def test_too_few_alike_leave_the_rest_to_chance() -> None:
    scores = torch.zeros(3, 4)
    scores[1, 2] = 0.1
    for rule in (grow.cosine(), grow.cosine_proportional(), grow.cosine_proportional(tries=0)):
        others = set()
        for seed in range(200):
            flat_indices = grown(rule, scores, ascending(0, 1, 2), ascending(3), 3, seed)
            assert len(set(flat_indices)) == 3
            assert 6 in flat_indices
            others |= set(flat_indices) - {6}
        assert others == {3, 4, 5, 7, 8, 9, 10, 11}


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 7), st.integers(1, 7), st.integers(1, 60), st.integers(0, 10**6), st.data())
def test_streaming_by_blocks_equals_sorting_everything(
    rows: int, cols: int, block: int, seed: int, data: st.DataObject
) -> None:
    total = rows * cols
    scores = torch.randint(0, 5, (rows, cols), generator=torch.Generator().manual_seed(seed)) / 4  # many ties
    kept = data.draw(st.sets(st.integers(0, total - 1)))
    count = data.draw(st.integers(0, total - len(kept)))
    free = [flat_index for flat_index in range(total) if flat_index not in kept and scores.flatten()[flat_index] > 0]
    expected = sorted(free, key=lambda flat_index: (-float(scores.flatten()[flat_index]), flat_index))[:count]
    got = grow.cosine()(evidence(scores, block=block), ascending(*kept), ascending(), count).tolist()
    assert len(set(got)) == count
    assert got == sorted(got)
    assert set(expected) <= set(got)
    assert not kept & set(got)


def test_added_are_at_least_as_alike_as_any_not_added() -> None:
    g = torch.Generator().manual_seed(0)
    a, b = torch.randn(40, 6, generator=g), torch.randn(50, 6, generator=g)
    kept = torch.randperm(2000, generator=g)[:100].sort().values
    layer = SparseLinear(50, 40, pattern=Pattern.from_flat_indices(kept, 40, 50))
    for block in (70, 1 << 22):
        e = Evidence("layer", layer, torch.Generator(), {COSINE: Factored(a, b, Score(), block=block)})
        flat_indices = grow.cosine()(e, kept, kept[:0], 300)
        scores = (a @ b.t()).abs().flatten()
        rest = torch.ones(2000, dtype=torch.bool)
        rest[kept] = rest[flat_indices] = False
        assert float(scores[flat_indices].min()) >= float(scores[rest].max())


# ---- in proportion -------------------------------------------------------------------------------------------------


def sequential_law(weights: dict[int, float], count: int) -> dict[tuple[int, ...], float]:
    """Probability of each set when ``count`` positions are drawn one by one, in proportion to what is left."""
    law: dict[tuple[int, ...], float] = {}
    for order in itertools.permutations(weights, count):
        p, left = 1.0, sum(weights.values())
        for flat_index in order:
            p *= weights[flat_index] / left
            left -= weights[flat_index]
        law[tuple(sorted(order))] = law.get(tuple(sorted(order)), 0.0) + p
    return law


@pytest.mark.parametrize("tries", [0, 1, 1000], ids=["keys", "both", "rejection"])
@pytest.mark.parametrize("constant", [False, True])
def test_proportional_growth_has_the_law_of_sequential_sampling(tries: int, constant: bool) -> None:
    scores = torch.full((2, 3), 0.4) if constant else torch.tensor([[0.8, 0.1, 0.4], [0.05, 0.3, 0.9]])
    weights = {flat_index: float(scores.flatten()[flat_index]) for flat_index in (1, 2, 3, 4, 5)}  # position 0 is kept
    law = sequential_law(weights, 2)
    assert math.isclose(sum(law.values()), 1)
    rule, e, draws = grow.cosine_proportional(tries=tries), evidence(scores), 4000
    counts: dict[tuple[int, ...], int] = {}
    for _ in range(draws):
        flat_indices = tuple(rule(e, ascending(0), ascending(), 2).tolist())
        counts[flat_indices] = counts.get(flat_indices, 0) + 1
    assert set(counts) <= set(law)
    assert chi_square(counts, law, draws) < 27.9  # 9 degrees of freedom, p = 0.001


def test_one_cell_in_proportion_to_its_score() -> None:
    e, draws = evidence(LITERAL), 4000
    rule = grow.cosine_proportional()
    counts: dict[tuple[int, ...], int] = {}
    for _ in range(draws):
        flat_indices = tuple(rule(e, ascending(5), ascending(), 1).tolist())
        counts[flat_indices] = counts.get(flat_indices, 0) + 1
    law = sequential_law({c: float(s) for c, s in enumerate(LITERAL.flatten()) if s > 0 and c != 5}, 1)
    assert set(counts) <= set(law)
    assert chi_square(counts, law, draws) < 26.2  # 8 degrees of freedom, p = 0.001


def test_proportional_growth_of_everything() -> None:
    positive = (LITERAL.flatten() > 0).nonzero().flatten().tolist()
    assert grown(grow.cosine_proportional(), LITERAL, ascending(), ascending(), len(positive)) == positive


# ---- one after the other -------------------------------------------------------------------------------------------


def test_sequential_growth_switches_for_good_when_progress_stops() -> None:
    first, then = grow.cosine(), grow.uniform()
    rule = grow.sequential(first, patience=2)
    assert rule.needs == first.needs
    for scores, expected in (
        ([0.1], first),
        ([0.1, 0.1], first),
        ([0.1, 0.2, 0.1], first),
        ([0.1, 0.2, 0.2, 0.1], then),
        ([0.1, 0.1, 0.1, 0.9], then),
        ([0.1, float("nan"), float("nan")], then),
    ):
        assert rule.at(scores) == expected
    with pytest.raises(InputError, match=r"step\(score=…\)"):
        rule.at([])
    with pytest.raises(InputError, match="patience"):
        grow.sequential(first, patience=0)


def test_mistakes_are_named() -> None:
    with pytest.raises(InputError, match="tries"):
        grow.cosine_proportional(tries=-1)
    with pytest.raises(InputError, match="window"):
        grow.momentum(window=0)
    with pytest.raises(InputError, match="decay"):
        grow.momentum(decay=0.0)
