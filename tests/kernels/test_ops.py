"""The sparse products against dense ones, on every instruction set, dtype, layout, and with every derivative."""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd import forward_ad
from torch.utils.data import DataLoader, Dataset

from gossamer import kernels
from gossamer.errors import InputError
from gossamer.kernels import Structure, _cpu, native, reference, rows_of, transpose

pytestmark = pytest.mark.usefixtures("one_thread")

BATCHES = (0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 64, 130, 257)
DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
# What a result may be off by, relative to the sum of its terms' magnitudes: rounding of the result, and of the sums.
ERROR = {torch.float64: 1e-14, torch.float32: 4e-6, torch.bfloat16: 2.0**-8, torch.float16: 2.0**-10}


def instruction_sets() -> list[str]:
    """Names of those that this processor has; position = number."""
    names, chosen = [], _cpu.isa()
    for level in range(8):
        try:
            _cpu.use_isa(level)
        except ValueError:
            break
        names.append(_cpu.isa())
    _cpu.use_isa(names.index(chosen))
    return names


ISAS = instruction_sets()


@contextmanager
def instruction_set(level: int) -> Iterator[None]:
    before = ISAS.index(_cpu.isa())
    _cpu.use_isa(level)
    try:
        yield
    finally:
        _cpu.use_isa(before)


def structure_of(mask: Tensor) -> Structure:
    """The structure of a (rows, cols) bool matrix."""
    indptr = torch.zeros(mask.shape[0] + 1, dtype=torch.int32)
    indptr[1:] = mask.sum(1).cumsum(0)
    return transpose(indptr, mask.nonzero()[:, 1].to(torch.int32), mask.shape[1])


def mask_of(s: Structure) -> Tensor:
    mask = torch.zeros(s.shape, dtype=torch.bool)
    mask[rows_of(s.indptr), s.indices.long()] = True
    return mask


def dense(values: Tensor, s: Structure) -> Tensor:
    """W, differentiable in ``values``."""
    return torch.zeros(s.shape, dtype=values.dtype).masked_scatter(mask_of(s), values)


def random_structure(rows: int, cols: int, density: float, seed: int = 0) -> Structure:
    return structure_of(torch.rand(rows, cols, generator=torch.Generator().manual_seed(seed)) < density)


def numbers(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def assert_close(got: Tensor, exact: Tensor, scale: Tensor, dtype: torch.dtype) -> None:
    """``got`` equals ``exact`` up to the rounding of ``dtype`` in sums whose terms' magnitudes add up to ``scale``."""
    assert got.dtype == dtype
    assert got.shape == exact.shape
    assert bool(((got.double() - exact).abs() <= ERROR[dtype] * scale).all())


def check_all_products(s: Structure, batch: int, dtype: torch.dtype, seed: int = 1) -> None:
    """Each operator against dense algebra in float64."""
    (rows, cols), nnz = s.shape, s.nnz
    values, bias = numbers(nnz, dtype=dtype, seed=seed), numbers(rows, dtype=dtype, seed=seed + 1)
    x, grad = numbers(batch, cols, dtype=dtype, seed=seed + 2), numbers(batch, rows, dtype=dtype, seed=seed + 3)
    W, X, G, b = dense(values.double(), s), x.double(), grad.double(), bias.double()
    positions = mask_of(s)
    Y, Y_size = X @ W.T, X.abs() @ W.abs().T
    assert_close(kernels.spmm(values, s, x.t()), Y.T, Y_size.T, dtype)
    assert_close(kernels.spmm_t(values, s, grad.t()), (G @ W).T, (G.abs() @ W.abs()).T, dtype)
    inner, inner_size = (G.T @ X)[positions], (G.T.abs() @ X.abs())[positions]
    assert_close(kernels.sddmm(grad.t(), x.t(), s), inner, inner_size, dtype)
    assert_close(kernels.linear(values, s, x), Y, Y_size, dtype)
    assert_close(kernels.linear(values, s, x, bias), Y + b, Y_size + b.abs(), dtype)
    assert_close(kernels.linear(values, s, x, bias, relu=True), (Y + b).relu(), Y_size + b.abs(), dtype)
    grad_x, grad_values = torch.ops.gossamer.linear_backward(grad, values, *s, x)
    assert_close(grad_x, G @ W, G.abs() @ W.abs(), dtype)
    assert_close(grad_values, inner, inner_size, dtype)


# ---- values --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", range(len(ISAS)), ids=ISAS)
@given(
    rows=st.integers(1, 9),
    cols=st.integers(1, 9),
    density=st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]),
    batch=st.sampled_from(BATCHES),
    dtype=st.sampled_from(DTYPES),
    seed=st.integers(0, 99),
)
def test_products_equal_dense_algebra(
    level: int, rows: int, cols: int, density: float, batch: int, dtype: torch.dtype, seed: int
) -> None:
    with instruction_set(level):
        check_all_products(random_structure(rows, cols, density, seed), batch, dtype, seed)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("level", range(len(ISAS)), ids=ISAS)
