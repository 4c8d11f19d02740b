"""A convolution as a linear layer whose inputs are patches of the image, one at each position.

    y[o, s] = Σ_i W[o, i] u[g(o), i, s]        s a position in a sample, g(o) the group of output channel o

where input i = (channel of the group, row, column) is a position of the kernel and u[g, i, s] the pixel under it
at position s. So a score of the pair (o, i) is a sum over s as it is over samples for a linear layer. Patches repeat
each pixel kh · kw times: they are made in blocks and discarded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from gossamer.connectivity import Pattern, SparseConv2d
from gossamer.connectivity.windows import geometry_of, windows
from gossamer.kernels import Structure
from gossamer.kernels.convolution import conv2d_values
from gossamer.plasticity.pairs import BLOCK, Score
from gossamer.plasticity.ranks import sum_over_ranks_

__all__ = ["Convolved", "add_products_", "patches"]


def patches(y: Tensor, x: Tensor, layer: SparseConv2d, block: int = BLOCK) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield y (outputs, s) and u (channels · kh · kw, s), for some positions s at a time.

    ``y`` (N, outputs, H', W') is the output of ``layer`` for images ``x`` (N, channels, H, W), or a number for each
    entry of it. Outputs and channels may be some of the layer's alone. About ``block`` numbers at a time.
    """
    read = windows(x, layer)  # (N, channels, kh, kw, H', W')
    samples, outputs, height, width = y.shape
    inputs = read.shape[1:4].numel()
    rows = max(1, block // (width * (inputs + outputs)))  # of positions
    images, rows = max(1, rows // height), min(rows, height)
    for n in range(0, samples, images):
        for i in range(0, height, rows):
            u = read[n : n + images, ..., i : i + rows, :].permute(1, 2, 3, 0, 4, 5)
            yield y[n : n + images, :, i : i + rows].transpose(0, 1).reshape(outputs, -1), u.reshape(inputs, -1)


def add_products_(total: Tensor, a: Tensor, b: Tensor, groups: int = 1, weight: float = 1.0) -> None:
    """Add weight · a bᵀ to ``total`` (outputs, inputs), of a (outputs, s) and b (groups · inputs, s) group by group."""
    total, a, b = (matrix.unflatten(0, (groups, -1)) for matrix in (total, a, b))
    total.baddbmm_(a, b.transpose(1, 2), alpha=weight)


@dataclass(frozen=True)
class Convolved:
    """The function f(Σ_ranks Σ_terms weight · Σ_s a[o, s] u[g(o), i, s]) for the pairs (o, i) of a convolution.

    A term is (weight, a, x): a (N, outputs, H', W') and images x (N, channels, H, W) of this rank. Every rank must call
    each method with the same arguments, and gets the same result. Beside the images, memory is a few blocks.
    """

    layer: SparseConv2d
    terms: tuple[tuple[float, Tensor, Tensor], ...]
    score: Score
    group: dist.ProcessGroup | None = None
    block: int = BLOCK

    @property
    def shape(self) -> tuple[int, int]:
        """(outputs, inputs)."""
        return self.layer.out_features, self.layer.in_features

    @property
    def _dtype(self) -> torch.dtype:
        return torch.promote_types(self.terms[0][1].dtype, torch.float32)

    def connections(self, structure: Structure) -> Tensor:
        """Return the scores of these connections, by the kernel of the weight gradient: (nnz)."""
        g, dtype = geometry_of(self.layer), self._dtype
        total = torch.zeros(structure.nnz, dtype=dtype, device=structure.indices.device)
        for weight, a, x in self.terms:
            total.add_(conv2d_values(a.to(dtype), structure, x.to(dtype), g), alpha=weight)
        return self.score(sum_over_ranks_(total, self.group))

    def at(self, flat_indices: Tensor) -> Tensor:
        """Return the scores at these flat indices: (n)."""
        distinct, place = flat_indices.unique(return_inverse=True)
        return self.connections(Pattern.from_flat_indices(distinct, *self.shape).structure)[place]

    def blocks(self) -> Iterator[tuple[int, Tensor]]:
        """Yield blocks of whole rows, about ``block`` scores each: parts of a group, or whole groups."""
        outputs, inputs = self.shape
        together = outputs // self.layer.groups  # outputs of a group
        step = max(1, self.block // inputs)
        span = max(1, step // together) * together
        for first in range(0, outputs, span):
            last = min(first + span, outputs)
            for start in range(first, last, step):
                yield start * inputs, self._rows(start, min(start + step, last)).flatten()

    def _rows(self, start: int, stop: int) -> Tensor:
        """(stop - start, inputs): the scores of some outputs, of one group or of whole groups."""
        together = self.layer.out_channels // self.layer.groups
        groups = max(1, (stop - start) // together)
        channels = self.layer.in_channels // self.layer.groups
        low = start // together * channels
        total = torch.zeros(stop - start, self.shape[1], dtype=self._dtype, device=self.layer.weight_values.device)
        for weight, a, x in self.terms:
            some, read = a[:, start:stop], x[:, low : low + groups * channels]
            for z, u in patches(some, read, self.layer, self.block):
                add_products_(total, z.to(total), u.to(total), groups, weight)
        return self.score(sum_over_ranks_(total, self.group))
