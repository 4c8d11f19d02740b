"""Selection and empty positions against enumeration."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gossamer.plasticity.flat_indices import EmptyIndices, contained, share, smallest, smallest_of_each_sign

few = settings(deadline=None, max_examples=60)
tied = st.lists(st.sampled_from([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0]), max_size=30)
cell_sets = st.integers(1, 60).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1))))


def ascending(flat_indices: set[int]) -> Tensor:
    return torch.tensor(sorted(flat_indices), dtype=torch.int64)


@few
@given(st.integers(0, 100), st.integers(0, 10**7))
def test_share_is_the_floor_of_the_exact_product(percent: int, count: int) -> None:
    assert share(percent / 100, count) == math.floor(Fraction(percent, 100) * count)


@few
@given(tied, st.integers(0, 35))
def test_smallest_takes_the_least_and_among_equals_the_first(scores: list[float], count: int) -> None:
    expected = sorted(range(len(scores)), key=lambda i: (scores[i], i))[:count]
    got = smallest(torch.tensor(scores, dtype=torch.float64), count)
    assert got.nonzero().flatten().tolist() == sorted(expected)


@few
@given(tied, st.sampled_from([0.0, 0.1, 0.29, 0.5, 1.0]))
def test_smallest_of_each_sign_is_the_textbook_rule(scores: list[float], fraction: float) -> None:
    positive = sorted((s, i) for i, s in enumerate(scores) if s > 0)
    negative = sorted((-s, i) for i, s in enumerate(scores) if s < 0)
    expected = {i for i, s in enumerate(scores) if s == 0}
    for side in (positive, negative):
        expected |= {i for _, i in side[: math.floor(fraction * len(side) + 1e-9)]}
    got = smallest_of_each_sign(torch.tensor(scores), fraction)
    assert set(got.nonzero().flatten().tolist()) == expected


def test_smallest_of_each_sign_on_a_literal_vector() -> None:
    importance = torch.tensor([0.3, -0.1, 0.0, 0.1, -0.4, 0.1, -0.2, -0.3])
    #                          keep  drop  drop drop  keep  keep  drop  keep
    assert smallest_of_each_sign(importance, 0.5).tolist() == [False, True, True, True, False, False, True, False]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_smallest_in_every_floating_dtype(dtype: torch.dtype) -> None:
    assert smallest(torch.tensor([3.0, 1.0, math.inf, -math.inf], dtype=dtype), 2).tolist() == [
        False,
        True,
        False,
        True,
    ]


@few
@given(cell_sets)
def test_empty_cells_are_found_by_rank(case: tuple[int, set[int]]) -> None:
    total, occupied = case
    empty = EmptyIndices(ascending(occupied), total)
    expected = [c for c in range(total) if c not in occupied]
    assert empty.count == len(expected)
    assert empty.at(torch.arange(empty.count)).tolist() == expected


@few
@given(cell_sets, st.data())
def test_without_occupies_more(case: tuple[int, set[int]], data: st.DataObject) -> None:
    total, occupied = case
    free = sorted(set(range(total)) - occupied)
    taken = data.draw(st.sets(st.sampled_from(free))) if free else set()
    assert EmptyIndices(ascending(occupied), total).without(ascending(taken)).occupied.tolist() == sorted(
        occupied | taken
    )


@few
@given(st.sets(st.integers(0, 50)), st.sets(st.integers(0, 50)))
def test_contained(a: set[int], b: set[int]) -> None:
    assert contained(ascending(a), ascending(b)).tolist() == [x in b for x in sorted(a)]


def test_sample_of_empty_cells_is_uniform() -> None:
    empty = EmptyIndices(torch.tensor([0, 3, 4, 8]), 10)  # empty: 1 2 5 6 7 9
    generator = torch.Generator().manual_seed(1)
    counts = torch.zeros(10)
    for _ in range(3000):
        drawn = empty.sample(2, generator)
        assert drawn[0] < drawn[1]
        counts[drawn] += 1
    assert counts[[0, 3, 4, 8]].sum() == 0
    free = counts[[1, 2, 5, 6, 7, 9]]
    assert float(((free - 1000) ** 2 / 1000 / (1 - 1 / 3)).sum()) * 5 / 6 < 20.5  # χ², 5 degrees of freedom, p = 0.001


def test_sample_of_everything_and_of_nothing() -> None:
    empty = EmptyIndices(torch.tensor([1]), 3)
    generator = torch.Generator().manual_seed(0)
    assert empty.sample(2, generator).tolist() == [0, 2]
    assert empty.sample(0, generator).tolist() == []