def test_every_batch_size(level: int, dtype: torch.dtype) -> None:
    s = random_structure(13, 17, 0.3)
    with instruction_set(level):
        for batch in BATCHES:
            check_all_products(s, batch, dtype)


@pytest.mark.parametrize("level", range(len(ISAS)), ids=ISAS)
def test_more_columns_than_the_cache_holds(level: int) -> None:
    s = random_structure(3, 20_000, 0.003)
    with instruction_set(level):
        for batch in (33, 130):
            check_all_products(s, batch, torch.float64)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("level", range(len(ISAS)), ids=ISAS)
def test_one_sample_of_many_inputs(level: int, dtype: torch.dtype) -> None:
    with instruction_set(level):
        for cols, density in ((300, 0.4), (20_000, 0.01)):  # the second has more inputs than the first cache holds
            check_all_products(random_structure(9, cols, density, cols), 1, dtype)


@pytest.mark.parametrize("dtype", DTYPES[:3], ids=str)
def test_compiled_products_equal_the_reference(dtype: torch.dtype) -> None:
    s = random_structure(17, 40, 0.2)
    values, x, y = (numbers(*shape, dtype=dtype) for shape in ((s.nnz,), (40, 37), (17, 37)))
    W = dense(values.double(), s).abs()
    for got, wanted, size in (
        (native.spmm(values, s, x), reference.spmm(values, s, x), W @ x.double().abs()),
        (native.spmm_t(values, s, y), reference.spmm_t(values, s, y), W.T @ y.double().abs()),
        (native.sddmm(y, x, s), reference.sddmm(y, x, s), (y.double().abs() @ x.double().abs().T)[mask_of(s)]),
    ):
        assert_close(got, wanted.double(), 2 * size, dtype)  # each is off by its own rounding


def test_a_literal_product() -> None:
    s = structure_of(torch.tensor([[1, 0, 1], [0, 0, 0], [0, 1, 0]], dtype=torch.bool))
    values = torch.tensor([2.0, 3.0, 5.0])  # W = [[2, 0, 3], [0, 0, 0], [0, 5, 0]]
    x = torch.tensor([[1.0, 10.0, 100.0], [-1.0, 0.0, 1.0]])
    bias = torch.tensor([0.5, -7.0, 0.0])
    assert kernels.linear(values, s, x).tolist() == [[302, 0, 50], [1, 0, 0]]
    assert kernels.linear(values, s, x, bias).tolist() == [[302.5, -7, 50], [1.5, -7, 0]]
    assert kernels.linear(values, s, x, bias, relu=True).tolist() == [[302.5, 0, 50], [1.5, 0, 0]]
    assert kernels.spmm_t(values, s, torch.eye(3)).tolist() == [[2, 0, 0], [0, 0, 5], [3, 0, 0]]
    assert kernels.sddmm(torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([[5.0], [7.0], [11.0]]), s).tolist() == [
        5,
        11,
        21,
    ]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_a_number_that_is_not_finite_stays_in_its_sample_and_its_connections(bad: float, dtype: torch.dtype) -> None:
    s = structure_of(torch.tensor([[1, 0], [0, 1]], dtype=torch.bool))
    values = torch.ones(2, dtype=dtype)
    for batch in (2, 9, 33):
        x = torch.ones(batch, 2, dtype=dtype)
        x[-1, 0] = bad
        for relu in (False, True):
            y = kernels.linear(values, s, x, None, relu)
            assert torch.equal(y[:-1], torch.ones(batch - 1, 2, dtype=dtype))
            assert y[-1, 1] == 1
            expected = torch.tensor(bad).relu() if relu else torch.tensor(bad)
            assert torch.equal(y[-1, 0].nan_to_num(5), expected.to(dtype).nan_to_num(5))


# ---- layouts -------------------------------------------------------------------------------------------------------


def layouts(x: Tensor) -> Iterator[tuple[str, Tensor]]:
    """The same matrix, stored in several ways."""
    rows, cols = x.shape
    yield "contiguous", x.contiguous()
    yield "transposed", x.t().contiguous().t()
    wide = torch.full((rows, 2 * cols + 3), torch.nan, dtype=x.dtype)
    wide[:, 1 : 2 * cols + 1 : 2] = x
    yield "every other column", wide[:, 1 : 2 * cols + 1 : 2]
    tall = torch.full((3 * rows, cols + 5), torch.nan, dtype=x.dtype)
    tall[::3, 2 : cols + 2] = x
    yield "every third row, from the third column", tall[::3, 2 : cols + 2]
    flipped = torch.full((cols + 4, rows + 2), torch.nan, dtype=x.dtype).t()
    flipped[1 : rows + 1, 3 : cols + 3] = x
    yield "inside a transposed matrix", flipped[1 : rows + 1, 3 : cols + 3]
    if x.dtype in (torch.float32, torch.float64):
        conjugate = torch.complex(torch.zeros_like(x), -x).conj().imag
        assert conjugate.is_neg()
        yield "negated lazily", conjugate


