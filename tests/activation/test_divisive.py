"""Each activation is divided by what its neighbours and the other channels do."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from gossamer.activation.divisive import DivisiveNorm, Pooling, divisive_norm
from gossamer.errors import InputError

nan = math.nan
POOLINGS: list[Pooling] = ["max", "l1", "l2"]
sigmas = st.floats(0, 1)
seeds = st.integers(0, 1000)


def maps(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Activations as behind a ReLU, about half of them zero."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).relu().to(dtype)


def by_definition(y: Tensor, sigma: float, window: int, pooling: Pooling) -> Tensor:
    """One location at a time."""
    z, reach = torch.zeros_like(y), window // 2
    for n in range(len(y)):
        local = torch.zeros_like(y[n, 0])
        for i in range(y.shape[2]):
            for j in range(y.shape[3]):
                around = y[n, :, max(0, i - reach) : i + reach + 1, max(0, j - reach) : j + reach + 1].abs().flatten(1)
                pooled = {"max": around.amax(1), "l1": around.sum(1), "l2": around.square().sum(1).sqrt()}[pooling]
                local[i, j] = pooled.mean()
        z[n] = y[n] / (sigma * local.max() + (1 - sigma) * local + 1e-7)
    return z


def test_literal_maps() -> None:
    y = torch.tensor([[[[1.0, 0, 0]], [[0, 0, 3.0]]]])  # two channels of 1 × 3
    # M = (1 + 0, 1 + 3, 0 + 3) / 2, and without a window (1, 0, 3) / 2
    torch.testing.assert_close(divisive_norm(y, 0.0), torch.tensor([[[[2.0, 0, 0]], [[0, 0, 2.0]]]]))
    torch.testing.assert_close(divisive_norm(y, 1.0), torch.tensor([[[[0.5, 0, 0]], [[0, 0, 1.5]]]]))
    torch.testing.assert_close(divisive_norm(y, 0.5, window=1), torch.tensor([[[[1.0, 0, 0]], [[0, 0, 2.0]]]]))


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("window", [1, 3, 5, 11])
@pytest.mark.parametrize("signed", [False, True])
def test_it_is_what_the_definition_says(pooling: Pooling, window: int, signed: bool) -> None:
    y = maps(2, 3, 5, 4) - (0.5 if signed else 0)
    torch.testing.assert_close(divisive_norm(y, 0.3, window, pooling), by_definition(y, 0.3, window, pooling))


@given(seeds, sigmas, st.sampled_from(POOLINGS), st.sampled_from([1, 3]), st.integers(1, 6))
def test_results_are_bounded_and_zeros_stay(seed: int, sigma: float, pooling: Pooling, window: int, side: int) -> None:
    y = maps(2, 4, side, 3, seed=seed)
    z = divisive_norm(y, sigma, window, pooling)
    assert (z >= 0).all()
    assert torch.equal(z == 0, y == 0)
    assert (z.mean(1) <= 1 + 1e-12).all()
    assert (z <= 4 + 1e-12).all()


@given(seeds, sigmas, st.sampled_from(POOLINGS), st.floats(1e-3, 1e4))
def test_the_scale_of_an_image_cancels_out(seed: int, sigma: float, pooling: Pooling, scale: float) -> None:
    y = maps(1, 4, 5, 5, seed=seed)
    torch.testing.assert_close(
        divisive_norm(scale * y, sigma, 3, pooling), divisive_norm(y, sigma, 3, pooling), rtol=2e-3, atol=0
    )


def test_in_single_precision_five_times_the_input_changes_a_millionth_but_an_offset_changes_much() -> None:
    y = maps(4, 16, 16, 16, dtype=torch.float32)
    z = divisive_norm(y)
    assert ((divisive_norm(5 * y) - z).abs().max() / z.abs().max()).item() <= 1e-6
    assert (divisive_norm(y + 1) - z).abs().max() > 0.1


def test_tiny_activations_are_no_longer_blind_to_scale() -> None:
    y, z = maps(1, 4, 6, 6), divisive_norm(maps(1, 4, 6, 6))
    assert (divisive_norm(1e-8 * y) < 0.2 * z + 1e-12).all()


@given(seeds, sigmas, st.permutations(range(5)))
def test_permuting_channels_permutes_results(seed: int, sigma: float, order: list[int]) -> None:
    y = maps(2, 5, 4, 4, seed=seed)
    torch.testing.assert_close(divisive_norm(y[:, order], sigma), divisive_norm(y, sigma)[:, order])


@given(seeds)
def test_sigma_one_divides_an_image_by_one_number(seed: int) -> None:
    y = maps(3, 4, 5, 5, seed=seed) + 0.1
    ratio = (y / divisive_norm(y, 1.0)).flatten(1)
    torch.testing.assert_close(ratio, ratio[:, :1].expand_as(ratio), rtol=1e-6, atol=0)
    assert ratio[:, 0].unique().numel() == 3


def test_channels_compete() -> None:
    y = maps(1, 4, 5, 5) + 0.1
    louder = y.clone()
    louder[:, 2] *= 10
    others = [0, 1, 3]
    assert (divisive_norm(louder)[:, others] < divisive_norm(y)[:, others]).all()


def test_an_image_is_normalised_without_regard_to_its_batch() -> None:
    y = maps(4, 3, 5, 5)
    assert torch.equal(torch.cat([divisive_norm(image[None]) for image in y]), divisive_norm(y))


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("sigma", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("window", [1, 3])
def test_derivatives(pooling: Pooling, sigma: float, window: int) -> None:
    y = (maps(2, 3, 3, 4, seed=1) + 0.05 * torch.rand(2, 3, 3, 4).double()).requires_grad_()  # no ties
    assert torch.autograd.gradcheck(lambda t: divisive_norm(t, sigma, window, pooling), (y,))
    assert torch.autograd.gradgradcheck(lambda t: divisive_norm(t, sigma, window, pooling), (y,))


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("window", [1, 3])
def test_an_image_of_zeros_stays_zero_with_finite_gradients(pooling: Pooling, window: int) -> None:
    y = torch.cat([torch.zeros(1, 3, 4, 4), maps(1, 3, 4, 4, dtype=torch.float32)]).requires_grad_()
    z = divisive_norm(y, 0.1, window, pooling)
    assert (z[0] == 0).all()
    assert (z[1] > 0).any()
    assert torch.autograd.grad(z.sum(), y)[0].isfinite().all()


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("sigma", [0.0, 0.1, 1.0])
def test_nan_shows_in_its_own_image_alone(pooling: Pooling, sigma: float) -> None:
    y = maps(3, 2, 5, 5)
    clean = divisive_norm(y, sigma, 3, pooling)
    y[1, 0, 2, 2] = nan
    z = divisive_norm(y, sigma, 3, pooling)
    assert z[1].isnan().any()
    assert torch.equal(z[[0, 2]], clean[[0, 2]])


def test_infinity_shows_in_its_own_image_alone() -> None:
    y = maps(2, 2, 5, 5)
    y[0, 0, 2, 2] = math.inf
    z = divisive_norm(y)
    assert z[0].isnan().any()
    assert z[1].isfinite().all()


@pytest.mark.parametrize(("dtype", "within"), [(torch.float16, 1e-3), (torch.bfloat16, 8e-3)])
def test_half_types_are_computed_in_single_precision(dtype: torch.dtype, within: float) -> None:
    y = maps(2, 64, 8, 8).to(dtype)
    z = divisive_norm(y)
    assert z.dtype == dtype
    torch.testing.assert_close(z.double(), divisive_norm(y.double()), rtol=within, atol=1e-6)  # rounded once


def test_memory_formats_agree_and_are_kept() -> None:
    y = maps(2, 8, 4, 4)
    z = divisive_norm(y.contiguous(memory_format=torch.channels_last))
    assert z.is_contiguous(memory_format=torch.channels_last)
    assert divisive_norm(y).is_contiguous()
    torch.testing.assert_close(z, divisive_norm(y), rtol=1e-12, atol=0)
    assert divisive_norm(y[:0]).shape == (0, 8, 4, 4)
    torch.testing.assert_close(divisive_norm(torch.full((1, 1, 1, 1), 2.0)), torch.ones(1, 1, 1, 1))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sigma": -0.1}, r"sigma must be in \[0, 1\], got -0.1"),
        ({"sigma": 1.5}, "sigma must be"),
        ({"sigma": nan}, "sigma must be"),
        ({"window": 2}, "window must be odd, got 2"),
        ({"window": 0}, "window must be a whole number of at least 1"),
        ({"window": 1.5}, "window must be"),
        ({"pooling": "mean"}, "pooling must be one of"),
    ],
)
def test_arguments_out_of_range(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        divisive_norm(torch.ones(1, 2, 3, 3), **arguments)
    with pytest.raises(InputError, match=message):
        DivisiveNorm(**arguments)


@pytest.mark.parametrize(
    "y", [torch.ones(2, 3), torch.ones(1, 2, 3, 3).long(), torch.ones(1, 0, 3, 3), torch.ones(1, 2, 0, 3)]
)
def test_wrong_input(y: Tensor) -> None:
    with pytest.raises(InputError, match=r"y must be floating point of shape \(N, C, H, W\)"):
        divisive_norm(y)


def test_module() -> None:
    y, layer = maps(2, 3, 4, 4), DivisiveNorm(0.4, 5, "l2")
    assert torch.equal(layer(y), divisive_norm(y, 0.4, 5, "l2"))
    assert torch.equal(layer.eval()(y), layer.train()(y))
    assert repr(layer) == "DivisiveNorm(sigma=0.4, window=5, pooling='l2')"
    assert not layer.state_dict()
    compiled = torch.compile(DivisiveNorm(), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(y), divisive_norm(y))


def test_the_gradient_goes_through_the_divisor() -> None:
    y = (maps(1, 2, 3, 3) + 0.1).requires_grad_()
    (grad,) = torch.autograd.grad(divisive_norm(y, window=1)[0, 0, 0, 0], y)
    assert grad[0, 1, 0, 0] < 0  # the neighbour in the other channel takes
    assert F.cosine_similarity(grad.flatten(), y.flatten(), 0).abs() < 1e-5  # blind to scale
