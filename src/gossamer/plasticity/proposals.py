"""Proposals of empty positions: at random, by the highest score, or in proportion to a score.

Scores are read in blocks (see `gossamer.plasticity.pairs`), and a running best is kept: memory is linear in the new
connections and one block. Proposals are ascending; of equal scores the lowest flat index comes first.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from gossamer.kernels import merge
from gossamer.plasticity.evidence import Evidence, PairScores, Statistic
from gossamer.plasticity.flat_indices import EmptyIndices, smallest

__all__ = ["at_random", "highest", "in_proportion", "nowhere"]

_DRAWS = 1 << 20  # at a time


def nowhere(e: Evidence, empty: EmptyIndices, count: int) -> Tensor:
    """Propose no position."""
    return empty.occupied[:0]


def at_random(e: Evidence, empty: EmptyIndices, count: int) -> Tensor:
    """Propose ``count`` positions drawn uniformly."""
    return empty.sample(count, e.generator)


def highest(e: Evidence, empty: EmptyIndices, count: int, statistic: Statistic) -> Tensor:
    """Propose the ``count`` positions of largest positive score, or fewer."""
    return _largest(_empty_blocks(e.statistics[statistic], empty), empty, count)


def _empty_blocks(pairs: PairScores, empty: EmptyIndices) -> Iterator[tuple[int, Tensor]]:
    """The blocks of ``pairs`` with the scores of occupied positions set to 0."""
    for start, scores in pairs.blocks():
        ends = torch.tensor([start, start + scores.numel()], device=scores.device)
        low, high = torch.searchsorted(empty.occupied, ends).tolist()
        scores[empty.occupied[low:high] - start] = 0
        yield start, scores


def _largest(blocks: Iterator[tuple[int, Tensor]], empty: EmptyIndices, count: int) -> Tensor:
    """The ``count`` positions of largest positive score, or fewer; ascending."""
    flat_indices, best = empty.occupied[:0], torch.empty(0, device=empty.occupied.device)
    floor = 0.0
    for start, scores in blocks:
        better = (scores > floor).nonzero().flatten()  # an equal score loses: its position is higher
        flat_indices = torch.cat([flat_indices, better + start])
        best = torch.cat([best.to(scores), scores[better]])
        if 0 < 2 * count < best.numel():  # not at every block: selecting costs more than keeping
            chosen = smallest(-best, count)
            flat_indices, best = flat_indices[chosen], best[chosen]
            floor = float(best.min())
    return flat_indices[smallest(-best, count)]


def in_proportion(e: Evidence, empty: EmptyIndices, count: int, statistic: Statistic, tries: int) -> Tensor:
    """Propose ``count`` positions drawn without replacement, each with probability proportional to its score.

    Uniform positions are accepted with probability C; after ``tries`` of them for each new connection, keys decide.
    """
    pairs = e.statistics[statistic]
    chosen = empty.occupied[:0]  # in the order in which they were accepted
    made, budget = 0, tries * count
    while chosen.numel() < count and made < budget:
        rate = max(chosen.numel(), 1) / made if made else 1.0
        now = min(math.ceil(1.1 * (count - chosen.numel()) / rate), budget - made, max(count, _DRAWS))
        ranks, turn = torch.randint(empty.count, (now,), generator=e.generator).to(chosen.device).sort()
        u = torch.rand(now, generator=e.generator, dtype=torch.float64).to(chosen.device)
        flat_indices = empty.at(ranks)  # ascending, for locality; then the accepted ones in the order of their draws
        accepted = u < pairs.at(flat_indices)
        in_turn = flat_indices[accepted][turn[accepted].argsort()]
        chosen = _distinct(torch.cat([chosen, in_turn]))[:count]
        made += now
    chosen = chosen.sort().values
    if chosen.numel() < count:  # continue from here by keys
        rest = empty.without(chosen)
        blocks = _keyed(_empty_blocks(pairs, rest), e.generator)
        chosen = merge(chosen, _largest(blocks, rest, count - chosen.numel()))[0]
    return chosen


def _keyed(blocks: Iterator[tuple[int, Tensor]], generator: torch.Generator) -> Iterator[tuple[int, Tensor]]:
    """Scores C replaced by C / E, E exponential: the n largest are n draws in proportion to C without replacement."""
    for start, scores in blocks:
        e = torch.empty(scores.shape, dtype=torch.float64).exponential_(generator=generator)
        yield start, scores / e.to(scores.device)


def _distinct(flat_indices: Tensor) -> Tensor:
    """The first occurrence of each number, in order."""
    ordered, place = flat_indices.sort(stable=True)
    first = torch.ones_like(ordered, dtype=torch.bool)
    first[1:] = ordered[1:] != ordered[:-1]
    return flat_indices[place[first].sort().values]
