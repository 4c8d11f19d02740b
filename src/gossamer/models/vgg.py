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

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from gossamer.connectivity import NormalizedConv2d, NormalizedSparseConv2d
from gossamer.connectivity.allocate import Allocation
from gossamer.errors import InputError, check_count, check_fraction
from gossamer.models.blocks import HaHBlock, StandardBlock
from gossamer.models.drawn_layers import linear
from gossamer.models.images import ImageNetwork, Size, densities_of
from gossamer.models.noise import Dropout

__all__ = ["HEBBIAN_ALPHA", "SMALL", "VGG", "VGG16", "Layers", "vgg16"]

HEBBIAN_ALPHA = (0.0045, 0.0025, 0.0013, 0.001, 0.0008, 0.0005)
"""α of the six HaH blocks of VGG16 on CIFAR-10, in the authors' released code."""

Layers = Sequence[int | Literal["M"]]

SMALL: Layers = (32, 32, "M", 64, 64, "M")
"""The layers of a small network, for images of 8 × 8 to 31 × 31."""

VGG16: Layers = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M")
_CIFAR10_MEAN, _CIFAR10_STD = (0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616)


class VGG(ImageNetwork):
    """A VGG network: blocks and pooling, one after the other, then a linear layer.

    The layers are named ``features.block1``, …, ``features.pool1``, … and ``classifier``.

    Args:
        layers: the channels of each block, and ``"M"`` for max-pooling of 2 × 2 with stride 2.
        in_channels: channels of the images.
        classes: number of outputs.
        image_size: (H, W) of the images, or one number for both.
        hebbian_blocks: how many of the blocks, from the first on, are `HaHBlock`; the others are `StandardBlock`.
        quantile: q of the HaH blocks, in [0, 1).
        sigma: σ of the HaH blocks, in [0, 1].
        window: odd window of the HaH blocks.
        normalized: whether standard blocks have filters of length 1 (default: if there is a HaH block).
        density: fraction of the connections of all convolutions together, in (0, 1]; None makes them dense.
        output_density: fraction of the connections of the linear layer, in (0, 1]; None leaves it dense.
        allocate: how the convolutions share their connections; see `gossamer.allocate_densities`. One whose share is
            all of its connections is dense.
        activation: of the standard blocks, as `activation_from` reads it.
        dropout: probability of zeroing a value of a block's maps during training, in [0, 1).
        mean: of pixels, one number or one for each channel; images are standardised, (x − mean) / std.
        std: of pixels, positive, likewise.
        generator: source of all patterns and weights (default: torch's own); weights are uniform on ±1/√fan-in.

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

    def __init__(
        self,
        layers: Layers,
        *,
        in_channels: int,
        classes: int,
        image_size: Size,
        hebbian_blocks: int,
        quantile: float = 0.8,
        sigma: float = 0.1,
        window: int = 3,
        normalized: bool | None = None,
        density: float | None = None,
        output_density: float | None = None,
        allocate: Allocation = "uniform",
        activation: str = "relu",
        dropout: float = 0.0,
        mean: float | Sequence[float] = 0.0,
        std: float | Sequence[float] = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(in_channels, classes, image_size, mean, std)
        widths = [check_count("out_channels", layer, low=1) for layer in layers if layer != "M"]
        hebbian_blocks = check_count("hebbian_blocks", hebbian_blocks, high=len(widths))
        check_fraction("dropout", dropout, open_high=True)
        if output_density is not None:
            check_fraction("output_density", output_density, open_low=True)
        normalized = hebbian_blocks > 0 if normalized is None else normalized
        shapes = [(out, into, 3, 3) for into, out in pairwise((self.in_channels, *widths))]
        densities = iter(densities_of(shapes, density, allocate))
        height, width = self.image_size
        channels = self.in_channels

        self.features = nn.Sequential()
        block = pool = 0
        for layer in layers:
            if layer == "M":
                if min(height, width) < 2:
                    poolings = layers.count("M")
                    least = f"at least {2**poolings} for the {poolings} poolings in layers"
                    raise InputError(f"image_size must be {least}, got {image_size!r}")
                height, width, pool = height // 2, width // 2, pool + 1
                self.features.add_module(f"pool{pool}", nn.MaxPool2d(2))
                continue
            block += 1
            made: nn.Module
            if block <= hebbian_blocks:
                made = HaHBlock(
                    channels,
                    layer,
                    quantile=quantile,
                    sigma=sigma,
                    window=window,
                    density=next(densities),
                    generator=generator,
                )
            else:
                made = StandardBlock(
                    channels,
                    layer,
                    normalized=normalized,
                    density=next(densities),
                    activation=activation,
                    position=block,
                    generator=generator,
                )
            self.features.add_module(f"block{block}", made)
            if dropout:
                self.features.add_module(f"dropout{block}", Dropout(dropout))
            channels = layer
        self.classifier = linear(channels * height * width, self.classes, output_density, generator)

    @property
    def hebbian_layers(self) -> list[NormalizedConv2d | NormalizedSparseConv2d]:
        """The convolutions of the HaH blocks, first to last, as `HebbianLoss` takes them."""
        return [block.conv for block in self.features if isinstance(block, HaHBlock)]

    def forward(self, x: Tensor) -> Tensor:
        """Compute the logits of images.

        Args:
            x: images (N, in_channels, H, W).

        Returns:
            The logits (N, classes).

        Raises:
            InputError: ``x`` has another shape.
        """
        return self.classifier(self.features(self.standardized(x)).flatten(1))  # type: ignore[no-any-return]


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
        VGG16,
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
