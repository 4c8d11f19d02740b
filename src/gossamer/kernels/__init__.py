"""How it runs fast: the products of sparse layers, as operators over C++ and a torch reference."""

from __future__ import annotations

from typing import NamedTuple

import torch

from gossamer.kernels import _cpu
from gossamer.kernels.affine import linear
from gossamer.kernels.code import Code
from gossamer.kernels.convolution import Geometry, conv2d
from gossamer.kernels.flat_indices import csr_of, empty_at, flat_indices_of, follow, merge, split
from gossamer.kernels.ops import sddmm, spmm, spmm_t
from gossamer.kernels.route import is_plain, transformed
from gossamer.kernels.spspmm import reads_active_units, spspmm, spspmm_or_linear
from gossamer.kernels.srelu import srelu, srelu_backward
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

__all__ = [
    "Code",
    "Geometry",
    "Info",
    "Structure",
    "check_csr",
    "conv2d",
    "csc_permutation",
    "csr_of",
    "empty_at",
    "flat_indices_of",
    "follow",
    "info",
    "is_plain",
    "linear",
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
    "transformed",
    "transpose",
    "validate",
]


class Info(NamedTuple):
    """Instruction set, vector width and threads of the CPU kernels."""

    instruction_set: str
    vector_bytes: int
    threads: int


def info() -> Info:
    """The instruction set that was chosen at import, its vector width, and the threads that the next call will use."""
    return Info(_cpu.isa(), _cpu.vector_bytes(), torch.get_num_threads())
