"""Description of the machine: processor, caches, cores and versions."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import torch

import gossamer
from gossamer import kernels
from gossamer.bench import rivals
from gossamer.machine import available_cpus, load, processor

__all__ = ["describe"]

_CPU = Path("/sys/devices/system/cpu")


def describe() -> dict[str, Any]:
    """Describe the machine by a flat dictionary for JSON; unknown values are None.

    ``load`` is the mean number of running processes over the last minute: near zero on a machine that is quiet.
    """
    info = kernels.info()
    return {
        "processor": processor(),
        "cores": _cores(),
        "logical_cpus": os.cpu_count(),
        "available_cpus": available_cpus(),
        "caches": _caches(),
        "memory_bytes": _memory(),
        "instruction_set": info.instruction_set,
        "vector_bytes": info.vector_bytes,
        "threads": info.threads,
        "load": load(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torch_cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "mkl": torch.backends.mkl.is_available(),
        "onednn": torch.backends.mkldnn.is_available(),
        "gossamer": gossamer.__version__,
        "sparselab": rivals.sparselab_version(),
    }


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def _cores() -> int | None:
    """Count physical cores: distinct (package, core) among the logical CPUs."""
    places = [
        tuple(_lines(topology / name) for name in ("physical_package_id", "core_id"))
        for topology in _CPU.glob("cpu[0-9]*/topology")
    ]
    return len({str(place) for place in places}) or None


def _caches() -> dict[str, int] | None:
    """Bytes of the first CPU's caches, such as {"L1 data": 32768, "L2": 1048576}."""
    found = {}
    for index in sorted(_CPU.glob("cpu0/cache/index*")):
        level, kind, size = ("".join(_lines(index / name)) for name in ("level", "type", "size"))
        if size.endswith("K") and size[:-1].isdecimal() and kind != "Instruction":
            found[f"L{level}{' data' if kind == 'Data' else ''}"] = 1024 * int(size[:-1])
    return found or None


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None
