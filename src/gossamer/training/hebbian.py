"""The task of a network with HaH blocks: the loss of its outputs, and the costs of the blocks."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from gossamer.activation import HebbianLoss
from gossamer.models import HEBBIAN_ALPHA, VGG
from gossamer.training.recipe import Recipe
from gossamer.training.task import Task

__all__ = ["with_hebbian_cost"]


def with_hebbian_cost(task: Task, model: nn.Module, options: Recipe) -> Task:
    """Return ``task`` with −c Σ_k α_k L_k of the HaH blocks of ``model`` as its cost; unchanged if it has none.

    c is ``options.hebbian_cost`` and α_k are the published ones, 0 from the seventh block on.
    """
    layers = model.hebbian_layers[: len(HEBBIAN_ALPHA)] if isinstance(model, VGG) else []
    if not layers or not options.hebbian_cost:
        return task
    hebbian = HebbianLoss(
        layers,
        [options.hebbian_cost * alpha for alpha in HEBBIAN_ALPHA[: len(layers)]],
        winners=options.hebbian_winners,
        anti=options.hebbian_anti,
        gradient=options.hebbian_gradient,  # type: ignore[arg-type]
    )
    return replace(task, cost=hebbian)