@pytest.mark.parametrize("batch", [1, 2, 19])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_layouts_do_not_matter(dtype: torch.dtype, batch: int) -> None:
    s = random_structure(6, 11, 0.4)
    values, x, grad = (numbers(*shape, dtype=dtype) for shape in ((s.nnz,), (batch, 11), (batch, 6)))
    y, grads = kernels.linear(values, s, x), torch.ops.gossamer.linear_backward(grad, values, *s, x)
    inner = kernels.sddmm(grad.t(), x.t(), s)
    spread = torch.full((2 * s.nnz,), torch.nan, dtype=dtype)
    spread[::2] = values
    for (name, this_x), (_, this_grad) in zip(layouts(x), layouts(grad), strict=True):
        for these in (values, spread[::2]):
            assert torch.equal(kernels.linear(these, s, this_x), y), name
            assert torch.equal(kernels.spmm(these, s, this_x.t()), y.t()), name
            got = torch.ops.gossamer.linear_backward(this_grad, these, *s, this_x)
            assert all(torch.equal(a, b) for a, b in zip(got, grads, strict=True)), name
        assert torch.equal(kernels.sddmm(this_grad.t(), this_x.t(), s), inner), name


@pytest.mark.parametrize("batch", [1, 5])
def test_expanded_inputs(batch: int) -> None:
    s = random_structure(6, 4, 0.5)
    values = numbers(1).expand(s.nnz)
    one_sample, one_feature = numbers(1, 4).expand(batch, 4), numbers(batch, 1).expand(batch, 4)
    for x in (one_sample, one_feature, numbers(1, 1).expand(batch, 4)):
        torch.testing.assert_close(kernels.linear(values, s, x), x @ dense(values, s).T, rtol=0, atol=1e-12)


def test_results_are_feature_major_and_feed_the_next_layer_without_a_copy() -> None:
    s = random_structure(6, 4, 0.5)
    y = kernels.linear(numbers(s.nnz), s, numbers(9, 4))
    assert y.stride() == (1, 9)
    hidden = y.relu()
    assert native.feature_major(hidden.t()).data_ptr() == hidden.data_ptr()


def test_inputs_are_left_as_they_are() -> None:
    s = random_structure(6, 4, 0.5)
    values, x, bias = numbers(s.nnz), numbers(9, 4), numbers(6)
    copies = [t.clone() for t in (values, x, bias, *s)]
    kernels.linear(values, s, x, bias, relu=True)
    torch.ops.gossamer.linear_backward(numbers(9, 6), values, *s, x)
    assert all(torch.equal(a, b) for a, b in zip((values, x, bias, *s), copies, strict=True))


# ---- derivatives ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", range(len(ISAS)), ids=ISAS)
@pytest.mark.parametrize("relu", [False, True])
@given(batch=st.sampled_from(BATCHES), density=st.sampled_from([0.0, 0.3, 1.0]), seed=st.integers(0, 99))
def test_gradients_equal_those_of_the_masked_dense_layer(
    level: int, relu: bool, batch: int, density: float, seed: int
) -> None:
    s = random_structure(7, 5, density, seed)
    leaves = [numbers(*shape, seed=seed + i).requires_grad_() for i, shape in enumerate(((s.nnz,), (batch, 5), (7,)))]
    weights = numbers(batch, 7, seed=seed + 9)
    values, x, bias = leaves
    y = x @ dense(values, s).T + bias
    expected = torch.autograd.grad((y.relu() if relu else y).mul(weights).sum(), leaves)
    with instruction_set(level):
        for wanted in ((0, 1, 2), (0,), (1,), (2,), (0, 2), (1, 2)):
            inputs = [leaf if i in wanted else leaf.detach() for i, leaf in enumerate(leaves)]
            output = kernels.linear(inputs[0], s, inputs[1], inputs[2], relu)
            got = torch.autograd.grad(output.mul(weights).sum(), [leaves[i] for i in wanted])
            for i, gradient in zip(wanted, got, strict=True):
                torch.testing.assert_close(gradient, expected[i], rtol=1e-10, atol=1e-10)


def derivative_cases() -> Iterator[tuple[str, Callable[..., Tensor], tuple[Tensor, ...]]]:
    s = random_structure(5, 4, 0.5)
    values, x, y, bias = numbers(s.nnz), numbers(3, 4), numbers(3, 5), numbers(5)
    yield "spmm", lambda v, a: kernels.spmm(v, s, a), (values, x.t())
    yield "spmm_t", lambda v, a: kernels.spmm_t(v, s, a), (values, y.t())
    yield "sddmm", lambda a, b: kernels.sddmm(a, b, s), (y.t(), x.t())
    yield "linear", lambda v, a: kernels.linear(v, s, a), (values, x)
    yield "linear with bias", lambda v, a, b: kernels.linear(v, s, a, b), (values, x, bias)
    yield "linear with relu", lambda v, a, b: kernels.linear(v, s, a, b, True), (values, x, bias)
    yield "operator", lambda v, a, b: torch.ops.gossamer.linear(v, *s, a, b, True), (values, x, bias)


