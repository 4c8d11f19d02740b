"""Augmentation of images: random shifts and reflections, drawn anew for each image each time.

=============  ==========================================================================================
``shift:K``    the image is moved by whole numbers of pixels in both directions, each uniform on −K, …, K,
               and zeros come in from outside: a random crop of the image with K zeros on all sides
``flip``       with probability ½ left and right are exchanged
=============  ==========================================================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

from gossamer.errors import InputError, check_count

__all__ = ["Augment"]

_USAGE = "shift:PIXELS, flip, or both with a comma between"


@dataclass(frozen=True)
class Augment:
    """Random shifts and reflections of images.

    Attributes:
        shift: the most pixels by which an image is moved in either direction, ≥ 0.
        flip: whether half of the images, on average, are reflected left to right.

    Example:
        >>> augment = gs.training.Augment.parse("shift:2,flip")
        >>> augment
        Augment(shift=2, flip=True)
        >>> augment(torch.rand(5, 1, 8, 8), torch.Generator().manual_seed(0)).shape
        torch.Size([5, 1, 8, 8])

    References:
        He et al., "Deep residual learning for image recognition", CVPR 2016, section 4.2 (shift:4,flip on CIFAR-10).
    """

    shift: int = 0
    flip: bool = False

    def __post_init__(self) -> None:
        check_count("shift", self.shift)

    @classmethod
    def parse(cls, string: str) -> Self:
        """Read augmentations from a string.

        Args:
            string: ``"shift:K"``, ``"flip"``, or both with a comma between; each at most once.

        Returns:
            The augmentation.

        Raises:
            InputError: ``string`` is anything else.
        """
        found: dict[str, int | bool] = {}
        for part in str(string).lower().split(","):
            name, colon, argument = part.strip().partition(":")
            known = (name == "flip" and not colon) or (name == "shift" and argument.strip().isdecimal())
            if not known or name in found:
                raise InputError(f"augment must be {_USAGE}, such as shift:1,flip, got {string!r}")
            found[name] = True if name == "flip" else check_count("shift", int(argument), low=1)
        return cls(**found)  # type: ignore[arg-type]

    def check_size(self, height: int, width: int) -> None:
        """Check that images of this size are not moved out of sight.

        Args:
            height: of the images.
            width: of the images.

        Raises:
            InputError: they are.
        """
        if self.shift >= min(height, width):
            raise InputError(f"shift must be below the size of the images, {height} × {width}, got {self.shift}")

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Augment each image.

        Args:
            x: images (N, C, H, W).
            generator: of all choices, on the CPU: they are the same for images on any device.

        Returns:
            Images of the same shape.

        Raises:
            InputError: ``x`` has another number of dimensions, or is moved out of sight.
        """
        if x.dim() != 4:
            raise InputError(f"x must be images (N, C, H, W) to be augmented, got shape {tuple(x.shape)}")
        self.check_size(*x.shape[2:])
        if self.shift:
            x = _moved(x, self.shift, generator)
        if self.flip:
            reflected = torch.rand(len(x), generator=generator) < 0.5
            x = torch.where(reflected.to(x.device)[:, None, None, None], x.flip(3), x)
        return x


def _moved(x: Tensor, most: int, generator: torch.Generator) -> Tensor:
    n, channels, height, width = x.shape
    starts = torch.randint(2 * most + 1, (2, n), generator=generator).to(x.device)
    rows = starts[0, :, None, None, None] + torch.arange(height, device=x.device)[:, None]
    columns = starts[1, :, None, None, None] + torch.arange(width, device=x.device)
    padded = F.pad(x, (most,) * 4)
    images = torch.arange(n, device=x.device)[:, None, None, None]
    return padded[images, torch.arange(channels, device=x.device)[:, None, None], rows, columns]
