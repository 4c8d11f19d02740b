"""Layers whose weights and biases a generator draws, uniform on ±1/√fan-in; sparse ones below density 1."""

from __future__ import annotations

import math
from typing import Any, TypeVar

import torch
from torch import nn

from gossamer.connectivity import SparseLinear

__all__ = ["dense_linear", "drawn", "linear"]

Weighted = TypeVar("Weighted", nn.Conv2d, nn.Linear)


def drawn(layer: Weighted, generator: torch.Generator | None) -> Weighted:
    """Draw all parameters of a dense ``layer``, uniform on ±1/√fan-in."""
    bound = 1 / math.sqrt(layer.weight[0].numel())
    for parameter in layer.parameters():
        nn.init.uniform_(parameter, -bound, bound, generator)
    return layer


def dense_linear(
    in_features: int,
    out_features: int,
    generator: torch.Generator | None,
    kind: type[nn.Linear] = nn.Linear,
    **options: Any,
) -> nn.Linear:
    """Make a dense layer of a ``kind`` with these ``options``; torch's own generator draws nothing."""
    layer: nn.Linear = nn.utils.skip_init(kind, in_features, out_features, **options)
    return drawn(layer, generator)


def linear(
    in_features: int,
    out_features: int,
    density: float | None,
    generator: torch.Generator | None,
    kind: type[nn.Linear] = nn.Linear,
) -> nn.Linear | SparseLinear:
    """Make a layer, sparse if ``density`` is below 1, otherwise dense and of this ``kind``."""
    if density is not None and density < 1:
        return SparseLinear(in_features, out_features, density, generator=generator)
    return dense_linear(in_features, out_features, generator, kind)