CASES = list(derivative_cases())


@pytest.mark.parametrize(("function", "inputs"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_first_and_second_derivatives(function: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> None:
    leaves = tuple(t.detach().clone().requires_grad_() for t in inputs)
    assert torch.autograd.gradcheck(function, leaves)
    assert torch.autograd.gradgradcheck(function, leaves)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")  # PyTorch's own formulas
@pytest.mark.parametrize(("function", "inputs"), [case[1:] for case in CASES[:6]], ids=[case[0] for case in CASES[:6]])
def test_forward_mode(function: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> None:
    directions = tuple(numbers(*t.shape, seed=7 + i) for i, t in enumerate(inputs))
    with forward_ad.dual_level():
        duals = [forward_ad.make_dual(t, d) for t, d in zip(inputs, directions, strict=True)]
        tangent = forward_ad.unpack_dual(function(*duals)).tangent
    step = 1e-6
    there = function(*(t + step * d for t, d in zip(inputs, directions, strict=True)))
    back = function(*(t - step * d for t, d in zip(inputs, directions, strict=True)))
    assert tangent is not None
    torch.testing.assert_close(tangent, (there - back) / (2 * step), rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize(("function", "inputs"), [case[1:] for case in CASES[:6]], ids=[case[0] for case in CASES[:6]])
def test_torch_func(function: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> None:
    leaves = tuple(t.detach().clone().requires_grad_() for t in inputs)
    arguments = tuple(range(len(inputs)))
    gradients = torch.func.grad(lambda *args: function(*args).sin().sum(), arguments)(*inputs)
    expected = torch.autograd.grad(function(*leaves).sin().sum(), leaves)
    for got, wanted in zip(gradients, expected, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-10, atol=1e-12)
    for mapped in range(len(inputs)):  # each input in turn gets a leading dimension to map over
        stack = torch.stack([inputs[mapped], -2 * inputs[mapped]])
        arguments_of = [(*inputs[:mapped], stack[i], *inputs[mapped + 1 :]) for i in range(2)]
        dims = tuple(0 if i == mapped else None for i in range(len(inputs)))
        got = torch.func.vmap(function, dims)(*inputs[:mapped], stack, *inputs[mapped + 1 :])
        torch.testing.assert_close(got, torch.stack([function(*args) for args in arguments_of]), rtol=0, atol=1e-12)


def test_gradients_of_single_samples() -> None:
    s = random_structure(5, 4, 0.5)
    values, x = numbers(s.nnz), numbers(3, 4)

    def loss(values: Tensor, sample: Tensor) -> Tensor:
        return kernels.linear(values, s, sample[None], None, True).square().sum()

    got = torch.func.vmap(torch.func.grad(loss), (None, 0))(values, x)
    leaf = values.clone().requires_grad_()
    expected = [torch.autograd.grad(loss(leaf, sample), leaf)[0] for sample in x]
    torch.testing.assert_close(got, torch.stack(expected), rtol=1e-10, atol=1e-12)


def test_patterns_as_arguments_of_a_transformed_function() -> None:
    s = random_structure(5, 4, 0.5)
    values, x = numbers(s.nnz), numbers(3, 4)

    def loss(values: Tensor, s: Structure, sample: Tensor) -> Tensor:
        return kernels.linear(values, Structure(*s), sample[None]).square().sum()

    got = torch.func.vmap(torch.func.grad(loss), (None, None, 0))(values, s, x)
    torch.testing.assert_close(got[1], torch.func.grad(loss)(values, s, x[1]), rtol=1e-10, atol=1e-12)
    with pytest.raises(InputError, match="the pattern must be the same for all samples"):
        torch.func.vmap(loss, (None, 0, 0))(values, Structure(*(torch.stack([t] * 3) for t in s)), x)


@pytest.mark.parametrize("relu", [False, True])
def test_batched_gradients(relu: bool) -> None:
    s = random_structure(5, 4, 0.5)
    values, x = numbers(s.nnz).requires_grad_(), numbers(3, 4).requires_grad_()
    directions = numbers(6, 3, 5)
    y = kernels.linear(values, s, x, None, relu)
    got = torch.autograd.grad(y, (values, x), directions, is_grads_batched=True, retain_graph=True)
    for i, direction in enumerate(directions):
        for all_of_them, one in zip(
            got, torch.autograd.grad(y, (values, x), direction, retain_graph=True), strict=True
        ):
            torch.testing.assert_close(all_of_them[i], one, rtol=1e-10, atol=1e-12)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_hessian() -> None:
    s = random_structure(4, 3, 0.6)
    values, x = numbers(s.nnz), numbers(5, 3)
    got = torch.autograd.functional.hessian(lambda v: kernels.linear(v, s, x).square().sum(), values)
    wanted = torch.autograd.functional.hessian(lambda v: (x @ dense(v, s).T).square().sum(), values)
    torch.testing.assert_close(got, wanted, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(
        torch.func.hessian(lambda v: kernels.linear(v, s, x).square().sum())(values), wanted, rtol=1e-10, atol=1e-10
    )


# ---- as operators --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_operators_are_well_formed(dtype: torch.dtype, batch: int) -> None:
    s = random_structure(5, 4, 0.5)
    values, bias = numbers(s.nnz, dtype=dtype).requires_grad_(), numbers(5, dtype=dtype).requires_grad_()
    x, y = numbers(batch, 4, dtype=dtype).requires_grad_(), numbers(batch, 5, dtype=dtype).requires_grad_()
    x_t, y_t = (m.detach().t().requires_grad_() for m in (x, y))
    quick = ("test_schema", "test_faketensor")
    thorough = (*quick, "test_autograd_registration", "test_aot_dispatch_dynamic")
    for operator, inputs in (
        (torch.ops.gossamer.spmm, (values, *s, x_t)),
        (torch.ops.gossamer.spmm_t, (values, *s, y_t)),
        (torch.ops.gossamer.sddmm, (y_t, x_t, *s)),
        (torch.ops.gossamer.linear, (values, *s, x, bias, False)),
        (torch.ops.gossamer.linear, (values, *s, x, None, True)),
        (torch.ops.gossamer.linear_backward, (y.detach(), values.detach(), *s, x.detach())),
    ):
        torch.library.opcheck(operator.default, inputs, test_utils=thorough if dtype == torch.float32 else quick)


@pytest.mark.parametrize(("function", "inputs"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_products_compile_without_a_graph_break(function: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> None:
    torch._dynamo.reset()
    leaves = tuple(t.detach().clone().requires_grad_() for t in inputs)
    got = torch.compile(function, fullgraph=True, backend="aot_eager")(*leaves)
    expected = function(*leaves)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)
    for a, b in zip(
        torch.autograd.grad(got.square().sum(), leaves),
        torch.autograd.grad(expected.square().sum(), leaves),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


def test_shapes_without_data() -> None:
    s = Structure(*(t.to("meta") for t in random_structure(5, 4, 0.5)))
    values, x = torch.empty(s.nnz, device="meta"), torch.empty(3, 4, device="meta")
    assert kernels.linear(values, s, x).shape == (3, 5)
    assert kernels.spmm(values, s, x.t()).shape == (5, 3)
    assert kernels.spmm_t(values, s, torch.empty(5, 3, device="meta")).shape == (4, 3)


def test_a_default_device_does_not_reach_the_kernels() -> None:
    s = random_structure(5, 4, 0.5)
    values, x = numbers(s.nnz).requires_grad_(), numbers(3, 4).requires_grad_()
    with torch.device("meta"):
        y = kernels.linear(values, s, x)
        y.sum().backward()
    torch.testing.assert_close(y, x @ dense(values, s).T, rtol=0, atol=1e-12)
    assert values.grad is not None


# ---- what is refused -----------------------------------------------------------------------------------------------


def test_wrong_numbers_are_refused() -> None:
    s = random_structure(5, 4, 0.5)
    v, x = numbers(s.nnz), numbers(3, 4)
    for message, values, this_x, bias in (
        (r"x must have shape \(batch, 4\), got \(3, 5\)", v, numbers(3, 5), None),
        (r"x must have shape \(batch, 4\), got \(4,\)", v, numbers(4), None),
        (r"x must have shape \(batch, 4\), got \(2, 3, 4\)", v, numbers(2, 3, 4), None),
        ("x must have the dtype of values, torch.float64, got torch.float32", v, x.float(), None),
        ("x must have the dtype of values, torch.float64, got torch.int64", v, x.long(), None),
        ("x must be on the device of values, cpu, got meta", v, x.to("meta"), None),
        (f"values must be a vector of {s.nnz} numbers", v[1:], x, None),
        (f"values must be a vector of {s.nnz} numbers", v[None], x, None),
        ("values must be floating point, got torch.int64", v.long(), x.long(), None),
        ("values must be floating point, got torch.complex128", v.to(torch.complex128), x, None),
        (r"bias must be a vector of 5 torch.float64 on cpu, got torch.float64 of shape \(4,\)", v, x, numbers(4)),
        ("bias must be a vector of 5 torch.float64 on cpu, got torch.float32", v, x, numbers(5).float()),
        (r"bias must be .* on cpu, got .* on meta", v, x, numbers(5).to("meta")),
    ):
        for grad_mode in (True, False):
            with torch.set_grad_enabled(grad_mode), pytest.raises(InputError, match=message):
                kernels.linear(values, s, this_x, bias)
        if "meta" in message:  # shapes without data: the operator of the meta device answers, not ours
            continue
        with pytest.raises(InputError, match=message):
            torch.ops.gossamer.linear(values, *s, this_x, bias, False)


def test_wrong_matrices_are_refused() -> None:
    s = random_structure(5, 4, 0.5)
    v, b = numbers(s.nnz), numbers(5, 3)
    with pytest.raises(InputError, match=r"x must have shape \(4, batch\), got \(5, 3\)"):
        kernels.spmm(v, s, numbers(5, 3))
    with pytest.raises(InputError, match=r"y must have shape \(5, batch\), got \(4, 3\)"):
        kernels.spmm_t(v, s, numbers(4, 3))
    with pytest.raises(InputError, match=r"a must have shape \(5, batch\), got \(4, 3\)"):
        kernels.sddmm(numbers(4, 3), numbers(4, 3), s)
    with pytest.raises(InputError, match=r"b must have shape \(4, batch\), got \(5, 3\)"):
        kernels.sddmm(numbers(5, 3), numbers(5, 3), s)
    with pytest.raises(InputError, match="a and b must have the same batch, got 3 and 2"):
        kernels.sddmm(numbers(5, 3), numbers(4, 2), s)
    with pytest.raises(InputError, match=r"grad must have shape \(batch, 5\)"):
        torch.ops.gossamer.linear_backward(numbers(3, 4), v, *s, numbers(3, 4))
    for function, wrong in (
        (lambda x: kernels.linear(v, s, x), numbers(2, 3, 5)),
        (lambda x: kernels.spmm(v, s, x), numbers(2, 5, 3)),
        (lambda y: kernels.spmm_t(v, s, y), numbers(2, 4, 3)),
        (lambda a: kernels.sddmm(a, b, s), numbers(2, 5, 3)),
    ):
        with pytest.raises(InputError, match="must have shape"):
            torch.func.vmap(function)(wrong)


def test_a_pattern_on_another_device_is_refused() -> None:
    s = random_structure(5, 4, 0.5)
    elsewhere = Structure(*(t.to("meta") for t in s))
    for grad_mode in (True, False):
        with (
            torch.set_grad_enabled(grad_mode),
            pytest.raises(InputError, match="the pattern must be on the device of the numbers, cpu, got meta"),
        ):
            kernels.linear(numbers(s.nnz), elsewhere, numbers(3, 4))


def corruptions() -> Iterator[tuple[str, str, Callable[[Tensor], Tensor]]]:
    """(what, which tensor, how to spoil it in place): each would make a kernel read or write elsewhere."""

    def put(position: int, value: int) -> Callable[[Tensor], Tensor]:
        def spoil(t: Tensor) -> Tensor:
            t[position] = value
            return t

        return spoil

    yield "starts late", "indptr", put(0, 1)
    yield "starts before memory", "indptr", put(0, -1)
    yield "decreases", "indptr", put(1, 10**6)
    yield "ends late", "indptr", put(-1, 10**6)
    yield "ends early", "indptr", put(-1, 0)
    yield "column too large", "indices", put(-1, 4)
    yield "column far away", "indices", put(-1, 2**31 - 1)
    yield "negative column", "indices", put(0, -1)
    yield "unsorted", "indices", lambda t: t.copy_(t.flip(0))
    yield "repeated column", "indices", lambda t: t.zero_()
    yield "starts late", "t_indptr", put(0, 1)
    yield "ends late", "t_indptr", put(-1, 10**6)
    yield "row too large", "t_indices", put(0, 10**6)
    yield "negative row", "t_indices", put(-1, -5)
    yield "two rows swapped", "t_indices", lambda t: t.copy_(t.flip(0))
    yield "nothing left", "indices", lambda t: t.resize_(0)
    yield "shorter", "t_indices", lambda t: t.resize_(2)
    yield "shorter", "indptr", lambda t: t.resize_(2)


def every_call(s: Structure) -> Iterator[Callable[[], object]]:
    rows, cols, nnz = 5, 4, 10
    values, x, y = numbers(nnz), numbers(3, cols), numbers(3, rows)
    yield lambda: kernels.linear(values, s, x)
    yield lambda: kernels.linear(values.clone().requires_grad_(), s, x)
    yield lambda: kernels.spmm(values, s, x.t())
    yield lambda: kernels.spmm_t(values, s, y.t())
    yield lambda: kernels.sddmm(y.t(), x.t(), s)
    yield lambda: torch.ops.gossamer.linear(values, *s, x, None, False)
    yield lambda: torch.ops.gossamer.linear_backward(y, values, *s, x)
    yield lambda: torch.func.vmap(lambda a: kernels.linear(values, s, a))(x[None])


def ten_positions() -> Structure:
    return structure_of(
        torch.tensor([[1, 1, 0, 1], [0, 1, 1, 0], [1, 0, 0, 0], [0, 0, 1, 1], [1, 1, 0, 0]], dtype=torch.bool)
    )


@pytest.mark.parametrize(
    ("field", "spoil"), [c[1:] for c in corruptions()], ids=[f"{c[1]} {c[0]}" for c in corruptions()]
)
def test_a_corrupt_pattern_is_refused_before_a_kernel_reads_it(field: str, spoil: Callable[[Tensor], Tensor]) -> None:
    sound = ten_positions()
    fresh = sound._replace(**{field: spoil(getattr(sound, field).clone())})
    for call in every_call(fresh):
        with pytest.raises(InputError):
            call()
    used = ten_positions()
    for call in every_call(used):
        call()
    spoil(getattr(used, field))
    for call in every_call(used):
        with pytest.raises(InputError):
            call()


@pytest.mark.parametrize("field", Structure._fields)
def test_views_and_replacements_of_a_trusted_pattern_are_not_trusted(field: str) -> None:
    s = ten_positions()
    kernels.linear(numbers(10), s, numbers(3, 4))
    tensor = getattr(s, field)
    wider = torch.zeros(2 * tensor.numel(), dtype=torch.int32)
    wider[::2] = tensor
    for other in (
        tensor[:-1],
        tensor[1:],
        wider[::2],
        torch.zeros_like(tensor),
        tensor.long(),
        tensor.float(),
        tensor[None],
    ):
        for call in every_call(s._replace(**{field: other})):
            with pytest.raises((InputError, IndexError)):
                call()


def test_a_gradient_with_a_pattern_that_was_spoilt_after_the_forward_pass_is_refused() -> None:
    s = ten_positions()
    values = numbers(10).requires_grad_()
    y = kernels.linear(values, s, numbers(3, 4).requires_grad_())
    s.t_indices[0] = 10**6
    with pytest.raises((InputError, RuntimeError)):
        y.sum().backward()


@pytest.mark.parametrize("other", [numbers(4), numbers(10, seed=9), numbers(10).double()])
def test_a_gradient_is_that_of_the_weights_of_the_forward_pass(other: Tensor) -> None:
    s = ten_positions()
    values, x = numbers(10).requires_grad_(), numbers(3, 4).requires_grad_()
    (expected,) = torch.autograd.grad(kernels.linear(values, s, x).square().sum(), x)
    y = kernels.linear(values, s, x)
    values.data = other
    (got,) = torch.autograd.grad(y.square().sum(), x)
    assert torch.equal(got, expected)


def test_a_pattern_is_verified_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    original = kernels.structure._validate_now

    def count(s: Structure) -> None:
        calls.append(s)
        original(s)

    monkeypatch.setattr(kernels.structure, "_validate_now", count)
    s = ten_positions()
    values, x = numbers(10).requires_grad_(), numbers(3, 4).requires_grad_()
    for _ in range(3):
        kernels.linear(values, s, x, None, True).sum().backward()
        torch.ops.gossamer.linear(values, *s, x, None, False).sum().backward()
        kernels.spmm(values, s, x.t()).square().sum().backward()
        with torch.no_grad():
            kernels.linear(values, Structure(*s), x)
    assert len(calls) == 1


# ---- modes, threads and processes ----------------------------------------------------------------------------------


def test_inference_mode() -> None:
    s = random_structure(5, 4, 0.5)
    values, x = numbers(s.nnz), numbers(3, 4)
    expected = kernels.linear(values, s, x)
    with torch.inference_mode():
        assert torch.equal(kernels.linear(values, s, x), expected)
        made_inside = Structure(*(t.clone() for t in s))
        assert torch.equal(kernels.linear(values, made_inside, x), expected)
        mixed = s._replace(t_indices=s.t_indices.clone())
        assert torch.equal(kernels.linear(values, mixed, x), expected)
        made_inside.indices[-1] = 10**6
        with pytest.raises(InputError):
            kernels.linear(values, made_inside, x)


def large() -> tuple[Structure, Tensor, Tensor, Tensor, Tensor]:
    s = random_structure(150, 200, 0.2)  # enough work to be shared among threads
    return s, numbers(s.nnz), numbers(70, 200), numbers(150), numbers(70, 150)


@pytest.mark.parametrize("dtype", DTYPES[:3], ids=str)
def test_one_thread_or_two_give_the_same_bits(dtype: torch.dtype) -> None:
    s, *rest = large()
    values, x, bias, grad = (t.to(dtype) for t in rest)
    results = []
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        y = kernels.linear(values, s, x, bias, True)
        results.append((y, *torch.ops.gossamer.linear_backward(grad, values, *s, x), kernels.sddmm(grad.t(), x.t(), s)))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_several_threads_of_python_at_once() -> None:
    torch.set_num_threads(2)
    s, values, x, bias, grad = large()
    wanted_y = kernels.linear(values, s, x, bias)
    wanted_gradients = torch.ops.gossamer.linear_backward(grad, values, *s, x)
    start = threading.Barrier(4)

    def work(_: int) -> bool:
        start.wait()
        right = True
        for _ in range(10):
            mine = Structure(*(t.clone() for t in s))
            leaf = values.clone().requires_grad_()
            y = kernels.linear(leaf, mine, x.clone().requires_grad_(), bias)
            y.backward(grad)
            right &= torch.equal(y, wanted_y) and torch.equal(leaf.grad, wanted_gradients[1])  # type: ignore[arg-type]
        return right

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(4)))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_computes_on_one_thread() -> None:
    torch.set_num_threads(2)
    s, values, x, bias, _ = large()
    expected = kernels.linear(values, s, x, bias).t().contiguous().numpy().tobytes()  # the pool's threads exist now
    read, write = os.pipe()
    child = os.fork()
    if child == 0:  # nothing of torch's own pool may be used here
        try:
            with torch.no_grad():
                result = kernels.linear(values, s, x, bias).t().numpy().tobytes()
            os.write(write, b"same" if result == expected else b"different")
        finally:
            os._exit(0)
    os.close(write)
    try:
        ready, _, _ = select.select([read], [], [], 60)
        answer = os.read(read, 16) if ready else b"no answer"
    finally:
        os.close(read)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert answer == b"same"


class Products(Dataset[Tensor]):
    """A data set whose samples are computed by a sparse layer."""

    def __init__(self) -> None:
        self.s, self.values, self.x, _, _ = large()

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> Tensor:
        return kernels.linear(self.values, self.s, self.x * (index + 1)).contiguous()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_in_the_worker_of_a_data_loader() -> None:
    torch.set_num_threads(2)
    data = Products()
    expected = [data[0], data[1]]
    loader = DataLoader(data, batch_size=None, num_workers=1, multiprocessing_context="fork", timeout=60)
    assert all(torch.equal(a, b) for a, b in zip(loader, expected, strict=True))


def test_the_instruction_set_can_be_chosen_and_is_reported() -> None:
    for level, name in enumerate(ISAS):
        with instruction_set(level):
            assert kernels.info().instruction_set == name
            assert kernels.info().vector_bytes in (16, 32, 64)
    assert kernels.info().threads == torch.get_num_threads()
    with pytest.raises(ValueError, match="instruction set"):
        _cpu.use_isa(len(ISAS))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize(("cols", "density"), [(300, 0.9), (4500, 0.1)], ids=["first cache", "second cache"])
@pytest.mark.parametrize("batch", [8, 12, 128, 120, 300])
def test_products_cut_for_the_caches(cols: int, density: float, batch: int, dtype: torch.dtype) -> None:
    """Wide enough, and enough entries in a row, for blocks of columns of the pattern and of its transpose."""
    for rows, width in ((70, cols), (cols, 70)):
        s = random_structure(rows, width, density)
        values, x, g = (t.to(dtype) for t in (numbers(s.nnz), numbers(batch, width), numbers(batch, rows)))
        bias = numbers(rows).to(dtype)

        def close(got: Tensor, expected: Tensor, rough: bool = dtype == torch.bfloat16) -> None:
            torch.testing.assert_close(
                got.double(), expected.double(), rtol=0.05 if rough else 1e-3, atol=0.5 if rough else 2e-4
            )

        y = kernels.linear(values, s, x, bias, True)
        wide = [t.double() for t in (values, x, g, bias)]
        expected = reference.spmm(wide[0], s, wide[1].t()).t() + wide[3]
        close(y, expected.relu())
        dx, dv = torch.ops.gossamer.linear_backward(g, values, *s, x)
        close(dx, reference.spmm_t(wide[0], s, wide[2].t()).t())
        close(dv, reference.sddmm(wide[2].t(), wide[1].t(), s))
        close(kernels.sddmm(g.t(), x.t(), s), dv)
        close(kernels.spmm_t(values, s, g.t()).t(), dx)


@pytest.mark.parametrize("batch", [1, 5, 20, 64])
def test_gradients_made_apart_are_those_made_together(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    g = torch.Generator().manual_seed(batch)
    s = random_structure(40, 30, 0.3, batch)
    values, x, grad = (torch.randn(shape, generator=g) for shape in ((s.nnz,), (30, batch), (batch, 40)))
    together = native.spmm_t_sddmm(values, s, x, grad.t())
    monkeypatch.setattr(native, "_APART", 0)  # as if there were millions of values
    for mine, theirs in zip(native.spmm_t_sddmm(values, s, x, grad.t()), together, strict=True):
        torch.testing.assert_close(mine, theirs)
