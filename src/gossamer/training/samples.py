"""The samples that a network is trained on: dense rows, or sparse rows of which one batch at a time is made dense."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["Samples", "SparseRows"]

_PAGE = 1 << 20  # numbers that are put in order at a time: they stay in the cache until their batch's turn


class SparseRows:
    """The rows of a sparse ``matrix`` (n, features), in place of a dense tensor.

    Indexing by row numbers gives these rows as a dense tensor, feature-major as sparse layers read it, of the dtype of
    the matrix and on ``device``; nothing else is ever dense. A ``shift`` (features), if given, is subtracted from each
    row. Iteration goes through all rows by batches.
    """

    def __init__(self, matrix: csr_array, device: torch.device, shift: Tensor | None = None) -> None:
        self.matrix, self.device, self.shift = matrix, device, shift
        self.dtype = torch.from_numpy(np.empty(0, matrix.dtype)).dtype

    @property
    def shape(self) -> tuple[int, int]:
        """(n, features)."""
        rows, features = self.matrix.shape
        return rows, features

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Tensor | slice) -> Tensor:
        chosen = self.matrix[rows if isinstance(rows, slice) else rows.cpu().numpy()]
        x = torch.from_numpy(chosen.toarray(order="F")).to(self.device)
        return x if self.shift is None else x.sub_(self.shift)

    def dim(self) -> int:
        """Return 2, as the dense tensor of these rows has."""
        return 2

    def split(self, size: int) -> Iterator[Tensor]:
        """Yield all rows, ``size`` of them dense at a time."""
        return (self[start : start + size] for start in range(0, len(self), size))

    @property
    def page(self) -> int:
        """Number of rows that are dense at a time outside training."""
        return max(1, _PAGE // max(1, self.shape[1]))

    def __iter__(self) -> Iterator[Tensor]:
        for start in range(0, len(self), self.page):
            yield self[start : start + self.page]


class Samples(NamedTuple):
    """Samples on the device that trains.

    Attributes:
        x: rows (n, features), dense or sparse; dense rows may be images (n, channels, height, width).
        y: the targets that a `Task` compares outputs with: classes (n), or numbers (n, outputs).
        weight: (n) of mean 1, how much each sample counts; None for ones.

    Example:
        >>> samples = gs.training.Samples(torch.randn(5, 3), torch.tensor([0, 1, 1, 0, 1]))
        >>> [len(x) for x, y, weight in samples.batches(2)]
        [2, 2, 1]
    """

    x: Tensor | SparseRows
    y: Tensor | SparseRows
    weight: Tensor | None = None

    def batches(self, size: int, order: Tensor | None = None) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
        """Yield batches.

        The dense rows of several batches are gathered at once, which otherwise takes a small batch much of its time;
        sparse ones are made dense one batch at a time.

        Args:
            size: rows in a batch; the last one may have fewer.
            order: (n) row numbers; None for ascending.

        Yields:
            Batches (x, y, weight).
        """
        sparse = isinstance(self.x, SparseRows) or isinstance(self.y, SparseRows)
        page = size if sparse else size * max(1, _PAGE // max(1, size * math.prod(self.x.shape[1:])))
        for start in range(0, len(self.y), page):
            rows = slice(start, start + page) if order is None else order[start : start + page]
            x, y = self.x[rows], self.y[rows]
            weight = (None,) * -(-len(y) // size) if self.weight is None else self.weight[rows].split(size)
            yield from zip(x.split(size), y.split(size), weight, strict=True)
