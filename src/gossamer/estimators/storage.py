"""Trained estimators as safetensors files: numbers and strings, nothing that could run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
import torch
from torch import Tensor

from gossamer.errors import InputError
from gossamer.io.tensor_file import read_tensors, write_tensors

__all__ = ["FORMAT", "Loadable", "Stored", "read_stored", "write_stored"]

FORMAT = 1
"""The newest format that this version reads."""

_KEY = "gossamer-estimator"
_TENSORS = ("float64", "float32", "int64", "int32")

Estimator = TypeVar("Estimator")


@dataclass(frozen=True)
class Stored:
    """The contents of an estimator's file.

    Args:
        kind: name of its class.
        parameters: arguments of the class.
        fitted: fitted attributes besides the network, by name.
        network: the network's ``state_dict``.
    """

    kind: str
    parameters: Mapping[str, Any]
    fitted: Mapping[str, Any]
    network: Mapping[str, Tensor]


def write_stored(path: Path, stored: Stored) -> None:
    """Write ``stored`` to ``path``, whole or not at all; `InputError` for a value that a file cannot hold."""
    tensors = {f"network.{name}": tensor for name, tensor in stored.network.items()}
    header = {
        "estimator": stored.kind,
        "parameters": {name: _pack(value) for name, value in stored.parameters.items()},
        "fitted": {name: _pack(value, name, tensors) for name, value in stored.fitted.items()},
    }
    write_tensors(path, tensors, header, key=_KEY, version=FORMAT)


def read_stored(path: Path, kind: str, make: Callable[[Stored], Estimator]) -> Estimator:
    """Read the estimator of this ``kind`` in ``path``, as ``make`` of its contents.

    Raises:
        InputError: the file is missing, damaged, of a newer format or of another kind, or ``make`` can't use it.
    """
    if not path.exists():
        raise InputError(f"{path} doesn't exist")
    header, tensors = read_tensors(path, key=_KEY, version=FORMAT, what="estimator")
    if header.get("estimator") != kind:
        raise InputError(f"{path} holds a {header.get('estimator')}: load it with {header.get('estimator')}.load")
    try:
        return make(
            Stored(
                kind,
                {name: _unpack(value, tensors) for name, value in header["parameters"].items()},
                {name: _unpack(value, tensors) for name, value in header["fitted"].items()},
                {name.removeprefix("network."): t for name, t in tensors.items() if name.startswith("network.")},
            )
        )
    except (ValueError, KeyError, TypeError, RuntimeError, StopIteration) as error:
        raise InputError(f"{path} is damaged: {error}") from None


class Loadable:
    """An estimator whose file `load` reads."""

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read an estimator that `save` wrote.

        Args:
            path: of the file.

        Returns:
            The estimator.

        Raises:
            InputError: the file is missing, damaged, of a newer format or of another kind.
        """
        return read_stored(Path(path), cls.__name__, cls._from_stored)

    @classmethod
    def _from_stored(cls, stored: Stored) -> Self:
        raise NotImplementedError


def _pack(value: Any, name: str = "", tensors: dict[str, Tensor] | None = None) -> Any:
    """``value`` for JSON; a vector of numbers goes to ``tensors`` under its name."""
    if isinstance(value, np.ndarray):
        if tensors is not None and value.dtype.name in _TENSORS:
            tensors[name] = torch.from_numpy(np.ascontiguousarray(value))
            return {"tensor": name}
        if value.dtype.kind == "M":
            return {"array": value.astype(np.int64).tolist(), "dtype": value.dtype.str}
        return {"array": [_pack(item) for item in value.tolist()], "dtype": value.dtype.str}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, tuple | list):
        return {type(value).__name__: [_pack(item) for item in value]}
    if isinstance(value, dict):
        return {"dict": [[_pack(key), _pack(item)] for key, item in value.items()]}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise InputError(f"a file can hold numbers, strings, lists and dicts of them, got {value!r} of type {type(value)}")


def _unpack(packed: Any, tensors: dict[str, Tensor]) -> Any:
    """The inverse of `_pack`."""
    if not isinstance(packed, dict):
        return packed
    if "tensor" in packed:
        return tensors[packed["tensor"]].numpy()
    if "array" in packed:
        return np.array([_unpack(item, tensors) for item in packed["array"]], dtype=packed["dtype"])
    if "dict" in packed:
        return {_unpack(key, tensors): _unpack(item, tensors) for key, item in packed["dict"]}
    kind = tuple if "tuple" in packed else list
    return kind(_unpack(item, tensors) for item in packed[kind.__name__])
