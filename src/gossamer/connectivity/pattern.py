"""Patterns: the connections of a layer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gossamer.errors import InputError, check_count, check_fraction
from gossamer.kernels import (
    Structure,
    _cpu,
    check_csr,
    csr_of,
    flat_indices_of,
    mark_validated,
    ordinary,
    rows_of,
    transpose,
    validate,
)

__all__ = ["Pattern", "connection_count", "random_seed", "sample_flat_indices"]

_MOST = 2**31 - 1  # entries and columns are counted in int32


def random_seed(generator: torch.Generator | None) -> int:
    """Draw a seed for one draw in C++ from ``generator`` (default: torch's own)."""
    return int(torch.randint(0, 2**62, (), generator=generator, device="cpu"))


def sample_flat_indices(total: int, count: int, generator: torch.Generator | None = None) -> Tensor:
    """Draw ``count`` distinct numbers of [0, total), each subset equally likely, ascending; int64, in O(count)."""
    check_count("count", count, high=total)
    out = torch.empty(count, dtype=torch.int64, device="cpu")
    _cpu.sample_sorted(total, count, random_seed(generator), out.data_ptr())
    return out


def connection_count(rows: int, cols: int, density: float) -> int:
    """Return round(density · (rows · cols)), at least one connection; ``density`` in (0, 1]."""
    density = check_fraction("density", density, open_low=True)
    count = max(1, round(density * (rows * cols)))  # the same for a layer and its transpose
    if count > _MOST:
        raise InputError(f"density must leave at most {_MOST} connections, got {density} × {rows} × {cols} = {count}")
    return count


@dataclass(frozen=True, eq=False)
class Pattern:
    """The connections of a layer with ``rows`` outputs and ``cols`` inputs.

    Columns ascend inside a row and no connection occurs twice. A pattern is immutable; rewiring makes another. The
    flat index of a connection is ``row * cols + col``, so the entries of a pattern ascend in flat index.

    Build one with `erdos_renyi`, `fixed_fan_in`, `from_mask`, `from_indices` or `from_flat_indices`: all take time and
    memory proportional to the connections (`from_mask`: to its mask), and none draws a dense array.

    Attributes:
        structure: four int32 tensors, CSR (rows are outputs) and transposed CSR (see `gossamer.kernels.Structure`).

    Example:
        >>> pattern = gs.Pattern.from_mask(torch.tensor([[1, 0, 1], [0, 1, 0]]))
        >>> pattern.nnz, pattern.flat_indices
        (3, tensor([0, 2, 4]))
        >>> pattern.fan_in, pattern.fan_out
        (tensor([2, 1], dtype=torch.int32), tensor([1, 1, 1], dtype=torch.int32))
    """

    structure: Structure

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, cols) = (out_features, in_features)."""
        return self.structure.shape

    @property
    def nnz(self) -> int:
        """Number of connections."""
        return self.structure.nnz

    @property
    def density(self) -> float:
        """Density of the connections."""
        rows, cols = self.shape
        return self.nnz / (rows * cols) if rows * cols else 0.0

    @property
    def row_indices(self) -> Tensor:
        """(nnz) int64: the output of each connection."""
        validate(self.structure)
        return rows_of(self.structure.indptr)

    @property
    def col_indices(self) -> Tensor:
        """(nnz) int32: the input of each connection."""
        return self.structure.indices

    @property
    def flat_indices(self) -> Tensor:
        """(nnz) int64, ascending: the flat indices ``row * cols + col``."""
        validate(self.structure)
        return flat_indices_of(self.structure)

    @property
    def fan_in(self) -> Tensor:
        """(rows): connections into each output."""
        validate(self.structure)
        return self.structure.indptr.diff()

    @property
    def fan_out(self) -> Tensor:
        """(cols): connections out of each input."""
        validate(self.structure)
        return self.structure.t_indptr.diff()

    def to(self, device: torch.device | str) -> Pattern:
        """Return the same pattern on another device.

        Args:
            device: the device.

        Returns:
            The pattern.
        """
        validate(self.structure)
        structure = Structure(*(ordinary(t.to(device)) for t in self.structure))
        mark_validated(structure)
        return Pattern(structure)

    def to_mask(self) -> Tensor:
        """Return the pattern as a mask.

        Returns:
            (rows, cols) bool, True where there is a connection.
        """
        rows, cols = self.shape
        mask = torch.zeros(rows * cols, dtype=torch.bool, device=self.structure.indices.device)
        mask[self.flat_indices] = True
        return mask.view(rows, cols)

    # ---- ways to build one -----------------------------------------------------------------------------------------

    @staticmethod
    def from_csr(indptr: Tensor, indices: Tensor, cols: int) -> Pattern:
        """Make a pattern from CSR.

        Args:
            indptr: row pointers (rows + 1), int32.
            indices: column indices (nnz), int32, ascending in each row.
            cols: number of inputs.

        Returns:
            The pattern.

        Raises:
            InputError: they are not a pattern.
        """
        check_count("cols", cols, high=_MOST)
        check_csr(indptr, indices, cols)
        structure = Structure(*map(ordinary, transpose(indptr, indices, cols)))
        mark_validated(structure)
        return Pattern(structure)

    @staticmethod
    def from_flat_indices(flat_indices: Tensor, rows: int, cols: int) -> Pattern:
        """Make a pattern from flat indices.

        Args:
            flat_indices: (nnz) int64, distinct and ascending, ``row * cols + col``.
            rows: number of outputs.
            cols: number of inputs.

        Returns:
            The pattern.

        Raises:
            InputError: the indices are not a vector of int64, do not ascend, or lie outside the layer.
        """
        check_count("rows", rows, high=_MOST)
        check_count("cols", cols, high=_MOST)
        if flat_indices.dim() != 1 or flat_indices.dtype != torch.int64:
            raise InputError(
                f"flat_indices must be a vector of int64, got {flat_indices.dtype} of shape {tuple(flat_indices.shape)}"
            )
        if flat_indices.numel() > _MOST:
            raise InputError(f"flat_indices must be at most {_MOST}, got {flat_indices.numel()}")
        if flat_indices.numel() and (int(flat_indices[0]) < 0 or int(flat_indices[-1]) >= rows * cols):
            raise InputError(
                f"flat_indices must be in [0, {rows * cols}), "
                f"got values from {int(flat_indices[0])} to {int(flat_indices[-1])}"
            )
        if (flat_indices[1:] <= flat_indices[:-1]).any():
            raise InputError("flat_indices must ascend, without duplicates")
        return Pattern.from_csr(*csr_of(flat_indices, rows, cols), cols)

    @staticmethod
    def erdos_renyi(
        rows: int, cols: int, density: float, generator: torch.Generator | None = None, *, exact: bool = True
    ) -> Pattern:
        """Draw ``round(density · rows · cols)`` connections, every such set equally likely.

        Args:
            rows: number of outputs, ≥ 1.
            cols: number of inputs, ≥ 1.
            density: in (0, 1].
            generator: source of the connections (default: torch's own).
            exact: False for connections that each exist with probability ``density`` on their own, as in Mocanu et al.
                (2018): their number is drawn from the binomial law first, then the connections, still in time and
                memory of their number.

        Returns:
            The pattern.

        Raises:
            InputError: an argument is outside its range.
        """
        rows, cols = check_count("rows", rows, low=1, high=_MOST), check_count("cols", cols, low=1, high=_MOST)
        count = connection_count(rows, cols, density)
        if not exact:
            trials, chance = (torch.tensor(float(x), dtype=torch.float64) for x in (rows * cols, density))
            count = int(torch.binomial(trials, chance, generator))
        return Pattern.from_flat_indices(sample_flat_indices(rows * cols, count, generator), rows, cols)

    @staticmethod
    def fixed_fan_in(rows: int, cols: int, fan_in: int, generator: torch.Generator | None = None) -> Pattern:
        """Draw exactly ``fan_in`` distinct inputs for each output, uniformly.

        Args:
            rows: number of outputs, ≥ 1.
            cols: number of inputs, ≥ 1.
            fan_in: connections of each output, in [1, cols].
            generator: source of the connections (default: torch's own).

        Returns:
            The pattern.

        Raises:
            InputError: an argument is outside its range.
        """
        rows, cols = check_count("rows", rows, low=1, high=_MOST), check_count("cols", cols, low=1, high=_MOST)
        fan_in = check_count("fan_in", fan_in, low=1, high=cols)
        seeds = torch.Generator("cpu").manual_seed(random_seed(generator))
        columns = torch.stack([sample_flat_indices(cols, fan_in, seeds) for _ in range(rows)])
        indptr = torch.arange(0, rows * fan_in + 1, fan_in, dtype=torch.int32, device="cpu")
        return Pattern.from_csr(indptr, columns.to(torch.int32).flatten(), cols)

    @staticmethod
    def from_mask(mask: Tensor) -> Pattern:
        """Make a pattern from the non-zero entries of a matrix.

        Args:
            mask: (rows, cols).

        Returns:
            The pattern.

        Raises:
            InputError: ``mask`` is no matrix.
        """
        if mask.dim() != 2:
            raise InputError(f"mask must have shape (rows, cols), got {tuple(mask.shape)}")
        rows, cols = mask.shape
        return Pattern.from_flat_indices(mask.flatten().nonzero().flatten(), rows, cols)

    @staticmethod
    def from_indices(row: Tensor, col: Tensor, rows: int, cols: int) -> Pattern:
        """Make a pattern from the output and the input of each connection, in any order.

        Args:
            row: the outputs (nnz), whole numbers in [0, rows).
            col: the inputs (nnz), whole numbers in [0, cols).
            rows: number of outputs.
            cols: number of inputs.

        Returns:
            The pattern.

        Raises:
            InputError: an index is outside its range, or a connection is named twice.
        """
        if row.shape != col.shape or row.dim() != 1:
            raise InputError(
                f"row and col must be vectors of one length, got {tuple(row.shape)} and {tuple(col.shape)}"
            )
        check_count("rows", rows, high=_MOST)
        check_count("cols", cols, high=_MOST)
        for name, index, size in (("row", row, rows), ("col", col, cols)):
            if index.is_floating_point() or index.is_complex() or index.dtype == torch.bool:
                raise InputError(f"{name} must be whole numbers, got {index.dtype}")
            if index.numel() and (int(index.min()) < 0 or int(index.max()) >= size):
                raise InputError(
                    f"{name} must be in [0, {size}), got values from {int(index.min())} to {int(index.max())}"
                )
        flat_indices = (row.long() * cols + col.long()).sort().values
        repeated = (flat_indices[1:] == flat_indices[:-1]).nonzero()
        if repeated.numel():
            flat_index = int(flat_indices[repeated[0, 0]])
            raise InputError(
                f"row and col must name each connection once: ({flat_index // cols}, {flat_index % cols}) is repeated"
            )
        return Pattern.from_flat_indices(flat_indices, rows, cols)
