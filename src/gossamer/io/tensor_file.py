"""Tensors and a header of JSON in one safetensors file, written whole or not at all and checked when it is read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

import gossamer
from gossamer.errors import InputError
from gossamer.extras import needs
from gossamer.io.files import check_format, read_bytes, write_atomically
from gossamer.io.seal import EMPTY_SEAL, BrokenSealError, seal, unseal

__all__ = ["load_weights", "read_tensors", "write_tensors"]


@needs("cli", "a safetensors file")
def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any], *, key: str, version: int
) -> None:
    """Write ``tensors`` and ``header`` as kind ``key`` and format ``version``, for `read_tensors`."""
    from safetensors.torch import save

    stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    full = {"digest": EMPTY_SEAL, "format": version, "gossamer": gossamer.__version__, **header}
    # Under one key: several would be in another order each time, and equal contents would be different files.
    write_atomically(path, seal(save(stored, {key: json.dumps(full)})))


@needs("cli", "a safetensors file")
def read_tensors(path: Path, *, key: str, version: int, what: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Header and tensors; `InputError` if the file is damaged, holds no ``what`` or has a format above ``version``."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    content = read_bytes(path)
    try:
        length = int.from_bytes(content[:8], "little")
        metadata = json.loads(content[8 : 8 + length]).get("__metadata__", {})
        if key not in metadata:
            raise InputError(f"{path} holds no {what} of gossamer, according to its header")
        tensors = load(unseal(content))
        header: dict[str, Any] = json.loads(metadata[key])
        written = int(header["format"])
    except InputError:
        raise
    except BrokenSealError as error:
        raise InputError(f"{path} is damaged: {error}") from None
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path} is damaged or isn't a safetensors file: {error}") from None
    check_format(path, written, version, header.get("gossamer"))
    return header, tensors


def load_weights(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """``model.load_state_dict``, but types must agree too and numbers be finite.

    A sparse layer may have any number of connections: one that was pruned has fewer than it began with.

    Raises:
        ValueError: a tensor is missing, foreign, of another shape or type, or holds NaN or infinity.
    """
    own = model.state_dict()
    if unlike := sorted(own.keys() ^ tensors.keys()):
        raise ValueError(f"{unlike[0]} is {'missing' if unlike[0] in own else 'not of this network'}")
    for name, tensor in tensors.items():
        prefix, _, last = name.rpartition(".")
        counted = last in ("weight_values", "indices") and f"{prefix}.indptr".lstrip(".") in own and tensor.dim() == 1
        if (tensor.shape != own[name].shape and not counted) or tensor.dtype != own[name].dtype:
            raise ValueError(f"{name} must be {_kind(own[name])}, got {_kind(tensor)}")
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise ValueError(f"{name} must hold finite numbers")
    try:
        model.load_state_dict(dict(tensors))
    except RuntimeError as error:
        raise ValueError(str(error)) from None


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
