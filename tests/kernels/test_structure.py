"""Index tensors: checked, transposed, trusted while nothing changes."""

from __future__ import annotations

import gc
import weakref
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gossamer.errors import InputError
from gossamer.kernels import (
    Structure,
    check_csr,
    csc_permutation,
    mark_validated,
    rows_of,
    structure,
    transpose,
    validate,
)

pytestmark = pytest.mark.usefixtures("one_thread")


def ints(*numbers: int) -> Tensor:
    return torch.tensor(numbers, dtype=torch.int32)


def csr_of(mask: Tensor) -> tuple[Tensor, Tensor]:
    indptr = torch.zeros(mask.shape[0] + 1, dtype=torch.int32)
    indptr[1:] = mask.sum(1).cumsum(0)
    return indptr, mask.nonzero()[:, 1].to(torch.int32)


@st.composite
def masks(draw: st.DrawFn) -> Tensor:
    rows, cols = draw(st.integers(0, 9)), draw(st.integers(0, 9))
    positions = draw(st.lists(st.booleans(), min_size=rows * cols, max_size=rows * cols))
    return torch.tensor(positions, dtype=torch.bool).view(rows, cols)


# ---- transpose -----------------------------------------------------------------------------------------------------


def test_a_literal_pattern() -> None:
    #     0 1 2
    # 0 [ x . x ]
    # 1 [ . . . ]
    # 2 [ x x . ]
    s = transpose(ints(0, 2, 2, 4), ints(0, 2, 0, 1), 3)
    assert s.shape == (3, 3)
    assert s.nnz == 4
    assert s.t_indptr.tolist() == [0, 2, 3, 4]
    assert s.t_indices.tolist() == [0, 2, 2, 0]
    assert csc_permutation(s).tolist() == [0, 2, 3, 1]
    assert rows_of(s.indptr).tolist() == [0, 0, 2, 2]
    assert all(t.dtype == torch.int32 for t in s)


@given(masks())
def test_the_transposed_half_is_the_pattern_read_by_columns(mask: Tensor) -> None:
    s = transpose(*csr_of(mask), mask.shape[1])
    indptr, rows = csr_of(mask.t())
    assert torch.equal(s.t_indptr, indptr)
    assert torch.equal(s.t_indices, rows)
    place = csc_permutation(s)
    assert place.dtype == torch.int32
    assert torch.equal(rows_of(s.indptr)[place.long()], s.t_indices.long())
    assert torch.equal(s.indices[place.long()].long(), rows_of(s.t_indptr))
    assert torch.equal(place.sort().values, torch.arange(s.nnz, dtype=torch.int32))
    validate(s)


@given(masks())
def test_transposing_twice_gives_the_pattern_back(mask: Tensor) -> None:
    s = transpose(*csr_of(mask), mask.shape[1])
    t = transpose(s.t_indptr, s.t_indices, s.shape[0])
    assert torch.equal(t.t_indptr, s.indptr)
    assert torch.equal(t.t_indices, s.indices)
    assert torch.equal(csc_permutation(s)[csc_permutation(t).long()], torch.arange(s.nnz, dtype=torch.int32))


def test_inputs_may_be_laid_out_anyhow() -> None:
    indptr, indices = ints(0, 2, 2, 4), ints(0, 2, 0, 1)
    spread = torch.stack([indptr, -indptr], 1)[:, 0], torch.stack([indices, -indices], 1)[:, 0]
    assert not spread[1].is_contiguous()
    check_csr(*spread, 3)
    s = transpose(*spread, 3)
    assert all(t.is_contiguous() for t in s)
    assert torch.equal(csc_permutation(s), csc_permutation(transpose(indptr, indices, 3)))


# ---- check_csr -----------------------------------------------------------------------------------------------------


@given(masks())
def test_every_pattern_passes(mask: Tensor) -> None:
    check_csr(*csr_of(mask), mask.shape[1])


