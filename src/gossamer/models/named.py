"""Networks by name: from a string such as ``"vgg"`` to the arguments of a network, and from those to the network.

========================  ========================================================================================
``mlp``                   `MLP`, the only one for tables
``vgg``                   `VGG` by the size of the images: 32, 32, M, 64, 64, M below 32 × 32, VGG16 from there on
``vgg16``                 VGG16
``vgg:32-32-M-64-M``      `VGG` of these layers
``wide-residual``         `WideResidual` by the size of the images: WRN-10-2 below 32 × 32, WRN-16-4 from there on
``wide-residual:16-4``    WRN-16-4, depth and width
========================  ========================================================================================

An *architecture* is a dictionary of numbers, strings and lists: the name of the kind under ``"model"`` (missing for an
MLP) and the arguments of its constructor. A model file holds one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from gossamer.errors import InputError
from gossamer.models.mlp import MLP
from gossamer.models.vgg import SMALL, VGG, VGG16, Layers
from gossamer.models.wide_residual import WideResidual

__all__ = ["ModelName", "from_architecture", "title"]

Kind = Literal["mlp", "vgg", "wide-residual"]

_USAGE = "mlp, vgg, vgg16, vgg:32-32-M-64-64-M, wide-residual or wide-residual:DEPTH-WIDTH"
_LARGE = 32  # height and width from which on images take the larger network
_KINDS: dict[str, type[nn.Module]] = {"mlp": MLP, "vgg": VGG, "wide-residual": WideResidual}


@dataclass(frozen=True)
class ModelName:
    """The name of a network, read.

    Attributes:
        kind: ``"mlp"``, ``"vgg"`` or ``"wide-residual"``.
        layers: of a VGG, if they are given.
        depth: of a wide residual network, if it is given.
        width: likewise.

    Example:
        >>> gs.models.ModelName.parse("wide-residual:16-4")
        ModelName(kind='wide-residual', layers=None, depth=16, width=4)
    """

    kind: Kind
    layers: Layers | None = None
    depth: int | None = None
    width: int | None = None

    @classmethod
    def parse(cls, string: str) -> ModelName:
        """Read the name of a network; the module's docstring lists them.

        Args:
            string: the name.

        Returns:
            The parts of the name.

        Raises:
            InputError: there is no such network.
        """
        name, colon, argument = str(string).strip().lower().replace("_", "-").partition(":")
        parts = argument.split("-")
        if not colon:
            if name in ("mlp", "vgg", "wide-residual"):
                return cls(name)  # type: ignore[arg-type]
            if name == "vgg16":
                return cls("vgg", VGG16)
        elif name == "vgg" and all(part == "m" or part.isdecimal() for part in parts) and set(parts) - {"m", "0"}:
            return cls("vgg", tuple("M" if part == "m" else int(part) for part in parts))
        elif name == "wide-residual" and len(parts) == 2 and all(part.isdecimal() for part in parts):
            return cls("wide-residual", depth=int(parts[0]), width=int(parts[1]))
        raise InputError(f"model must be {_USAGE}, got {string!r}")

    def sized(self, height: int, width: int) -> dict[str, Any]:
        """Return the arguments that the size of the images decides, where the name doesn't.

        Args:
            height: of the images.
            width: of the images.

        Returns:
            ``layers`` of a VGG, ``depth`` and ``width`` of a wide residual network.
        """
        large = min(height, width) >= _LARGE
        if self.kind == "vgg":
            return {"layers": list(self.layers or (VGG16 if large else SMALL))}
        depth, factor = (16, 4) if large else (10, 2)
        return {"depth": self.depth or depth, "width": self.width or factor}


def from_architecture(architecture: Mapping[str, Any], generator: torch.Generator | None = None) -> nn.Module:
    """Build a network.

    Args:
        architecture: as the module's docstring defines it.
        generator: source of its patterns and weights (default: torch's own).

    Returns:
        The network.

    Raises:
        InputError: there is no such kind, or an argument is outside its range.

    Example:
        >>> architecture = {"in_features": 13, "hidden": [10], "out_features": 3, "density": 0.5}
        >>> gs.models.from_architecture(architecture)(torch.rand(2, 13)).shape
        torch.Size([2, 3])
    """
    arguments = dict(architecture)
    kind = arguments.pop("model", "mlp")
    if kind not in _KINDS:
        raise InputError(f"model must be one of {', '.join(map(repr, _KINDS))}, got {kind!r}")
    return _KINDS[kind](**arguments, generator=generator)


def title(architecture: Mapping[str, Any]) -> str:
    """Name a network for readers.

    Args:
        architecture: as the module's docstring defines it.

    Returns:
        Its title.

    Example:
        >>> gs.models.title({"in_features": 13, "hidden": [10], "out_features": 3, "density": 0.5})
        'MLP 13-10-3'
        >>> gs.models.title({"model": "vgg", "layers": [8, "M", 8], "hebbian_blocks": 1})
        'VGG 8-M-8, 1 HaH block'
    """
    kind = architecture.get("model", "mlp")
    if kind == "mlp":
        sizes = architecture["in_features"], *architecture["hidden"], architecture["out_features"]
        return f"MLP {'-'.join(map(str, sizes))}"
    if kind == "wide-residual":
        return f"WRN-{architecture['depth']}-{architecture['width']}"
    layers, blocks = architecture["layers"], architecture.get("hebbian_blocks", 0)
    shown = "VGG16" if tuple(layers) == VGG16 else f"VGG {'-'.join(map(str, layers))}"
    return f"{shown}, {blocks} HaH block{'s' * (blocks > 1)}" if blocks else shown
