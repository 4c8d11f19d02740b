"""The weights that new connections start with."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from gossamer.connectivity import SparseLayer

__all__ = ["NewWeights", "first_weights"]

NewWeights = Literal["zero", "he", "xavier", "normal"]
"""Zero, or random: uniform by the inputs (he), by inputs and outputs (xavier), or normal."""


def first_weights(new_weights: str, count: int, layer: SparseLayer, generator: torch.Generator) -> Tensor:
    """Draw the weights that new connections of ``layer`` start with: (count)."""
    n_in, n_out = layer.in_features, layer.out_features * math.prod(layer.kernel_size)
    if new_weights == "zero":
        return torch.zeros(count, dtype=layer.weight_values.dtype, device=layer.weight_values.device)
    if new_weights == "normal":
        return (torch.randn(count, generator=generator) / 10).to(layer.weight_values)
    bound = math.sqrt(6 / (n_in if new_weights == "he" else n_in + n_out))
    return ((torch.rand(count, generator=generator) * 2 - 1) * bound).to(layer.weight_values)
