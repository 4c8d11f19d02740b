"""Grey photographs, and the patches of them that the dictionaries learn from and are measured with."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gossamer.errors import InputError

if TYPE_CHECKING:
    import torch

__all__ = ["divided_patches", "grey_images"]

Floats = NDArray[np.float32]

_CONTRAST = 5 / 255  # standard deviation that a patch has at least


@lru_cache(maxsize=1)
def grey_images(dataset: str) -> tuple[list[Floats], list[Floats]]:
    """Return grey photographs in [0, 1] to learn from, and others to measure with."""
    if dataset == "natural_images":
        from gossamer.data import load_images

        pictures = load_images(dataset).astype(np.float32) / 255
        return list(pictures[:360]), list(pictures[360:])
    if dataset != "sample_images":
        raise InputError(f"dataset must be 'natural_images' or 'sample_images', got {dataset!r}")
    from sklearn.datasets import load_sample_images

    grey = [picture.mean(2, dtype=np.float32) / 255 for picture in load_sample_images().images]
    edge = 3 * grey[0].shape[1] // 4
    return [picture[:, :edge] for picture in grey], [picture[-200:, edge:] for picture in grey]


@lru_cache(maxsize=1)
def divided_patches(dataset: str, side: int, count: int, held_out: int, seed: int) -> tuple[Floats, Floats]:
    """Return (count, side²) and (held_out, side²), of zero mean and length 1; the latter are those of any seed."""
    learned, measured = grey_images(dataset)
    return _drawn(learned, side, count, np.random.default_rng([seed, 1])), _drawn(
        measured, side, held_out, np.random.default_rng(0)
    )


def _drawn(images: list[Floats], side: int, count: int, generator: np.random.Generator) -> Floats:
    """Draw patches, without almost flat ones: at unit length they would be the camera's noise."""
    import torch

    from gossamer.models.atoms import standardized
    from gossamer.models.patches import sample_patches

    kept: list[Floats] = []
    while sum(map(len, kept)) < count:
        patches = sample_patches(images, (side, side), count, generator)
        kept.append(patches[patches.std(1) > _CONTRAST])
    x: torch.Tensor = standardized(torch.from_numpy(np.concatenate(kept)[:count]), center=True)
    return x.numpy()
