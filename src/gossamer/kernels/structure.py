"""Structure of a layer's connections: CSR and transposed CSR, checked before a kernel reads them.

A pattern of ``nnz`` connections of ``rows`` outputs and ``cols`` inputs is four int32 tensors:

==============  ==========  ================================================================================
``indptr``      (rows + 1)  entries of row r are ``indptr[r] … indptr[r + 1] - 1``
``indices``     (nnz)       column of each entry, ascending inside a row
``t_indptr``    (cols + 1)  the same, read by columns
``t_indices``   (nnz)       row of each entry in that order
==============  ==========  ================================================================================

Weights are kept in CSR order. In CSC order the entries of any one row come in the same order, so a traversal of the
columns from the first on finds the weight of each entry by counting the entries of its row (`csc_permutation`).
"""

from __future__ import annotations

import weakref
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gossamer.errors import InputError
from gossamer.kernels import _cpu
from gossamer.kernels.route import transformed

__all__ = [
    "Structure",
    "check_csr",
    "csc_permutation",
    "mark_validated",
    "ordinary",
    "own_view",
    "rows_of",
    "transpose",
    "unwrapped",
    "validate",
]


if hasattr(Tensor, "__dlpack_c_exchange_api__"):  # PyTorch 2.10
    _cpu.use_exchange(Tensor.__dlpack_c_exchange_api__, Tensor, torch.nn.Parameter)


class Structure(NamedTuple):
    """The four index tensors of a pattern."""

    indptr: Tensor
    indices: Tensor
    t_indptr: Tensor
    t_indices: Tensor

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, cols)."""
        return self.indptr.numel() - 1, self.t_indptr.numel() - 1

    @property
    def nnz(self) -> int:
        """Number of connections."""
        return self.indices.numel()


def rows_of(indptr: Tensor) -> Tensor:
    """The row of each entry, (nnz) int64, from row pointers."""
    if indptr.device.type == "cpu" and type(indptr) is Tensor and not (torch.compiler.is_compiling() or transformed()):
        pointers = indptr.numpy()  # NumPy stays on this thread, and so is safe in a forked child
        return torch.from_numpy(np.repeat(np.arange(pointers.size - 1), np.diff(pointers)))
    counts = indptr.diff()
    return torch.repeat_interleave(torch.arange(counts.numel(), device=indptr.device), counts)


def ordinary(tensor: Tensor) -> Tensor:
    """``tensor``, copied if it was made in inference mode, so that it can be used outside that mode too."""
    if not tensor.is_inference():
        return tensor
    with torch.inference_mode(False):
        return tensor.clone()


def own_view(values: Tensor) -> Tensor:
    """Return ``values`` as a backward pass saves it: not the parameter itself but a view, as a dense layer does.

    Autograd saves a leaf by reference, so one that is given other data between forward and backward (``layer.to``,
    ``layer.weight_values.data = …``) would be read as it is then. A view keeps the memory of the forward pass.
    """
    if torch.is_grad_enabled() and values.is_leaf and not (torch.compiler.is_compiling() or transformed()):
        return values.clone() if values.is_inference() else values.view_as(values)  # the former can't be saved
    return values


def unwrapped(s: Structure) -> Structure:
    """The index tensors themselves, where torch.func.grad has wrapped them as arguments of its function."""
    functorch = torch._C._functorch

    def bare(t: Tensor) -> Tensor:
        while functorch.is_gradtrackingtensor(t):
            t = functorch.get_unwrapped(t)
        if functorch.is_batchedtensor(t):
            raise InputError("the pattern must be the same for all samples of a vmap: give its buffers the in_dim None")
        return t

    return Structure(*map(bare, s))


_REASONS = {
    1: "indptr must start at 0 (after to_empty, load a state dict or call set_pattern first)",
    2: "indptr must not decrease: it does at row {where}",
    3: "indptr must end at the number of indices, {nnz}: it ends at {last}",
    4: "indices must be in [0, {cols}): entry {where} is {index}",
    5: "indices must ascend inside a row, without duplicates: entry {where} is {index}, after {before}",
}


def check_csr(indptr: Tensor, indices: Tensor, cols: int) -> None:
    """Raise `InputError` unless ``(indptr, indices)`` is CSR with ascending, distinct columns below ``cols``."""
    for name, tensor in (("indptr", indptr), ("indices", indices)):
        if tensor.dtype != torch.int32 or tensor.dim() != 1:
            raise InputError(f"{name} must be a vector of int32, got {tensor.dtype} of shape {tuple(tensor.shape)}")
    if indptr.numel() == 0:
        raise InputError("indptr must have rows + 1 ≥ 1 elements, got none")
    p, i = indptr.detach().cpu().contiguous(), indices.detach().cpu().contiguous()
    nnz = i.numel()
    code, where = _cpu.check(p.data_ptr(), i.data_ptr(), p.numel() - 1, cols, nnz)
    if code:
        index = int(i[where]) if code in (4, 5) else None
        before = int(i[where - 1]) if code == 5 else None
        reason = _REASONS[code].format(where=where, nnz=nnz, cols=cols, last=int(p[-1]), index=index, before=before)
        raise InputError(f"not a valid pattern: {reason}")


def transpose(indptr: Tensor, indices: Tensor, cols: int) -> Structure:
    """Complete a checked CSR pattern with its transposed form; O(nnz) time on the CPU, result on the input's device."""
    device = indptr.device
    p, i = indptr.cpu().contiguous(), indices.cpu().contiguous()
    t_indptr = torch.empty(cols + 1, dtype=torch.int32, device="cpu")
    t_indices = torch.empty_like(i)
    _cpu.transpose(
        p.data_ptr(),
        i.data_ptr(),
        p.numel() - 1,
        cols,
        t_indptr.data_ptr(),
        t_indices.data_ptr(),
    )
    return Structure(p.to(device), i.to(device), t_indptr.to(device), t_indices.to(device))


