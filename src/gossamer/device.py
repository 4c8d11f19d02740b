"""Devices by name."""

from __future__ import annotations

import torch

from gossamer.errors import InputError

__all__ = ["find_device"]


def find_device(name: str) -> torch.device:
    """The device of that name; `InputError` if there is none here."""
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, ValueError) as error:  # how torch says it depends on its build
        reason = str(error).splitlines()[0]
        raise InputError(f"device must be one that this machine has, such as 'cpu', got {name!r}: {reason}") from None
    return device
