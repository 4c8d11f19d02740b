"""Which implementation of an operator runs, and for which dtypes.

A public function of this room takes one of four ways (`way`), a backward pass one of three (`way_back`):

===============  ===============================================================  ==============================
way              when                                                             implementation
===============  ===============================================================  ==============================
``OPERATOR``     compilers, tracers, dispatch modes, tensor subclasses, meta      ``torch.ops.gossamer.…``
``REFERENCE``    torch.func, forward-mode differentiation                         plain torch
``AUTOGRAD``     gradients are on                                                 a `torch.autograd.Function`
``KERNEL``       otherwise                                                        the kernel itself
===============  ===============================================================  ==============================

A kernel then runs in C++ where `in_cpp` allows it and in plain torch elsewhere. These questions are asked at every call
of a layer, so each costs some tens of nanoseconds.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor
from torch.autograd import forward_ad

__all__ = [
    "AUTOGRAD",
    "ELEMENTWISE",
    "KERNEL",
    "OPERATOR",
    "PRODUCTS",
    "REFERENCE",
    "Way",
    "eager_in_cpp",
    "half_as_float",
    "in_cpp",
    "is_plain",
    "observed",
    "sums_in",
    "transformed",
    "way",
    "way_back",
]

P = ParamSpec("P")
R = TypeVar("R")

PRODUCTS: dict[torch.dtype, int] = {torch.float32: 0, torch.float64: 1, torch.bfloat16: 2}
"""Dtypes of the products in C++, by their numbers there; float16 is computed in float32 (`half_as_float`)."""

ELEMENTWISE: dict[torch.dtype, int] = {torch.float32: 0, torch.float64: 1}
"""Dtypes of projections and activation functions in C++, by their numbers there."""


class Way(Enum):
    """The implementations that a function can choose from."""

    OPERATOR = 0
    REFERENCE = 1
    AUTOGRAD = 2
    KERNEL = 3


OPERATOR, REFERENCE, AUTOGRAD, KERNEL = Way  # module constants: reading a member from its class takes longer

_PLAIN = (Tensor, torch.nn.Parameter)
_is_tracing = torch._C._is_tracing
_interpreters = torch._C._functorch.peek_interpreter_stack
_modes = torch._C._len_torch_dispatch_stack
_is_legacy_batched = torch._C._functorch.is_legacy_batchedtensor


def observed() -> bool:
    """Whether torch.jit.trace or a dispatch mode (make_fx, a FLOP counter) records operators: all must pass by it."""
    return _modes() > 0 or _is_tracing()


def transformed() -> bool:
    """Whether torch.func (vmap, grad, jvp) or forward-mode differentiation is at work: they see plain torch only."""
    if torch.compiler.is_compiling():
        return False
    return _interpreters() is not None or forward_ad._current_level >= 0


def is_plain(x: Tensor) -> bool:
    """True outside compilers, tracers, tensor subclasses and transforms: none of them may see an address."""
    return not torch.compiler.is_compiling() and type(x) in _PLAIN and not transformed() and not observed()


def way(x: Tensor, values: Tensor) -> Way:
    """The way of a function of activations ``x`` and weights ``values``."""
    if torch.compiler.is_compiling() or type(x) not in _PLAIN or values.is_meta or _modes() > 0 or _is_tracing():
        return OPERATOR
    if _interpreters() is not None or forward_ad._current_level >= 0:
        return REFERENCE
    return AUTOGRAD if torch.is_grad_enabled() else KERNEL


def way_back(grad: Tensor) -> Way:
    """The way of a backward pass: ``AUTOGRAD`` where its result is to be differentiated again, or is transformed."""
    if torch.is_grad_enabled() or transformed():
        return AUTOGRAD
    if type(grad) is not Tensor or _is_legacy_batched(grad) or observed():  # batched by is_grads_batched
        return OPERATOR
    return KERNEL


def in_cpp(x: Tensor, dtypes: Mapping[torch.dtype, int] = PRODUCTS) -> bool:
    """Whether there is a C++ kernel for the device and dtype of ``x``."""
    return x.is_cpu and x.dtype in dtypes


def eager_in_cpp(x: Tensor, weight: Tensor) -> bool:
    """Whether a layer's own autograd function of a dense ``weight`` may read both in C++.

    They have one dtype, float32 or float64, on the CPU, and neither autocast nor anything that `is_plain` excludes is
    at work.
    """
    return (
        in_cpp(x, ELEMENTWISE)
        and x.dtype == weight.dtype
        and is_plain(x)
        and is_plain(weight)
        and not torch.is_autocast_enabled("cpu")
    )


def sums_in(dtype: torch.dtype) -> torch.dtype:
    """The dtype in which the C++ products add up numbers of ``dtype``."""
    return torch.float32 if dtype == torch.bfloat16 else dtype


def half_as_float(function: Callable[P, R]) -> Callable[P, R]:
    """``function`` of tensors, the first of them floating point, computed in float32 where all are float16 on the CPU.

    There, this is faster than float16 in plain torch by two orders of magnitude, and rounds once.
    """

    @functools.wraps(function)
    def call(*inputs: P.args, **named: P.kwargs) -> R:
        first: Any = inputs[0]
        if first.dtype != torch.float16 or not first.is_cpu:
            return function(*inputs, **named)
        floats = [isinstance(x, Tensor) and x.is_floating_point() for x in inputs]
        if any(x.dtype != torch.float16 for x, floating in zip(inputs, floats, strict=True) if floating):  # type: ignore[attr-defined]
            return function(*inputs, **named)  # which refuses them
        wide: Any = [x.float() if floating else x for x, floating in zip(inputs, floats, strict=True)]  # type: ignore[attr-defined]
        result: Any = function(*wide, **named)
        return result.half() if isinstance(result, Tensor) else tuple(y.half() for y in result)  # type: ignore[return-value]

    return call
