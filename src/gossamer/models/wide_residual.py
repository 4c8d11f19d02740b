"""Wide residual networks, WRN-d-k: short residual networks with k times as many channels.

With the residual branch

    F(x) = W₂ f(norm(W₁ f(norm(x))))          f the activation, W₁ and W₂ convolutions of 3 × 3

a block computes x + F(x). Where it changes the number of channels or halves height and width, the short way is a
convolution of 1 × 1 of h = f(norm(x)), and the block W₃ h + F(x). A network of depth d = 6n + 4 has a convolution of 16
channels, three groups of n blocks with 16k, 32k and 64k channels, of which the second and third begin with stride 2,
then normalisation, activation, the mean over each map and a linear layer.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gossamer.connectivity.allocate import Allocation
from gossamer.errors import InputError, check_count, check_fraction
from gossamer.models.drawn_layers import linear
from gossamer.models.images import ImageNetwork, Size, channel_activation, convolution, densities_of
from gossamer.models.noise import Dropout

__all__ = ["ResidualBlock", "WideResidual"]

_FIRST = 16  # channels before the groups
_GROUPS = {"group1": 1, "group2": 2, "group3": 2}  # and the stride of their first block


class ResidualBlock(nn.Module):
    """Two convolutions of 3 × 3 beside a short way, normalisation and activation before each; see `WideResidual`.

    Args:
        in_channels: ≥ 1.
        out_channels: ≥ 1.
        stride: of the first convolution and of the short way.
        densities: of the two convolutions, and of that of the short way if it needs one; None and 1 make them dense.
        activation: as `activation_from` reads it; channels compete at each location.
        position: number of the first activation in the network.
        dropout: probability of zeroing a value between the convolutions.
        generator: source of the filters (default: torch's own).

    Example:
        >>> gs.models.ResidualBlock(4, 8, stride=2, densities=(None, 0.5, None))(torch.rand(2, 4, 10, 10)).shape
        torch.Size([2, 8, 5, 5])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        stride: int = 1,
        densities: Sequence[float | None] = (None, None, None),
        activation: str = "relu",
        position: int = 1,
        dropout: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()

        self.norm1 = nn.BatchNorm2d(in_channels)
        self.activation1 = channel_activation(activation, in_channels, position, generator)
        self.conv1 = convolution(in_channels, out_channels, stride=stride, density=densities[0], generator=generator)
        self.norm2 = nn.BatchNorm2d(out_channels)
        self.activation2 = channel_activation(activation, out_channels, position + 1, generator)
        self.dropout = Dropout(dropout) if dropout else nn.Identity()
        self.conv2 = convolution(out_channels, out_channels, density=densities[1], generator=generator)
        self.short: nn.Module | None = None
        if changes(in_channels, out_channels, stride):
            self.short = convolution(
                in_channels, out_channels, 1, stride=stride, density=densities[2], generator=generator
            )

    def forward(self, x: Tensor) -> Tensor:
        """Compute the block.

        Args:
            x: (N, in_channels, H, W).

        Returns:
            Maps (N, out_channels, ⌈H / stride⌉, ⌈W / stride⌉).
        """
        h = self.activation1(self.norm1(x))
        short = x if self.short is None else self.short(h)
        branch = self.conv2(self.dropout(self.activation2(self.norm2(self.conv1(h)))))
        return short + branch  # type: ignore[no-any-return]


def changes(in_channels: int, out_channels: int, stride: int) -> bool:
    """Whether the short way of a block needs a convolution."""
    return in_channels != out_channels or stride != 1


class WideResidual(ImageNetwork):
    """A wide residual network WRN-d-k with normalisation and activation before each convolution.

    The layers are named ``conv``, ``group1.block1.norm1``, …, ``norm``, ``activation`` and ``classifier``.

    Args:
        depth: d = 6n + 4, for n ≥ 1 blocks in each group.
        width: k ≥ 1, the factor of the channels.
        in_channels: channels of the images.
        classes: number of outputs.
        image_size: (H, W) of the images, or one number for both; at least 4.
        density: fraction of the connections of all convolutions together, in (0, 1]; None makes them dense.
        output_density: fraction of the connections of the linear layer, in (0, 1]; None leaves it dense.
        allocate: how the convolutions share their connections; see `gossamer.allocate_densities`. One whose share is
            all of its connections is dense.
        activation: as `activation_from` reads it; channels compete at each location.
        dropout: probability of zeroing a value between the convolutions of a block, in [0, 1).
        mean: of pixels, one number or one for each channel; images are standardised, (x − mean) / std.
        std: of pixels, positive, likewise.
        generator: source of all patterns and weights (default: torch's own); weights are uniform on ±1/√fan-in.

    Raises:
        InputError: an argument is outside its range, or the images are too small.

    Example:
        >>> net = gs.models.WideResidual(10, 1, in_channels=1, classes=10, image_size=8, density=0.2)
        >>> net(torch.rand(2, 1, 8, 8)).shape
        torch.Size([2, 10])

    References:
        Zagoruyko, Komodakis, "Wide residual networks", BMVC 2016, arXiv 1605.07146 (table 1 and section 2).
        He et al., "Identity mappings in deep residual networks", ECCV 2016 (the order within a block).
    """

    def __init__(
        self,
        depth: int,
        width: int,
        *,
        in_channels: int,
        classes: int,
        image_size: Size,
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
        if check_count("depth", depth, low=10) % 6 != 4:
            raise InputError(f"depth must be 6n + 4 for n blocks in a group, such as 10, 16, 22 or 28, got {depth!r}")
        check_count("width", width, low=1)
        check_fraction("dropout", dropout, open_high=True)
        if output_density is not None:
            check_fraction("output_density", output_density, open_low=True)
        if min(self.image_size) < 4:
            raise InputError(f"image_size must be at least 4 for a wide residual network, got {image_size!r}")
        blocks = _blocks((depth - 4) // 6, width)
        shapes = [(_FIRST, self.in_channels, 3, 3)]
        for _, into, out, stride in blocks:
            shapes += [(out, into, 3, 3), (out, out, 3, 3)]
            shapes += [(out, into, 1, 1)] if changes(into, out, stride) else []
        densities = iter(densities_of(shapes, density, allocate))

        self.conv = convolution(self.in_channels, _FIRST, density=next(densities), generator=generator)
        position, channels = 1, _FIRST
        for group, into, out, stride in blocks:
            shares = [next(densities) for _ in range(3 if changes(into, out, stride) else 2)]
            block = ResidualBlock(
                into,
                out,
                stride=stride,
                densities=shares,
                activation=activation,
                position=position,
                dropout=dropout,
                generator=generator,
            )
            position, channels = position + 2, out
            if group not in self._modules:
                self.add_module(group, nn.Sequential())
            inside = self.get_submodule(group)
            inside.add_module(f"block{len(inside._modules) + 1}", block)
        self.norm = nn.BatchNorm2d(channels)
        self.activation = channel_activation(activation, channels, position, generator)
        self.classifier = linear(channels, self.classes, output_density, generator)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the logits of images.

        Args:
            x: images (N, in_channels, H, W).

        Returns:
            The logits (N, classes).

        Raises:
            InputError: ``x`` has another shape.
        """
        h = self.conv(self.standardized(x))
        for name in _GROUPS:
            h = self.get_submodule(name)(h)
        return self.classifier(self.activation(self.norm(h)).mean((2, 3)))  # type: ignore[no-any-return]


def _blocks(each: int, width: int) -> list[tuple[str, int, int, int]]:
    """The group, the channels in and out, and the stride of each block."""
    found, channels = [], _FIRST
    for number, (group, stride) in enumerate(_GROUPS.items()):
        out = _FIRST * 2**number * width
        for i in range(each):
            found.append((group, channels, out, 1 if i else stride))
            channels = out
    return found
