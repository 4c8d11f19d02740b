"""Sparsification of the linear and convolutional layers of any model, in place."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import torch
from torch import nn

from gossamer.connectivity.allocate import Allocation, allocate_densities
from gossamer.connectivity.conv import SparseConv2d
from gossamer.connectivity.hand_over import Dense, check_holds, hand_over
from gossamer.connectivity.layer import SparseLayer
from gossamer.connectivity.linear import SparseLinear
from gossamer.connectivity.pattern import Pattern, connection_count
from gossamer.errors import InputError, check_choice

__all__ = ["SPARSE", "find_places", "leave_fast_paths", "put", "sparsify_"]

Model = TypeVar("Model", bound=nn.Module)

SPARSE: dict[type[nn.Module], Callable[[Any, Pattern], SparseLayer]] = {
    nn.Linear: SparseLinear.from_dense,
    nn.Conv2d: SparseConv2d.from_dense,
}


def sparsify_(
    model: Model,
    density: float,
    allocate: Allocation = "uniform",
    where: Callable[[str, Any], bool] | None = None,
    *,
    keep: str = "random",
    generator: torch.Generator | None = None,
    optimizer: torch.optim.Optimizer | None = None,
) -> Model:
    """Replace linear and convolutional layers of ``model`` by sparse ones, in place, and return the model.

    Every `torch.nn.Linear` becomes a `SparseLinear`, every `torch.nn.Conv2d` a `SparseConv2d`. A layer that occurs at
    several places in the model is replaced by one layer at all of them. A subclass of `nn.Linear` or `nn.Conv2d` stays,
    since its function may not be that of the sparse layer. A chosen layer whose weights are shared with another module
    (as in tied embeddings) is refused, since the tie would be cut silently; so is a convolution that pads with anything
    but zeros.

    The projections of `nn.MultiheadAttention` stay dense: it reads their weights itself, an ``in_proj_weight`` and the
    weight of ``out_proj``, a subclass of `nn.Linear`. In `nn.TransformerEncoder` and its layers PyTorch's fused path of
    evaluation mode, which reads dense weights, is switched off.

    Args:
        model: any module with `nn.Linear` or `nn.Conv2d` layers inside.
        density: fraction of the connections of all replaced layers together, in (0, 1].
        allocate: how they are shared among layers; see `allocate_densities`.
        where: ``where(name, layer)`` selects the layers to replace (default: all); name is its first in the model.
        keep: ``"random"`` draws the pattern and initialises weights for the number of connections of each unit, to
            train from scratch; ``"magnitude"`` keeps each layer's largest weights, to prune a trained model.
        generator: source of patterns and weights (default: torch's own).
        optimizer: continues with the new parameters in the place of the old ones. With ``keep="magnitude"`` its state
            (a momentum, Adam's moments, under any name) follows the weights that stay; with ``"random"`` it starts with
            no state for the new weights. An optimizer that was made before and is not given trains parameters that no
            layer has.

    Returns:
        ``model``.

    Raises:
        InputError: an argument outside its range; no layer to replace; a layer that can't be replaced; an optimizer
            that does not hold the weight of a layer that is replaced. The model is unchanged then.

    Warns:
        UserWarning: more than half of the parameters of ``model`` stay dense though no ``where`` was given.
            ``print(gossamer.summary(model))`` shows the density of each layer.

    Example:
        >>> net = nn.Sequential(nn.Linear(784, 300), nn.ReLU(), nn.Linear(300, 10))
        >>> gs.sparsify_(net, density=0.1, allocate="er")
        Sequential(
          (0): SparseLinear(in_features=784, out_features=300, density=0.08852, nnz=20820, bias=True)
          (1): ReLU()
          (2): SparseLinear(in_features=300, out_features=10, density=1, nnz=3000, bias=True)
        )
    """
    check_choice("keep", keep, ("random", "magnitude"))
    places = find_places(model, where)
    densities = allocate_densities([tuple(layer.weight.shape) for layer in places], density, allocate)
    check_holds(optimizer, places)
    if where is None:
        _warn_of_dense(model, places)
    for (layer, spots), layer_density in zip(places.items(), densities, strict=True):
        twin = _sparse_twin(layer, layer_density, keep, generator)
        put(spots, twin)
        if optimizer is not None:
            hand_over(optimizer, layer, twin, state=keep == "magnitude")
    leave_fast_paths(model)
    return model


def leave_fast_paths(model: nn.Module) -> None:
    """Switch off the fused path of PyTorch's transformer encoders, which reads dense weights in evaluation mode."""
    for module in model.modules():
        if isinstance(module, nn.TransformerEncoder):
            module.use_nested_tensor = False


def _warn_of_dense(model: nn.Module, replaced: Iterable[Dense]) -> None:
    ours = {id(parameter) for layer in replaced for parameter in layer.parameters()}
    dense = {name: parameter for name, parameter in model.named_parameters() if id(parameter) not in ours}
    left, total = (sum(p.numel() for p in some) for some in (dense.values(), model.parameters()))
    if 2 * left > total:
        largest = sorted(dense, key=lambda name: -dense[name].numel())[:3]
        warnings.warn(
            f"{left / total:.0%} of the parameters stay dense, the largest being {', '.join(largest)}: sparsify_ "
            "replaces nn.Linear and nn.Conv2d layers only, not their subclasses. If that is meant, give where(…)",
            stacklevel=3,
        )


def find_places(model: nn.Module, where: Callable[[str, Any], bool] | None) -> dict[Dense, list[tuple[nn.Module, str]]]:
    """Find the places in ``model`` of each layer to make sparse; refuse those that can't be."""
    if type(model) in (nn.Linear, nn.Conv2d):
        kind = type(model).__name__
        raise InputError(f"model must contain nn.{kind} layers, not be one: use Sparse{kind}.from_dense")
    places: dict[Dense, list[tuple[nn.Module, str]]] = {}
    names: dict[Dense, str] = {}
    for prefix, parent in model.named_modules():
        for name, child in parent._modules.items():  # named_children would list a layer once
            full = f"{prefix}.{name}" if prefix else name
            if isinstance(child, nn.Linear | nn.Conv2d) and type(child) in (nn.Linear, nn.Conv2d):
                places.setdefault(child, []).append((parent, name))
                names.setdefault(child, full)
    if where is not None:
        places = {layer: spots for layer, spots in places.items() if where(names[layer], layer)}
    if not places:
        raise InputError(
            "model has no nn.Conv2d and no nn.Linear layer to make sparse"
            + (" at which where(…) is true" if where else "")
        )
    _refuse_unfit(model, {layer: names[layer] for layer in places})
    return places


def put(spots: list[tuple[nn.Module, str]], layer: nn.Module) -> None:
    """Place ``layer`` at the places that `find_places` has found for another."""
    for parent, name in spots:
        setattr(parent, name, layer)
        if isinstance(parent, nn.TransformerEncoderLayer):
            parent.activation_relu_or_gelu = 0  # its fused path in evaluation mode reads linear1.weight


def _refuse_unfit(model: nn.Module, names: dict[Dense, str]) -> None:
    owners: dict[int, set[nn.Module]] = {}
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            owners.setdefault(id(parameter), set()).add(module)
    for layer, name in names.items():
        if "weight" not in layer._parameters:  # weight_norm, spectral_norm, prune
            raise InputError(
                f"the weight of {name!r} is computed by a hook: remove that first, or leave it out with where(…)"
            )
        if len(owners[id(layer.weight)]) > 1:
            raise InputError(f"the weight of {name!r} is shared with another module: leave it out with where(…)")
        if isinstance(layer, nn.Conv2d) and layer.padding_mode != "zeros":
            raise InputError(f"{name!r} pads with {layer.padding_mode!r}, not with zeros: leave it out with where(…)")


def _sparse_twin(layer: Dense, density: float, keep: str, generator: torch.Generator | None) -> SparseLayer:
    make, (rows, cols) = SPARSE[type(layer)], layer.weight.flatten(1).shape
    if keep == "magnitude":
        magnitudes = layer.weight.detach().abs().flatten()
        kept = magnitudes.topk(connection_count(rows, cols, density), sorted=False).indices
        return make(layer, Pattern.from_flat_indices(kept.sort().values, rows, cols))
    twin = make(layer, Pattern.erdos_renyi(rows, cols, density, generator))
    twin.reset_parameters(generator)
    return twin
