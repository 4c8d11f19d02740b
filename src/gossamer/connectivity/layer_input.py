"""The input of a layer: in which dtype and layout it reaches the product."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gossamer.errors import InputError
from gossamer.kernels import Code

__all__ = ["autocast", "dense_rows", "layer_input"]


def autocast(x: Tensor, values: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """Cast the three to the dtype that autocast gives to the operands of a dense layer; unchanged where it is off."""
    if x.is_meta or not torch.is_autocast_enabled(x.device.type):
        return x, values, bias
    dtype = torch.get_autocast_dtype(x.device.type)
    return x.to(dtype), values.to(dtype), None if bias is None else bias.to(dtype)


def dense_rows(x: Tensor) -> Tensor:
    """Return ``x``, made dense if it is a sparse COO or CSR tensor; `InputError` for any other layout."""
    if x.layout == torch.strided:
        return x
    if x.layout not in (torch.sparse_coo, torch.sparse_csr):
        raise InputError(f"x must be dense, a sparse COO or a sparse CSR tensor, got {x.layout}: call x.to_dense()")
    return x.to_dense(masked_grad=False)  # the gradient of all entries, as that of a dense layer


def layer_input(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor:
    """Return the input of a layer, given by position or by name, made dense if it is a sparse tensor or a code."""
    x: Tensor | Code = args[0] if args else next(iter(kwargs.values()))
    return x.to_dense() if isinstance(x, Code) else dense_rows(x)
