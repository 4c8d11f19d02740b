from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from gossamer.training.task import MULTICLASS, MULTILABEL, REGRESSION, Tally, Task

G = torch.Generator().manual_seed(0)
OUTPUTS = torch.randn(6, 3, generator=G, dtype=torch.float64)
WEIGHT = torch.tensor([0.5, 0.5, 2.0, 1.0, 1.5, 0.5], dtype=torch.float64)
LABEL = torch.tensor([[0, 1, 0], [1, 1, 1], [0, 0, 0], [1, 0, 0], [0, 0, 1], [1, 1, 0]], dtype=torch.float64)
PAIRS = [(MULTICLASS, torch.tensor([0, 1, 2, 0, 1, 2])), (MULTILABEL, LABEL), (REGRESSION, 2 * LABEL)]


@pytest.mark.parametrize(("task", "y"), PAIRS)
def test_a_weight_counts_a_sample_so_often(task: Task, y: torch.Tensor) -> None:
    assert torch.isclose(task.loss(OUTPUTS, y, torch.ones(6, dtype=torch.float64)), task.loss(OUTPUTS, y, None))
    twice = torch.tensor([0, 0, 1, 2])
    weight = torch.tensor([2.0, 1.0, 1.0], dtype=torch.float64) * 3 / 4
    repeated = task.loss(OUTPUTS[twice], y[twice], None)
    assert torch.isclose(task.loss(OUTPUTS[:3], y[:3], weight), repeated)


def test_losses_and_credits_are_what_they_say() -> None:
    (_, classes), (_, labels), (_, numbers) = PAIRS
    assert torch.equal(MULTICLASS.loss(OUTPUTS, classes, None), F.cross_entropy(OUTPUTS, classes))
    assert torch.equal(MULTICLASS.credit(OUTPUTS, classes), OUTPUTS.argmax(1) == classes)
    chance = OUTPUTS.sigmoid()
    by_hand = -(labels * chance.log() + (1 - labels) * (1 - chance).log()).mean()
    assert torch.isclose(MULTILABEL.loss(OUTPUTS, labels, None), by_hand)
    assert torch.equal(MULTILABEL.credit(OUTPUTS, labels), ((chance > 0.5) == (labels == 1)).all(1))
    error = ((OUTPUTS - numbers) ** 2).mean(1)
    assert torch.isclose(REGRESSION.loss(OUTPUTS, numbers, None), error.mean())
    assert torch.equal(REGRESSION.credit(OUTPUTS, numbers), 1 - error)


@pytest.mark.parametrize(("task", "y"), PAIRS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("waiting", [0, 7, 1000])
def test_a_tally_adds_up_batches(
    monkeypatch: pytest.MonkeyPatch, task: Task, y: torch.Tensor, weighted: bool, waiting: int
) -> None:
    monkeypatch.setattr("gossamer.training.task._WAITING", waiting)
    tally = Tally(task)
    assert tally.totals() == (0, 0)
    tally = Tally(task)
    for rows in torch.arange(6).split(4):
        weight = WEIGHT[rows] if weighted else None
        tally.add(task.loss(OUTPUTS[rows], y[rows], weight), OUTPUTS[rows], y[rows], weight)
    loss, credit = tally.totals()
    weights = WEIGHT if weighted else torch.ones(6)
    assert loss == pytest.approx(float(task.loss(OUTPUTS, y, WEIGHT if weighted else None)))
    assert credit == pytest.approx(float((task.credit(OUTPUTS, y) * weights).sum()))
    assert isinstance(credit, int) == (task is not REGRESSION and not weighted)
