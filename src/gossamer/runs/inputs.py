"""From a data set to the network that reads it: rows as they are, or images."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gossamer.data import Dataset, Split
from gossamer.errors import InputError
from gossamer.models import ModelName
from gossamer.training.architecture import architecture
from gossamer.training.recipe import Recipe
from gossamer.training.samples import Samples, SparseRows

__all__ = ["Image", "architecture_of", "image_of", "inputs_of", "samples_of"]

Image = tuple[int, int, int]
"""Height, width and channels."""


def image_of(model: str, data: Dataset) -> Image | None:
    """Return the size of the images that ``model`` reads, None if it reads rows; `InputError` if there are none."""
    if ModelName.parse(model).kind == "mlp":
        return None
    if data.image is None or not isinstance(data.train.x, np.ndarray):
        raise InputError(
            f"model must be 'mlp' for {data.name}, a table without images, got {model!r}. Networks of images read "
            "digits, mnist, fashion_mnist, cifar10 or an .npz file of images (n, height, width[, channels])"
        )
    return data.image


def inputs_of(x: Any, image: Image | None) -> Tensor:
    """Return the inputs of a network.

    Args:
        x: rows (n, features).
        image: height, width and channels of the images that the rows are; None for rows.

    Returns:
        The rows, or images (n, channels, height, width).
    """
    if image is None:
        return torch.from_numpy(x)
    if x.shape[1] != math.prod(image):
        raise InputError(f"x must have {math.prod(image)} pixels for images {image}, got {x.shape[1]}")
    return torch.from_numpy(np.ascontiguousarray(x.reshape(-1, *image).transpose(0, 3, 1, 2)))


def architecture_of(options: Recipe, data: Dataset, *, sparse: bool = True) -> dict[str, Any]:
    """Return the architecture of the sparse networks of a run, or of their dense twins."""
    image = image_of(options.model, data)
    inputs = len(data.features) if image is None else inputs_of(data.train.x, image)
    return architecture(options, inputs, len(data.classes), sparse=sparse)


def samples_of(split: Split, image: Image | None, device: torch.device) -> Samples:
    """Return samples on ``device``, as rows or as images."""
    y = torch.from_numpy(split.y).to(device)
    if not isinstance(split.x, np.ndarray):
        return Samples(SparseRows(split.x, device), y)
    return Samples(inputs_of(split.x, image).to(device), y)
