from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from numpy.testing import assert_array_equal

from gossamer.training.samples import Samples, SparseRows

CPU = torch.device("cpu")


def sparse(rows: int = 50, features: int = 7) -> SparseRows:
    return SparseRows(sp.csr_array(sp.random_array((rows, features), density=0.3, rng=np.random.default_rng(0))), CPU)


def test_sparse_rows_are_those_of_the_matrix() -> None:
    rows = sparse()
    dense = torch.from_numpy(rows.matrix.toarray())
    assert (rows.shape, len(rows), rows.dtype, rows.device) == ((50, 7), 50, torch.float64, CPU)
    order = torch.tensor([3, 1, 3, 49])
    assert torch.equal(rows[order], dense[order])
    assert rows[order].stride() == (1, 4)  # feature-major
    assert torch.equal(rows[10:20], dense[10:20])
    assert torch.equal(torch.cat(list(rows)), dense)
    shift = torch.arange(7.0, dtype=torch.float64)
    assert torch.equal(SparseRows(rows.matrix, CPU, shift)[order], dense[order] - shift)
    assert rows[:0].shape == (0, 7)


def test_sparse_rows_go_by_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gossamer.training.samples._PAGE", 70)
    assert [len(page) for page in sparse()] == [10] * 5


@pytest.mark.parametrize("page", [1, 30, 70, 10**6])
@pytest.mark.parametrize("size", [1, 8, 50, 64])
@pytest.mark.parametrize("kind", ["dense", "sparse"])
@pytest.mark.parametrize("shuffled", [False, True])
def test_batches_hold_each_sample_once_in_order(
    monkeypatch: pytest.MonkeyPatch, page: int, size: int, kind: str, shuffled: bool
) -> None:
    monkeypatch.setattr("gossamer.training.samples._PAGE", page)
    rows = sparse()
    y, weight = torch.arange(50), torch.arange(50.0)
    dense = torch.from_numpy(rows.matrix.toarray())
    order = torch.randperm(50, generator=torch.Generator().manual_seed(0)) if shuffled else None
    expected = torch.arange(50) if order is None else order
    x = rows if kind == "sparse" else dense
    batches = list(Samples(x, y, weight).batches(size, order))
    assert [len(y) for _, y, _ in batches] == [len(part) for part in expected.split(size)]
    assert torch.equal(torch.cat([y for _, y, _ in batches]), expected)
    assert torch.equal(torch.cat([x for x, _, _ in batches]), dense[expected])
    assert torch.equal(torch.cat([w for _, _, w in batches if w is not None]), weight[expected])
    assert all(w is None for _, _, w in Samples(x, y).batches(size, order))
    images = list(Samples(x, x).batches(size, order))
    assert_array_equal(torch.cat([y for _, y, _ in images]), dense[expected])


def test_no_samples_have_no_batches() -> None:
    assert list(Samples(torch.zeros(0, 3), torch.zeros(0)).batches(4)) == []
