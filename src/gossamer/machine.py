"""Name and load of the machine on which times are measured."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

__all__ = ["available_cpus", "busy", "load", "processor"]

_QUIET = 0.3  # running processes per CPU, up to which a machine counts as quiet


def processor() -> str | None:
    """The processor's name, or None if the system does not report it."""
    if sys.platform.startswith("linux"):
        try:
            lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
        except OSError:
            lines = []
        for line in lines:
            key, _, value = line.partition(":")
            if key.strip() in ("model name", "Model", "cpu model"):
                return value.strip()
    if sys.platform == "darwin":
        words = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip() or None
    return platform.processor() or None


def available_cpus() -> int | None:
    """The logical CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def load() -> float | None:
    """The mean number of running processes over the last minute: near zero on a machine that is quiet."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def busy(load: float | None, cpus: int | None) -> str | None:
    """A sentence for users if other work was running under this ``load``, else None."""
    if load is None or load <= _QUIET * (cpus or 1):
        return None
    return f"Other work was running at the start (load {load:g}): expect noise in times."
