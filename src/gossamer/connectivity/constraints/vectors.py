"""The vectors of a sparse layer, which have unequal numbers of connections, as matrices without holes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from gossamer.connectivity.layer import SparseLayer
from gossamer.errors import InputError

__all__ = ["label_vectors", "vector_blocks"]


def label_vectors(layer: SparseLayer, per: Literal["output", "input", "layer"]) -> tuple[Tensor, int]:
    """(nnz) int64: the vector that each connection belongs to, and how many positions a vector has.

    Args:
        layer: linear or convolutional; an input of a convolution is an input channel.
        per: of which vectors.
    """
    pattern = layer.pattern
    if per == "output":
        return pattern.row_indices.long(), layer.in_features
    if per == "layer":
        rows = pattern.row_indices
        return torch.zeros(rows.shape, dtype=torch.int64, device=rows.device), layer.in_features * layer.out_features
    if layer.groups > 1:
        raise InputError(f"per must not be 'input' for a convolution of {layer.groups} groups")
    kernel = math.prod(layer.kernel_size)
    return pattern.structure.indices.long() // kernel, layer.out_features * kernel


def vector_blocks(labels: Tensor) -> Iterator[Tensor]:
    """For each number of connections that vectors have, (vectors, number) the places of theirs.

    Args:
        labels: (nnz) the vector of each connection.

    Example:
        >>> import torch
        >>> from gossamer.connectivity.constraints.vectors import vector_blocks
        >>> [block.tolist() for block in vector_blocks(torch.tensor([0, 0, 1, 2, 2]))]
        [[[2]], [[0, 1], [3, 4]]]
    """
    order = labels.argsort(stable=True)
    _, counts = labels.unique(return_counts=True)
    starts = counts.cumsum(0) - counts
    for count in counts.unique().tolist():
        first = starts[counts == count]
        yield order[first[:, None] + torch.arange(count, device=labels.device)]
