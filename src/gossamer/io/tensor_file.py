"""Tensors and a header of JSON in one safetensors file, written whole or not at all and checked when it is read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

import gossamer
from gossamer.errors import InputError
from gossamer.extras import needs
from gossamer.io.files import write_atomically

__all__ = ["read_tensors", "write_tensors"]


@needs("cli", "a safetensors file")
def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any], *, key: str, version: int
) -> None:
    """Write ``tensors`` and ``header``; what is of kind ``key`` and format ``version`` `read_tensors` reads back."""
    from safetensors.torch import save

    stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    full = {"format": version, "gossamer": gossamer.__version__, **header, "digest": _digest(stored)}
    # Under one key: several would be in another order each time, and equal contents would be different files.
    write_atomically(path, save(stored, {key: json.dumps(full)}))


@needs("cli", "a safetensors file")
def read_tensors(path: Path, *, key: str, version: int, what: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Header and tensors; `InputError` if the file is damaged, holds no ``what`` or has a format above ``version``."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as opened:
            metadata = opened.metadata() or {}
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - not a dict
    except (OSError, SafetensorError, ValueError) as error:
        raise InputError(f"{path} is damaged or isn't a safetensors file: {error}") from None
    if key not in metadata:
        raise InputError(f"{path} holds no {what} of gossamer: its header doesn't say so")
    try:
        header: dict[str, Any] = json.loads(metadata[key])
        written = int(header["format"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is damaged: its header can't be read ({error})") from None
    if written > version:
        raise InputError(
            f"{path} has format {written}, this gossamer reads up to {version}: it was written by a newer gossamer "
            f"({header.get('gossamer')}). Upgrade to read it"
        )
    if header.get("digest") != _digest(tensors):
        raise InputError(f"{path} is damaged: the weights don't match their checksum")
    return header, tensors


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].numpy().tobytes())
    return digest.hexdigest()
