"""Choosing among connections and among empty flat indices in time linear in the connections.

Weight (row, col) of a layer has the flat index row · cols + col = out · n_in + in, the row order of `Pattern`, so the
connections of a pattern are an ascending vector of int64. (The papers write W as n_in × n_out; a rule that breaks ties
by "the lowest flat index" means this order here.)

The r-th empty index, r = 0, 1, …, is found without a list of the empty ones. Of the occupied indices c_0 < c_1 < … the
i-th has a_i = c_i − i empty ones below it, and a is ascending; so the r-th empty index is r + |{i : a_i ≤ r}|: for many
ranks one walk along both lists.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gossamer.connectivity.pattern import sample_flat_indices
from gossamer.kernels import empty_at, merge

__all__ = ["EmptyIndices", "contained", "share", "smallest", "smallest_of_each_sign"]


def share(fraction: float, count: int) -> int:
    """⌊fraction · count⌋ of the exact product: 0.29 · 100 is 29, not the 28 that ⌊28.999…⌋ gives."""
    return min(count, math.floor(fraction * count + 1e-9))


def smallest(scores: Tensor, count: int) -> Tensor:
    """(n) bool: the ``count`` smallest of ``scores`` (n); among equal ones the earliest. Linear time, no sort."""
    return _smallest(scores, scores, count)


def _smallest(scores: Tensor, among: Tensor, count: int) -> Tensor:
    """Mark the ``scores`` that are not above the ``count``-th smallest of ``among``, a part of them.

    Those are the ``count`` smallest of ``among``, the earliest of equal ones, and maybe others that are not in it and
    lie below.
    """
    if count <= 0:
        return torch.zeros_like(scores, dtype=torch.bool)
    if count >= among.numel():
        return torch.ones_like(scores, dtype=torch.bool)
    # on accelerators sorting is faster, and alike in every run
    threshold = among.kthvalue(count).values if among.device.type == "cpu" else among.sort().values[count - 1]
    chosen = scores < threshold
    ties = (scores == threshold).nonzero().flatten()[: count - int((among < threshold).sum())]
    chosen[ties] = True
    return chosen


def smallest_of_each_sign(importance: Tensor, fraction: float) -> Tensor:
    """Mark the ⌊fraction · n₊⌋ smallest positive and the ⌊fraction · n₋⌋ negative entries nearest zero, and all zeros.

    (n) bool; among equal entries the earliest (Mocanu et al. 2018, with exact counts).
    """
    chosen = importance == 0
    for distance in (importance, -importance):
        side = distance > 0
        among = distance[side]
        chosen |= _smallest(distance, among, share(fraction, among.numel())) & side
    return chosen


def contained(flat_indices: Tensor, among: Tensor) -> Tensor:
    """Which of ``flat_indices`` occur in ``among``; both ascending."""
    if among.numel() == 0:
        return torch.zeros_like(flat_indices, dtype=torch.bool)
    place = torch.searchsorted(among, flat_indices).clamp_(max=among.numel() - 1)
    return among[place] == flat_indices


class EmptyIndices:
    """The flat indices in [0, total) that are not in ``occupied``, an ascending vector of int64."""

    def __init__(self, occupied: Tensor, total: int) -> None:
        self.occupied, self.total = occupied, total
        self.count = total - occupied.numel()

    def at(self, ranks: Tensor) -> Tensor:
        """The empty flat indices of these ascending ranks, each in [0, count)."""
        return empty_at(self.occupied, ranks)

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """``count`` distinct empty flat indices, every such set equally likely, ascending."""
        return self.at(sample_flat_indices(self.count, count, generator).to(self.occupied.device))

    def without(self, flat_indices: Tensor) -> EmptyIndices:
        """The same but for ``flat_indices``, which are ascending and empty until now."""
        return EmptyIndices(merge(self.occupied, flat_indices)[0], self.total)
