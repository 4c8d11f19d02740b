"""Kernels: the products of sparse layers, as operators over C++ and a torch reference."""

from __future__ import annotations

from typing import NamedTuple

import torch

from gossamer.kernels import _cpu
from gossamer.kernels.affine import linear
from gossamer.kernels.code import Code
from gossamer.kernels.convolution import Geometry, conv2d
from gossamer.kernels.divisive import divides_in_cpp, divisive_gate
from gossamer.kernels.gru import gru, gru_cell
from gossamer.kernels.local_gradient import conv2d_with_twin
from gossamer.kernels.lstm import lstm, lstm_cell
from gossamer.kernels.ops import sddmm, spmm, spmm_t
from gossamer.kernels.route import eager_in_cpp, is_plain, transformed
from gossamer.kernels.sorted_lists import csr_of, empty_at, flat_indices_of, follow, merge, split
from gossamer.kernels.spspmm import reads_active_units, spspmm, spspmm_or_linear
from gossamer.kernels.srelu import srelu, srelu_backward, srelu_matrix
from gossamer.kernels.structure import (
    Structure,
    check_csr,
    csc_permutation,
    mark_validated,
    ordinary,
    rows_of,
    transpose,
    validate,
)
from gossamer.kernels.winners import winners_cost

__all__ = [
    "Code",
    "Geometry",
    "Info",
    "Structure",
    "check_csr",
    "conv2d",
    "conv2d_with_twin",
    "csc_permutation",
    "csr_of",
    "divides_in_cpp",
    "divisive_gate",
    "eager_in_cpp",
    "empty_at",
    "flat_indices_of",
    "follow",
    "gru",
    "gru_cell",
    "info",
    "is_plain",
    "linear",
    "lstm",
    "lstm_cell",
    "mark_validated",
    "merge",
    "ordinary",
    "reads_active_units",
    "rows_of",
    "sddmm",
    "split",
    "spmm",
    "spmm_t",
    "spspmm",
    "spspmm_or_linear",
    "srelu",
    "srelu_backward",
    "srelu_matrix",
    "transformed",
    "transpose",
    "validate",
    "winners_cost",
]


class Info(NamedTuple):
    """The CPU kernels in use.

    Attributes:
        instruction_set: chosen at import.
        vector_bytes: width of its vectors.
        threads: number of threads of the next call.
    """

    instruction_set: str
    vector_bytes: int
    threads: int


def info() -> Info:
    """Return the instruction set of the CPU kernels, its vector width, and the number of threads of the next call.

    Returns:
        The three.

    Example:
        >>> gs.kernels.info().threads == torch.get_num_threads()
        True
    """
    return Info(_cpu.isa(), _cpu.vector_bytes(), torch.get_num_threads())
