"""Scores of pairs in both their forms, against the whole matrix."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gossamer import Pattern
from gossamer.plasticity.evidence import PairScores
from gossamer.plasticity.pairs import Factored, Score, Summed


def factors(rows: int, cols: int, samples: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    return (
        torch.randn(rows, samples, generator=g, dtype=torch.float64),
        torch.randn(cols, samples, generator=g, dtype=torch.float64),
    )


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 6), st.integers(1, 100), st.booleans())
def test_both_forms_equal_the_matrix(rows: int, cols: int, samples: int, block: int, absolute: bool) -> None:
    a, b = factors(rows, cols, samples)
    full = (a @ b.t()).abs() if absolute else (a @ b.t()).clamp(min=0)
    score = Score(absolute)
    pattern = Pattern.erdos_renyi(rows, cols, 0.5, torch.Generator().manual_seed(1))
    flat_indices = torch.arange(rows * cols - 1, -1, -2)
    forms: list[PairScores] = [Factored(a, b, score, block=block), Summed(a @ b.t(), score, block)]
    for pairs in forms:
        assert pairs.shape == (rows, cols)
        torch.testing.assert_close(pairs.connections(pattern.structure), full.flatten()[pattern.flat_indices])
        torch.testing.assert_close(pairs.at(flat_indices), full.flatten()[flat_indices])
        starts, blocks = zip(*pairs.blocks(), strict=True)
        assert list(starts) == [sum(len(b) for b in blocks[:i]) for i in range(len(blocks))]
        torch.testing.assert_close(torch.cat(blocks), full.flatten())
        assert len(blocks) == 1 or max(map(len, blocks)) <= max(block, cols)


def test_a_block_may_be_changed_without_harm() -> None:
    a, b = factors(3, 4, 2)
    forms: list[PairScores] = [Summed(a @ b.t()), Summed((a @ b.t()).abs(), Score(False)), Factored(a, b)]
    for pairs in forms:
        before = pairs.at(torch.arange(12))
        for _, scores in pairs.blocks():
            scores.zero_()
        assert torch.equal(pairs.at(torch.arange(12)), before)


@pytest.mark.parametrize("absolute", [True, False])
def test_score_is_bounded(absolute: bool) -> None:
    x = torch.tensor([-2.0, -0.5, 0.0, 1.0 + 1e-6])
    assert Score(absolute, 1.0)(x).tolist() == ([1.0, 0.5, 0.0, 1.0] if absolute else [0.0, 0.0, 0.0, 1.0])
