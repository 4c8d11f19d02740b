"""The fused noise: its masks are those of the definition, its numbers those of float64, on everything that runs it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gossamer.associative.philox import philox
from gossamer.errors import InputError
from gossamer.kernels import _cpu
from gossamer.kernels.lq_noise import EPSILON, kept, multiplier

F64 = torch.float64
QS = (0.0, 0.5, 1.0, 1.3, 1.5, 1.99, 2.0, 2.5, 2.7, 3.0, 3.5, 4.0, 6.5)
ISAS = [0, 1, 2]
forward, backward = torch.ops.gossamer.lq_noise, torch.ops.gossamer.lq_noise_backward


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def seed_of(number: int) -> Tensor:
    return torch.tensor(number)


@pytest.fixture(params=ISAS)
def isa(request: pytest.FixtureRequest) -> Iterator[int]:
    before = ["baseline", "avx2", "avx512"].index(_cpu.isa())
    try:
        _cpu.use_isa(request.param)
    except ValueError:
        pytest.skip("this processor lacks the instruction set")
    yield request.param
    _cpu.use_isa(before)


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def native_mask(n: int, seed: int, p: float, dtype: torch.dtype = torch.float32) -> Tensor:
    """True where the kernel keeps an element."""
    return forward(torch.ones(n, dtype=dtype), seed_of(seed), p, 2.0, False) != 0  # type: ignore[no-any-return]


# ---- masks -----------------------------------------------------------------------------------------------------------


def test_words_are_those_of_philox() -> None:
    seed, n = 0x0123456789ABCDEF, 8 * 64
    counters = np.zeros((n // 8, 4), np.uint64)
    counters[:, 0] = np.arange(n // 8)
    words = philox(counters, np.uint64(seed)).astype(np.uint32)  # (blocks, 4)
    u = np.concatenate([words.reshape(-1, 8, 2, 2)[:, :, half].reshape(-1, 16) for half in (0, 1)], 1)
    u = u.reshape(-1).view(np.uint16) if np.little_endian else u.byteswap().view(np.uint16)
    for p in (0.25, 0.5):  # 2¹⁶ p is whole: no word is a tie that counts
        assert kept(torch.empty(n), seed, p).tolist() == (u >= round(p * 65536)).tolist()


@pytest.mark.parametrize("p", [1e-9, 1e-5, 0.3, 0.5, 1 - 1e-5, 1 - 1e-9])
def test_masks_are_those_of_the_definition_on_any_threads_and_instruction_set(isa: int, p: float) -> None:
    n, seed = 200_001, 2**62 + 12345
    right = kept(torch.empty(n), seed, p)
    for dtype, count in itertools.product((torch.float32, F64), (1, 2, 3)):
        torch.set_num_threads(count)
        assert torch.equal(native_mask(n, seed, p, dtype), right)
    assert torch.equal(native_mask(1001, seed, p), right[:1001])  # an element's mask does not depend on the others


def test_further_bits_decide_where_sixteen_tie() -> None:
    """p is no multiple of 2⁻¹⁶: without them, nothing would be dropped at p = 2⁻¹⁷, nor kept at 1 − 2⁻¹⁷."""
    n = 1 << 21  # 32 such ties, of which about 16 are decided either way
    for p in (2.0**-17, 0.5 + 2.0**-17, 1 - 2.0**-17):
        dropped = ~native_mask(n, 7, p)
        assert torch.equal(~dropped, kept(torch.empty(n), 7, p))
        assert abs(int(dropped.sum()) - p * n) < 5 * (p * (1 - p) * n) ** 0.5
    assert 0 < int((~native_mask(n, 7, 2.0**-17)).sum()) < 32 + 5 * 32**0.5
    assert int(native_mask(n, 7, 1 - 2.0**-17).sum()) > 0


@given(st.integers(0, 2**63 - 2), st.floats(1e-6, 1 - 1e-6), st.integers(1, 300))
def test_masks_are_those_of_the_definition_for_any_seed(seed: int, p: float, n: int) -> None:
    assert torch.equal(native_mask(n, seed, p), kept(torch.empty(n), seed, p))


def test_masks_of_neighbours_and_of_other_seeds_are_independent() -> None:
    n, p = 1 << 18, 0.3
    first, second = (native_mask(n, seed, p).double() - (1 - p) for seed in (1, 2))
    deviation = p * (1 - p) / n**0.5
    for lag in (1, 2, 4, 8, 16, 32, 64, 128):
        assert abs(float((first[lag:] * first[:-lag]).mean())) < 4.5 * deviation
    assert abs(float((first * second).mean())) < 4.5 * deviation


# ---- numbers ---------------------------------------------------------------------------------------------------------


def samples(n: int, dtype: torch.dtype) -> Tensor:
    """Numbers of all sizes from 10⁻¹⁴ to 10⁴, of both signs, and zeros."""
    size = (torch.rand(n, generator=seeded(), dtype=F64) * 41 - 32).exp()
    x = (size * (torch.rand(n, generator=seeded(1)) - 0.5).sign()).to(dtype)
    x[::97] = 0.0
    x[1::97] = -0.0
    return x


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("q", QS)
def test_numbers_are_those_of_float64_to_a_few_units(isa: int, q: float, dtype: torch.dtype, exact: bool) -> None:
    """The noise c (|x| + ε)^{q/2−1} ξ is met to 6 + 2 |q/2−1| units, and 1 more of the factor."""
    n, p, seed = 20_003, 0.3, 99  # an incomplete chunk at the end
    x, d = samples(n, dtype), torch.randn(n, generator=seeded(2), dtype=F64).to(dtype)
    r, wide, unit = kept(x, seed, p), x.double(), torch.finfo(dtype).eps
    for of, slope, found in (
        (x, 1.0, forward(x, seed_of(seed), p, q, exact)),
        (d, q / 2 if exact else 1.0, backward(d, x, seed_of(seed), p, q, exact)),
    ):
        factor = multiplier(wide, r, p, q, slope)
        if exact and of is d and q != 2:
            factor = torch.where(x == 0, 1.0, factor)
        right = of.double() * factor
        noise = (factor - 1).abs() + factor.abs()
        assert bool(((found.double() - right).abs() <= (6 + abs(q - 2)) * unit * of.double().abs() * noise).all())


@pytest.mark.parametrize("q", [0.3, 0.9, 1.2, 1.7, 2.2, 3.3, 5.0, 10.0])
def test_the_power_is_met_to_a_few_units_in_the_last_place(isa: int, q: float) -> None:
    """With d = 1 and a slope of 2⁴⁰, the result is 1 ± 2⁴⁰ s: where s is not tiny, the 1 is lost in it."""
    x = samples(100_000, torch.float32)
    x = x[(x != 0) & (x.abs() < 1e3)]
    slope = 2.0**40
    y = torch.empty_like(x)
    one = torch.ones_like(x)
    _cpu.lq_noise(0, 1, len(x), one.data_ptr(), x.data_ptr(), y.data_ptr(), 5, 0.5, q, slope, EPSILON, False)
    base = (x.abs() + torch.tensor(EPSILON)).double()  # as rounded to float32 in the kernel
    right = slope * base ** (q / 2 - 1)
    fits = (right > 2.0**28) & (right < 1e38)
    assert int(fits.sum()) > 10_000
    units = ((y.abs().double() - right) / (right * 2.0**-24))[fits].abs().max()  # of half to one of the last place
    assert float(units) <= 2 * (2 + abs(q / 2 - 1)) + 1


@pytest.mark.parametrize("exact", [False, True])
def test_at_two_it_is_dropout_bit_for_bit(isa: int, exact: bool) -> None:
    for dtype, p in itertools.product((torch.float32, F64), (0.1, 0.3, 0.5, 0.9)):
        x, d = samples(1000, dtype), samples(1000, dtype).flip(0)
        r = kept(x, 3, p).to(dtype)
        assert torch.equal(forward(x, seed_of(3), p, 2.0, exact), x * (r / (1 - p)))
        assert torch.equal(backward(d, x, seed_of(3), p, 2.0, exact), d * (r / (1 - p)))


@pytest.mark.parametrize("q", QS)
@pytest.mark.parametrize("exact", [False, True])
def test_threads_and_layouts_change_nothing(isa: int, q: float, exact: bool) -> None:
    x = torch.randn(130, 257, generator=seeded())
    d = torch.randn(130, 257, generator=seeded(1))
    found = []
    for count in (1, 2):
        torch.set_num_threads(count)
        found.append((forward(x, seed_of(4), 0.4, q, exact), backward(d, x, seed_of(4), 0.4, q, exact)))
        for strided in (d.t().contiguous().t(), torch.stack((d, d), -1)[..., 0]):
            assert torch.equal(backward(strided, x, seed_of(4), 0.4, q, exact), found[0][1])
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])
    transposed = forward(x.t(), seed_of(4), 0.4, q, exact)  # the same memory: the same masks
    assert torch.equal(transposed, found[0][0].t())
    assert transposed.stride() == x.t().stride()


@pytest.mark.parametrize("q", [0.0, 0.5, 1.0, 1.3, 1.5, 2.0, 2.5, 2.7, 3.0, 100.0])
def test_what_is_not_a_number_stays_in_its_place(isa: int, q: float) -> None:
    x = torch.randn(200, generator=seeded())
    clean = forward(x, seed_of(1), 0.5, q, False)
    holed = x.clone()
    holed[[3, 64, 199]] = float("nan")
    y, slope = forward(holed, seed_of(1), 0.5, q, False), backward(torch.ones(200), holed, seed_of(1), 0.5, q, True)
    assert torch.equal(y.isnan(), holed.isnan())
    assert torch.equal(y[~holed.isnan()], clean[~holed.isnan()])
    assert q == 2 or q == 0 or bool(slope[[3, 64, 199]].isnan().all())


def test_ends_of_the_range_of_numbers() -> None:
    big = torch.tensor([3e38, -3e38, 1.5, -1.0, 1e-38])
    for q in (100.0, 1e6, 1e300):  # powers overflow, vanish, or are 1
        y = forward(big, seed_of(0), 0.5, q, False)
        assert bool(y[:2].isinf().all())
        assert abs(float(y[3])) in (0.0, 2.0)
        assert float(y[4]) == pytest.approx(1e-38, rel=1e-6)


# ---- as an operator --------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@pytest.mark.parametrize(
    ("q", "dtype", "exact"),
    [(1.7, torch.float32, False), (1.7, F64, True), (2.0, torch.float32, True), (1.0, torch.bfloat16, True)],
)
def test_opcheck(q: float, dtype: torch.dtype, exact: bool) -> None:
    x = torch.randn(5, 7, generator=seeded()).to(dtype)
    for layout in (x, x.t()):
        torch.library.opcheck(forward.default, (layout.detach().requires_grad_(), seed_of(1), 0.3, q, exact))
    d = torch.randn(5, 7, generator=seeded(1)).to(dtype).requires_grad_()
    torch.library.opcheck(
        backward.default,
        (d, x.requires_grad_(), seed_of(1), 0.3, q, exact),
        test_utils=("test_schema", "test_faketensor"),
    )


@pytest.mark.parametrize("q", [0.0, 0.6, 1.0, 1.5, 1.7, 2.0, 3.0])
def test_the_exact_gradient_passes_gradcheck_twice_at_a_fixed_mask(q: float) -> None:
    x = torch.randn(9, generator=seeded(), dtype=F64)
    x = (x + 0.2 * x.sign()).requires_grad_()
    assert torch.autograd.gradcheck(lambda a: forward(a, seed_of(1), 0.3, q, True), x, check_batched_grad=True)
    assert torch.autograd.gradgradcheck(lambda a: forward(a, seed_of(1), 0.3, q, True), x)
    passes = torch.autograd.gradcheck(
        lambda a: forward(a, seed_of(1), 0.3, q, False),
        x,
        raise_exception=False,
    )
    assert passes == (q == 2)


@pytest.mark.parametrize("q", [1.0, 1.7, 3.0])
def test_the_frozen_gradient_is_the_multiplier_also_when_differentiated_again(q: float) -> None:
    x = torch.randn(50, generator=seeded(), dtype=F64).requires_grad_()
    y = forward(x, seed_of(1), 0.3, q, False)
    (d,) = torch.autograd.grad(y.square().sum() / 2, x, create_graph=True)
    factor = y.detach() / x.detach()
    torch.testing.assert_close(d, factor * y)
    (again,) = torch.autograd.grad(d.sum(), x)
    torch.testing.assert_close(again, factor.square())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_other_dtypes_take_the_reference(dtype: torch.dtype) -> None:
    x = torch.randn(300, generator=seeded()).to(dtype)
    y = forward(x, seed_of(1), 0.5, 1.5, False)
    assert y.dtype == dtype
    assert torch.equal(y, x * multiplier(x, kept(x, 1, 0.5), 0.5, 1.5))


@pytest.mark.parametrize("shape", [(0,), (3, 0), ()])
def test_nothing_and_one_number(shape: tuple[int, ...]) -> None:
    x = torch.full(shape, 0.5)
    y = forward(x, seed_of(1), 0.5, 1.0, False)
    assert y.shape == shape
    torch.testing.assert_close(y, x * multiplier(x, kept(x, 1, 0.5), 0.5, 1.0))


def test_wrong_arguments_are_refused() -> None:
    x, seed = torch.ones(3), seed_of(1)
    for p, q in ((0.0, 1.0), (1.0, 1.0), (float("nan"), 1.0), (0.5, -1.0), (0.5, float("inf")), (0.5, float("nan"))):
        with pytest.raises(InputError, match=r"p must be in \(0, 1\) and q in \[0, inf\), got"):
            forward(x, seed, p, q, False)
    with pytest.raises(InputError, match="x must be floating point"):
        forward(torch.ones(3, dtype=torch.int64), seed, 0.5, 1.0, False)
    for wrong in (torch.tensor(1.0), torch.ones(2, dtype=torch.int64)):
        with pytest.raises(InputError, match="seed must be one number of int64"):
            forward(x, wrong, 0.5, 1.0, False)
    for d in (torch.ones(2), torch.ones(3, dtype=F64)):
        with pytest.raises(InputError, match="d must be as x"):
            backward(d, x, seed, 0.5, 1.0, False)
