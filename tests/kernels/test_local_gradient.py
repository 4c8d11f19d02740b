"""The twin of a convolution trains the filters and nothing before."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from gossamer.kernels.local_gradient import conv2d_with_twin


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


GEOMETRIES = [((1, 1), (1, 1), (1, 1), 1), ((2, 1), (0, 2), (1, 2), 2)]


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("needs_x", [False, True])
def test_gradients_are_those_of_two_convolutions(geometry: Any, needs_x: bool) -> None:
    x, w = numbers(2, 4, 7, 8), numbers(6, 4 // geometry[3], 3, 3, seed=1)
    a, b = [(x.clone().requires_grad_(needs_x), w.clone().requires_grad_()) for _ in range(2)]
    u, twin = conv2d_with_twin(a[0], a[1], *geometry)
    v = F.conv2d(b[0], b[1], None, *geometry)
    own = F.conv2d(b[0].detach(), b[1], None, *geometry)
    torch.testing.assert_close(u, v)
    assert torch.equal(u, twin)
    assert u.data_ptr() == twin.data_ptr()
    for use_u, use_twin in ((True, True), (True, False), (False, True)):
        results = []
        for first, second, (images, filters) in ((u, twin, a), (v, own, b)):
            loss = (
                first.sin().sum() * use_u + second.square().sum() * use_twin
                if use_u and use_twin
                else (first.sin().sum() if use_u else second.square().sum())
            )
            wanted = (images, filters) if needs_x else (filters,)
            results.append(
                torch.autograd.grad(loss, wanted, retain_graph=True, allow_unused=True, materialize_grads=True)
            )
        for ours, theirs in zip(*results, strict=True):
            torch.testing.assert_close(ours, theirs)


def test_second_derivatives() -> None:
    x, w = numbers(1, 2, 4, 4).requires_grad_(), numbers(2, 2, 3, 3, seed=1).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x, w: conv2d_with_twin(x, w, (1, 1), (1, 1), (1, 1), 1)[0], (x, w))


def test_a_relu_in_place_changes_both() -> None:
    x, w = numbers(1, 2, 4, 4).requires_grad_(), numbers(2, 2, 3, 3, seed=1).requires_grad_()
    u, twin = conv2d_with_twin(x, w, (1, 1), (1, 1), (1, 1), 1)
    y = F.relu(u, inplace=True)
    (y.sum() + twin.relu().sum()).backward()
    assert w.grad is not None
    expected = torch.autograd.grad(2 * F.conv2d(x, w, padding=1).relu().sum(), w)[0]
    torch.testing.assert_close(w.grad, expected)
