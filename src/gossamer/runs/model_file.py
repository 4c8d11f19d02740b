"""A trained network in one file: ``model.safetensors``, with all that prediction needs in its header."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gossamer.data import Preprocessing
from gossamer.errors import InputError
from gossamer.io.tensor_file import load_weights, read_tensors, write_tensors
from gossamer.models import from_architecture
from gossamer.runs.inputs import inputs_of

__all__ = ["FORMAT", "ModelFile", "load_model", "save_model"]

FORMAT = 1
"""The newest format that this version reads."""


@dataclass(frozen=True, eq=False)
class ModelFile:
    """A network and all that prediction needs.

    Attributes:
        model: the network.
        architecture: the kind of the network and its arguments; see `gossamer.models.from_architecture`.
        classes: output ``i`` is the class ``classes[i]``.
        preprocessing: from a file's rows to the inputs of the network.
        data: the data set it was trained on.
        seed: of the division of the data set.

    Example:
        >>> wine = gs.data.load("wine")
        >>> architecture = {"in_features": 13, "hidden": [10], "out_features": 3, "density": 0.5}
        >>> net = gs.models.MLP(**architecture)
        >>> file = gs.runs.ModelFile(net, architecture, wine.classes, wine.preprocessing, "wine", seed=0)
        >>> file.model(file.inputs(wine.test.x)).shape
        torch.Size([36, 3])
    """

    model: nn.Module
    architecture: dict[str, Any]
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    data: str
    seed: int

    def inputs(self, x: NDArray[np.float32]) -> Tensor:
        """Return preprocessed rows as the network reads them.

        Args:
            x: (n, features).

        Returns:
            The rows, or for a network of images the images (n, channels, height, width).
        """
        if "image_size" not in self.architecture:
            return inputs_of(x, None)
        height, width = self.architecture["image_size"]
        return inputs_of(x, (height, width, self.architecture["in_channels"]))


def save_model(path: Path, file: ModelFile) -> None:
    """Write a model file, whole or not at all.

    Args:
        path: of the file.
        file: network, preprocessing and classes.

    Example:
        >>> from pathlib import Path
        >>> wine = gs.data.load("wine")
        >>> architecture = {"in_features": 13, "hidden": [10], "out_features": 3, "density": 0.5}
        >>> net = gs.models.MLP(**architecture)
        >>> file = gs.runs.ModelFile(net, architecture, wine.classes, wine.preprocessing, "wine", seed=0)
        >>> gs.runs.save_model(Path("model.safetensors"), file)
        >>> gs.runs.load_model(Path("model.safetensors")).data
        'wine'
    """
    header = {
        "architecture": file.architecture,
        "classes": list(file.classes),
        "preprocessing": file.preprocessing.to_dict(),
        "data": file.data,
        "seed": file.seed,
    }
    write_tensors(path, file.model.state_dict(), header, key="gossamer", version=FORMAT)


def load_model(path: Path) -> ModelFile:
    """Read a model file that `save_model` wrote.

    Args:
        path: of the file.

    Returns:
        Network, preprocessing and classes.

    Raises:
        InputError: the file is missing, damaged, foreign or of a newer format.

    Example:
        >>> from pathlib import Path
        >>> file = gs.runs.load_model(Path("runs/digits-1/model.safetensors"))  # doctest: +SKIP
    """
    if not path.exists():
        raise InputError(f"{path} doesn't exist: a run writes it when its first sparse network is trained")
    header, tensors = read_tensors(path, key="gossamer", version=FORMAT, what="network")
    try:
        # The generator leaves torch's own alone; the weights it draws are overwritten.
        model = from_architecture(header["architecture"], torch.Generator().manual_seed(0))
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
