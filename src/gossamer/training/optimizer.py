"""The optimizer of a recipe, and its learning rate at each step."""

from __future__ import annotations

import math

import torch
from torch import nn

from gossamer.connectivity import SparseLayer
from gossamer.training.recipe import Recipe

__all__ = ["learning_rate_at", "make_optimizer", "set_learning_rate"]


def make_optimizer(options: Recipe, model: nn.Module) -> torch.optim.Optimizer:
    """Make the optimizer, with a ``scale`` for each group of parameters by which its learning rate is multiplied.

    Weights of a sparse layer start larger than those of a dense one by 1/√density. Adam's steps are as long as the
    learning rate for any gradients: to change both layers in the same proportion, the sparse one's is multiplied
    by 1/√density. Gradient descent needs no such factor.
    """
    groups: dict[float, list[nn.Parameter]] = {}
    for module in model.modules():
        own = list(module.parameters(recurse=False))
        if isinstance(module, SparseLayer) and options.optimizer != "sgd":
            groups.setdefault(module.density**-0.5, []).append(module.weight_values)
            own = [parameter for parameter in own if parameter is not module.weight_values]
        groups.setdefault(1.0, []).extend(own)
    parameters = [{"params": group, "scale": scale} for scale, group in groups.items()]
    rate, decay = options.learning_rate, options.weight_decay
    fused = True if next(model.parameters()).device.type in ("cpu", "cuda") else None
    if options.optimizer == "sgd":
        return torch.optim.SGD(parameters, rate, options.momentum, weight_decay=decay, fused=fused)
    if options.optimizer == "adamw":
        return torch.optim.AdamW(parameters, rate, weight_decay=decay, fused=fused)
    return torch.optim.Adam(parameters, rate, weight_decay=decay, fused=fused)


def learning_rate_at(step: int, options: Recipe, steps: int) -> float:
    """Return the learning rate at a ``step``, counted from 0 over all epochs of ``steps`` batches each.

    It is a function of the step alone. LambdaLR would count steps in another state, which checkpoints and the compiled
    step would have to carry.
    """
    rate = options.learning_rate
    if options.schedule == "cosine":
        rate *= 0.5 * (1 + math.cos(math.pi * step / (options.epochs * steps)))
    return rate


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of each group of `make_optimizer` to ``rate`` times its ``scale``."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["scale"]
