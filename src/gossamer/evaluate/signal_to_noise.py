"""The signal-to-noise ratio at the input of each layer, when the input of the network is changed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gossamer.connectivity.layer_input import layer_input
from gossamer.errors import InputError, check_count
from gossamer.evaluate.mode import evaluating
from gossamer.evaluate.unit_activations import linear_layers

__all__ = ["layer_snr"]

_TINY = 1e-9


def layer_snr(model: nn.Module, x: Tensor, changed: Tensor, batch_size: int = 512) -> dict[str, float]:
    """Measure the signal-to-noise ratio at the input F_l of each linear layer and 2-D convolution l, in decibels.

        SNR_l = 10 log₁₀ mean over samples of ( ‖F_l(x)‖ / (‖F_l(x') − F_l(x)‖ + 10⁻⁹) )²

    F_l is the input of the layer, after activation functions and pooling; the first layer reads the network's input. A
    layer that is called several times for a sample has all its inputs in F_l.

    Args:
        model: any module whose layers read the samples along the first dimension; run in evaluation mode, which is
            restored.
        x: samples (samples, …).
        changed: x', the same samples with noise or another change.
        batch_size: samples run at a time.

    Returns:
        The ratios by qualified layer name, in the order of the layers' first calls; −inf where every F_l(x) is 0.

    Raises:
        InputError: ``x`` and ``changed`` differ in shape or hold no sample, or a layer reads something that can't be
            divided among the samples.

    Example:
        >>> x = torch.ones(2, 4)
        >>> gs.evaluate.layer_snr(nn.Sequential(nn.Linear(4, 3)), x, x + 0.1)
        {'0': 19.99...}

    References:
        Cekic, Bakiskan, Madhow, "Neuro-inspired deep neural networks with sparse, strong activations", ICIP 2022, arXiv
        2202.13074, and its code (the ratio, its mean and the constant).
    """
    check_count("batch_size", batch_size, low=1)
    if x.shape != changed.shape or x.dim() == 0 or len(x) == 0:
        raise InputError(
            f"x and changed must have one shape with at least one sample, got {tuple(x.shape)} and "
            f"{tuple(changed.shape)}"
        )
    read: dict[str, list[Tensor]] = {}
    samples = 0

    def keep(name: str, value: Tensor) -> None:
        if value.dim() == 0 or len(value) % samples:
            raise InputError(
                f"layer {name!r} must read the {samples} samples along its first dimension, got {tuple(value.shape)}"
            )
        read.setdefault(name, []).append(value.detach().reshape(samples, -1))

    handles = []
    for name, layer in linear_layers(model).items():

        def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], name: str = name) -> None:
            keep(name, layer_input(args, kwargs))

        handles.append(layer.register_forward_pre_hook(hook, with_kwargs=True))
    sums: dict[str, float] = {}
    try:
        with evaluating(model):
            for clean, other in zip(x.split(batch_size), changed.split(batch_size), strict=True):
                samples = len(clean)
                read.clear()
                model(clean)
                signals = dict(read)
                read.clear()
                model(other)
                for name, parts in signals.items():
                    signal = torch.cat(parts, 1).double()
                    noise = torch.cat(read[name], 1).double() - signal
                    ratio = signal.norm(dim=1) / (noise.norm(dim=1) + _TINY)
                    sums[name] = sums.get(name, 0.0) + float(ratio.square().sum())
    finally:
        for handle in handles:
            handle.remove()
    return {name: float(10 * torch.tensor(total / len(x), dtype=torch.float64).log10()) for name, total in sums.items()}
