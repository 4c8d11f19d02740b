"""Accuracy of a classifier under noise, or any other change, on its input."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from gossamer.errors import InputError, check_choice, check_count, check_fraction
from gossamer.evaluate.mode import evaluating

__all__ = ["Noise", "accuracy_under", "accuracy_under_noise", "add_noise"]

Noise = Literal["gaussian", "uniform"]
"""The law of noise: normal, or uniform."""

Bounds = tuple[float | Tensor, float | Tensor]


def add_noise(
    x: Tensor, sigma: float, generator: torch.Generator, noise: Noise = "gaussian", clip: Bounds | None = None
) -> Tensor:
    """Compute clamp(x + σ n), n of mean 0 and variance 1: normal, or uniform on [−√3, √3].

    Args:
        x: inputs of any shape.
        sigma: standard deviation σ ≥ 0.
        generator: on the CPU; draws n.
        noise: ``"gaussian"`` or ``"uniform"``.
        clip: lowest and highest value, numbers or tensors that broadcast with ``x``; None for any.

    Returns:
        The noisy inputs, of the shape of ``x``.

    Example:
        >>> from gossamer.evaluate import add_noise
        >>> add_noise(torch.zeros(2, 3), 0.1, torch.Generator(), "uniform", clip=(0, 1)).shape
        torch.Size([2, 3])
    """
    if noise == "gaussian":
        n = torch.randn(x.shape, generator=generator)
    else:
        n = math.sqrt(3) * (2 * torch.rand(x.shape, generator=generator) - 1)
    noisy = x + sigma * n.to(x)
    return noisy if clip is None else torch.clamp(noisy, *(torch.as_tensor(bound).to(x) for bound in clip))


def accuracy_under(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    change: Callable[[Tensor, torch.Generator], Tensor],
    seed: int = 0,
    draws: int = 1,
    batch_size: int = 512,
) -> float:
    """Measure the share of samples with argmax model(change(x)) = y.

    Args:
        model: returns scores (samples, classes); it is run in evaluation mode, which is restored. A score that is not a
            number counts as wrong.
        x: inputs (samples, …).
        y: class numbers (samples).
        change: ``change(x, generator)`` returns the inputs to classify instead of a batch ``x``.
        seed: of the generator, on the CPU. With equal ``seed``, ``x`` and ``batch_size`` every model is given the same
            inputs, so that a sparse network and its dense twin are compared on them.
        draws: how often each sample is changed and classified; the result is the mean.
        batch_size: samples run at a time.

    Returns:
        The accuracy in [0, 1].

    Raises:
        InputError: ``x`` and ``y`` differ in length or are empty, ``y`` holds no class numbers, or ``model`` returns no
            scores (samples, classes).

    Example:
        >>> x = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> gs.evaluate.accuracy_under(nn.Identity(), x, torch.tensor([0, 1]), lambda x, generator: x.flip(1))
        0.0
    """
    check_count("batch_size", batch_size, low=1)
    check_count("draws", draws, low=1)
    if y.dim() != 1 or x.dim() == 0 or x.shape[0] != y.shape[0] or y.numel() == 0:
        raise InputError(f"x and y must hold as many samples, at least one, got {tuple(x.shape)} and {tuple(y.shape)}")
    if y.is_floating_point() or y.dtype == torch.bool:
        raise InputError(f"y must hold class numbers: robustness is that of a classifier, got {y.dtype}")
    generator = torch.Generator().manual_seed(seed)
    correct = 0
    with evaluating(model):
        for inputs, labels in zip(x.split(batch_size), y.split(batch_size), strict=True):
            for _ in range(draws):
                scores = model(change(inputs, generator))
                if scores.dim() != 2 or scores.shape[0] != labels.shape[0]:
                    raise InputError(f"model(x) must have shape (samples, classes), got {tuple(scores.shape)}")
                right = (scores.argmax(1) == labels) & ~scores.isnan().any(1)  # the largest of NaN is NaN
                correct += int(right.sum())
    return correct / (draws * y.numel())


def accuracy_under_noise(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    sigmas: Sequence[float],
    seed: int = 0,
    batch_size: int = 512,
    clip: Bounds | None = None,
    noise: Noise = "gaussian",
    draws: int = 1,
) -> list[tuple[float, float]]:
    """Measure the share of samples with argmax model(x + σ n) = y, n of mean 0 and variance 1, for each σ.

    Args:
        model: returns scores (samples, classes); it is run in evaluation mode, which is restored.
        x: inputs (samples, …).
        y: class numbers (samples).
        sigmas: standard deviations σ ≥ 0, in the units of ``x``.
        seed: seed of n. All σ use the same n, and so does every model: with equal ``seed``, ``x`` and ``batch_size``, a
            sparse network and its dense twin are compared on the same inputs.
        batch_size: samples run at a time.
        clip: lowest and highest value of noisy inputs, such as (0, 1) for pixels; tensors give each input its own.
        noise: ``"gaussian"``, or ``"uniform"`` on [−√3 σ, √3 σ].
        draws: number of noisy copies of each sample; the result is their mean.

    Returns:
        The pairs (σ, accuracy), in the order of ``sigmas``.

    Raises:
        InputError: ``x`` and ``y`` differ in length or are empty, or ``model`` returns no scores (samples, classes).

    Example:
        >>> x = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> gs.evaluate.accuracy_under_noise(nn.Identity(), x, torch.tensor([0, 1]), sigmas=(0.0, 0.01))
        [(0.0, 1.0), (0.01, 1.0)]

    References:
        Cekic, Bakiskan, Madhow, "Neuro-inspired deep neural networks with sparse, strong activations", ICIP 2022, arXiv
        2202.13074 (the protocol with pixels clipped to [0, 1]; the mean of 3 draws).
    """
    check_choice("noise", noise, ("gaussian", "uniform"))
    checked = [check_fraction("sigma", sigma, high=float("inf"), open_high=True) for sigma in sigmas]

    def under(sigma: float) -> float:
        def change(inputs: Tensor, generator: torch.Generator) -> Tensor:
            return add_noise(inputs, sigma, generator, noise, clip)

        return accuracy_under(model, x, y, change, seed, draws, batch_size)

    return [(sigma, under(sigma)) for sigma in checked]
