"""The other ways to run a linear layer of which few connections exist.

``dense``      all connections, zeros too: torch.nn.functional.linear (oneDNN or MKL)
``masked``     the same with the product of weights and a mask of zeros and ones, as most sparse training is simulated
``CSR``        torch.sparse: W x^T with W in compressed rows and int32 indices (MKL); it has no training
``SparseLab``  the package sparselab (padded compressed rows, C++), if it is installed

All get a batch in torch's usual layout, (batch, features) with the features contiguous.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gossamer.connectivity import SparseLinear

__all__ = [
    "NOT_INSTALLED",
    "OWN_THREADS",
    "MaskedLinear",
    "csr_layer",
    "forget_sparselab",
    "sparselab_layer",
    "sparselab_version",
    "threads",
    "why_not_sparselab",
]

NOT_INSTALLED = "not installed"

OWN_THREADS = ("SparseLab",)
"""Rivals that bring another OpenMP runtime than torch's."""


class MaskedLinear(nn.Module):
    """y = x (W ∘ M)ᵀ + b with all of W and M stored."""

    mask: Tensor

    def __init__(self, sparse: SparseLinear) -> None:
        super().__init__()
        dense = sparse.to_dense()
        self.weight, self.bias = dense.weight, dense.bias
        self.register_buffer("mask", sparse.pattern.to_mask().to(dense.weight.dtype))

    def forward(self, x: Tensor) -> Tensor:
        """Compute y = x (W ∘ mask)ᵀ + b: (…, in_features) -> (…, out_features)."""
        return F.linear(x, self.weight * self.mask, self.bias)


def csr_layer(sparse: SparseLinear) -> Callable[[Tensor], Tensor]:
    """The forward pass of ``sparse`` by torch.sparse."""
    indptr, indices = sparse.pattern.structure[:2]
    size = (sparse.out_features, sparse.in_features)
    with _as_if_stable():
        W = torch.sparse_csr_tensor(indptr, indices, sparse.weight_values.detach(), size)
    bias = cast(Tensor, sparse.bias).detach()
    return lambda x: (W @ x.t()).t() + bias


@contextmanager
def _as_if_stable() -> Iterator[None]:
    """Suppress torch's warnings that its CSR tensors are in beta and unchecked."""
    with warnings.catch_warnings():
        for message in ("Sparse CSR tensor support is in beta", "Sparse invariant checks are implicitly disabled"):
            warnings.filterwarnings("ignore", message=message)
        yield


# ---- SparseLab -------------------------------------------------------------------------------------------------------


def _optional(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def sparselab_version() -> str | None:
    """Return the version of SparseLab; None where it isn't installed."""
    try:
        return version("sparselab")
    except PackageNotFoundError:
        return None


def why_not_sparselab(dtype: torch.dtype) -> str | None:
    """The reason why SparseLab can't take part, if there is one."""
    if _optional("sparselab") is None:
        return NOT_INSTALLED
    if _optional("threadpoolctl") is None:  # its threads don't follow torch.set_num_threads
        return "needs threadpoolctl"
    return None if dtype == torch.float32 else "float32 only"


def sparselab_layer(in_features: int, out_features: int, density: float, seed: int) -> nn.Module:
    """Make SparseLab's layer of about that density: it draws each connection on its own, from torch's generator."""
    with torch.random.fork_rng(devices=[]), _as_if_stable():
        torch.manual_seed(seed)
        return cast(nn.Module, _optional("sparselab").SparseLinear(in_features, out_features, sparsity=1 - density))


def forget_sparselab() -> None:
    """Empty its cache of transposes, which would keep every layer that was ever trained in memory."""
    ops = _optional("sparselab.ops")
    clear = getattr(ops, "_clear_transpose_cache", None)
    if clear is not None:
        clear()


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Run with so many threads (None: as many as torch takes): torch's own, and those of other OpenMP runtimes."""
    before = torch.get_num_threads()
    count = before if count is None else count
    _optional("sparselab")  # loads its OpenMP runtime, whose threads are set below
    pools = _optional("threadpoolctl")
    torch.set_num_threads(count)
    try:
        if pools is None:
            yield
        else:
            with pools.threadpool_limits(count, user_api="openmp"):
                yield
    finally:
        torch.set_num_threads(before)
