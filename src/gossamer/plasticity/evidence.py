"""Evidence for drop and grow rules about one layer."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from gossamer.connectivity import SparseLayer
from gossamer.errors import InputError
from gossamer.kernels import Structure

__all__ = ["Evidence", "PairScores", "Statistic", "generator_for"]


class PairScores(Protocol):
    """A number ≥ 0 for each pair (output, input) of a layer, summed over ranks; the whole matrix is never made."""

    @property
    def shape(self) -> tuple[int, int]:
        """(outputs, inputs)."""

    def connections(self, structure: Structure) -> Tensor:
        """Return the scores of the connections: (nnz)."""

    def at(self, flat_indices: Tensor) -> Tensor:
        """Return the scores at these flat indices: (n)."""

    def blocks(self) -> Iterator[tuple[int, Tensor]]:
        """Yield each flat index once: the first of a block, and the scores from there on."""


@dataclass(frozen=True)
class Statistic:
    """A statistic that a rule needs: `similarity.Cosine` or `gradient.LossGradient`."""


@dataclass(frozen=True)
class Evidence:
    """One layer at one rewiring step."""

    name: str
    layer: SparseLayer
    generator: torch.Generator  # its own for each (seed, layer, step)
    statistics: Mapping[Statistic, PairScores]

    @property
    def flat_indices(self) -> Tensor:
        """(nnz) int64, ascending: the connections before the step; computed at each access, to save memory."""
        return self.layer.pattern.flat_indices

    @property
    def values(self) -> Tensor:
        """(nnz): the weights."""
        return self.layer.weight_values.detach()

    @property
    def gradient(self) -> Tensor:
        """(nnz): the derivative of the loss by the weights, from the last backward pass."""
        if self.layer.weight_values.grad is None:
            raise InputError(f"layer {self.name!r} has no gradient: step after backward() and before zero_grad()")
        return self.layer.weight_values.grad

    @property
    def structure(self) -> Structure:
        """The connections before the step."""
        return self.layer.pattern.structure


def generator_for(seed: int, layer: int, step: int) -> torch.Generator:
    """Return a generator that depends on these three numbers alone, the same on all ranks and in resumed runs."""
    digest = hashlib.sha256(f"{seed} {layer} {step}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
