"""The objective of an attack for each sample, from the logits z and the class y.

==========  ==========================================================  ===============================================
``ce``      log Σ_i e^{z_i} − z_y                                       cross-entropy
``margin``  max_{i≠y} z_i − z_y                                         > 0 where the sample is misclassified
``dlr``     (max_{i≠y} z_i − z_y) / (z_π1 − z_π3)                       unchanged if z is scaled or shifted
==========  ==========================================================  ===============================================

π1, π2, … number the classes from the largest logit down. With a target class t, ``ce`` is z_t − log Σ_i e^{z_i},
``margin`` is z_t − z_y and ``dlr`` is (z_t − z_y) / (z_π1 − (z_π3 + z_π4) / 2).

The difference of logits ratio (DLR) needs a third logit, with a target a fourth. With fewer classes its place is taken
by the margin, which has the same direction of ascent as long as the divisor is constant.

References:
    Croce, Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks",
    ICML 2020, section 4 (DLR).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["LOSSES", "Loss", "margin", "objective"]

Loss = Literal["ce", "dlr", "margin"]
LOSSES = ("ce", "dlr", "margin")


def objective(loss: Loss, logits: Tensor, y: Tensor, target: Tensor | None = None) -> Tensor:
    """The loss that an attack maximizes, (N), by the table of this page."""
    if loss == "ce":
        return _cross_entropy(logits, y) if target is None else -_cross_entropy(logits, target)
    difference = margin(logits, y) if target is None else _at(logits, target) - _at(logits, y)
    if loss == "margin" or logits.shape[1] < (3 if target is None else 4):
        return difference
    top = logits.topk(3 if target is None else 4, dim=1).values
    divisor = top[:, 0] - (top[:, 2] if target is None else (top[:, 2] + top[:, 3]) / 2)
    return difference / (divisor + 1e-12)


def margin(logits: Tensor, y: Tensor) -> Tensor:
    """max_{i≠y} z_i − z_y, (N)."""
    others = logits.scatter(1, y.unsqueeze(1), -torch.inf)
    return others.amax(1) - _at(logits, y)


def _cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(logits, y, reduction="none")


def _at(logits: Tensor, y: Tensor) -> Tensor:
    return logits.gather(1, y.unsqueeze(1)).squeeze(1)
