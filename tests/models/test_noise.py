from __future__ import annotations

import copy
import pickle

import pytest
import torch

from gossamer.models.noise import Dropout, GaussianNoise

X = torch.randn(200, 300, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("noise", [Dropout(0.3), GaussianNoise(0.5)])
def test_a_generator_decides_and_torch_keeps_its_own(noise: Dropout | GaussianNoise) -> None:
    before = torch.get_rng_state()
    outputs = []
    for seed in (1, 1, 2):
        noise.generator = torch.Generator().manual_seed(seed)
        outputs.append(noise(X))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])
    noise.generator = None
    torch.manual_seed(0)
    assert not torch.equal(noise(X), noise(X))
    assert torch.equal(noise.eval()(X), X)
    for other in (copy.deepcopy(noise), pickle.loads(pickle.dumps(noise))):
        assert torch.equal(other(X), X)
    noise.train()


def test_dropout_keeps_the_mean_the_layout_and_the_gradient_of_what_stays() -> None:
    noise = Dropout(0.3)
    noise.generator = torch.Generator().manual_seed(0)
    x = X.t().contiguous().t().requires_grad_()  # feature-major
    y = noise(x)
    assert y.stride() == x.stride() == (1, 200)
    kept = y != 0
    assert kept.float().mean().item() == pytest.approx(0.7, abs=0.01)
    torch.testing.assert_close(y[kept], x[kept] / 0.7)
    y.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, kept.float() / 0.7)
    never = Dropout(0.0)
    never.generator = noise.generator
    assert torch.equal(never(X), X)


def test_gaussian_noise_has_its_deviation() -> None:
    noise = GaussianNoise(0.5)
    noise.generator = torch.Generator().manual_seed(0)
    assert (noise(X) - X).std().item() == pytest.approx(0.5, abs=0.01)
    assert "std=0.5" in repr(noise)
