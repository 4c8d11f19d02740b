"""Peak memory of a training step."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from gossamer.errors import InputError, check_count

__all__ = ["peak_memory"]

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak_memory(step: Callable[[], object], warmup: int = 1, device: torch.device | str = "cpu") -> int:
    """Measure the most bytes in use during ``step()`` above those before it.

    ``step`` is called ``warmup`` times first, so that everything a training step makes once and keeps (optimizer state,
    scratch memory of libraries, pages of code) exists when the measurement starts.

    On the CPU this is the growth of the process's resident memory (Linux: the high-water mark VmHWM, reset by writing 5
    to /proc/self/clear_refs). PyTorch's profiler would see tensors only, and of those only the ones allocated under it;
    resident memory includes the allocations of C++ code and libraries, and only pages that were really touched. So that
    it follows the memory in use, malloc is kept from reusing or keeping free blocks of 64 KiB or more (see `_Malloc`).
    The result is exact to some pages per thread; nothing else may run in the process meanwhile.

    On a CUDA device it is the peak of PyTorch's caching allocator.

    Args:
        step: a function without arguments, such as one step of training.
        warmup: calls before the one that is measured.
        device: a CPU or CUDA device.

    Returns:
        Bytes.

    Raises:
        InputError: ``device`` is neither a CPU nor a CUDA device, or ``warmup`` is negative.
        NotImplementedError: on the CPU of a system other than Linux.

    Example:
        >>> gs.evaluate.peak_memory(lambda: torch.ones(1_000_000)) >= 4_000_000  # doctest: +SKIP
        True
    """
    check_count("warmup", warmup)
    device = torch.device(device)
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"device must be a CPU or CUDA device, got {str(device)!r}")
    return _peak_cuda(step, warmup, device) if device.type == "cuda" else _peak_cpu(step, warmup)


def _peak_cuda(step: Callable[[], object], warmup: int, device: torch.device) -> int:
    for _ in range(warmup):
        step()
    gc.collect()
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    step()
    torch.cuda.synchronize(device)
    return max(0, torch.cuda.max_memory_allocated(device) - before)


def _peak_cpu(step: Callable[[], object], warmup: int) -> int:
    if not sys.platform.startswith("linux"):
        raise NotImplementedError("peak_memory can set the high-water mark of a process back on Linux only")
    malloc = _Malloc()
    try:
        malloc.tighten()
        for _ in range(warmup):
            step()
        gc.collect()
        malloc.tighten()
        _CLEAR.write_text("5")
        before = _status("VmRSS")
        step()
        return max(0, _status("VmHWM") - before)
    finally:
        malloc.relax()


def _status(field: str) -> int:
    for line in _STATUS.read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024  # "VmRSS:   1234 kB"
    raise RuntimeError(f"{_STATUS} has no {field}")


class _Malloc:
    """glibc's malloc without slack: a large block is mapped when it is allocated and unmapped when it is freed.

    By default blocks below a threshold, which adapts up to 32 MiB, are cut from a heap in which freed ones leave holes:
    the process would neither shrink when memory is freed nor grow when the holes are filled. With other C libraries
    nothing is done.
    """

    _LARGE = 64 << 10
    _TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt, in malloc.h

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None)
        self._works = hasattr(self._libc, "gnu_get_libc_version")
        self._held: list[int] = []
        self._libc.malloc.argtypes, self._libc.malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
        self._libc.free.argtypes, self._libc.free.restype = [ctypes.c_void_p], None

    def tighten(self) -> None:
        """Give the pages of the holes in the heap back, take the holes out of use, and map large blocks one by one."""
        if not self._works:
            return
        self._libc.malloc_trim(0)
        self._libc.mallopt(self._MMAP_THRESHOLD, self._LARGE)
        size = 1 << 30
        while size >= self._LARGE:
            block = self._libc.malloc(size)
            if block is None or self._is_mapped(block):  # the heap has no hole of this size
                self._libc.free(block)
                size //= 2
            else:
                self._held.append(block)

    def relax(self) -> None:
        """Put the holes back; the thresholds are then where malloc's own adaptation ends."""
        if not self._works:
            return
        for block in self._held:
            self._libc.free(block)
        self._held.clear()
        self._libc.mallopt(self._MMAP_THRESHOLD, 32 << 20)
        self._libc.mallopt(self._TRIM_THRESHOLD, 64 << 20)

    @staticmethod
    def _is_mapped(block: int) -> bool:
        return bool(ctypes.c_size_t.from_address(block - ctypes.sizeof(ctypes.c_size_t)).value & 2)  # IS_MMAPPED
