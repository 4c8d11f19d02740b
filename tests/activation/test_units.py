"""SReLU and All-ReLU: literal values, the gradients as published, and their edge cases."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gossamer import InputError
from gossamer.activation.units import AllReLU, SReLU, all_relu, srelu

F64 = torch.float64


def pieces(units: int, seed: int = 0) -> list[Tensor]:
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(units, generator=g, dtype=F64).requires_grad_() for _ in range(4)]


def test_srelu_on_literal_numbers() -> None:
    x = torch.tensor([[-3.0], [-1.0], [0.0], [2.0], [4.0]])
    t_l, a_l, t_r, a_r = (torch.tensor([v]) for v in (-1.0, 0.5, -3.0, 0.25))  # right knee at −1 + |−3| = 2
    assert srelu(x, t_l, a_l, t_r, a_r).flatten().tolist() == [-2.0, -1.0, 0.0, 2.0, 2.5]


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6))
def test_srelu_gradients_are_the_published_ones(seed: int) -> None:
    t_l, a_l, t_r, a_r = pieces(3, seed)
    g = torch.Generator().manual_seed(seed + 1)
    x, d = (3 * torch.randn(7, 3, generator=g, dtype=F64) for _ in range(2))
    x.requires_grad_()
    got = torch.autograd.grad(srelu(x, t_l, a_l, t_r, a_r), [x, t_l, a_l, t_r, a_r], d)
    knee = t_l + t_r.abs()
    lo, hi = (x <= t_l).double(), (x >= knee).double()
    expected = [
        d * (a_l * lo + a_r * hi + (1 - lo - hi)),
        (d * ((1 - a_l) * lo + (1 - a_r) * hi)).sum(0),
        (d * (x - t_l) * lo).sum(0),
        (d * t_r.sign() * (1 - a_r) * hi).sum(0),
        (d * (x - knee) * hi).sum(0),
    ]
    for mine, right in zip(got, expected, strict=True):
        torch.testing.assert_close(mine, right)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (2, 0, 1), (2, 1, 0), (1, 2, 0), (1, 0, 2)])
@pytest.mark.parametrize("shape", [(3, 5, 37), (1, 1, 1), (2, 1, 16), (1, 33, 3), (7, 20, 300), (0, 2, 3)])
def test_srelu_in_cpp_is_that_in_torch(shape: tuple[int, ...], order: tuple[int, ...], dtype: torch.dtype) -> None:
    g = torch.Generator().manual_seed(sum(shape) + 10 * order[0] + order[1])
    back = [order.index(dim) for dim in range(3)]
    x = torch.randn([shape[dim] for dim in order], generator=g, dtype=dtype).permute(back)  # any order in memory
    x, d = x.mul(3).requires_grad_(), torch.randn(shape, generator=g, dtype=dtype)
    inputs = [x, *(piece.detach().to(dtype).requires_grad_() for piece in pieces(shape[-1]))]
    y = srelu(*inputs)
    assert y.stride() == x.stride() or x.numel() == 0
    got = torch.autograd.grad(y, inputs, d)
    slow = torch.autograd.grad(srelu(*inputs), inputs, d, create_graph=True)  # differentiable: by torch
    knee = inputs[1] + inputs[3].abs()
    right = torch.where(x >= knee, knee + inputs[4] * (x - knee), x)
    torch.testing.assert_close(y, torch.where(x <= inputs[1], inputs[1] + inputs[2] * (x - inputs[1]), right))
    for mine, theirs in zip(got, slow, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-4 if dtype == torch.float32 else 1e-10)


def test_srelu_reads_views_and_answers_nan_with_nan() -> None:
    x = torch.randn(6, 10)[::2, 1:9:2].requires_grad_()
    inputs = [piece.detach().float() for piece in pieces(8)]
    spread = [torch.stack([piece, piece], 1)[::2, 0] for piece in inputs]
    torch.testing.assert_close(srelu(x, *spread), srelu(x.contiguous(), *(piece[::2] for piece in inputs)))
    x = torch.tensor([[math.nan, 1.0]], requires_grad=True)
    y = SReLU(2)(x)
    assert y.isnan().tolist() == [[True, False]]
    y[0, 1].backward()
    assert x.grad is not None
    assert not bool(x.grad.isnan().any())


def test_srelu_does_not_depend_on_the_number_of_threads() -> None:
    x, d = (torch.randn(500, 200, generator=torch.Generator().manual_seed(s)) for s in range(2))
    inputs = [x.requires_grad_(), *(piece.detach().float().requires_grad_() for piece in pieces(200))]
    threads = torch.get_num_threads()
    found = []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            found.append(torch.autograd.grad(srelu(*inputs), inputs, d))
    finally:
        torch.set_num_threads(threads)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


def test_srelu_passes_gradcheck_twice() -> None:
    x = torch.randn(4, 3, 5, generator=torch.Generator().manual_seed(3), dtype=F64).requires_grad_()
    inputs = (x, *pieces(5))
    assert torch.autograd.gradcheck(srelu, inputs)
    assert torch.autograd.gradgradcheck(srelu, inputs)


def test_srelu_where_both_knees_meet() -> None:
    x = torch.tensor([[1.0]], dtype=F64, requires_grad=True)
    t_l, a_l, t_r, a_r = (torch.tensor([v], dtype=F64, requires_grad=True) for v in (1.0, 0.5, 0.0, 0.2))
    y = srelu(x, t_l, a_l, t_r, a_r)
    assert float(y.detach()) == 1.0
    gradients = torch.autograd.grad(y, [x, t_l, a_l, t_r, a_r], torch.ones_like(y))
    assert [float(gradient) for gradient in gradients] == [0.5, 0.5, 0.0, 0.0, 0.0]


def test_srelu_of_infinity_spoils_no_other_unit() -> None:
    x = torch.tensor([[-math.inf, 1.0], [math.inf, -1.0]], requires_grad=True)
    unit = SReLU(2, generator=torch.Generator().manual_seed(0))
    y = unit(x)
    assert y[0, 0] == -math.inf
    assert y[1, 0] == math.inf
    y.sum().backward()
    assert x.grad is not None
    assert not bool(x.grad.isnan().any())
    for parameter in unit.parameters():
        assert parameter.grad is not None
        assert bool(parameter.grad[1].isfinite())


def test_srelu_module_starts_as_published() -> None:
    unit = SReLU(1000, generator=torch.Generator().manual_seed(0))
    assert bool((unit.t_l == 0).all())
    assert bool((unit.a_r == 1).all())
    a_l, t_r = unit.a_l.detach(), unit.t_r.detach()
    assert 0 <= float(a_l.min()) < 0.02 < 0.98 < float(a_l.max()) <= 1
    assert 0 <= float(t_r.min()) < 0.1 < 4.9 < float(t_r.max()) <= 5
    assert set(dict(unit.named_parameters())) == {"t_l", "a_l", "t_r", "a_r"}
    twin = copy.deepcopy(unit)
    twin.reset_parameters(torch.Generator().manual_seed(0))
    assert torch.equal(twin.a_l, unit.a_l)


def test_srelu_keeps_a_feature_major_layout_and_vmaps() -> None:
    x = torch.randn(5, 4).t()  # (4, 5), feature-major
    unit = SReLU(5)
    assert unit(x).stride() == x.stride()
    rows = torch.vmap(lambda row: srelu(row, unit.t_l, unit.a_l, unit.t_r, unit.a_r))(x)
    torch.testing.assert_close(rows, unit(x))
    assert unit(torch.empty(0, 5)).shape == (0, 5)


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # by the compiler itself
def test_srelu_compiles_to_the_same() -> None:
    unit = SReLU(5)
    x = torch.randn(3, 5)
    torch.testing.assert_close(torch.compile(unit, backend="eager", fullgraph=True)(x), unit(x))


def test_srelu_refuses_a_wrong_width() -> None:
    with pytest.raises(InputError, match=r"t_l must be a vector .* \(3,\), got shape \(2,\)"):
        SReLU(2)(torch.zeros(4, 3))
    with pytest.raises(InputError, match="features"):
        SReLU(0)


def test_all_relu_on_literal_numbers() -> None:
    x = torch.tensor([-2.0, 0.0, 3.0])
    assert all_relu(x, 0.5).tolist() == [-1.0, 0.0, 3.0]
    assert all_relu(x, -0.5).tolist() == [1.0, 0.0, 3.0]


def test_all_relu_alternates_by_layer() -> None:
    x = torch.tensor([-1.0])
    assert [float(AllReLU(0.75, position)(x)) for position in (1, 2, 3)] == [0.75, -0.75, 0.75]


@pytest.mark.parametrize("slope", [0.6, -0.6])
def test_all_relu_passes_gradcheck(slope: float) -> None:
    x = torch.tensor([-2.0, -0.5, 0.5, 2.0], dtype=F64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: all_relu(v, slope), (x,))


def test_all_relu_refuses_what_is_no_slope() -> None:
    with pytest.raises(InputError, match="slope must be a finite number, got nan"):
        all_relu(torch.zeros(1), math.nan)
    with pytest.raises(InputError, match="alpha"):
        AllReLU(-0.1)
    with pytest.raises(InputError, match="position"):
        AllReLU(0.6, position=0)
