"""The parts that networks of images share: standardisation of the pixels, and layers that are dense or sparse."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gossamer.activation import AllReLU
from gossamer.connectivity import (
    NormalizedConv2d,
    NormalizedSparseConv2d,
    SparseConv2d,
    allocate_densities,
)
from gossamer.connectivity.allocate import Allocation
from gossamer.errors import InputError, check_count
from gossamer.models.drawn_layers import drawn
from gossamer.models.specification import activation_from

__all__ = [
    "ChannelsLast",
    "ImageNetwork",
    "Size",
    "channel_activation",
    "convolution",
    "densities_of",
]

Size = int | Sequence[int]
"""The height and width of images; one number for both."""

_BY_ELEMENT = (nn.ReLU, nn.Sigmoid, nn.Identity, AllReLU)


class ImageNetwork(nn.Module):
    """A network that reads images (N, in_channels, H, W) of one size and standardises their pixels, (x − mean) / std.

    Args:
        in_channels: channels of the images, ≥ 1.
        classes: number of outputs, ≥ 1.
        image_size: (H, W), or one number for both, ≥ 1.
        mean: of pixels, one number or one for each channel.
        std: of pixels, positive, likewise.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        in_channels: int,
        classes: int,
        image_size: Size,
        mean: float | Sequence[float],
        std: float | Sequence[float],
    ) -> None:
        super().__init__()
        self.in_channels = check_count("in_channels", in_channels, low=1)
        self.classes = check_count("classes", classes, low=1)
        pair = tuple(image_size) if isinstance(image_size, Sequence) else (image_size, image_size)
        if len(pair) != 2:
            raise InputError(f"image_size must be a whole number or a pair (height, width), got {image_size!r}")
        self.image_size = tuple(check_count("image_size", side, low=1) for side in pair)
        self.register_buffer("mean", _per_channel("mean", mean, in_channels))
        self.register_buffer("std", _per_channel("std", std, in_channels))
        if not bool((self.std > 0).all()):
            raise InputError(f"std must be positive, got {std!r}")

    def standardized(self, x: Tensor) -> Tensor:
        """Standardise images (N, in_channels, H, W); `InputError` for another shape."""
        wanted = (self.in_channels, *self.image_size)
        if x.dim() != 4 or x.shape[1:] != wanted:
            raise InputError(f"x must have shape (N, {', '.join(map(str, wanted))}), got {tuple(x.shape)}")
        return (x - self.mean) / self.std


def densities_of(shapes: Sequence[tuple[int, ...]], density: float | None, allocate: Allocation) -> list[float | None]:
    """Share ``density`` among convolutions of these shapes, see `allocate_densities`; None leaves all of them dense."""
    return [None] * len(shapes) if density is None else [*allocate_densities(shapes, density, allocate)]


def convolution(
    in_channels: int,
    out_channels: int,
    kernel_size: int = 3,
    *,
    stride: int = 1,
    density: float | None = None,
    normalized: bool = False,
    generator: torch.Generator | None = None,
) -> nn.Conv2d | SparseConv2d:
    """Make a convolution without bias that keeps height and width (but for ``stride``), its weights drawn.

    It is sparse if ``density`` is below 1; with ``normalized`` its filters have length 1.
    """
    check_count("in_channels", in_channels, low=1)
    check_count("out_channels", out_channels, low=1)
    padding = kernel_size // 2
    if density is not None and density < 1:
        sparse = NormalizedSparseConv2d if normalized else SparseConv2d
        return sparse(
            in_channels, out_channels, kernel_size, stride, padding, bias=False, density=density, generator=generator
        )
    dense = NormalizedConv2d if normalized else nn.Conv2d
    layer: nn.Conv2d = nn.utils.skip_init(
        dense, in_channels, out_channels, kernel_size, stride=stride, padding=padding, bias=False
    )
    return drawn(layer, generator)


def channel_activation(spec: str, channels: int, position: int, generator: torch.Generator | None) -> nn.Module:
    """Make an activation of maps (N, channels, H, W), see `activation_from`; channels compete at each location."""
    made = activation_from(spec, channels, position=position, generator=generator)
    return made if isinstance(made, _BY_ELEMENT) else ChannelsLast(made)


class ChannelsLast(nn.Sequential):
    """Layers that read units along the last dimension, applied to those along dimension 1, such as channels."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layers: (batch, units, …) -> (batch, units, …)."""
        x = x.movedim(1, -1)
        for layer in self:
            x = layer(x)
        return x.movedim(-1, 1)


def _per_channel(name: str, value: float | Sequence[float], channels: int) -> Tensor:
    numbers = torch.as_tensor(value, dtype=torch.get_default_dtype()).flatten()
    if len(numbers) not in (1, channels) or not bool(numbers.isfinite().all()):
        raise InputError(f"{name} must be one finite number or one for each of {channels} channels, got {value!r}")
    return numbers.view(-1, 1, 1)
