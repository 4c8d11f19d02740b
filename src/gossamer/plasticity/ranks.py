"""Several processes that train one network: sums over them, and proof that all of them are connected alike.

Each rank decides for itself, from the same seed and from statistics that are summed over ranks, so no pattern is ever
sent; `check_agreement` compares SHA-256 digests of all patterns before any of them changes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
import torch.distributed as dist
from torch import Tensor

from gossamer.connectivity import Pattern

__all__ = ["check_agreement", "pattern_digest", "sum_over_ranks_"]


def _several(group: dist.ProcessGroup | None) -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size(group) > 1


def sum_over_ranks_(tensor: Tensor, group: dist.ProcessGroup | None = None) -> Tensor:
    """``tensor``, replaced by its sum over all ranks; every rank must call it. Alone, it does nothing."""
    if _several(group):
        dist.all_reduce(tensor, group=group)
    return tensor


def pattern_digest(patterns: Mapping[str, Pattern]) -> bytes:
    """SHA-256 of the names, shapes and connections of these patterns, each that of the layer of this name."""
    digest = hashlib.sha256()
    for name, pattern in patterns.items():
        rows, cols = pattern.shape
        digest.update(f"{name} {rows} {cols} {pattern.nnz};".encode())
        for tensor in pattern.structure[:2]:
            digest.update(tensor.cpu().contiguous().numpy().data)
    return digest.digest()


def check_agreement(patterns: Mapping[str, Pattern], group: dist.ProcessGroup | None = None) -> None:
    """Raise `RuntimeError` on every rank unless all ranks have the same patterns."""
    if not _several(group):
        return
    device = next(iter(patterns.values())).structure.indptr.device
    mine = torch.tensor(list(pattern_digest(patterns)), dtype=torch.uint8, device=device)
    every = [torch.empty_like(mine) for _ in range(dist.get_world_size(group))]
    dist.all_gather(every, mine, group=group)
    different = [rank for rank, digest in enumerate(every) if not torch.equal(digest, every[0])]
    if different:
        raise RuntimeError(
            f"ranks {different} have another pattern than rank 0: do all ranks have the same weights, seed and step?"
        )
