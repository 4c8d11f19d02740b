"""Accuracy of a classifier under noise on its input."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gossamer.errors import InputError, check_count, check_fraction
from gossamer.evaluate.mode import evaluating

__all__ = ["accuracy_under_noise"]


def accuracy_under_noise(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    sigmas: Sequence[float],
    seed: int = 0,
    batch_size: int = 512,
    clip: tuple[float, float] | None = None,
) -> list[tuple[float, float]]:
    """Measure the share of samples with argmax model(x + σ n) = y, n ~ N(0, I), for each σ.

    Args:
        model: returns scores (samples, classes); it is run in evaluation mode, which is restored.
        x: inputs (samples, …).
        y: class numbers (samples).
        sigmas: standard deviations σ ≥ 0, in the units of ``x``.
        seed: seed of n. All σ use the same n, and so does every model: with equal ``seed``, ``x`` and ``batch_size``, a
            sparse network and its dense twin are compared on the same inputs.
        batch_size: samples run at a time.
        clip: range to which noisy inputs are cut, such as (0, 1) for pixels.

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
        2202.13074 (the protocol with pixels clipped to [0, 1]).
    """
    check_count("batch_size", batch_size, low=1)
    for sigma in sigmas:
        check_fraction("sigma", sigma, high=float("inf"), open_high=True)
    if y.dim() != 1 or x.dim() == 0 or x.shape[0] != y.shape[0] or y.numel() == 0:
        raise InputError(f"x and y must hold as many samples, at least one, got {tuple(x.shape)} and {tuple(y.shape)}")
    generator = torch.Generator().manual_seed(seed)
    correct = [0] * len(sigmas)
    with evaluating(model):
        for inputs, labels in zip(x.split(batch_size), y.split(batch_size), strict=True):
            noise = torch.randn(inputs.shape, generator=generator).to(inputs)
            for i, sigma in enumerate(sigmas):
                noisy = inputs + sigma * noise
                scores = model(noisy if clip is None else noisy.clamp(*clip))
                if scores.dim() != 2 or scores.shape[0] != labels.shape[0]:
                    raise InputError(f"model(x) must have shape (samples, classes), got {tuple(scores.shape)}")
                correct[i] += int((scores.argmax(1) == labels).sum())
    return [(float(sigma), hits / y.numel()) for sigma, hits in zip(sigmas, correct, strict=True)]
