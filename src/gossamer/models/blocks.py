"""The blocks of image networks: strong, sparse activations, and the standard block that they are compared with.

References:
    Cekic, Bakiskan, Madhow, "Neuro-inspired deep neural networks with sparse, strong activations", ICIP 2022, arXiv
    2202.13074.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import cast

import torch
from torch import Tensor, nn

from gossamer import kernels
from gossamer.activation.divisive import DivisiveNorm
from gossamer.activation.threshold import QuantileThreshold
from gossamer.connectivity import NormalizedConv2d, NormalizedSparseConv2d
from gossamer.models.images import channel_activation, convolution

__all__ = ["HaHBlock", "StandardBlock"]


class HaHBlock(nn.Sequential):
    """A block of strong, sparse activations: unit-norm convolution, ReLU, divisive normalisation, threshold.

    The modules are named ``conv``, ``relu``, ``norm`` and ``threshold``. The block maps (N, in, H, W) to (N, out, H,
    W), behaves the same in training and evaluation, and is invariant to the scale of its input. On the CPU, in float32
    and float64 and with a window of 1 or 3, the last three run as one operator, unless one of them has been replaced or
    has hooks, which would not be called.

    Args:
        in_channels: ≥ 1.
        out_channels: ≥ 1.
        quantile: q in [0, 1): at most the share 1 − q of each map stays; see `quantile_threshold`.
        sigma: σ in [0, 1] of `divisive_norm`.
        window: odd side of the window of `divisive_norm`.
        density: fraction of the connections of the filters, in (0, 1]; None and 1 make them dense.
        generator: source of the filters (default: torch's own).

    Raises:
        InputError: an argument is outside its range.

    Example:
        >>> maps = gs.models.HaHBlock(3, 8)(torch.rand(2, 3, 10, 10))
        >>> maps.shape, bool((maps > 0).float().mean() <= 0.2)
        (torch.Size([2, 8, 10, 10]), True)

    References:
        Cekic, Bakiskan, Madhow, "Neuro-inspired deep neural networks with sparse, strong activations", ICIP 2022, arXiv
        2202.13074.
    """

    conv: NormalizedConv2d | NormalizedSparseConv2d

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        quantile: float = 0.8,
        sigma: float = 0.1,
        window: int = 3,
        density: float | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        parts: dict[str, nn.Module] = {
            "conv": convolution(in_channels, out_channels, density=density, normalized=True, generator=generator),
            "relu": nn.ReLU(),
            "norm": DivisiveNorm(sigma, window),
            "threshold": QuantileThreshold(quantile),
        }
        super().__init__(OrderedDict(parts))

    def forward(self, x: Tensor) -> Tensor:
        """Compute the block's maps.

        Args:
            x: maps (N, in_channels, H, W).

        Returns:
            Maps (N, out_channels, H, W).
        """
        u, *others = self
        maps = u(x)
        if _is_one_operator(maps, *others):
            norm, threshold = cast(DivisiveNorm, self.norm), cast(QuantileThreshold, self.threshold)
            straight = threshold.gate == "straight_through"
            return kernels.divisive_gate(maps, norm.sigma, norm.window, threshold.quantile, straight)
        for part in others:
            maps = part(maps)
        return maps  # type: ignore[no-any-return]


class StandardBlock(nn.Sequential):
    """The block of the baseline: convolution, ReLU, batch normalisation after the ReLU.

    The modules are named ``conv``, ``relu`` and ``norm``. Another activation comes after the normalisation, which would
    fill its zeros: ``conv``, ``norm`` and ``activation``. The block maps (N, in, H, W) to (N, out, H, W).

    Args:
        in_channels: ≥ 1.
        out_channels: ≥ 1.
        normalized: whether filters have length 1. Batch normalisation removes their scale, so this affects little but
            the effective step of the optimizer.
        density: fraction of the connections of the filters, in (0, 1]; None and 1 make them dense.
        activation: as `activation_from` reads it; channels compete at each location.
        position: number of the block in its network, 1, 2, …, for the activations that depend on it.
        generator: source of the filters (default: torch's own).

    Raises:
        InputError: an argument is outside its range.

    Example:
        >>> gs.models.StandardBlock(3, 8)(torch.rand(2, 3, 10, 10)).shape
        torch.Size([2, 8, 10, 10])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        normalized: bool = False,
        density: float | None = None,
        activation: str = "relu",
        position: int = 1,
        generator: torch.Generator | None = None,
    ) -> None:
        conv = convolution(in_channels, out_channels, density=density, normalized=normalized, generator=generator)
        made = channel_activation(activation, out_channels, position, generator)
        norm = nn.BatchNorm2d(out_channels)
        parts: dict[str, nn.Module] = {"conv": conv, "norm": norm, "activation": made}
        if isinstance(made, nn.ReLU):
            parts = {"conv": conv, "relu": made, "norm": norm}
        super().__init__(OrderedDict(parts))


def _is_one_operator(u: Tensor, *parts: nn.Module) -> bool:
    """Whether the parts behind a convolution are those of a HaH block, unobserved, and there is a kernel for them."""
    if torch.compiler.is_compiling() or [type(part) for part in parts] != [nn.ReLU, DivisiveNorm, QuantileThreshold]:
        return False
    relu, norm, threshold = cast(tuple[nn.ReLU, DivisiveNorm, QuantileThreshold], parts)
    return (
        kernels.divides_in_cpp(u, norm.window)
        and norm.pooling == "max"
        and threshold.gate in ("hard", "straight_through")
        and not relu.inplace
        and not nn.modules.module._has_any_global_hook()
        and not any(
            part._forward_hooks or part._forward_pre_hooks or part._backward_hooks or part._backward_pre_hooks
            for part in parts
        )
    )
