"""One call into C++ for each direction of an activation function: the same numbers as in plain torch, or None."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck

import gossamer as gs
from gossamer.activation.top_k import _top_k, top_k
from gossamer.activation.units import srelu
from gossamer.errors import InputError
from gossamer.kernels import _cpu as cpp
from gossamer.kernels.projection_reference import reference, reference_product
from gossamer.projections import hoyer_projection

_cpu: Any = cpp  # whose arguments are unpacked here

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.skipif(not hasattr(Tensor, "__dlpack_c_exchange_api__"), reason="PyTorch 2.10 or newer"),
]


def numbers(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "rows": lambda x: x,
    "columns": lambda x: x.t().contiguous().t(),
    "every second": lambda x: x.repeat_interleave(2, 0).repeat_interleave(2, 1)[::2, ::2],
    "expanded": lambda x: x[:1].expand(x.shape),
    "padded rows": lambda x: nn.functional.pad(x, (1, 2))[:, 1:-2],
}
DENSE = ["rows", "columns"]
DTYPES = [torch.float32, torch.float64]


def close(a: Tensor, b: Tensor, dtype: torch.dtype) -> None:
    near = 2e-4 if dtype == torch.float32 else 1e-9
    torch.testing.assert_close(a, b, rtol=near, atol=near * float(b.abs().nan_to_num().max() + 1e-3), equal_nan=True)


@settings(max_examples=150)
@given(
    dtype=st.sampled_from(DTYPES),
    layout=st.sampled_from(DENSE),
    other=st.sampled_from(list(LAYOUTS)),
    batch=st.sampled_from([1, 2, 7, 8, 17, 40]),
    units=st.sampled_from([2, 3, 8, 33, 100, 600]),
    sparseness=st.floats(0.05, 0.95),
    norm=st.sampled_from([1.0, 0.01, 7.5]),
    magnitude=st.booleans(),
)
def test_hoyer(
    dtype: torch.dtype,
    layout: str,
    other: str,
    batch: int,
    units: int,
    sparseness: float,
    norm: float,
    magnitude: bool,
) -> None:
    x = LAYOUTS[layout](numbers(batch, units, dtype=dtype))
    grad = LAYOUTS[other](numbers(batch, units, dtype=dtype, seed=2))
    root = math.sqrt(units)
    radius = torch.tensor(root - sparseness * (root - 1), dtype=torch.float64)
    s, beta = reference(x.double(), radius, 1, magnitude)
    y, kept = _cpu.hoyer(x, sparseness, norm, magnitude, True, 1) or pytest.fail("not the ordinary case")
    alone = _cpu.hoyer(x, sparseness, norm, magnitude, False, 1)
    assert alone is not None
    assert torch.equal(y, alone)
    assert y.stride() == torch.empty_like(x).stride() or batch == 1
    assert not y._is_view()
    close(y.double(), s * norm, dtype)
    close(kept.double(), beta, dtype)
    product = _cpu.hoyer_product(grad, y, kept, sparseness, norm, magnitude, 1)
    assert product is not None
    own = (y.double() / norm).where(y != 0, 0)
    close(product.double(), norm * reference_product(grad.double(), own, kept.double(), radius, 1), dtype)


@settings(max_examples=200)
@given(
    dtype=st.sampled_from(DTYPES),
    layout=st.sampled_from(DENSE),
    other=st.sampled_from(list(LAYOUTS)),
    batch=st.sampled_from([1, 2, 3, 5, 8, 16, 33, 50]),
    units=st.integers(1, 70),
    share=st.floats(0, 1),
    magnitude=st.booleans(),
    kind=st.sampled_from(["plain", "ties", "zeros", "infinities", "nan", "tiny"]),
)
def test_top_k(
    dtype: torch.dtype, layout: str, other: str, batch: int, units: int, share: float, magnitude: bool, kind: str
) -> None:
    x = numbers(batch, units, dtype=dtype)
    if kind == "ties":
        x = x.round()
    elif kind == "zeros":
        x = torch.where(x < 0.5, torch.where(x < -0.5, -0.0, 0.0), x).to(dtype)
    elif kind == "infinities":
        x = torch.where(x > 1, torch.inf, torch.where(x < -1, -torch.inf, x))
    elif kind == "nan":
        x[batch // 2, units // 2] = torch.nan
    elif kind == "tiny":
        x = x * torch.finfo(dtype).tiny
    x, k = LAYOUTS[layout](x), 1 + round(share * (units - 1))
    expected, active = _top_k(x, k, 1, magnitude)
    y, kept = _cpu.top_k(x, k, magnitude, True, 1) or pytest.fail("not the ordinary case")
    alone = _cpu.top_k(x, k, magnitude, False, 1)
    assert alone is not None
    for found in (y, alone):
        torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)
        assert torch.equal(found.signbit(), expected.signbit()) or kind == "nan"
    assert kept.dtype == torch.bool
    assert torch.equal(kept, active)
    grad = LAYOUTS[other](numbers(batch, units, dtype=dtype, seed=2))
    product = _cpu.top_k_product(grad, kept, 1)
    assert product is not None
    assert torch.equal(product, torch.where(active, grad, 0))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", DENSE)
@pytest.mark.parametrize("other", LAYOUTS)
@pytest.mark.parametrize("batch", [1, 5, 33])
def test_srelu(dtype: torch.dtype, layout: str, other: str, batch: int) -> None:
    x = LAYOUTS[layout](2 * numbers(batch, 21, dtype=dtype)).requires_grad_()
    pieces = [numbers(21, dtype=dtype, seed=i).requires_grad_() for i in range(2, 6)]
    grad = LAYOUTS[other](numbers(batch, 21, dtype=dtype, seed=7))
    t_l, a_l, t_r, a_r = pieces
    knee = t_l + t_r.abs()
    right = torch.where(x >= knee, knee + a_r * (x - knee), x)
    expected = torch.where(x <= t_l, t_l + a_l * (x - t_l), right)
    wanted = torch.autograd.grad(expected, [x, *pieces], grad)
    inputs = [t.detach() for t in (x, *pieces)]
    y = _cpu.srelu(*inputs, 1)
    assert y is not None
    close(y, expected.detach(), dtype)
    found = _cpu.srelu_product(grad, *inputs, 1)
    assert found is not None
    for mine, theirs in zip(found, wanted, strict=True):
        close(mine, theirs, dtype)


class Subclass(Tensor):
    """Another kind of tensor, which may hold no memory of its own."""


def test_everything_else_is_left_to_python() -> None:
    x = numbers(6, 10)
    odd = [x[0], x[None], x[:, :0], x[:0], x.half(), x.to(torch.int64), x[::2], x[:, ::2], x.to("meta"), x.to_sparse()]
    for other in (*odd, x.as_subclass(Subclass)):
        assert _cpu.hoyer(other, 0.5, 1.0, False, False, 1) is None
        assert _cpu.top_k(other, 1, False, False, 1) is None
        assert _cpu.srelu(other, *(torch.ones(10, dtype=torch.float64) for _ in range(4)), 1) is None
    for sparseness, norm in ((0.0, 1.0), (1.0, 1.0), (math.nan, 1.0), (0.5, 0.0), (0.5, math.inf), (0.5, math.nan)):
        assert _cpu.hoyer(x, sparseness, norm, False, False, 1) is None
    assert _cpu.hoyer(x[:, :1].contiguous(), 0.5, 1.0, False, False, 1) is None
    assert _cpu.top_k(x, 0, False, False, 1) is None
    assert _cpu.top_k(x, 11, False, False, 1) is None
    good = [torch.ones(10, dtype=torch.float64) for _ in range(4)]
    for wrong in (good[0][:9], good[0].float(), torch.ones(20, dtype=torch.float64)[::2], good[0][None]):
        assert _cpu.srelu(x, *good[:3], wrong, 1) is None
    y, beta = _cpu.hoyer(x, 0.5, 1.0, False, True, 1) or pytest.fail("not the ordinary case")
    for grad in (x[:5], x.float(), x.as_subclass(Subclass)):
        assert _cpu.hoyer_product(grad, y, beta, 0.5, 1.0, False, 1) is None
        assert _cpu.top_k_product(grad, x > 0, 1) is None or grad.dtype == torch.float32
        assert _cpu.srelu_product(grad, x, *good, 1) is None


@pytest.mark.parametrize(
    "function",
    [
        lambda x: hoyer_projection(x, 0.6, norm=2.5),
        lambda x: hoyer_projection(x, 0.6, signed=True),
        lambda x: top_k(x, 4),
        lambda x: top_k(x, 3, signed=True),
    ],
)
@pytest.mark.parametrize("layout", ["rows", "columns", "every second"])
def test_derivatives(function: Callable[[Tensor], Tensor], layout: str) -> None:
    x = LAYOUTS[layout](numbers(3, 9)).requires_grad_()
    assert gradcheck(function, x)
    assert gradgradcheck(function, x)
    assert torch.autograd.functional.jacobian(lambda z: function(z).sum(0), x).isfinite().all()


def test_srelu_derivatives() -> None:
    x = numbers(4, 5).requires_grad_()
    pieces = [numbers(5, seed=i).requires_grad_() for i in range(2, 6)]
    assert gradcheck(srelu, (x, *pieces))
    assert gradgradcheck(srelu, (x, *pieces))


def test_negated_inputs() -> None:
    z = torch.complex(numbers(4, 5), numbers(4, 5, seed=2))
    negated, plain = z.conj().imag, -z.imag
    assert negated.is_neg()
    pieces = [numbers(5, seed=i) for i in range(2, 6)]
    t_l, a_l, t_r, a_r = pieces
    functions: list[Callable[[Tensor], Tensor]] = [
        lambda x: hoyer_projection(x, 0.5),
        lambda x: top_k(x, 2),
        lambda x: srelu(x, t_l, a_l, t_r, a_r),
    ]
    for function in functions:
        with torch.no_grad():
            torch.testing.assert_close(function(negated), function(plain))
        x = plain.clone().requires_grad_()
        (mine,) = torch.autograd.grad(function(x), x, negated)
        (theirs,) = torch.autograd.grad(function(x), x, plain)
        torch.testing.assert_close(mine, theirs)


def test_wrong_arguments_are_refused_as_before() -> None:
    x, fine = numbers(4, 5), torch.ones(5, dtype=torch.float64)
    for grad in (False, True):
        x = x.detach().requires_grad_(grad)
        for sparseness in (0.0, 1.0, -1.0, math.nan):
            with pytest.raises(InputError, match="sparseness must be in"):
                hoyer_projection(x, sparseness)
        for norm in (0.0, math.inf, math.nan, -1.0):
            with pytest.raises(InputError, match="norm must be"):
                hoyer_projection(x, 0.5, norm=norm)
        with pytest.raises(InputError, match="at least 2 entries"):
            hoyer_projection(x[:, :1], 0.5)
        for k in cast(list[int], [0, 6, 2.5]):
            with pytest.raises(InputError, match="k must be"):
                top_k(x, k)
        with pytest.raises(InputError, match="a_r must be a vector"):
            srelu(x, fine, fine, fine, fine[:4])
    with pytest.raises(InputError, match="floating point"):
        gs.TopK(1)(torch.ones(2, 2, dtype=torch.int64))


def test_threads_share_large_matrices() -> None:
    x = numbers(300, 257, dtype=torch.float32)
    results = [
        (_cpu.hoyer(x, 0.7, 2.0, False, False, threads), _cpu.top_k(x, 20, True, False, threads)) for threads in (1, 2)
    ]
    for one, two in zip(*results, strict=True):
        assert one is not None
        assert two is not None
        assert torch.equal(one, two)
