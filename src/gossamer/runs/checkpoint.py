"""A checkpoint: its file, and checks of its state against the network that it continues.

A file whose checksum is right may still be that of another run: names, shapes, types and numbers have to agree. Fused
optimizers read as many numbers as the parameter has, for any length of their state, so that a wrong one would crash the
process.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import gossamer
from gossamer.errors import InputError
from gossamer.io.files import check_format, read_bytes, write_atomically, written
from gossamer.io.seal import seal, unseal
from gossamer.io.tensor_file import load_weights
from gossamer.runs.schema import Network, convert
from gossamer.training import Epoch, Fit

__all__ = [
    *("final_state", "history_of", "read_checkpoint", "restore", "result_of", "taking_apart", "write_checkpoint"),
]

_FORMAT = 1


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Replace the checkpoint at ``path``."""
    buffer = io.BytesIO()  # so that a full disk is met by our own file, not inside torch's writer
    torch.save({"format": _FORMAT, "gossamer": gossamer.__version__, "state": state}, buffer)
    write_atomically(path, seal(buffer.getvalue()))


def read_checkpoint(path: Path) -> dict[str, Any] | None:
    """Return the state of the checkpoint at ``path``, None if there is no file; only data is read, never code."""
    with written(path):
        if not path.exists():
            return None
    content = read_bytes(path)
    try:
        saved = torch.load(io.BytesIO(unseal(content)), map_location="cpu", weights_only=True)
        version, state = int(saved["format"]), dict(saved["state"])
    except Exception as error:  # damaged bytes may raise anything in torch
        raise _damaged(path, error) from None
    check_format(path, version, _FORMAT, saved.get("gossamer"))
    return state


@contextlib.contextmanager
def taking_apart(path: Path) -> Iterator[None]:
    """Report errors that occur while the state of ``path`` is taken apart as a damaged checkpoint."""
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> InputError:
    if isinstance(error, KeyError):
        reason = f"it has no {error.args[0]}"
    else:
        reason = (str(error) or type(error).__name__).splitlines()[0].partition(". ")[0].rstrip(".")
    return InputError(f"{path} is damaged ({reason}). Remove it to train this network again from its start")


def history_of(state: Mapping[str, Any], epochs: int) -> list[Epoch]:
    """Return the epochs of a state, at most ``epochs``; `ValueError` if they are not numbered from 1 on."""
    history = [convert(record, Epoch, f"epoch {i}") for i, record in enumerate(state["history"], start=1)]
    if [epoch.epoch for epoch in history] != list(range(1, len(history) + 1)):
        raise ValueError("its epochs are not numbered from 1")
    if len(history) > epochs:
        raise ValueError(f"it has {len(history)} epochs, the run trains {epochs}")
    return history


def restore(fit: Fit, state: Mapping[str, Any]) -> None:
    """Continue ``fit`` from its ``state_dict``; `ValueError` or `KeyError` if that is of another network."""
    finished, best = state["finished"], state["best"]
    if not isinstance(finished, bool):
        raise ValueError("finished must be true or false")
    history_of(state, fit.options.epochs)
    load_weights(fit.model, state["model"])
    if best is not None:
        _check_like(best["model"], fit.model.state_dict(), "best")
    _check_optimizer(state["optimizer"], fit.optimizer)
    _check_connectivity(state["connectivity"], fit)
    fit.load_state_dict(dict(state))


def final_state(fit: Fit, result: Network) -> dict[str, Any]:
    """Return the state to keep of a network that is trained and measured, without the part that only training needs."""
    state = fit.state_dict()
    kept = ("model", "history", "finished", "connectivity")
    return {key: state[key] for key in kept} | {"result": asdict(result)}


def result_of(state: Mapping[str, Any], epochs: int) -> Network | None:
    """Return the result of a finished network, None of one in training; `ValueError` if the state is contradictory."""
    if state.get("result") is None:
        return None
    result = convert(state["result"], Network, "result")
    if result.epochs != len(history_of(state, epochs)):
        raise ValueError(f"it has {len(state['history'])} epochs, its result {result.epochs}")
    return result


def _check_optimizer(state: Mapping[str, Any], optimizer: torch.optim.Optimizer) -> None:
    """Groups of as many parameters, and for each parameter tensors of its shape and type, or scalars."""
    groups, own = state["param_groups"], optimizer.state_dict()["param_groups"]
    if [group["params"] for group in groups] != [group["params"] for group in own]:
        raise ValueError("the optimizer has other groups of parameters")
    if [sorted(group) for group in groups] != [sorted(group) for group in own]:
        raise ValueError("the optimizer is another one, or of another version of torch")
    numbers = [number for group in own for number in group["params"]]
    parameters = dict(zip(numbers, (p for group in optimizer.param_groups for p in group["params"]), strict=True))
    kinds = {frozenset(entry) for entry in state["state"].values()}
    if len(kinds) > 1 or (kinds and state["state"].keys() != parameters.keys()):
        raise ValueError("the optimizer's state is incomplete")
    for number, entry in state["state"].items():
        for name, value in entry.items():
            if not isinstance(value, Tensor):
                if value is not None:
                    raise ValueError(f"the optimizer's {name} of parameter {number} must be a tensor")
                continue
            wanted = parameters[number]
            if name != "step" and (value.shape != wanted.shape or value.dtype != wanted.dtype):
                raise ValueError(f"the optimizer's {name} of parameter {number} must have shape {tuple(wanted.shape)}")
            if name == "step" and value.numel() != 1:
                raise ValueError(f"the optimizer's step of parameter {number} must be a number")
            if not value.isfinite().all():
                raise ValueError(f"the optimizer's {name} of parameter {number} must hold finite numbers")


def _check_like(tensors: Mapping[str, Tensor], own: Mapping[str, Tensor], what: str) -> None:
    if tensors.keys() != own.keys():
        raise ValueError(f"{what} is of another network")
    for name, tensor in tensors.items():
        if tensor.dtype != own[name].dtype or (tensor.is_floating_point() and not tensor.isfinite().all()):
            raise ValueError(f"{what}: {name} must hold finite numbers of type {own[name].dtype}")


def _check_connectivity(snapshots: Mapping[Any, Any], fit: Fit) -> None:
    features = tuple(fit.train.x.shape[1:])
    for epoch, (strength, degree) in snapshots.items():
        if not isinstance(epoch, int) or strength.shape != features or degree.shape != features:
            raise ValueError(f"connectivity of epoch {epoch!r} must have shape {features}")
