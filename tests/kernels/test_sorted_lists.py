"""What rewiring does to long lists: the passes in C++ against plain sets, and against the same in torch."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gossamer.kernels import csr_of, empty_at, flat_indices_of, follow, merge, split
from gossamer.kernels import sorted_lists as lists
from gossamer.kernels.structure import rows_of, transpose

flat_indices = st.sets(st.integers(0, 60), max_size=30)


def ascending(numbers: set[int]) -> Tensor:
    return torch.tensor(sorted(numbers), dtype=torch.int64)


@given(flat_indices, flat_indices)
def test_two_lists_are_merged(a: set[int], b: set[int]) -> None:
    both, from_a = merge(ascending(a), ascending(b - a))
    assert both.tolist() == sorted(a | b)
    assert from_a.dtype == torch.bool
    assert set(both[from_a].tolist()) == a


@given(st.lists(st.booleans(), max_size=40))
def test_a_list_is_split(chosen: list[bool]) -> None:
    yes, no = split(torch.arange(len(chosen)) * 3, torch.tensor(chosen, dtype=torch.bool))
    assert yes.tolist() == [3 * i for i, mark in enumerate(chosen) if mark]
    assert no.tolist() == [3 * i for i, mark in enumerate(chosen) if not mark]


@given(flat_indices, st.data())
def test_empty_cells_are_found_by_rank(occupied: set[int], data: st.DataObject) -> None:
    empty = [flat_index for flat_index in range(61) if flat_index not in occupied]
    ranks = sorted(data.draw(st.sets(st.integers(0, len(empty) - 1))))
    assert empty_at(ascending(occupied), torch.tensor(ranks, dtype=torch.int64)).tolist() == [empty[r] for r in ranks]


@given(st.lists(st.booleans(), min_size=1, max_size=40), st.integers(0, 2**31))
def test_survivors_follow_in_order_and_the_rest_is_zero(stays: list[bool], seed: int) -> None:
    source = torch.arange(1.0, len(stays) + 1)
    staying = torch.tensor(stays)
    count = int(staying.sum())
    order = torch.randperm(count + 5, generator=torch.Generator().manual_seed(seed))
    place = order < count
    out = follow(source, staying, place)
    assert torch.equal(out[place], source[staying])
    assert not out[~place].any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.uint8])
def test_numbers_of_any_size_follow(dtype: torch.dtype) -> None:
    source = torch.tensor([1, 2, 3, 4]).to(dtype)
    out = follow(source, torch.tensor([True, False, False, True]), torch.tensor([False, True, True]))
    assert out.dtype == dtype
    assert out.tolist() == [0, 1, 4]


def test_nothing_to_do() -> None:
    none = torch.zeros(0, dtype=torch.int64)
    both, from_a = merge(none, none)
    assert both.numel() == from_a.numel() == 0
    assert (
        follow(torch.zeros(0), torch.zeros(0, dtype=torch.bool), torch.zeros(3, dtype=torch.bool)).tolist() == [0] * 3
    )


@given(st.integers(1, 6), st.integers(1, 6), st.data())
def test_cells_are_numbered_by_rows(rows: int, cols: int, data: st.DataObject) -> None:
    live = ascending(data.draw(st.sets(st.integers(0, rows * cols - 1))))
    counts = torch.bincount(live // cols, minlength=rows).cumsum(0)
    indptr = torch.cat([torch.zeros(1, dtype=torch.int64), counts]).to(torch.int32)
    s = transpose(indptr, (live % cols).to(torch.int32), cols)
    assert torch.equal(flat_indices_of(s), live)
    for mine, theirs in zip(csr_of(live, rows, cols), (indptr, s.indices), strict=True):
        assert mine.dtype == torch.int32
        assert torch.equal(mine, theirs)
    assert torch.equal(rows_of(s.indptr) * cols + s.indices, live)


def test_plain_torch_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    every = torch.randperm(500, generator=generator)
    a, b = every[:200].sort().values, every[200:250].sort().values
    source = torch.rand(300, generator=generator)
    stays = torch.rand(300, generator=generator).argsort() < 200
    both, from_a = merge(a, b)
    moved, ranks = follow(source, stays, from_a), torch.arange(0, 250, 7)

    def others() -> tuple[Tensor, ...]:
        return (*merge(a, b), *split(both, from_a), *csr_of(both, 25, 20), empty_at(both, ranks))

    found = others()
    monkeypatch.setattr(lists, "_plain", lambda *_: False)
    for mine, theirs in zip(others(), found, strict=True):
        assert torch.equal(mine, theirs)
    assert torch.equal(follow(source, stays, from_a), moved)
