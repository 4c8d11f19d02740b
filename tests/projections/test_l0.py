"""The k largest stay."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gossamer.errors import InputError
from gossamer.projections import l0_projection

inf, nan = math.inf, math.nan


def test_literal_rows() -> None:
    x = torch.tensor([[3.0, -5, 1, 2], [-1, -2, -3, -4], [1, 0, -6, 0]])
    assert l0_projection(x, 2).tolist() == [[3, -5, 0, 0], [0, 0, -3, -4], [1, 0, -6, 0]]
    assert l0_projection(x, 2, signed=False).tolist() == [[3, 0, 0, 2], [0, 0, 0, 0], [1, 0, 0, 0]]
    assert l0_projection(x, 1, dim=0).tolist() == [[3, -5, 0, 0], [0, 0, 0, -4], [0, 0, -6, 0]]
    assert torch.equal(l0_projection(x, 4), x)


def test_ties_go_to_the_lowest_index() -> None:
    assert l0_projection(torch.tensor([-2.0, 2, 1, -2]), 2).tolist() == [-2, 2, 0, 0]
    assert l0_projection(torch.tensor([1.0, 2, 2, 2]), 2, signed=False).tolist() == [0, 2, 2, 0]


@given(st.lists(st.integers(-4, 4), min_size=1, max_size=7), st.data(), st.booleans())
def test_no_choice_of_entries_is_nearer(values: list[int], data: st.DataObject, signed: bool) -> None:
    k = data.draw(st.integers(1, len(values)))
    x = np.array(values, dtype=np.float64)
    s = l0_projection(torch.tensor(x), k, signed=signed).numpy()
    assert (s != 0).sum() <= k
    assert signed or s.min() >= 0
    reachable = x if signed else np.maximum(x, 0)
    choices = itertools.combinations(range(len(x)), k)
    least = min(((x - np.where(np.isin(range(len(x)), kept), reachable, 0)) ** 2).sum() for kept in choices)
    assert ((x - s) ** 2).sum() == least
    again = l0_projection(torch.tensor(s), k, signed=signed).numpy()
    np.testing.assert_array_equal(again, s)
    if signed:
        np.testing.assert_array_equal(l0_projection(torch.tensor(-x), k).numpy(), -s)


def test_derivative_is_the_mask(generator: torch.Generator) -> None:
    x = torch.randn(3, 6, dtype=torch.float64, generator=generator, requires_grad=True)
    for signed in (False, True):
        s = l0_projection(x, 2, signed=signed)
        assert torch.equal(torch.autograd.grad(s.sum(), x)[0], (s != 0).double())
        assert torch.autograd.gradcheck(lambda t, signed=signed: l0_projection(t, 2, signed=signed), (x,))
        assert torch.autograd.gradgradcheck(lambda t, signed=signed: l0_projection(t, 2, signed=signed), (x,))


def test_infinities_are_numbers() -> None:
    x = torch.tensor([inf, 1, -inf, 2])
    assert l0_projection(x, 2).tolist() == [inf, 0, -inf, 0]
    assert l0_projection(x, 3, signed=False).tolist() == [inf, 1, 0, 2]


def test_nan_spoils_its_row_only() -> None:
    x = torch.tensor([[1.0, nan, 3], [1, 2, 3]], requires_grad=True)
    for signed in (False, True):
        s = l0_projection(x, 1, signed=signed)
        assert s[0].isnan().all()
        assert s[1].tolist() == [0, 0, 3]
        assert torch.autograd.grad(s[1].sum(), x)[0].tolist() == [[0, 0, 0], [0, 0, 1]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtype_is_kept(dtype: torch.dtype, generator: torch.Generator) -> None:
    x = torch.randn(4, 6, generator=generator).to(dtype)
    s = l0_projection(x, 2, dim=0)
    assert s.dtype == dtype
    assert (s != 0).sum(0).tolist() == [2] * 6
    assert l0_projection(x[:0], 2).shape == (0, 6)


@pytest.mark.parametrize("k", [0, 5, 1.5, True, nan])
def test_k_out_of_range(k: int) -> None:
    with pytest.raises(InputError, match="k must be a whole number from 1 to 4"):
        l0_projection(torch.ones(2, 4), k)


@pytest.mark.parametrize(
    ("x", "dim", "message"),
    [
        (torch.ones(2, 4, dtype=torch.int64), -1, "floating point"),
        (torch.tensor(1.0), -1, "floating point"),
        (torch.ones(2, 4), 2, r"dim must be in \[-2, 1\]"),
    ],
)
def test_wrong_input(x: Tensor, dim: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        l0_projection(x, 1, dim)


def test_compiles_without_a_break(generator: torch.Generator) -> None:
    x = torch.randn(4, 9, generator=generator)
    compiled = torch.compile(lambda t: l0_projection(t, 3, signed=False), fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(x), l0_projection(x, 3, signed=False))
