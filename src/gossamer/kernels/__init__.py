"""How it runs fast: the products of sparse layers, as operators over C++ and a torch reference."""

from __future__ import annotations

from typing import NamedTuple

import torch

from gossamer.kernels import _cpu
from gossamer.kernels.code import Code
from gossamer.kernels.convolution import Geometry, conv2d
from gossamer.kernels.joint import JOINT_BATCH, ColumnOrder, column_order, joint, joint_or_plain, still_ordered
from gossamer.kernels.ops import linear, sddmm, spmm, spmm_t
from gossamer.kernels.srelu import srelu, srelu_backward
from gossamer.kernels.structure import Structure, check_csr, positions, rows_of, transformed, transpose, trust, verify
from gossamer.kernels.wiring import cells_of, csr_of, empty_at, follow, merge, split

__all__ = [
    "JOINT_BATCH",
    "Code",
    "ColumnOrder",
    "Geometry",
    "Info",
    "Structure",
    "cells_of",
    "check_csr",
    "column_order",
    "conv2d",
    "csr_of",
    "empty_at",
    "follow",
    "info",
    "joint",
    "joint_or_plain",
    "linear",
    "merge",
    "positions",
    "rows_of",
    "sddmm",
    "split",
    "spmm",
    "spmm_t",
    "srelu",
    "srelu_backward",
    "still_ordered",
    "transformed",
    "transpose",
    "trust",
    "verify",
]


class Info(NamedTuple):
    """What the CPU kernels run on."""

    instruction_set: str
    vector_bytes: int
    threads: int


def info() -> Info:
    """The instruction set that was chosen at import, its vector width, and the threads that the next call will use."""
    return Info(_cpu.isa(), _cpu.vector_bytes(), torch.get_num_threads())
