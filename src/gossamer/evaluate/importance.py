"""Importance of inputs by the connections of a first layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gossamer.connectivity import SparseLinear

__all__ = ["strength_out"]


@torch.no_grad()
def strength_out(layer: nn.Linear | SparseLinear) -> Tensor:
    """Measure the strength Σ_j |w_ji| of each input i, over the connections that leave it.

    Strengths of different inputs can be compared if the inputs have equal variance.

    Args:
        layer: the first layer of a network.

    Returns:
        The strengths (in), in the dtype of the weights.

    Example:
        >>> from gossamer.evaluate.importance import strength_out
        >>> layer = nn.Linear(2, 1)
        >>> _ = layer.weight.data.copy_(torch.tensor([[0.5, -2.0]]))
        >>> strength_out(layer)
        tensor([0.5000, 2.0000])

    References:
        Atashgahi et al., "Quick and robust feature selection: the strength of energy-efficient sparse training for
        autoencoders", arXiv 2012.00560.
    """
    if not isinstance(layer, SparseLinear):
        return layer.weight.abs().sum(0)
    strength = layer.weight_values.new_zeros(layer.in_features)
    return strength.index_add_(0, layer.pattern.col_indices.long(), layer.weight_values.abs())