def csc_permutation(s: Structure, *, keep: bool = False) -> Tensor:
    """(nnz) int32: the index, in CSR order, of each entry in CSC order; O(nnz), for a structure on the CPU.

    With ``keep`` it is kept until one of the four tensors changes or goes, as far as `validate` can see that.
    """
    known = _validated.get(id(s.indices)) if keep else None
    if known is not None and known.permutation is not None and _cpu.is_validated(*s):
        return known.permutation
    rows, cols = s.shape
    out = torch.empty_like(s.indices)
    _cpu.csc_permutation(s.indptr.data_ptr(), s.t_indptr.data_ptr(), s.t_indices.data_ptr(), rows, cols, out.data_ptr())
    if known is not None and _cpu.is_validated(*s):
        known.permutation = out
    return out


# What is held for structures that were validated, by the identity of their `indices` while those exist: the other
# three tensors, so that no others take their place in memory. Their state is in C++, which compares it at every call of
# a layer: an in-place change of any is noticed and checked again, unless it was made through `.data` or NumPy, which
# count no versions. Inference tensors count none either: they are checked at each call.
_validated: dict[int, _Validated] = {}


class _Validated:
    """What is held for one structure."""

    __slots__ = ("gone", "others", "permutation")

    def __init__(self, s: Structure) -> None:
        key = id(s.indices)
        self.others = s.indptr, s.t_indptr, s.t_indices
        self.gone = weakref.ref(s.indices, lambda _: _forget(key))
        self.permutation: Tensor | None = None  # of the CSC form, where a product has asked to keep it


def _forget(key: int) -> None:
    _validated.pop(key, None)
    _cpu.forget(key)


def validate(structure: Structure) -> None:
    """Raise `InputError` if a kernel could read outside its memory; free while nothing changes."""
    if not _cpu.is_validated(*structure):
        with torch._C._DisableFuncTorch():  # inside its transforms, what is made here would have no memory to look at
            _validate_now(structure)
        mark_validated(structure)


def mark_validated(structure: Structure) -> None:
    """Mark a structure as validated, for internal code that has just built it."""
    if _cpu.mark_validated(*structure):
        _validated[id(structure.indices)] = _Validated(structure)


def _validate_now(structure: Structure) -> None:
    device = structure.indptr.device
    for name, tensor in zip(structure._fields, structure, strict=True):
        if tensor.device != device or not tensor.is_contiguous():
            raise InputError(f"not a valid pattern: {name} must be contiguous on {device}, as indptr is")
    rows, cols = structure.shape
    check_csr(structure.indptr, structure.indices, cols)
    for name, tensor in zip(structure._fields[2:], structure[2:], strict=True):
        if tensor.dtype != torch.int32:
            raise InputError(f"not a valid pattern: {name} must be int32, got {tensor.dtype}")
    expected = transpose(structure.indptr, structure.indices, cols)
    for name, mine, right in zip(structure._fields[2:], structure[2:], expected[2:], strict=True):
        if mine.shape != right.shape or not torch.equal(mine, right):
            raise InputError(
                f"not a valid pattern: {name} is not that of the transpose of this {rows} × {cols} pattern"
            )
