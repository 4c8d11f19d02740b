"""The network of a recipe: its architecture as plain data, built for a seed, and the constraint on its weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gossamer.connectivity import constraints
from gossamer.errors import InputError
from gossamer.evaluate.unit_activations import linear_layers
from gossamer.models import ModelName, dropout_instead, from_architecture
from gossamer.training.augment import Augment
from gossamer.training.recipe import Recipe

__all__ = ["architecture", "build", "check_stored_sparse", "constrain"]

TWIN_ACTIVATION = "relu"
"""Activation of the dense twin: the network that one would train without this package."""

_CHUNK = 1 << 22  # pixels whose statistics are computed at a time


def architecture(options: Recipe, inputs: int | Tensor, outputs: int, *, sparse: bool = True) -> dict[str, Any]:
    """Return the architecture (see `gossamer.models.named`) of the sparse network, or of its dense twin.

    The twin has dropout in the place of Sparseout, with the same probability, and no noise on its weights.

    Args:
        options: the recipe.
        inputs: the number of features of a table, or the images to train on (n, channels, height, width), whose pixels
            decide on the mean and the standard deviation that the network standardises with.
        outputs: number of outputs, such as classes.
        sparse: the sparse network, or its dense twin.

    Returns:
        Numbers, strings and lists by name.

    Raises:
        InputError: the recipe's model does not read such inputs.
    """
    name = ModelName.parse(options.model)
    arguments: dict[str, Any] = {
        "density": None,
        "output_density": options.output_density if sparse else None,
        "allocate": options.allocate,
        "activation": options.activation if sparse else TWIN_ACTIVATION,
        "dropout": options.dropout if sparse else dropout_instead(options.activation, options.dropout),
    }
    if isinstance(inputs, int):
        if name.kind != "mlp":
            raise InputError(f"model must be 'mlp' for {inputs} features, got {options.model!r}, which reads images")
        arguments["density"] = options.density_for(inputs) if sparse else None
        if sparse and options.weight_noise is not None:
            arguments["weight_noise"] = options.weight_noise
        return {"in_features": inputs, "hidden": list(options.hidden), "out_features": outputs} | arguments
    if name.kind == "mlp" or inputs.dim() != 4:
        raise InputError(
            f"inputs must be a number of features for model 'mlp', and images (n, channels, height, width) for others, "
            f"got shape {tuple(inputs.shape)} for {options.model!r}"
        )
    _, channels, height, width = inputs.shape
    if options.augment is not None:
        Augment.parse(options.augment).check_size(height, width)
    mean, std = _pixel_statistics(inputs)
    image = {"in_channels": channels, "classes": outputs, "image_size": [height, width], "mean": mean, "std": std}
    blocks = {"hebbian_blocks": options.hebbian_blocks if sparse else 0} if name.kind == "vgg" else {}
    arguments["density"] = options.density if sparse else None
    return {"model": name.kind} | name.sized(height, width) | image | blocks | arguments


def build(options: Recipe, inputs: int | Tensor, outputs: int, *, sparse: bool, seed: int) -> nn.Module:
    """Build the untrained network of ``seed``, or its dense twin; see `architecture`."""
    arguments = architecture(options, inputs, outputs, sparse=sparse)
    return from_architecture(arguments, torch.Generator().manual_seed(seed))


def _pixel_statistics(x: Tensor) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel, with four digits; a constant channel has the deviation 1."""
    sums, squares = (torch.zeros(x.shape[1], dtype=torch.float64) for _ in range(2))
    for part in x.split(max(1, _CHUNK // max(1, x[0].numel()))):
        wide = part.double()
        sums += wide.sum((0, 2, 3)).cpu()
        squares += wide.square().sum((0, 2, 3)).cpu()
    count = max(1, x[:, 0].numel())
    mean = sums / count
    std = (squares / count - mean.square()).clamp(min=0).sqrt()
    std = torch.where(std > 1e-6, std, 1.0)
    return [float(f"{value:.4g}") for value in mean.tolist()], [float(f"{value:.4g}") for value in std.tolist()]


def _output(model: nn.Module) -> str:
    """The name of the last layer."""
    return list(linear_layers(model))[-1]


def constrain(model: nn.Module, string: str, optimizer: torch.optim.Optimizer, seed: int) -> constraints.Attached:
    """Keep the weights of all layers of ``model`` but its output in the set that ``string`` names, after every step."""
    found, output = constraints.parse(string, seed=seed), _output(model)
    return constraints.attach(model, found, optimizer, where=lambda name, _: name != output)


def check_stored_sparse(model: nn.Module, options: Recipe) -> None:
    """Raise `InputError` if a hidden layer is dense, whose connections ``options.prune`` could not remove."""
    output, layers = _output(model), linear_layers(model)
    full = [name for name, layer in layers.items() if isinstance(layer, nn.Linear | nn.Conv2d) and name != output]
    if full:
        raise InputError(
            f"density must leave every hidden layer sparse for prune={options.prune!r}, and allocate="
            f"{options.allocate!r} gives {', '.join(full)} all connections: lower density, or allocate='uniform'"
        )
