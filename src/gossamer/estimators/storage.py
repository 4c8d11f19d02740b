"""Trained estimators as safetensors files: numbers and texts, nothing that could run."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from gossamer.errors import InputError
from gossamer.estimators.scaling import Scaling
from gossamer.io.tensor_file import load_weights, read_tensors, write_tensors
from gossamer.models import MLP

if TYPE_CHECKING:
    from gossamer.estimators.base import SparseEstimator

__all__ = ["FORMAT", "read_estimator", "write_estimator"]

FORMAT = 1
"""The newest format that this version reads."""

_KEY = "gossamer-estimator"
_TENSORS = ("float64", "float32", "int64", "int32")

Estimator = TypeVar("Estimator", bound="SparseEstimator")


def write_estimator(estimator: SparseEstimator, path: Path) -> None:
    """Write a trained ``estimator`` to ``path``."""
    tensors = {f"network.{name}": tensor for name, tensor in estimator.network_.state_dict().items()}
    scaling = estimator._scaling
    fitted = {name: getattr(estimator, name) for name in estimator._stored}
    fitted |= {"feature_names_in_": getattr(estimator, "feature_names_in_", None)}
    fitted |= {"input_mean": scaling.mean, "input_scale": scaling.scale}
    header = {
        "estimator": type(estimator).__name__,
        "parameters": {name: _pack(value) for name, value in _parameters(estimator).items()},
        "fitted": {name: _pack(value, name, tensors) for name, value in fitted.items()},
    }
    write_tensors(path, tensors, header, key=_KEY, version=FORMAT)


def read_estimator(cls: type[Estimator], path: Path) -> Estimator:
    """What `write_estimator` wrote of a ``cls``."""
    if not path.exists():
        raise InputError(f"{path} isn't there")
    header, tensors = read_tensors(path, key=_KEY, version=FORMAT, what="estimator")
    if header.get("estimator") != cls.__name__:
        raise InputError(f"{path} holds a {header.get('estimator')}: load it with {header.get('estimator')}.load")
    try:
        parameters = {name: _unpack(value, tensors) for name, value in header["parameters"].items()}
        fitted = {name: _unpack(value, tensors) for name, value in header["fitted"].items()}
        estimator = cls(**parameters)
        if fitted["feature_names_in_"] is not None:
            estimator.feature_names_in_ = fitted["feature_names_in_"]
        for name in cls._stored:
            setattr(estimator, name, fitted[name])
        estimator._scaling = Scaling(fitted["input_mean"], fitted["input_scale"])
        network = MLP(**estimator._architecture, generator=torch.Generator().manual_seed(0))
        weights = {name.removeprefix("network."): t for name, t in tensors.items() if name.startswith("network.")}
        estimator._number = next(t.dtype for t in weights.values() if t.is_floating_point())
        load_weights(network.to(estimator._number), weights)
        estimator.network_ = network.eval()
    except (ValueError, KeyError, TypeError, RuntimeError, StopIteration) as error:
        raise InputError(f"{path} is damaged: {error}") from None
    return estimator


def _parameters(estimator: SparseEstimator) -> dict[str, Any]:
    """The constructor's arguments, those that a file can't hold replaced by what means nothing special."""
    parameters: dict[str, Any] = estimator.get_params(deep=False)
    if isinstance(parameters["random_state"], np.random.RandomState):
        parameters["random_state"] = None
    rule = estimator._rule_name()
    if estimator._rule() is not None:
        warnings.warn(f"the file won't hold rewire={estimator.rewire!r}, but 'none'", stacklevel=4)
    return parameters | {"rewire": rule}


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
    raise InputError(f"a file can hold numbers, texts and what is made of them, got {value!r} of type {type(value)}")


def _unpack(packed: Any, tensors: dict[str, Tensor]) -> Any:
    """What `_pack` packed."""
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
