from __future__ import annotations

import ctypes
import sys

import pytest
import torch
from torch import Tensor, nn

from gossamer import InputError, SparseLinear
from gossamer.evaluate import cost, peak_memory

MB = 2**20
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
SLACK = 2 * MB  # pages that belong to nobody in particular


def tensor(size: int) -> Tensor:
    return torch.ones(size // 4)


@linux
def test_the_peak_of_tensors() -> None:
    def step() -> None:
        a = tensor(8 * MB)
        b = a + 1
        del a
        b + 1  # two of them live, never three

    for _ in range(2):
        assert abs(peak_memory(step) - 16 * MB) < SLACK


@linux
def test_what_is_kept_from_the_first_call_on_is_there_before() -> None:
    kept: list[Tensor] = []

    def step() -> None:
        if not kept:
            kept.append(tensor(32 * MB))
        tensor(8 * MB)

    assert abs(peak_memory(step) - 8 * MB) < SLACK
    kept.clear()
    assert abs(peak_memory(step, warmup=0) - 40 * MB) < SLACK


@linux
def test_memory_that_is_not_torchs_counts_too() -> None:
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    libc.malloc.argtypes = [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]

    def step() -> None:
        address = libc.malloc(20 * MB)
        ctypes.memset(address, 1, 20 * MB)
        libc.free(address)

    assert abs(peak_memory(step) - 20 * MB) < SLACK


@linux
def test_memory_that_is_never_touched_does_not_count() -> None:
    assert peak_memory(lambda: torch.empty(64 * MB)) < SLACK


@linux
def test_a_sparse_layer_takes_memory_for_what_is_live() -> None:
    """Gradients of 10 % of 4 million weights, not of all: the dense layer's alone would be 16 MB."""
    layer = SparseLinear(2000, 2000, 0.1, generator=torch.Generator().manual_seed(0))
    x = torch.ones(4, 2000)

    def step() -> None:
        layer.zero_grad()
        layer(x).sum().backward()

    live = cost(layer).total.gradient_bytes
    assert live < 2 * MB
    assert peak_memory(step) < 3 * live + SLACK


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(InputError, match="device must be a CPU or CUDA device, got 'meta'"):
        peak_memory(lambda: nn.Linear(1, 1), device="meta")
    with pytest.raises(InputError, match="warmup must be"):
        peak_memory(lambda: None, warmup=-1)
