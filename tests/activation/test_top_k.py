"""The k largest stay, ties go to the lowest index, and the derivative is the mask."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gossamer.activation.top_k import TopK, top_k
from gossamer.errors import InputError
from gossamer.kernels import Code

inf, nan = math.inf, math.nan


def test_literal_rows() -> None:
    x = torch.tensor([[3.0, -5, 1, 2], [-1, -2, -3, -4]])
    assert top_k(x, 2).tolist() == [[3, 0, 0, 2], [-1, -2, 0, 0]]
    assert top_k(x, 2, signed=True).tolist() == [[3, -5, 0, 0], [0, 0, -3, -4]]
    assert top_k(x, 1, dim=0).tolist() == [[3, 0, 1, 2], [0, -2, 0, 0]]
    assert torch.equal(top_k(x, 4), x)


def test_ties_go_to_the_lowest_index() -> None:
    x = torch.tensor([[1.0, 2, 2, 2, 2, 0], [0, 0, 0, 0, 0, 0]])
    assert top_k(x, 2).tolist() == [[0, 2, 2, 0, 0, 0], [0, 0, 0, 0, 0, 0]]
    assert top_k(torch.tensor([-2.0, 2, 1, -2]), 2, signed=True).tolist() == [-2, 2, 0, 0]


@given(st.lists(st.integers(-4, 4), min_size=1, max_size=30), st.data(), st.booleans())
def test_stable_sorting_gives_the_same(values: list[int], data: st.DataObject, signed: bool) -> None:
    k = data.draw(st.integers(1, len(values)))
    x = torch.tensor(values, dtype=torch.float64)
    kept = sorted(range(len(values)), key=lambda i: -abs(values[i]) if signed else -values[i])[:k]
    expected = torch.zeros_like(x)
    expected[kept] = x[kept]
    s = top_k(x, k, signed=signed)
    assert torch.equal(s, expected)
    if signed:
        assert torch.equal(top_k(s, k, signed=True), s)  # a projection


def test_derivative_is_the_mask(generator: torch.Generator) -> None:
    x = torch.randn(3, 6, dtype=torch.float64, generator=generator, requires_grad=True)
    for signed in (False, True):
        s = top_k(x, 2, signed=signed)
        assert torch.equal(torch.autograd.grad(s.sum(), x)[0], (s != 0).double())
        assert torch.autograd.gradcheck(lambda t, signed=signed: top_k(t, 2, signed=signed), (x,))
        assert torch.autograd.gradgradcheck(lambda t, signed=signed: top_k(t, 2, signed=signed), (x,))


def test_infinities_are_numbers() -> None:
    x = torch.tensor([[inf, 1, -inf, 2], [-inf, -inf, -inf, 1]])
    assert top_k(x, 2).tolist() == [[inf, 0, 0, 2], [-inf, 0, 0, 1]]
    assert top_k(x, 2, signed=True).tolist()[0] == [inf, 0, -inf, 0]


def test_nan_spoils_its_row_only() -> None:
    x = torch.tensor([[1.0, nan, 3], [1, 2, 3]], requires_grad=True)
    s = top_k(x, 1)
    assert s[0].isnan().all()
    assert s[1].tolist() == [0, 0, 3]
    assert torch.autograd.grad(s[1].sum(), x)[0].tolist() == [[0, 0, 0], [0, 0, 1]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtype_and_layout_are_kept(dtype: torch.dtype, generator: torch.Generator) -> None:
    x = torch.randn(4, 6, generator=generator).to(dtype).t()
    s = top_k(x, 2, dim=0)
    assert s.dtype == dtype
    assert (s != 0).sum(0).tolist() == [2, 2, 2, 2]
    assert top_k(x[:, :0], 2, dim=0).shape == (6, 0)


@pytest.mark.parametrize("k", [0, 5, 1.5, True, nan])
def test_k_out_of_range(k: int) -> None:
    with pytest.raises(InputError, match="k must be a whole number from 1 to 4"):
        top_k(torch.ones(2, 4), k)


@pytest.mark.parametrize("x", [torch.ones(2, 4, dtype=torch.int64), torch.tensor(1.0)])
def test_wrong_input(x: Tensor) -> None:
    with pytest.raises(InputError, match="floating point"):
        top_k(x, 1)


def test_module(generator: torch.Generator) -> None:
    x = torch.randn(4, 9, generator=generator)
    assert torch.equal(TopK(3, dim=0, signed=True)(x), top_k(x, 3, 0, True))
    assert repr(TopK(3)) == "TopK(k=3, dim=-1, signed=False, packed=False)"
    with pytest.raises(InputError, match="k must be"):
        TopK(0)


def test_packed_code_carries_gradients(generator: torch.Generator) -> None:
    x = torch.randn(5, 9, generator=generator, requires_grad=True)
    code = TopK(3, packed=True)(x)
    assert isinstance(code, Code)
    assert code.values.shape == (5, 3)
    dense = code.to_dense()
    assert torch.equal(dense, top_k(x, 3))
    assert torch.equal(torch.autograd.grad(dense.sum(), x)[0], (dense != 0).float())


def test_packed_code_of_a_row_with_nan() -> None:
    code = TopK(2, packed=True)(torch.tensor([[1.0, 2, 3, nan], [1, 2, 3, 4]]))
    assert code.values.isnan().all(1).tolist() == [True, False]


def test_packed_code_needs_a_matrix() -> None:
    with pytest.raises(InputError, match="packed"):
        TopK(2, dim=0, packed=True)
    with pytest.raises(InputError, match=r"\(batch, features\)"):
        TopK(2, packed=True)(torch.ones(2, 3, 4))


def test_compiles_without_a_break(generator: torch.Generator) -> None:
    x = torch.randn(4, 9, generator=generator)
    compiled = torch.compile(TopK(3), fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(x), top_k(x, 3))
