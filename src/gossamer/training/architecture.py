"""The network of a recipe: its architecture as numbers, built for a seed, and the constraint on its weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from gossamer.connectivity import constraints
from gossamer.errors import InputError
from gossamer.models import MLP, dropout_instead
from gossamer.training.recipe import Recipe

__all__ = ["architecture", "build", "check_stored_sparse", "constrain"]

TWIN_ACTIVATION = "relu"
"""Activation of the dense twin: the network that one would train without this package."""


def architecture(options: Recipe, features: int, outputs: int, *, sparse: bool = True) -> dict[str, Any]:
    """Return the arguments of `MLP`, as numbers, strings and lists: of the sparse network, or of its dense twin.

    The twin has dropout in the place of Sparseout, with the same probability, and no noise on its weights.
    """
    noise = {"weight_noise": options.weight_noise} if sparse and options.weight_noise is not None else {}
    return noise | {
        "in_features": features,
        "hidden": list(options.hidden),
        "out_features": outputs,
        "density": options.density_for(features) if sparse else None,
        "output_density": options.output_density if sparse else None,
        "allocate": options.allocate,
        "activation": options.activation if sparse else TWIN_ACTIVATION,
        "dropout": options.dropout if sparse else dropout_instead(options.activation, options.dropout),
    }


def build(options: Recipe, features: int, outputs: int, *, sparse: bool, seed: int) -> MLP:
    """Build the untrained network of ``seed``, or its dense twin."""
    arguments = architecture(options, features, outputs, sparse=sparse)
    return MLP(**arguments, generator=torch.Generator().manual_seed(seed))


def constrain(model: nn.Module, string: str, optimizer: torch.optim.Optimizer, seed: int) -> constraints.Attached:
    """Keep the weights of all layers of ``model`` but its output in the set that ``string`` names, after every step."""
    found = constraints.parse(string, seed=seed)
    return constraints.attach(model, found, optimizer, where=lambda name, _: name != "output")


def check_stored_sparse(model: nn.Module, options: Recipe) -> None:
    """Raise `InputError` if a hidden layer is dense, whose connections ``options.prune`` could not remove."""
    full = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and name != "output"]
    if full:
        raise InputError(
            f"density must leave every hidden layer sparse for prune={options.prune!r}, and allocate="
            f"{options.allocate!r} gives {', '.join(full)} all connections: lower density, or allocate='uniform'"
        )
