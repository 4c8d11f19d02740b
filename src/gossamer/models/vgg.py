"""VGG networks with strong, sparse activations.

Two blocks, each a convolution of 3 × 3, padding 1, without bias, that keeps height and width:

    HaH        u = NormalizedConv2d(x),   ReLU,   DivisiveNorm,   QuantileThreshold       the filters alone are learned
    standard   Conv2d,   ReLU,   BatchNorm2d                                              normalised *after* the ReLU

A network begins with HaH blocks, whose u enter the Hebbian cost (`gossamer.activation.hebbian.HebbianLoss`), and goes
on with standard ones, 2 × 2 max-pooling in between, and a linear layer at the end. VGG16 for images of 32 × 32:

    64 64 M 128 128 M 256 256 256 M 512 512 512 M 512 512 512 M  →  512  →  10
    └───── 6 HaH blocks ────┘

Its 13 convolutions have 14,710,464 weights. With six HaH blocks there are 14,722,250 parameters, with none, the
baseline, 14,724,042.

Source: Cekic, Bakiskan, Madhow, ICIP 2022, arXiv 2202.13074; standardisation of the input and which blocks are HaH as
in the authors' released code.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from typing import Literal, TypeVar, cast

import torch
from torch import Tensor, nn

from gossamer import kernels
from gossamer.activation.divisive import DivisiveNorm
from gossamer.activation.threshold import QuantileThreshold
from gossamer.connectivity.normalized import NormalizedConv2d
from gossamer.errors import InputError, check_count

__all__ = ["HEBBIAN_ALPHA", "VGG", "HaHBlock", "StandardBlock", "vgg16"]

HEBBIAN_ALPHA = (0.0045, 0.0025, 0.0013, 0.001, 0.0008, 0.0005)
"""α of the six HaH blocks of VGG16 on CIFAR-10, in the authors' released code."""

Layers = Sequence[int | Literal["M"]]

_VGG16: Layers = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M")
_CIFAR10_MEAN, _CIFAR10_STD = (0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616)

