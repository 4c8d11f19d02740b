"""Devices by name."""

from __future__ import annotations

import torch

from gossamer.errors import InputError

__all__ = ["find_device"]


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
