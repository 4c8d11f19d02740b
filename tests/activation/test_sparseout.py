"""Sparseout: the two values of an element, dropout at q = 2, its edge cases, and how it lives in torch."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from gossamer import InputError
from gossamer.activation.sparseout import Sparseout, sparseout
from gossamer.noise import Gradient

F64 = torch.float64
GRADIENTS: tuple[Gradient, ...] = ("frozen", "exact")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=seeded(seed))


# ---- what it computes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("a", "p", "q", "values"),
    [(2.0, 0.3, 1.5, (0.31821, 2.72077)), (-0.3, 0.5, 1.0, (-0.84772, 0.24772)), (1.0, 0.2, 3.0, (0.0, 1.25))],
)
@pytest.mark.parametrize("gradient", GRADIENTS)
def test_an_element_takes_one_of_two_values(
    a: float, p: float, q: float, values: tuple[float, float], gradient: Gradient
) -> None:
    y = sparseout(torch.full((1000,), a, dtype=F64), p, q, gradient=gradient, generator=seeded())
    assert y.unique().tolist() == pytest.approx(sorted(values), abs=1e-5)


@given(
    st.floats(0.01, 0.99), st.floats(0, 4), st.lists(st.floats(-50, 50), min_size=1, max_size=20), st.integers(0, 99)
)
def test_it_is_odd_and_both_gradients_have_the_same_values(p: float, q: float, a: list[float], seed: int) -> None:
    x = torch.tensor(a, dtype=F64)
    y = sparseout(x, p, q, generator=seeded(seed))
    assert torch.equal(sparseout(-x, p, q, generator=seeded(seed)), -y)
    torch.testing.assert_close(sparseout(x, p, q, gradient="exact", generator=seeded(seed)), y, rtol=0, atol=0)


LAYOUTS = {
    "plain": numbers(40, 30),
    "feature-major": numbers(30, 40).t(),
    "channels last": numbers(2, 3, 4, 5).to(memory_format=torch.channels_last),
    "every other": numbers(40, 30)[::2, ::3],
    "one number": torch.tensor(-1.5),
}


@pytest.mark.parametrize("dtype", [torch.float32, F64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("gradient", GRADIENTS)
def test_at_two_it_is_dropout_bit_for_bit(layout: str, dtype: torch.dtype, gradient: Gradient) -> None:
    found: list[tuple[Tensor, Tensor]] = []
    functions: list[Callable[[Tensor], Tensor]] = [
        lambda x: F.dropout(x, 0.3),
        lambda x: sparseout(x, 0.3, 2.0, gradient=gradient),
    ]
    for f in functions:
        x = LAYOUTS[layout].to(dtype).requires_grad_()
        with torch.random.fork_rng():
            torch.manual_seed(7)
            y = f(x)
        (d,) = torch.autograd.grad(y, x, torch.ones_like(y))
        found.append((y, d))
    (theirs, their_gradient), (mine, my_gradient) = found
    assert torch.equal(mine, theirs)
    assert torch.equal(my_gradient, their_gradient)
    assert mine.stride() == theirs.stride()


@pytest.mark.parametrize("q", [1.0, 2.0, 3.0])
@pytest.mark.parametrize("layout", ["plain", "feature-major", "channels last"])
@pytest.mark.parametrize("gradient", GRADIENTS)
def test_result_and_gradient_keep_the_layout(layout: str, q: float, gradient: Gradient) -> None:
    x = LAYOUTS[layout].clone().requires_grad_()
    y = sparseout(x, 0.3, q, gradient=gradient)
    (d,) = torch.autograd.grad(y, x, torch.ones_like(y))
    assert y.stride() == d.stride() == x.stride()


@pytest.mark.parametrize("q", [0.5, 1.0, 1.5, 2.0, 2.5])
@pytest.mark.parametrize("gradient", GRADIENTS)
def test_where_an_array_has_gaps_its_elements_are_perturbed_as_elsewhere(q: float, gradient: Gradient) -> None:
    x = LAYOUTS["every other"]
    y = sparseout(x, 0.5, q, gradient=gradient, generator=seeded())
    assert torch.equal(y, sparseout(x.contiguous(), 0.5, q, gradient=gradient, generator=seeded()))


# ---- evaluation, and the ends of the ranges --------------------------------------------------------------------------


@pytest.mark.parametrize("gradient", GRADIENTS)
@pytest.mark.parametrize("q", [0.0, 1.0, 2.0, 3.0])
def test_without_noise_it_is_the_identity_and_draws_nothing(q: float, gradient: Gradient) -> None:
    x, g = numbers(5, 6), seeded()
    before = g.get_state()
    assert sparseout(x, 0.0, q, True, gradient, g) is x
    assert sparseout(x, 0.7, q, False, gradient, g) is x
    layer = Sparseout(0.7, q, gradient, g).eval()
    assert layer(x) is x
    assert torch.equal(g.get_state(), before)
    assert not torch.equal(layer.train()(x), x)


@pytest.mark.parametrize("gradient", GRADIENTS)
@pytest.mark.parametrize("q", [0.0, 1.0, 2.0, 3.0])
def test_if_all_is_dropped_all_is_zero_and_so_is_the_gradient(q: float, gradient: Gradient) -> None:
    x = torch.tensor([-2.0, 0.0, 3.0], requires_grad=True)
    y = sparseout(x, 1.0, q, gradient=gradient)
    y.sum().backward()
    assert y.tolist() == [0.0, 0.0, 0.0]
    assert x.grad is not None
    assert x.grad.tolist() == [0.0, 0.0, 0.0]


def test_at_zero_every_element_moves_by_one() -> None:
    x = torch.tensor([-5.0, -0.1, 0.2, 7.0], dtype=F64)
    moves = {round(float(v), 6) for _ in range(50) for v in (sparseout(x, 0.5, 0.0) - x).abs()}
    assert moves == {1.0}


@pytest.mark.parametrize("dtype", [torch.float32, F64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("q", [0.0, 0.5, 1.0, 1.5, 2.0, 3.0])
@pytest.mark.parametrize("gradient", GRADIENTS)
def test_zeros_of_either_sign_stay_zero_with_finite_gradients(q: float, dtype: torch.dtype, gradient: Gradient) -> None:
    x = torch.tensor([0.0, -0.0, 1.0] * 20, dtype=dtype, requires_grad=True)
    y = sparseout(x, 0.5, q, gradient=gradient, generator=seeded())
    y.sum().backward()
    assert bool((y[x == 0] == 0).all())
    assert x.grad is not None
    if dtype != torch.float16 or gradient == "exact":  # 10⁶ is infinite there
        assert bool(x.grad.isfinite().all())


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_what_a_relu_has_silenced_gets_no_gradient(gradient: Gradient) -> None:
    x = torch.tensor([-1.0, 0.0, 2.0], requires_grad=True)
    sparseout(x.relu(), 0.5, 1.0, gradient=gradient).sum().backward()
    assert x.grad is not None
    assert x.grad[:2].tolist() == [0.0, 0.0]
    assert float(x.grad[2]) != 0


@pytest.mark.parametrize("q", [0.0, 1.0, 1.5, 2.0, 3.0])
@pytest.mark.parametrize("gradient", GRADIENTS)
def test_nan_stays_where_it_is(q: float, gradient: Gradient) -> None:
    x = numbers(4, 5)
    whole = sparseout(x, 0.3, q, gradient=gradient, generator=seeded())
    x[1, 2] = math.nan
    x.requires_grad_()
    y = sparseout(x, 0.3, q, gradient=gradient, generator=seeded())
    hole = torch.zeros(4, 5, dtype=torch.bool)
    hole[1, 2] = True
    assert torch.equal(y.isnan(), hole)
    assert torch.equal(y[~hole], whole[~hole])
    y.sum().backward()
    assert x.grad is not None
    assert bool(x.grad[~hole].isfinite().all())


@pytest.mark.parametrize("gradient", GRADIENTS)
@pytest.mark.parametrize("q", [1.0, 2.0])
@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0, 2)])
def test_nothing_in_nothing_out(shape: tuple[int, ...], q: float, gradient: Gradient) -> None:
    x = torch.empty(shape, requires_grad=True)
    y = sparseout(x, 0.5, q, gradient=gradient)
    assert y.shape == shape
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.shape == shape


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("gradient", GRADIENTS)
def test_half_types_are_computed_in_float32(dtype: torch.dtype, gradient: Gradient) -> None:
    half = numbers(200).to(dtype).requires_grad_()
    single = half.detach().float().requires_grad_()
    for q in (1.0, 1.5, 3.0):
        found = []
        for x in (half, single):
            with torch.random.fork_rng():
                torch.manual_seed(3)
                y = sparseout(x, 0.3, q, gradient=gradient)
            found.append((y, *torch.autograd.grad(y, x, torch.ones_like(y))))
        for mine, right in zip(*found, strict=True):
            assert mine.dtype == dtype
            assert torch.equal(mine, right.to(dtype))


@pytest.mark.parametrize("q", [1.0, 1.5, 2.0, 3.0])
@pytest.mark.parametrize("gradient", GRADIENTS)
def test_gradcheck_passes_where_the_gradient_is_the_derivative(q: float, gradient: Gradient) -> None:
    x = numbers(12).to(F64)
    x = (x + 0.2 * x.sign()).requires_grad_()
    passes = torch.autograd.gradcheck(
        lambda a: sparseout(a, 0.3, q, True, gradient, seeded(5)), x, raise_exception=False
    )
    assert passes == (gradient == "exact" or q == 2)


# ---- chance --------------------------------------------------------------------------------------------------------


def test_a_generator_decides_and_torch_keeps_its_own() -> None:
    x, before = numbers(50, 40), torch.get_rng_state()
    layers = [Sparseout(0.5, 1.5, generator=seeded(seed)) for seed in (1, 1, 2)]
    first, same, other = (layer(x) for layer in layers)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert not torch.equal(layers[0](x), first)  # a fresh mask each call
    assert torch.equal(torch.get_rng_state(), before)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        drawn = sparseout(x, 0.5, 1.5)
        torch.manual_seed(0)
        assert torch.equal(sparseout(x, 0.5, 1.5), drawn)


def test_each_element_is_dropped_on_its_own_and_as_often_as_said() -> None:
    dropped = (sparseout(torch.ones(400, 500), 0.3, 1.5, generator=seeded()) < 1).double()
    deviation = math.sqrt(0.3 * 0.7 / 200_000)
    assert abs(float(dropped.mean()) - 0.3) < 4 * deviation
    centred = (dropped - 0.3) / math.sqrt(0.3 * 0.7)
    for a, b in ((centred[1:], centred[:-1]), (centred[:, 1:], centred[:, :-1])):
        assert abs(float((a * b).mean())) < 4 / math.sqrt(a.numel())


# ---- in torch's company ----------------------------------------------------------------------------------------------


def test_copies_and_pickles_draw_what_the_original_would_draw() -> None:
    x = numbers(20, 30)
    layer = Sparseout(0.3, 1.5, "exact", seeded(4))
    twins = [copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))]
    y = layer(x)
    for twin in twins:
        assert repr(twin) == repr(layer) == "Sparseout(p=0.3, q=1.5, gradient='exact')"
        assert torch.equal(twin(x), y)
    assert layer.state_dict() == {}
    assert list(layer.parameters()) == []


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # by the compiler itself
@pytest.mark.parametrize("q", [1.0, 2.0])
@pytest.mark.parametrize("gradient", GRADIENTS)
def test_it_compiles_without_a_break_to_the_same(q: float, gradient: Gradient) -> None:
    layer = Sparseout(0.5, q, gradient)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    found = []
    for function in (layer, compiled):
        x = numbers(6, 12).requires_grad_()
        with torch.random.fork_rng():
            torch.manual_seed(1)
            y = function(x)
        found.append((y, torch.autograd.grad(y, x, torch.ones_like(y))[0]))
    torch.testing.assert_close(found[0], found[1])


@pytest.mark.parametrize("q", [1.0, 2.0, 3.0])
@pytest.mark.parametrize("gradient", GRADIENTS)
def test_vmap_gives_each_sample_a_mask_or_all_the_same(q: float, gradient: Gradient) -> None:
    x = numbers(1, 6).expand(50, 6).clone()

    def noise(row: Tensor) -> Tensor:
        return sparseout(row, 0.5, q, gradient=gradient)

    shared = torch.vmap(noise, randomness="same")(x)
    assert len(shared.unique(dim=0)) == 1
    assert len(torch.vmap(noise, randomness="different")(x).unique(dim=0)) > 20
    with pytest.raises(RuntimeError, match="randomness"):
        torch.vmap(noise)(x)
    slopes = torch.vmap(torch.func.grad(lambda row: noise(row).sum()), randomness="different")(x)
    assert slopes.shape == x.shape
    assert bool(slopes.isfinite().all())


def test_it_learns_in_a_network_in_autocast() -> None:
    net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), Sparseout(0.3, 1.5, generator=seeded()), nn.Linear(16, 2))
    with torch.autocast("cpu", torch.bfloat16):
        loss = net(numbers(10, 8)).square().mean()
    loss.backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in net.parameters())


# ---- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("p", [-0.1, 1.1, math.nan, math.inf, "many"])
def test_a_wrong_p_is_refused(p: Any, training: bool) -> None:
    with pytest.raises(InputError, match=rf"p must be .* \[0, 1\], got {p!r}"):
        sparseout(torch.ones(2), p, 1.5, training)
    with pytest.raises(InputError, match="p must be"):
        Sparseout(p)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("q", [-1.0, math.nan, math.inf, None])
def test_a_wrong_q_is_refused(q: Any, training: bool) -> None:
    with pytest.raises(InputError, match=rf"q must be .* \[0, inf\), got {q!r}"):
        sparseout(torch.ones(2), 0.5, q, training)
    with pytest.raises(InputError, match="q must be"):
        Sparseout(0.5, q)


def test_a_wrong_gradient_is_refused() -> None:
    with pytest.raises(InputError, match="gradient must be one of 'frozen', 'exact', got 'true'"):
        sparseout(torch.ones(2), gradient="true")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="gradient"):
        Sparseout(gradient="true")  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64])
def test_what_is_not_floating_point_is_refused(dtype: torch.dtype) -> None:
    for kind in (InputError, TypeError):
        with pytest.raises(kind, match=f"a must be floating point, got {dtype}"):
            sparseout(torch.ones(2, dtype=dtype))
