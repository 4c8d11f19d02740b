"""A trained network in one file: ``model.safetensors``, with all that prediction needs in its header."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gossamer.data import Preprocessing
from gossamer.errors import InputError
from gossamer.io.tensor_file import load_weights, read_tensors, write_tensors
from gossamer.models import MLP

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
    header = {
        "architecture": file.architecture,
        "classes": list(file.classes),
        "preprocessing": file.preprocessing.to_dict(),
        "data": file.data,
        "seed": file.seed,
    }
    write_tensors(path, file.model.state_dict(), header, key="gossamer", version=FORMAT)


def load_model(path: Path) -> ModelFile:
    """Read what `save_model` wrote; `InputError` if it is missing, damaged, foreign or of a newer format."""
    if not path.exists():
        raise InputError(f"{path} isn't there: a run writes it when its first sparse network is trained")
    header, tensors = read_tensors(path, key="gossamer", version=FORMAT, what="network")
    try:
        # The generator leaves torch's own alone; the weights it draws are overwritten.
        model = MLP(**header["architecture"], generator=torch.Generator().manual_seed(0))
        load_weights(model, tensors)
        return ModelFile(
            model.eval(),
            header["architecture"],
            tuple(header["classes"]),
            Preprocessing.from_dict(header["preprocessing"]),
            header["data"],
            header["seed"],
        )
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise InputError(f"{path} is damaged: {error}") from None
