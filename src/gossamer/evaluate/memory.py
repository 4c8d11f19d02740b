"""How much memory a training step really takes."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from gossamer.errors import InputError, check_count

__all__ = ["peak_memory"]

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak_memory(step: Callable[[], object], warmup: int = 1, device: torch.device | str = "cpu") -> int:
    """Most bytes in use during ``step()`` above those before it.

    ``step`` is called ``warmup`` times first, so that what a training step makes once and keeps (optimizer state,
    scratch memory of libraries, pages of code) is there when the measurement starts.

    On the CPU this is the growth of the process's resident memory (Linux: the high-water mark VmHWM, set back to the
    present by writing 5 to /proc/self/clear_refs). PyTorch's own counts see the tensors alone; resident memory is also
    what C++ code and the libraries below allocate, and only pages that were really touched. For it to follow what is
    in use, malloc must keep no free memory: what it has goes back to the system first (malloc_trim), and during the
    step blocks from 64 KiB on are mapped one by one. Afterwards it keeps blocks of up to 32 MiB, as it would have
    learned to by itself. Exact to some pages per thread; nothing else may run in the process meanwhile.

    On a CUDA device it is the peak of PyTorch's caching allocator.
    """
    check_count("warmup", warmup)
    device = torch.device(device)
    for _ in range(warmup):
        step()
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        step()
        torch.cuda.synchronize(device)
        return max(0, torch.cuda.max_memory_allocated(device) - before)
    if device.type != "cpu":
        raise InputError(f"device must be a CPU or CUDA device, got {str(device)!r}")
    if not sys.platform.startswith("linux"):
        raise NotImplementedError("peak_memory can set the high-water mark of a process back on Linux only")
    with _nothing_kept_by_malloc():
        _CLEAR.write_text("5")
        before = _status("VmRSS")
        step()
        return max(0, _status("VmHWM") - before)


@contextmanager
def _nothing_kept_by_malloc() -> Iterator[None]:
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt") or not hasattr(libc, "malloc_trim"):  # not glibc
        yield
        return
    trim_threshold, mmap_threshold = -1, -3  # malloc.h
    libc.mallopt(mmap_threshold, 64 << 10)
    libc.malloc_trim(0)
    try:
        yield
    finally:
        libc.mallopt(mmap_threshold, 32 << 20)
        libc.mallopt(trim_threshold, 64 << 20)


def _status(field: str) -> int:
    for line in _STATUS.read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024  # "VmRSS:   1234 kB"
    raise RuntimeError(f"{_STATUS} has no {field}")