@pytest.mark.parametrize(
    ("indptr", "indices", "message"),
    [
        (ints(), ints(), r"indptr must have rows \+ 1 ≥ 1 elements, got none"),
        (ints(1, 2), ints(0, 1), "indptr must start at 0"),
        (ints(-1, 2), ints(0, 1), "indptr must start at 0"),
        (ints(0, 2, 1, 2), ints(0, 1), "indptr must not decrease: it does at row 1"),
        (ints(0, -(2**31), 2), ints(0, 1), "indptr must not decrease: it does at row 0"),
        (ints(0, 1), ints(0, 1), "indptr must end at the number of indices, 2: it ends at 1"),
        (ints(0, 3), ints(0, 1), "indptr must end at the number of indices, 2: it ends at 3"),
        (ints(0, 2), ints(0, 3), r"indices must be in \[0, 3\): entry 1 is 3"),
        (ints(0, 2), ints(-1, 0), r"indices must be in \[0, 3\): entry 0 is -1"),
        (ints(0, 0, 2), ints(1, 1), "indices must ascend inside a row, without duplicates: entry 1 is 1, after 1"),
        (ints(0, 1, 3), ints(0, 2, 1), "indices must ascend inside a row, without duplicates: entry 2 is 1, after 2"),
        (ints(0, 1).long(), ints(0), r"indptr must be a vector of int32, got torch.int64 of shape \(2,\)"),
        (ints(0, 1)[None], ints(0), r"indptr must be a vector of int32, got torch.int32 of shape \(1, 2\)"),
        (ints(0, 1), ints(0).float(), "indices must be a vector of int32, got torch.float32"),
        (ints(0, 1), torch.tensor(0, dtype=torch.int32), r"indices must be a vector of int32, .* of shape \(\)"),
    ],
)
def test_what_is_no_pattern_is_refused_and_described(indptr: Tensor, indices: Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_csr(indptr, indices, 3)


@given(
    st.lists(st.integers(-3, 6) | st.sampled_from([-(2**31), 2**31 - 1]), max_size=5),
    st.lists(st.integers(-2, 4) | st.sampled_from([-(2**31), 2**31 - 1]), max_size=5),
    st.integers(0, 4),
)
def test_what_passes_is_a_pattern(indptr: list[int], indices: list[int], cols: int) -> None:
    """Numbers at random are refused exactly when they describe no pattern, and never read beyond."""
    ends = list(pairwise(indptr))
    sound = bool(indptr) and indptr[0] == 0 and indptr[-1] == len(indices) and all(a <= b for a, b in ends)
    sound = sound and all(0 <= i < cols for i in indices)
    sound = sound and all(sorted(set(indices[a:b])) == indices[a:b] for a, b in ends)
    if sound:
        check_csr(ints(*indptr), ints(*indices), cols)
    else:
        with pytest.raises(InputError):
            check_csr(ints(*indptr), ints(*indices), cols)


# ---- validate and mark_validated -------------------------------------------------------------------------------------


def literal() -> Structure:
    return transpose(ints(0, 2, 2, 4), ints(0, 2, 0, 1), 3)


def test_a_structure_is_read_again_only_when_it_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    times = []
    original = structure._validate_now

    def count(s: Structure) -> None:
        times.append(s)
        original(s)

    monkeypatch.setattr(structure, "_validate_now", count)
    s = literal()
    for _ in range(3):
        validate(s)
        validate(Structure(*s))
    assert len(times) == 1
    s.indices.add_(0)  # in place, though nothing changes
    validate(s)
    validate(s)
    assert len(times) == 2
    other = literal()
    mark_validated(other)
    validate(other)
    assert len(times) == 2


def test_a_change_through_a_view_is_noticed() -> None:
    s = literal()
    validate(s)
    s.t_indices[1:2].fill_(99)
    with pytest.raises(InputError, match="t_indices is not that of the transpose of this 3 × 3 pattern"):
        validate(s)


def test_replaced_memory_is_noticed() -> None:
    s = literal()
    validate(s)
    s.t_indices.data = ints(0, 2)
    with pytest.raises(InputError, match="t_indices is not that of the transpose"):
        validate(s)
    s.t_indices.data = s.t_indices.data[:1]
    with pytest.raises(InputError, match="t_indices is not that of the transpose"):
        validate(s)


def test_a_tensor_that_takes_the_place_of_another_in_memory_is_not_trusted() -> None:
    s = literal()
    validate(s)
    address = s.t_indices.data_ptr()
    s = s._replace(t_indices=ints(7, 7, 7, 7))
    for _ in range(50):  # the allocator would soon hand the old place out again
        with pytest.raises(InputError):
            validate(s._replace(t_indices=ints(7, 7, 7, 7)))
    assert s.t_indices.data_ptr() != address


def test_validation_keeps_no_structure_alive() -> None:
    gc.collect()
    before = len(structure._validated)
    s = literal()
    validate(s)
    assert len(structure._validated) == before + 1
    gone = weakref.ref(s.indptr)
    del s
    gc.collect()
    assert len(structure._validated) == before
    assert gone() is None


@pytest.mark.parametrize("field", Structure._fields[2:])
def test_the_transposed_half_must_have_its_type_and_length(field: str) -> None:
    tensor = getattr(literal(), field)
    for wrong in (tensor.long(), tensor.float(), tensor[:-1], tensor[None], torch.cat([tensor, tensor[-1:] + 1])):
        with pytest.raises(InputError, match="not a valid pattern"):
            validate(literal()._replace(**{field: wrong}))


def test_index_tensors_must_be_contiguous_and_on_one_device() -> None:
    s = literal()
    spread = torch.stack([s.indices, s.indices], 1)[:, 0]
    with pytest.raises(InputError, match="not a valid pattern: indices must be contiguous on cpu"):
        validate(s._replace(indices=spread))
    with pytest.raises(InputError, match="not a valid pattern: t_indptr must be contiguous on cpu"):
        validate(s._replace(t_indptr=s.t_indptr.to("meta")))


def test_rows_of_skips_empty_rows() -> None:
    assert rows_of(ints(0, 0, 2, 2, 3, 3)).tolist() == [1, 1, 3]
    assert rows_of(ints(0)).tolist() == []
