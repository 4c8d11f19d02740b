"""Redistribution: how many new connections each layer gets, if dropped connections may be grown in another layer.

D connections have been dropped in all layers together. A layer gets a share of them in proportion to the mean of |W|,
or of |∂L/∂W|, over its survivors (Dettmers & Zettlemoyer 2019 share them by mean momentum). No layer gets more than it
has room for, and none is left without a connection; the excess of a full layer is shared among the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor

from gossamer.plasticity.evidence import Evidence

__all__ = ["Share", "divide", "grown_counts"]

Share = Literal["magnitude", "gradient"]


def grown_counts(evidence: Sequence[Evidence], to_drop: Sequence[Tensor], by: Share) -> list[int]:
    """Return the number of connections to grow in each layer; ``to_drop`` (nnz) bool marks those it loses."""
    weights, least, room = [], [], []
    for e, dying in zip(evidence, to_drop, strict=True):
        size = (e.gradient if by == "gradient" else e.values).abs()[~dying]
        weights.append(float(size.double().mean()) if size.numel() else 0.0)
        least.append(int(size.numel() == 0))
        room.append(e.layer.out_features * e.layer.in_features - size.numel())
    total = sum(int(dying.sum()) for dying in to_drop)
    shares = divide(total - sum(least), weights, [most - some for most, some in zip(room, least, strict=True)])
    return [some + share for some, share in zip(least, shares, strict=True)]


def divide(total: int, weights: Sequence[float], most: Sequence[int]) -> list[int]:
    """Return whole numbers n_i ≤ most_i with Σ n_i = ``total`` ≤ Σ most_i, nearly proportional to the weights.

    The excess over a most_i is shared among the others in the same proportion; layers of weight 0 get some only if
    there is no other. Shares are rounded down, and the largest remainders, of equal ones the first, up.
    """
    shares = [0.0] * len(most)
    left, takers = total, list(range(len(most)))
    while takers:
        whole = sum(weights[i] for i in takers)
        portions = {i: left * (weights[i] / whole if whole else 1 / len(takers)) for i in takers}
        full = [i for i in takers if portions[i] >= most[i]]
        for i in full or takers:
            shares[i] = most[i] if full else portions[i]
        left -= sum(most[i] for i in full)
        takers = [i for i in takers if i not in full] if full else []
    counts = [int(share + 1e-9) for share in shares]
    by_remainder = sorted(range(len(most)), key=lambda i: counts[i] - shares[i])
    for i in by_remainder[: total - sum(counts)]:
        counts[i] += 1
    return counts
