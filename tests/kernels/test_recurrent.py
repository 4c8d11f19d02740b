"""Recurrent layers as operators: C++, plain torch and the derivatives agree."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from gossamer import InputError, Pattern
from gossamer.kernels import Structure, _cpu, gru, lstm, sequence, validate
from gossamer.kernels.gru import _gru_in_torch
from gossamer.kernels.lstm import _lstm_in_torch

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning"),  # by forward mode, in torch
]


def numbers(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def structure(gates: int, units: int = 3, density: float = 0.5) -> Structure:
    mask = torch.rand(gates * units, units, generator=torch.Generator().manual_seed(0)) < density
    mask[1] = False
    found = Pattern.from_mask(mask).structure
    validate(found)
    return found


def operands(
    kind: str, steps: int = 4, batch: int = 5, units: int = 3, dtype: torch.dtype = torch.float64
) -> tuple[Any, ...]:
    gates = 4 if kind == "lstm" else 3
    s = structure(gates, units)
    states = [numbers(batch, units, dtype=dtype, seed=seed) for seed in (4, 5)][: 2 if kind == "lstm" else 1]
    x, bias = numbers(steps, batch, gates * units, dtype=dtype, seed=3), numbers(gates * units, dtype=dtype, seed=6)
    return numbers(s.nnz, dtype=dtype), s, x, bias, *states


FUNCTIONS: dict[str, Callable[..., Any]] = {"lstm": lstm, "gru": gru}
KINDS = pytest.mark.parametrize("kind", FUNCTIONS)
REVERSE = pytest.mark.parametrize("reverse", [False, True])


def plain(kind: str, *operands: Any, reverse: bool) -> tuple[Tensor, ...]:
    function: Callable[..., tuple[Tensor, ...]] = _lstm_in_torch if kind == "lstm" else _gru_in_torch
    return function(*operands, reverse)[: 2 if kind == "lstm" else 1]


def results(kind: str, given: tuple[Any, ...], reverse: bool) -> tuple[Tensor, ...]:
    found = FUNCTIONS[kind](*given, reverse=reverse)
    return found if isinstance(found, tuple) else (found,)


@KINDS
@REVERSE
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 2, 5), (2, 33, 7), (4, 16, 3), (3, 0, 2)])
def test_it_computes_what_plain_torch_does(
    kind: str, reverse: bool, dtype: torch.dtype, shape: tuple[int, int, int]
) -> None:
    given = operands(kind, *shape, dtype=dtype)
    inputs = [x.requires_grad_() for x in given if type(x) is Tensor]
    y = results(kind, given, reverse)
    expected = plain(kind, *given, reverse=reverse)
    for mine, right in zip(y, expected, strict=True):
        torch.testing.assert_close(mine, right)
    grads = [numbers(*x.shape, dtype=dtype, seed=9 + i) for i, x in enumerate(y)]
    found = torch.autograd.grad(y, inputs, grads)
    others = torch.autograd.grad(expected, inputs, grads)
    for a, b in zip(found, others, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5 if dtype == torch.float32 else 1e-10, atol=1e-5)


@KINDS
@pytest.mark.parametrize("level", [0, 1, 2])
def test_every_instruction_set(kind: str, level: int) -> None:
    best = {"baseline": 0, "avx2": 1, "avx512": 2}[_cpu.isa()]
    try:
        _cpu.use_isa(level)
    except ValueError:
        pytest.skip("this processor lacks it")
    try:
        for dtype in (torch.float32, torch.float64):
            given = operands(kind, 3, 37, 6, dtype=dtype)
            inputs = [x.requires_grad_() for x in given if type(x) is Tensor]
            y, expected = results(kind, given, False), plain(kind, *given, reverse=False)
            grads = [numbers(*x.shape, dtype=dtype, seed=9 + i) for i, x in enumerate(y)]
            found = (*y, *torch.autograd.grad(y, inputs, grads))
            for mine, right in zip(found, (*expected, *torch.autograd.grad(expected, inputs, grads)), strict=True):
                torch.testing.assert_close(mine, right, rtol=1e-5 if dtype == torch.float32 else 1e-10, atol=1e-5)
    finally:
        _cpu.use_isa(best)


@KINDS
@REVERSE
def test_derivatives(kind: str, reverse: bool) -> None:
    values, s, *rest = operands(kind, steps=2, batch=2, units=2)
    inputs = [x.requires_grad_() for x in (values, *rest)]

    def function(values: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        return results(kind, (values, s, *rest), reverse)

    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)


@KINDS
@REVERSE
def test_operators(kind: str, reverse: bool) -> None:
    values, s, *rest = operands(kind, steps=2, batch=2, units=2)
    inputs = [x.requires_grad_() for x in (values, *rest)]
    operator = getattr(torch.ops.gossamer, kind).default
    torch.library.opcheck(operator, (inputs[0], *s, *inputs[1:], reverse))
    torch.library.opcheck(operator, (inputs[0], *s, inputs[1], None, *inputs[3:], reverse))
    with torch.no_grad():
        y, *others = operator(values, *s, *rest, reverse)
        utilities = ("test_schema", "test_faketensor")
        backward = getattr(torch.ops.gossamer, f"{kind}_backward").default
        if kind == "lstm":
            given = (torch.ones_like(y), torch.ones_like(rest[2]), values, *s, *rest[2:], others[2], others[1], y)
        else:
            given = (torch.ones_like(y), values, *s, rest[2], others[0], y)
        torch.library.opcheck(backward, (*(x.detach() for x in given), reverse), test_utils=utilities)


@KINDS
@REVERSE
def test_the_backward_pass_in_plain_torch_agrees(kind: str, reverse: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    given = operands(kind)
    inputs = [x.requires_grad_() for x in given if type(x) is Tensor]
    y = results(kind, given, reverse)
    grads = [numbers(*x.shape, seed=9 + i) for i, x in enumerate(y)]
    expected = torch.autograd.grad(y, inputs, grads)
    for module in (sequence, sys.modules[f"gossamer.kernels.{kind}"]):
        monkeypatch.setattr(module, "in_cpp", lambda *_: False)
    again = results(kind, given, reverse)
    for a, b in zip((*again, *torch.autograd.grad(again, inputs, grads)), (*y, *expected), strict=True):
        torch.testing.assert_close(a, b)


@KINDS
def test_transforms_see_plain_torch(kind: str) -> None:
    values, s, *rest = operands(kind)
    tangent = numbers(s.nnz, seed=7)
    y, slope, *_ = torch.func.jvp(lambda v: results(kind, (v, s, *rest), False)[0], (values,), (tangent,))
    torch.testing.assert_close(y, results(kind, (values, s, *rest), False)[0])
    step = 1e-6
    ahead, behind = (results(kind, (values + d * tangent, s, *rest), False)[0] for d in (step, -step))
    torch.testing.assert_close(slope, (ahead - behind) / (2 * step), rtol=1e-6, atol=1e-8)


@KINDS
def test_nothing_depends_on_the_number_of_threads_or_the_layout(kind: str, threads: None) -> None:
    values, s, x, *rest = operands(kind, steps=3, batch=40, units=64, dtype=torch.float32)
    expected = results(kind, (values, s, x, *rest), False)
    torch.set_num_threads(2)
    by_features = x.permute(2, 0, 1).contiguous().permute(1, 2, 0)
    wider = torch.cat([x, x], 2)[..., : x.shape[2]]
    for other in (x, by_features, wider):
        for mine, right in zip(results(kind, (values, s, other, *rest), False), expected, strict=True):
            assert torch.equal(mine, right)


@KINDS
def test_gates_saturate_and_a_nan_stays_with_its_sample(kind: str) -> None:
    for dtype in (torch.float32, torch.float64):
        values, s, x, bias, *states = operands(kind, batch=6, dtype=dtype)
        x[:, 0] *= 1e30
        x[:, 1] = math.inf
        x[:, 2] = -math.inf
        x[:, 3] *= 1e-30
        clean = results(kind, (values, s, x, bias, *states), False)
        for mine, right in zip(clean, plain(kind, values, s, x, bias, *states, reverse=False), strict=True):
            torch.testing.assert_close(mine, right)
        x[0, 5] = math.nan
        y = results(kind, (values, s, x, bias, *states), False)[0]
        assert y[:, 5].isnan().all()
        assert torch.equal(y[:, :5], clean[0][:, :5])


def test_small_numbers_keep_their_precision() -> None:
    """tanh and its relatives are accurate relative to their size, near 0 too."""
    s = Pattern.from_flat_indices(torch.tensor([], dtype=torch.int64), 3, 1).structure
    for dtype in (torch.float32, torch.float64):
        small = torch.logspace(-30, 2, 400, dtype=dtype)
        x = torch.zeros(1, 800, 3, dtype=dtype)
        x[0, :, 1], x[0, :, 2] = -1000, torch.cat([small, -small])  # z = 0: h = n = tanh(x)
        y = gru(small.new_empty(0), s, x, None, x.new_zeros(800, 1))[0, :, 0]
        exact = torch.cat([small, -small]).double().tanh()
        assert float(((y.double() - exact) / exact).abs().max()) < 4 * torch.finfo(dtype).eps


@KINDS
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_halves_are_computed_in_float(kind: str, dtype: torch.dtype) -> None:
    given = operands(kind, dtype=torch.float32)
    half = tuple(x.to(dtype) if type(x) is Tensor else x for x in given)
    wide = tuple(x.float() if type(x) is Tensor else x for x in half)
    for mine, right in zip(results(kind, half, False), results(kind, wide, False), strict=True):
        assert mine.dtype == dtype
        assert torch.equal(mine, right.to(dtype))


@KINDS
def test_errors(kind: str) -> None:
    values, s, x, bias, *states = operands(kind)
    function = FUNCTIONS[kind]
    with pytest.raises(InputError, match=r"x must have shape \(steps ≥ 1, batch, "):
        function(values, s, x[:0], bias, *states)
    with pytest.raises(InputError, match=r"x must have shape \(steps ≥ 1, batch, "):
        function(values, s, x[..., 1:], bias, *states)
    with pytest.raises(InputError, match=r"h0 must have shape \(batch, units\) = \(5, 3\), got \(4, 3\)"):
        function(values, s, x, bias, *(state[1:] for state in states))
    with pytest.raises(InputError, match=r"x must be torch.float64 on cpu as the weights, got torch.float32"):
        function(values, s, x.float(), bias, *states)
    with pytest.raises(InputError, match="bias must be a vector of"):
        function(values, s, x, bias[1:], *states)
    other = structure(3 if kind == "lstm" else 4)
    with pytest.raises(InputError, match=r"the pattern must have shape \(\d · units, units\)"):
        function(numbers(other.nnz), other, x, None, *states)
