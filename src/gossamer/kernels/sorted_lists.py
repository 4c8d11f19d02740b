"""Operations of rewiring on long sorted lists, one pass each: in C++ on the CPU, in plain torch elsewhere.

The lists hold flat indices row · cols + col of weights, ascending.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gossamer.errors import InputError
from gossamer.kernels import _cpu
from gossamer.kernels.structure import Structure, rows_of

__all__ = ["csr_of", "empty_at", "flat_indices_of", "follow", "merge", "split"]


def _plain(*tensors: Tensor) -> bool:
    """Whether all are in the memory of this process, one element after the other."""
    return all(t.device.type == "cpu" and type(t) is Tensor and t.is_contiguous() for t in tensors)


def flat_indices_of(s: Structure) -> Tensor:
    """Return the flat index of each connection, (nnz) int64, ascending."""
    rows, cols = s.shape
    if not _plain(s.indptr, s.indices):
        return rows_of(s.indptr).mul_(cols).add_(s.indices)
    out = torch.empty(s.nnz, dtype=torch.int64, device="cpu")
    _cpu.flat_indices_of(s.indptr.data_ptr(), s.indices.data_ptr(), rows, cols, out.data_ptr())
    return out


def csr_of(flat_indices: Tensor, rows: int, cols: int) -> tuple[Tensor, Tensor]:
    """Return row pointers (rows + 1) and columns (n) of flat indices, int32."""
    if _plain(flat_indices):
        indptr, indices = (torch.empty(n, dtype=torch.int32, device="cpu") for n in (rows + 1, flat_indices.numel()))
        _cpu.csr_of(flat_indices.data_ptr(), flat_indices.numel(), rows, cols, indptr.data_ptr(), indices.data_ptr())
        return indptr, indices
    row = flat_indices.div(max(cols, 1), rounding_mode="floor")
    indptr = torch.zeros(rows + 1, dtype=torch.int32, device=flat_indices.device)
    indptr[1:] = torch.bincount(row, minlength=rows).cumsum(0)
    return indptr, flat_indices.sub(row, alpha=cols).to(torch.int32)


def merge(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Merge two lists of flat indices that have none in common, and return a mask that is True for entries of ``a``."""
    count = a.numel() + b.numel()
    both = torch.empty(count, dtype=torch.int64, device=a.device)
    if _plain(a, b):
        from_a = torch.empty(count, dtype=torch.bool, device="cpu")
        _cpu.merge(a.data_ptr(), a.numel(), b.data_ptr(), b.numel(), both.data_ptr(), from_a.data_ptr())
        return both, from_a
    from_a = torch.ones(count, dtype=torch.bool, device=a.device)
    from_a[torch.searchsorted(a, b) + torch.arange(b.numel(), device=b.device)] = False
    both.masked_scatter_(from_a, a).masked_scatter_(~from_a, b)
    return both, from_a


def split(flat_indices: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Divide ``flat_indices`` (n) into those that ``chosen`` (n) marks and the others, both in order."""
    if flat_indices.shape != chosen.shape or chosen.dtype != torch.bool:
        raise InputError(
            f"chosen must be a mask of {flat_indices.numel()} connections, got {chosen.dtype} of shape "
            f"{tuple(chosen.shape)}"
        )
    if not _plain(flat_indices, chosen):
        return flat_indices[chosen], flat_indices[~chosen]
    count = int(chosen.sum())
    yes, no = (torch.empty(n + 1, dtype=torch.int64, device="cpu") for n in (count, flat_indices.numel() - count))
    _cpu.split(flat_indices.data_ptr(), chosen.data_ptr(), flat_indices.numel(), yes.data_ptr(), no.data_ptr())
    return yes[:-1], no[:-1]


def empty_at(occupied: Tensor, ranks: Tensor) -> Tensor:
    """Return the empty flat indices of these ascending ranks 0, 1, …, beside the occupied ones."""
    if not _plain(occupied, ranks):
        below = occupied - torch.arange(occupied.numel(), device=occupied.device)
        return ranks + torch.searchsorted(below, ranks, right=True)
    out = torch.empty_like(ranks)
    _cpu.empty_at(occupied.data_ptr(), occupied.numel(), ranks.data_ptr(), ranks.numel(), out.data_ptr())
    return out


def follow(source: Tensor, stays: Tensor, place: Tensor) -> Tensor:
    """Place the elements of ``source`` (n) that ``stays`` (n) marks, in order, where ``place`` (m) is True; else 0.

    Both masks mark equally many.
    """
    if source.shape != stays.shape or stays.dim() != 1:
        raise InputError(f"source must have {stays.numel()} numbers, got shape {tuple(source.shape)}")
    out = torch.empty(place.shape, dtype=source.dtype, device=source.device)
    if not _plain(source, stays, place):
        return out.zero_().masked_scatter_(place, source[stays])
    _cpu.follow(
        source.element_size(),
        source.data_ptr(),
        stays.data_ptr(),
        stays.numel(),
        place.data_ptr(),
        place.numel(),
        out.data_ptr(),
    )
    return out
