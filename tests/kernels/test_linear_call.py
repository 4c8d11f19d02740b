"""One call into C++ for each direction of a layer: the same numbers as the way through Python, or None."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from gossamer import Pattern, SparseLinear
from gossamer.kernels import Structure, _cpu, linear, reference, validate

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.skipif(not hasattr(Tensor, "__dlpack_c_exchange_api__"), reason="PyTorch 2.10 or newer"),
]


def structure() -> Structure:
    mask = torch.rand(7, 5, generator=torch.Generator().manual_seed(0)) < 0.4
    mask[2] = False
    found = Pattern.from_mask(mask).structure
    validate(found)
    return found


def numbers(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "rows": lambda x: x,
    "columns": lambda x: x.t().contiguous().t(),
    "every second": lambda x: x.repeat_interleave(2, 0).repeat_interleave(2, 1)[::2, ::2],
    "padded rows": lambda x: torch.nn.functional.pad(x, (1, 2))[:, 1:-2],
    "padded columns": lambda x: torch.nn.functional.pad(x, (0, 0, 1, 2)).t().contiguous().t()[1:-2],
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("batch", [1, 3, 16, 33])
@pytest.mark.parametrize("relu", [False, True])
def test_it_computes_what_plain_torch_does(dtype: torch.dtype, layout: str, batch: int, relu: bool) -> None:
    s = structure()
    values, bias = numbers(s.nnz, dtype=dtype), numbers(7, dtype=dtype)
    x, grad = LAYOUTS[layout](numbers(batch, 5, dtype=dtype)), LAYOUTS[layout](numbers(batch, 7, dtype=dtype, seed=2))
    expected = reference.spmm(values, s, x.t()).t() + bias
    expected = expected.relu() if relu else expected
    y, kept = _cpu.linear(values, *s, x, bias, relu, True, 1) or pytest.fail("not the ordinary case")
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(y, linear(values, s, x, bias, relu))
    assert y.stride() == (1, batch)
    assert not y._is_view()
    by_features = x.t() if kept is None else kept
    torch.testing.assert_close(by_features, x.t())
    done = _cpu.linear_backward(values, *s, by_features, grad, y if relu else None, True, True, True, 1)
    assert done is not None
    grad = torch.where(expected > 0, grad, 0) if relu else grad
    wanted = reference.sddmm(grad.t(), x.t(), s), reference.spmm_t(values, s, grad.t()).t(), grad.sum(0)
    for got, right in zip(done, wanted, strict=True):
        torch.testing.assert_close(got, right)


def test_gradients_that_are_not_needed_are_not_made() -> None:
    s, x = structure(), numbers(4, 5)
    values, grad = numbers(s.nnz), torch.ones(()).double().expand(4, 7)  # of a sum
    by_features = x.t().contiguous()
    everything = _cpu.linear_backward(values, *s, by_features, grad, None, True, True, True, 1)
    assert everything is not None
    for needed in ((True, False, False), (False, True, False), (False, False, True), (False, False, False)):
        some = _cpu.linear_backward(values, *s, by_features, grad, None, *needed, 1)
        assert some is not None
        for want, got, right in zip(needed, some, everything, strict=True):
            assert (got is not None) == want
            if got is not None:
                torch.testing.assert_close(got, right)


class Subclass(Tensor):
    """Another kind of tensor, which may hold no memory of its own."""


def test_everything_else_is_left_to_python() -> None:
    s, x = structure(), numbers(4, 5)
    values, bias = numbers(s.nnz), numbers(7)
    changed = Structure(*(t.clone() for t in s))  # never validated
    for operands in (
        (values, *changed, x, bias),
        (values[:-1], *s, x, bias),
        (values.float(), *s, x, bias),
        (values.half(), *s, x.half(), bias.half()),
        (values.repeat(2)[::2], *s, x, bias),
        (values.to("meta"), *s, x, bias),
        (values.as_subclass(Subclass), *s, x, bias),
        (values, *s, x.as_subclass(Subclass), bias),
        (values, *s, x[:, :-1], bias),
        (values, *s, x[0], bias),
        (values, *s, x[:0], bias),
        (values, *s, x.float(), bias),
        (values, *s, x.to_sparse(), bias),
        (values, *s, x, bias[:-1]),
        (values, *s, x, bias.float()),
    ):
        assert _cpu.linear(*operands, False, False, 1) is None
    assert _cpu.linear(values, *s, x, bias, False, False, 1) is not None


def test_a_pattern_that_changed_is_validated_again() -> None:
    s, x = structure(), numbers(4, 5)
    values = numbers(s.nnz)
    assert _cpu.linear(values, *s, x, None, False, False, 1) is not None
    s.indices[0] += 0  # counts as a change
    assert _cpu.linear(values, *s, x, None, False, False, 1) is None
    validate(s)
    assert _cpu.linear(values, *s, x, None, False, False, 1) is not None
    other = s._replace(t_indices=s.t_indices.clone())
    assert not _cpu.is_validated(*other)


def test_negated_and_later_changed_inputs() -> None:
    layer = SparseLinear(5, 7, density=0.5, generator=torch.Generator().manual_seed(0)).double()
    z = torch.complex(numbers(4, 5), numbers(4, 5, seed=2))
    negated = z.conj().imag
    assert negated.is_neg()
    torch.testing.assert_close(layer(negated), layer(-z.imag))
    with torch.no_grad():
        torch.testing.assert_close(layer(negated), layer(-z.imag))
    y = nn.functional.relu(layer(numbers(4, 5)), inplace=True)  # the result is no view
    y.sum().backward()
    with torch.inference_mode():
        x = numbers(4, 5)
        torch.testing.assert_close(layer(x), layer.to_dense()(x))
        assert layer(x).is_inference()
