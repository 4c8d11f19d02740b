"""The memory layout of dense tensors, for kernels that work along one dimension."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["is_plain", "laid_out_as", "observed", "rows_in_memory"]

_PLAIN = (Tensor, torch.nn.Parameter)


def observed() -> bool:
    """Return whether torch.jit.trace or a dispatch mode (make_fx, a FLOP counter) has to see all operators."""
    tracing: bool = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    return tracing or torch._C._len_torch_dispatch_stack() > 0


def is_plain(x: Tensor) -> bool:
    """True outside compilers, tracers, tensor subclasses and functional transforms: none of them may see an address."""
    return (
        not torch.compiler.is_compiling()
        and type(x) in _PLAIN
        and not torch._C._functorch.peek_interpreter_stack()
        and not observed()
    )


def laid_out_as(model: Tensor, x: Tensor) -> Tensor:
    """Return ``x`` with the type, shape and strides of ``model``: itself, or a copy."""
    same = x.dtype == model.dtype and x.shape == model.shape and x.stride() == model.stride() and not x.is_neg()
    return x if same else torch.empty_like(model).copy_(x)


def rows_in_memory(x: Tensor, dim: int) -> tuple[int, int, int]:
    """(outer, n, inner): entry i along ``dim`` of a dense ``x`` stands at (o n + i) inner + j, o < outer, j < inner."""
    n, inner = x.shape[dim], x.stride(dim)
    return x.numel() // (n * inner), n, inner
