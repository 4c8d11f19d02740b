"""Tasks: multiclass and multilabel classification, and regression."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["MULTICLASS", "MULTILABEL", "REGRESSION", "Tally", "Task"]


@dataclass(frozen=True)
class Task:
    """The task of a network's outputs: its loss and its score.

    ==============  =======================  ================================  ========================================
    task            y                        loss of a sample                  credit
    ==============  =======================  ================================  ========================================
    ``MULTICLASS``  (n) int64                cross-entropy, in nats            whether the largest output is the class's
    ``MULTILABEL``  (n, labels) of 0 and 1   cross-entropy, mean over labels   whether all labels are right
    ``REGRESSION``  (n, outputs)             squared error, mean over outputs  1 − loss: R² where y has unit variance
    ==============  =======================  ================================  ========================================

    Attributes:
        loss: ``loss(outputs, y, weight)``, the mean over a batch of weight · loss of a sample.
        credit: ``credit(outputs, y)``, the score (n) of each sample, whose mean is the score of the outputs.
        cost: ``cost()``, a cost of the network in its last forward pass, which training adds to the loss and no record
            of losses contains, such as `gossamer.HebbianLoss`; None for none.

    Example:
        >>> from gossamer.training.task import MULTICLASS
        >>> MULTICLASS.credit(torch.tensor([[2.0, 1.0], [0.0, 3.0]]), torch.tensor([0, 0]))
        tensor([ True, False])
    """

    loss: Callable[[Tensor, Tensor, Tensor | None], Tensor]
    credit: Callable[[Tensor, Tensor], Tensor]
    cost: Callable[[], Tensor] | None = None


def _class_loss(outputs: Tensor, y: Tensor, weight: Tensor | None) -> Tensor:
    if weight is None:
        return F.cross_entropy(outputs, y)
    return (F.cross_entropy(outputs, y, reduction="none") * weight).mean()


def _class_credit(outputs: Tensor, y: Tensor) -> Tensor:
    return outputs.argmax(1) == y


def _label_loss(outputs: Tensor, y: Tensor, weight: Tensor | None) -> Tensor:
    return F.binary_cross_entropy_with_logits(outputs, y, None if weight is None else weight[:, None])


def _label_credit(outputs: Tensor, y: Tensor) -> Tensor:
    return ((outputs > 0) == (y > 0)).all(1)


def _number_loss(outputs: Tensor, y: Tensor, weight: Tensor | None) -> Tensor:
    if weight is None:
        return F.mse_loss(outputs, y)
    return (F.mse_loss(outputs, y, reduction="none").mean(1) * weight).mean()


def _number_credit(outputs: Tensor, y: Tensor) -> Tensor:
    return 1 - F.mse_loss(outputs, y, reduction="none").mean(1)


MULTICLASS = Task(_class_loss, _class_credit)
MULTILABEL = Task(_label_loss, _label_credit)
REGRESSION = Task(_number_loss, _number_credit)

_WAITING = 1 << 16  # numbers that a tally keeps before it adds them up


class Tally:
    """Sums of a task's loss and credit over many batches; small ones are added together, and stay on the device."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.rows, self.waiting = 0, 0
        self.loss, self.credit = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.int64)
        self.losses: list[Tensor] = []
        self.batches: list[tuple[Tensor, Tensor, Tensor | None]] = []

    def add(self, loss: Tensor, outputs: Tensor, y: Tensor, weight: Tensor | None) -> None:
        """Add a batch and its mean loss."""
        self.losses.append(loss.detach() * len(y))
        self.batches.append((outputs.detach(), y, weight))
        self.waiting += outputs.numel()
        if self.waiting > _WAITING:
            self._settle()

    def add_sums(self, rows: Tensor, losses: Tensor, credits: Tensor) -> None:
        """Take in batches of which only sums over their rows are known."""
        self.rows += int(rows.sum())
        self.loss = self.loss + losses.sum()
        credit = credits.sum()
        self.credit = self.credit + (credit.long() if credit == credit.round() else credit)

    def _settle(self) -> None:
        if not self.batches:
            return
        outputs, y, weight = zip(*self.batches, strict=True)
        credit = self.task.credit(torch.cat(outputs), torch.cat(y))
        if weight[0] is not None:
            credit = credit * torch.cat(weight)
        self.credit = self.credit.to(credit.device) + credit.sum()
        self.loss = self.loss.to(credit.device) + torch.stack(self.losses).sum()
        self.rows += len(credit)
        self.waiting = 0
        self.losses.clear()
        self.batches.clear()

    def totals(self) -> tuple[float, float]:
        """Return mean loss, and summed credit (a whole number if it is counted); (0, 0) of no samples."""
        self._settle()
        return self.loss.item() / max(1, self.rows), self.credit.item()