Weighted = TypeVar("Weighted", nn.Conv2d, nn.Linear)


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

    conv: NormalizedConv2d

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        quantile: float = 0.8,
        sigma: float = 0.1,
        window: int = 3,
        generator: torch.Generator | None = None,
    ) -> None:
        parts: dict[str, nn.Module] = {
            "conv": _convolution(NormalizedConv2d, in_channels, out_channels, generator),
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

    The modules are named ``conv``, ``relu`` and ``norm``. The block maps (N, in, H, W) to (N, out, H, W).

    Args:
        in_channels: ≥ 1.
        out_channels: ≥ 1.
        normalized: whether filters have length 1. Batch normalisation removes their scale, so this affects little but
            the effective step of the optimizer.
        generator: source of the filters (default: torch's own).

    Raises:
        InputError: a number of channels is less than 1.

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
        generator: torch.Generator | None = None,
    ) -> None:
        kind = NormalizedConv2d if normalized else nn.Conv2d
        parts: dict[str, nn.Module] = {
            "conv": _convolution(kind, in_channels, out_channels, generator),
            "relu": nn.ReLU(),
            "norm": nn.BatchNorm2d(out_channels),
        }
        super().__init__(OrderedDict(parts))


class VGG(nn.Module):
    """A VGG network: blocks and pooling, one after the other, then a linear layer.

    The layers are named ``features.block1``, …, ``features.pool1``, … and ``classifier``.

    Args:
        layers: the channels of each block, and ``"M"`` for max-pooling of 2 × 2 with stride 2.
        in_channels: channels of the images.
        classes: number of outputs.
        image_size: S, their height and width.
        hebbian_blocks: how many of the blocks, from the first on, are `HaHBlock`; the others are `StandardBlock`.
        quantile: q of the HaH blocks, in [0, 1).
        sigma: σ of the HaH blocks, in [0, 1].
        window: odd window of the HaH blocks.
        normalized: whether standard blocks have filters of length 1 (default: if there is a HaH block).
        mean: of pixels, one number or one for each channel; images are standardised, (x − mean) / std.
        std: of pixels, positive, likewise.
        generator: source of all weights (default: torch's own), uniform on ±1/√fan-in.

    Raises:
        InputError: an argument is outside its range, or the images are too small for the poolings.

    Example:
        >>> net = gs.models.VGG((8, "M", 16), in_channels=1, classes=10, image_size=8, hebbian_blocks=1)
        >>> net(torch.rand(2, 1, 8, 8)).shape
        torch.Size([2, 10])
        >>> hebbian = gs.HebbianLoss(net.hebbian_layers, alpha=0.01)

    References:
        Cekic, Bakiskan, Madhow, "Neuro-inspired deep neural networks with sparse, strong activations", ICIP 2022, arXiv
        2202.13074.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        layers: Layers,
        *,
        in_channels: int,
        classes: int,
        image_size: int,
        hebbian_blocks: int,
        quantile: float = 0.8,
        sigma: float = 0.1,
        window: int = 3,
        normalized: bool | None = None,
        mean: float | Sequence[float] = 0.0,
        std: float | Sequence[float] = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        blocks = sum(layer != "M" for layer in layers)
        hebbian_blocks = check_count("hebbian_blocks", hebbian_blocks, high=blocks)
        channels = self.in_channels = check_count("in_channels", in_channels, low=1)
        side = self.image_size = check_count("image_size", image_size, low=1)
        check_count("classes", classes, low=1)
        normalized = hebbian_blocks > 0 if normalized is None else normalized
        self.register_buffer("mean", _per_channel("mean", mean, in_channels))
        self.register_buffer("std", _per_channel("std", std, in_channels))
        if not bool((self.std > 0).all()):
            raise InputError(f"std must be positive, got {std!r}")

        self.features = nn.Sequential()
        block = pool = 0
        for layer in layers:
            if layer == "M":
                if side < 2:
                    raise InputError(f"image_size must be at least 2 for each pooling in layers, got {image_size}")
                side, pool = side // 2, pool + 1
                self.features.add_module(f"pool{pool}", nn.MaxPool2d(2))
                continue
            block += 1
            made: nn.Module
            if block <= hebbian_blocks:
                made = HaHBlock(channels, layer, quantile=quantile, sigma=sigma, window=window, generator=generator)
            else:
                made = StandardBlock(channels, layer, normalized=normalized, generator=generator)
            self.features.add_module(f"block{block}", made)
            channels = layer
        self.classifier = _drawn(nn.utils.skip_init(nn.Linear, channels * side * side, classes), generator)

    @property
    def hebbian_layers(self) -> list[NormalizedConv2d]:
        """The convolutions of the HaH blocks, first to last, as `HebbianLoss` takes them."""
        return [block.conv for block in self.features if isinstance(block, HaHBlock)]

    def forward(self, x: Tensor) -> Tensor:
        """Compute the logits of images.

        Args:
            x: images (N, in_channels, S, S).

        Returns:
            The logits (N, classes).

        Raises:
            InputError: ``x`` has another shape.
        """
        if x.dim() != 4 or x.shape[1:] != (self.in_channels, self.image_size, self.image_size):
            wanted = f"(N, {self.in_channels}, {self.image_size}, {self.image_size})"
            raise InputError(f"x must have shape {wanted}, got {tuple(x.shape)}")
        maps = self.features((x - self.mean) / self.std)
        return self.classifier(maps.flatten(1))  # type: ignore[no-any-return]


def vgg16(
    *,
    hebbian_blocks: int = 6,
    classes: int = 10,
    quantile: float = 0.8,
    sigma: float = 0.1,
    window: int = 3,
    normalized: bool | None = None,
    mean: float | Sequence[float] = _CIFAR10_MEAN,
    std: float | Sequence[float] = _CIFAR10_STD,
    generator: torch.Generator | None = None,
) -> VGG:
    """Make VGG16 for colour images of 32 × 32 with pixels in [0, 1]; the baseline for ``hebbian_blocks=0``.

    Args:
        hebbian_blocks: how many of the 13 blocks, from the first on, are `HaHBlock`.
        classes: number of outputs.
        quantile: q of the HaH blocks, in [0, 1).
        sigma: σ of the HaH blocks, in [0, 1].
        window: odd window of the HaH blocks.
        normalized: whether standard blocks have filters of length 1 (default: if there is a HaH block).
        mean: of pixels; the default is that of CIFAR-10.
        std: of pixels; the default is that of CIFAR-10.
        generator: source of all weights (default: torch's own).

    Returns:
        The network, from images (N, 3, 32, 32) to logits (N, classes).

    Raises:
        InputError: an argument is outside its range.

    Example:
        >>> net = gs.models.vgg16()
        >>> sum(parameter.numel() for parameter in net.parameters())
        14722250

    References:
        Cekic, Bakiskan, Madhow, "Neuro-inspired deep neural networks with sparse, strong activations", ICIP 2022, arXiv
        2202.13074.
    """
    return VGG(
        _VGG16,
        in_channels=3,
        classes=classes,
        image_size=32,
        hebbian_blocks=hebbian_blocks,
        quantile=quantile,
        sigma=sigma,
        window=window,
        normalized=normalized,
        mean=mean,
        std=std,
        generator=generator,
    )


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


def _convolution(
    kind: type[nn.Conv2d], in_channels: int, out_channels: int, generator: torch.Generator | None
) -> nn.Conv2d:
    check_count("in_channels", in_channels, low=1)
    check_count("out_channels", out_channels, low=1)
    layer: nn.Conv2d = nn.utils.skip_init(kind, in_channels, out_channels, 3, padding=1, bias=False)
    return _drawn(layer, generator)


def _drawn(layer: Weighted, generator: torch.Generator | None) -> Weighted:
    """``layer`` with parameters uniform on ±1/√fan-in."""
    bound = 1 / math.sqrt(layer.weight[0].numel())
    for parameter in layer.parameters():
        nn.init.uniform_(parameter, -bound, bound, generator)
    return layer


def _per_channel(name: str, value: float | Sequence[float], channels: int) -> Tensor:
    numbers = torch.as_tensor(value, dtype=torch.get_default_dtype()).flatten()
    if len(numbers) not in (1, channels) or not bool(numbers.isfinite().all()):
        raise InputError(f"{name} must be one finite number or one for each of {channels} channels, got {value!r}")
    return numbers.view(-1, 1, 1)
