"""A trained network in one file: ``model.safetensors``, with all that prediction needs in its header."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import gossamer
from gossamer.data import Preprocessing
from gossamer.errors import InputError
from gossamer.models import MLP
from gossamer.training.files import write_atomically

__all__ = ["FORMAT", "ModelFile", "load_model", "save_model"]

FORMAT = 1
"""The newest format that this version reads."""


@dataclass(frozen=True, eq=False)
class ModelFile:
    """A network and what belongs to it.

    ``architecture`` holds the arguments of `MLP`; ``preprocessing`` turns a file's rows into its inputs; output ``i``
    is the class ``classes[i]``. ``data`` and ``seed`` say which data set it was trained on, and which division of it.
    """

    model: MLP
    architecture: dict[str, Any]
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    data: str
    seed: int


def save_model(path: Path, file: ModelFile) -> None:
    """Write ``file`` to ``path``, whole or not at all."""
    from safetensors.torch import save

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in file.model.state_dict().items()}
    header = {
        "format": FORMAT,
        "gossamer": gossamer.__version__,
        "architecture": file.architecture,
        "classes": list(file.classes),
        "preprocessing": file.preprocessing.to_dict(),
        "data": file.data,
        "seed": file.seed,
        "digest": _digest(tensors),
    }
    # Under one key: several would be in another order each time, and equal networks would be different files.
    write_atomically(path, save(tensors, {"gossamer": json.dumps(header)}))


def load_model(path: Path) -> ModelFile:
    """Read what `save_model` wrote; `InputError` if it is missing, damaged, foreign or of a newer format."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise InputError(f"{path} isn't there: a run writes it when its first sparse network is trained")
    try:
        with safe_open(path, framework="pt") as opened:
            metadata = opened.metadata() or {}
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - not a dict
    except (OSError, SafetensorError, ValueError) as error:
        raise InputError(f"{path} is damaged or isn't a safetensors file: {error}") from None
    header = _header(path, metadata)
    try:
        if _digest(tensors) != header["digest"]:
            raise ValueError("the weights don't match their checksum")
        # The generator leaves torch's own alone; the weights it draws are overwritten.
        model = MLP(**header["architecture"], generator=torch.Generator().manual_seed(0))
        model.load_state_dict(tensors)
        return ModelFile(
            model.eval(),
            header["architecture"],
            tuple(header["classes"]),
            Preprocessing.from_dict(header["preprocessing"]),
            header["data"],
            header["seed"],
        )
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        raise InputError(f"{path} is damaged: {error}") from None


def _header(path: Path, metadata: dict[str, str]) -> dict[str, Any]:
    """What `save_model` wrote beside the weights, if this version can read it."""
    if "gossamer" not in metadata:
        raise InputError(f"{path} holds no network of gossamer: its header doesn't say so")
    try:
        header: dict[str, Any] = json.loads(metadata["gossamer"])
        version = int(header["format"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is damaged: its header can't be read ({error})") from None
    if version > FORMAT:
        raise InputError(
            f"{path} has format {version}, this gossamer reads up to {FORMAT}: it was written by a newer gossamer "
            f"({header.get('gossamer')}). Upgrade to read it"
        )
    return header


def _digest(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].numpy().tobytes())
    return digest.hexdigest()
