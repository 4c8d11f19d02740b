"""Sums over the positions of a convolution, against the dense convolution's weight gradient and against `unfold`."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from gossamer import SparseConv2d
from gossamer.plasticity.convolved import Convolved, add_products_, patches
from gossamer.plasticity.pairs import Score

F64 = torch.float64


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=seeded(seed), dtype=F64)


def make(into: int = 4, out: int = 6, kernel: Any = (3, 2), **options: Any) -> SparseConv2d:
    return SparseConv2d(into, out, kernel, density=0.3, generator=seeded(0), dtype=F64, **options)


def whole(scores: Convolved) -> Tensor:
    return torch.cat([part for _, part in scores.blocks()]).view(scores.shape)


def weight_gradient(layer: SparseConv2d, a: Tensor, x: Tensor) -> Tensor:
    dense = layer.to_dense()
    dense(x).backward(a)
    assert dense.weight.grad is not None
    return dense.weight.grad.flatten(1)


OPTIONS: list[dict[str, Any]] = [
    {},
    {"stride": (2, 1), "padding": (0, 2)},
    {"padding": 1, "dilation": 2},
    {"kernel": (3, 3), "padding": "same"},
    {"groups": 2},
    {"into": 6, "groups": 6, "padding": 1},
]


@pytest.mark.parametrize("options", OPTIONS)
@given(st.sampled_from([1, 7, 30, 100, 1 << 22]), st.integers(1, 4), st.integers(5, 8))
def test_scores_are_the_dense_weight_gradient(options: dict[str, Any], block: int, samples: int, height: int) -> None:
    layer, x = make(**options), numbers(samples, options.get("into", 4), height, 7)
    a = numbers(*layer(x).shape, seed=1)
    scores, expected = Convolved(layer, ((1.0, a, x),), Score(), block=block), weight_gradient(layer, a, x).abs()
    torch.testing.assert_close(whole(scores), expected)
    torch.testing.assert_close(
        scores.connections(layer.pattern.structure), expected.flatten()[layer.pattern.flat_indices]
    )
    flat_indices = torch.tensor([5, 3, 3, 0, expected.numel() - 1])
    torch.testing.assert_close(scores.at(flat_indices), expected.flatten()[flat_indices])
    assert scores.at(flat_indices[:0]).shape == (0,)


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("block", [1, 40, 200, 1 << 22])
def test_blocks_are_no_larger_than_asked_for(options: dict[str, Any], block: int) -> None:
    layer, x = make(**options), numbers(5, options.get("into", 4), 8, 7)
    y = layer(x).detach()
    at = 0
    for start, part in Convolved(layer, ((1.0, y, x),), Score(), block=block).blocks():
        assert start == at
        assert part.numel() <= max(block, layer.in_features)
        at += part.numel()
    assert at == layer.out_features * layer.in_features
    position = y.shape[3] * (layer.in_features * layer.groups + layer.out_features)  # a row of them is the least
    parts = list(patches(y, x, layer, block))
    assert all(z.numel() + u.numel() <= max(block, position) for z, u in parts)
    together = torch.cat([u for _, u in parts], 1)
    assert together.shape == (layer.in_features * layer.groups, y[:, 0].numel())


@pytest.mark.parametrize("block", [1, 100, 1 << 22])
def test_patches_are_what_unfold_gives(block: int) -> None:
    layer, x = make(stride=2, padding=1), numbers(3, 4, 9, 7)
    y = layer(x).detach()
    z, u = (torch.cat(parts, 1) for parts in zip(*patches(y, x, layer, block), strict=True))
    expected = nn.functional.unfold(x, (3, 2), padding=1, stride=2)  # (N, positions, positions)
    assert torch.equal(u, expected.transpose(0, 1).flatten(1))
    assert torch.equal(z, y.flatten(2).transpose(0, 1).flatten(1))


def test_terms_are_added_by_their_weights_and_may_be_of_other_sizes() -> None:
    layer = make()
    pairs = [(numbers(*layer(x).shape, seed=1), x) for x in (numbers(2, 4, 6, 6), numbers(1, 4, 5, 9))]
    scores = Convolved(layer, tuple((w, a, x) for w, (a, x) in zip((1.0, -0.5), pairs, strict=True)), Score(False))
    first, second = (weight_gradient(layer, a, x) for a, x in pairs)
    expected = (first - 0.5 * second).clamp(min=0)
    torch.testing.assert_close(whole(scores), expected)
    torch.testing.assert_close(
        scores.connections(layer.pattern.structure), expected.flatten()[layer.pattern.flat_indices]
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_single(dtype: torch.dtype) -> None:
    layer, x = make(padding=1), numbers(2, 4, 6, 6).to(dtype)
    a = numbers(2, 6, 6, 7, seed=1).to(dtype)
    scores = Convolved(layer, ((1.0, a, x.float()),), Score())  # as autocast leaves them
    assert whole(scores).dtype == torch.float32
    expected = weight_gradient(layer, a.double(), x.double()).abs().float()
    torch.testing.assert_close(whole(scores), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        scores.connections(layer.pattern.structure),
        expected.flatten()[layer.pattern.flat_indices],
        rtol=1e-4,
        atol=1e-4,
    )


def test_products_group_by_group() -> None:
    a, b = numbers(6, 5), numbers(2 * 4, 5, seed=1)
    total = torch.ones(6, 4, dtype=F64)
    add_products_(total, a, b, groups=2, weight=0.5)
    torch.testing.assert_close(total, 1 + 0.5 * torch.cat([a[:3] @ b[:4].t(), a[3:] @ b[4:].t()]))
    add_products_(total, a[:, :0], b[:, :0], groups=2)  # no sample, no change
    torch.testing.assert_close(total, 1 + 0.5 * torch.cat([a[:3] @ b[:4].t(), a[3:] @ b[4:].t()]))
