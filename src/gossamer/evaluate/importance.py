"""How strongly inputs are connected: what the connections of a first layer say about the data."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gossamer.connectivity import SparseLinear

__all__ = ["strength_out"]


@torch.no_grad()
def strength_out(layer: nn.Linear | SparseLinear) -> Tensor:
    """(in): Σ_j |w_ji| over the connections that leave each input i ("strength", Atashgahi et al., arXiv 2012.00560).

    Strengths of different inputs can be compared if the inputs vary alike.
    """
    if not isinstance(layer, SparseLinear):
        return layer.weight.abs().sum(0)
    strength = layer.weight_values.new_zeros(layer.in_features)
    return strength.index_add_(0, layer.pattern.col_indices.long(), layer.weight_values.abs())
