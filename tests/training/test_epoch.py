"""The epoch function: every sample once, in an order that the generator alone decides."""

from __future__ import annotations

import pytest
import torch
from scipy.sparse import csr_array
from torch import Tensor

from gossamer.training import Samples, one_epoch
from gossamer.training.samples import SparseRows


def seen(
    samples: Samples, batch_size: int, seed: int
) -> list[tuple[int, list[float], list[float], list[float] | None]]:
    def step(
        number: int, x: Tensor, y: Tensor, weight: Tensor | None
    ) -> tuple[int, list[float], list[float], list[float] | None]:
        return number, x[:, 0].tolist(), y.tolist(), None if weight is None else weight.tolist()

    return list(one_epoch(samples, step, batch_size=batch_size, generator=torch.Generator().manual_seed(seed)))


@pytest.mark.parametrize("batch_size", [1, 3, 7, 100])
def test_every_sample_once(batch_size: int) -> None:
    x = torch.arange(7.0)[:, None]
    found = seen(Samples(x, x[:, 0] * 10, x[:, 0] + 1), batch_size, 0)
    assert [number for number, *_ in found] == list(range(-(-7 // batch_size)))
    rows = [value for _, values, _, _ in found for value in values]
    assert sorted(rows) == list(range(7))
    assert [value / 10 for _, _, values, _ in found for value in values] == rows
    assert [value - 1 for _, _, _, values in found for value in values or ()] == rows


def test_the_order_follows_the_generator_for_dense_and_sparse_rows() -> None:
    x = torch.arange(1.0, 41.0)[:, None]
    y = torch.zeros(40)
    sparse = SparseRows(csr_array(x.numpy()), torch.device("cpu"))
    first, again, other = (seen(Samples(x, y), 8, seed) for seed in (1, 1, 2))
    assert first == again == seen(Samples(sparse, y), 8, 1)
    assert first != other


def test_a_step_is_made_when_its_result_is_asked_for() -> None:
    steps: list[int] = []
    samples = Samples(torch.zeros(6, 1), torch.zeros(6))
    epoch = one_epoch(samples, lambda number, *_: steps.append(number), batch_size=2, generator=torch.Generator())
    next(epoch)
    assert steps == [0]
    list(epoch)
    assert steps == [0, 1, 2]


def test_no_samples() -> None:
    assert seen(Samples(torch.zeros(0, 2), torch.zeros(0)), 4, 0) == []
