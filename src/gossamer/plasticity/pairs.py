"""A score for each pair (output, input) of a layer, of which there are far more than connections.

The score of the pair (j, i) is f(Σ_s a[j, s] b[i, s]): |cos| of two activations, or the magnitude of a loss gradient.
The sum is over the samples of all ranks. There are two forms, for memory that is small for any layer and any
number of samples:

`Factored`   holds a (outputs, samples) and b (inputs, samples), and computes products on demand, in blocks of rows:
             less than the matrix when samples are few beside the width of the layer.
`Summed`     holds the sums (outputs × inputs): less than the factors when samples are many.

For a convolution the sum is over its positions in the images, too, and there is a third, `convolved.Convolved`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from gossamer import kernels
from gossamer.kernels import Structure, rows_of
from gossamer.plasticity.ranks import sum_over_ranks_

__all__ = ["BLOCK", "Factored", "Score", "Summed"]

BLOCK = 1 << 22  # numbers in a temporary


@dataclass(frozen=True)
class Score:
    """The function f in place: |x|, or the positive part of x; at most ``most``, to undo rounding."""

    absolute: bool = True
    most: float = float("inf")

    def __call__(self, x: Tensor) -> Tensor:
        """Apply f in place."""
        x = x.abs_() if self.absolute else x.clamp_(min=0)
        return x if self.most == float("inf") else x.clamp_(max=self.most)


@dataclass(frozen=True)
class Summed:
    """The function f of a matrix (outputs, inputs) that is already summed over ranks."""

    matrix: Tensor
    score: Score = Score()
    block: int = BLOCK

    @property
    def shape(self) -> tuple[int, int]:
        """(outputs, inputs)."""
        return self.matrix.shape[0], self.matrix.shape[1]

    def connections(self, structure: Structure) -> Tensor:
        """Return the scores of the connections: (nnz)."""
        return self.score(self.matrix[rows_of(structure.indptr), structure.indices.long()])

    def at(self, flat_indices: Tensor) -> Tensor:
        """Return the scores at these flat indices: (n)."""
        return self.score(self.matrix.flatten()[flat_indices])

    def blocks(self) -> Iterator[tuple[int, Tensor]]:
        """Yield blocks of about ``block`` scores."""
        flat = self.matrix.flatten()
        for start in range(0, flat.numel(), self.block):
            yield start, self.score(flat[start : start + self.block].clone())


@dataclass(frozen=True)
class Factored:
    """The function f(Σ_ranks a bᵀ), with a (outputs, samples) and b (inputs, samples) of this rank's samples.

    Every rank must call each method with the same arguments, and gets the same result.
    """

    a: Tensor
    b: Tensor
    score: Score = Score()
    group: dist.ProcessGroup | None = None
    block: int = BLOCK

    @property
    def shape(self) -> tuple[int, int]:
        """(outputs, inputs)."""
        return self.a.shape[0], self.b.shape[0]

    def _finish(self, products: Tensor) -> Tensor:
        return self.score(sum_over_ranks_(products, self.group))

    def connections(self, structure: Structure) -> Tensor:
        """Return the scores of the connections, by the kernel of the weight gradient: (nnz)."""
        return self._finish(kernels.sddmm(self.a, self.b, structure))

    def at(self, flat_indices: Tensor) -> Tensor:
        """Return the scores at these flat indices: (n)."""
        out = torch.empty(flat_indices.shape, dtype=self.a.dtype, device=self.a.device)
        step = max(1, self.block // max(1, self.a.shape[1]))
        for start in range(0, flat_indices.numel(), step):
            some = flat_indices[start : start + step]
            row = some.div(self.shape[1], rounding_mode="floor")
            out[start : start + step] = (self.a[row] * self.b[some - row * self.shape[1]]).sum(1)
        return self._finish(out)

    def blocks(self) -> Iterator[tuple[int, Tensor]]:
        """Yield blocks of whole rows, about ``block`` scores each."""
        rows, cols = self.shape
        step = max(1, self.block // max(1, cols))
        for start in range(0, rows, step):
            yield start * cols, self._finish(self.a[start : start + step] @ self.b.t()).flatten()
