"""Devices by name, and the threads of the CPU."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from gossamer.errors import InputError

__all__ = ["find_device", "threads"]


def find_device(name: str) -> torch.device:
    """Return the device of that name; `InputError` if this machine has none."""
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, ValueError):  # torch's reason speaks of its dispatcher and its build
        here = ["'cpu'", *(f"'cuda:{i}'" for i in range(torch.cuda.device_count()))]
        here += ["'mps'"] * torch.backends.mps.is_available()
        raise InputError(f"device must be one that this machine has ({', '.join(here)}), got {name!r}") from None
    return device


@contextlib.contextmanager
def threads(number: int | None) -> Iterator[None]:
    """Compute with so many threads of the CPU, then with as many as before; None changes nothing."""
    before = torch.get_num_threads()
    if number is None or number == before:
        yield
        return
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
