"""Sparsification of the layers of any model, in place."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import torch
from torch import nn

from gossamer.connectivity.allocate import Allocation, allocate_densities
from gossamer.connectivity.conversion import KINDS, has_counterpart, make_sparse, parts_of, why_unfit
from gossamer.connectivity.hand_over import check_holds, hand_over
from gossamer.connectivity.pattern import Pattern, connection_count
from gossamer.errors import InputError, check_choice

__all__ = ["find_places", "leave_fast_paths", "put", "sparsify_"]

Model = TypeVar("Model", bound=nn.Module)


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
    """Replace layers of ``model`` by sparse ones, in place, and return the model.

    `torch.nn.Linear` becomes `SparseLinear`, `torch.nn.Conv2d` `SparseConv2d`, `torch.nn.LSTM` and `torch.nn.GRU`
    `SparseLSTM` and `SparseGRU`, `torch.nn.MultiheadAttention` `SparseMultiheadAttention`. A layer that occurs at
    several places in the model is replaced by one layer at all of them. A subclass of these stays, since its function
    may not be that of the sparse layer. A chosen layer whose weights are shared with another module (as in tied
    embeddings) is refused, since the tie would be cut silently; so are a convolution that pads with anything but zeros,
    an LSTM with ``proj_size``, and an attention with ``add_bias_kv`` or ``add_zero_attn``.

    In `nn.TransformerEncoder` and its layers PyTorch's fused path of evaluation mode, which reads dense weights, is
    switched off.

    Args:
        model: any module with such layers inside.
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
    matrices = [part.matrix(layer) for layer in places for part in parts_of(layer)]
    densities = iter(allocate_densities([tuple(matrix.shape) for matrix in matrices], density, allocate))
    check_holds(optimizer, places)
    if where is None:
        _warn_of_dense(model, places)
    for layer, spots in places.items():
        twin = _sparse_twin(layer, densities, keep, generator)
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


def _warn_of_dense(model: nn.Module, replaced: Iterable[nn.Module]) -> None:
    ours = {id(parameter) for layer in replaced for parameter in layer.parameters()}
    dense = {name: parameter for name, parameter in model.named_parameters() if id(parameter) not in ours}
    left, total = (sum(p.numel() for p in some) for some in (dense.values(), model.parameters()))
    if 2 * left > total:
        largest = sorted(dense, key=lambda name: -dense[name].numel())[:3]
        warnings.warn(
            f"{left / total:.0%} of the parameters stay dense, the largest being {', '.join(largest)}: sparsify_ "
            f"replaces {KINDS} layers only, not their subclasses. If that is meant, give where(…)",
            stacklevel=3,
        )


def find_places(
    model: nn.Module, where: Callable[[str, Any], bool] | None
) -> dict[nn.Module, list[tuple[nn.Module, str]]]:
    """Find the places in ``model`` of each layer to make sparse; refuse those that can't be."""
    if has_counterpart(model):
        kind = type(model).__name__
        raise InputError(f"model must contain nn.{kind} layers, not be one: use Sparse{kind}.from_dense")
    places: dict[nn.Module, list[tuple[nn.Module, str]]] = {}
    names: dict[nn.Module, str] = {}
    for prefix, parent in model.named_modules():
        for name, child in parent._modules.items():  # named_children would list a layer once
            full = f"{prefix}.{name}" if prefix else name
            if child is not None and has_counterpart(child):
                places.setdefault(child, []).append((parent, name))
                names.setdefault(child, full)
    if where is not None:
        places = {layer: spots for layer, spots in places.items() if where(names[layer], layer)}
    if not places:
        raise InputError(
            f"model has no layer to make sparse ({KINDS})" + (" at which where(…) is true" if where else "")
        )
    _refuse_unfit(model, {layer: names[layer] for layer in places})
    return places


def put(spots: list[tuple[nn.Module, str]], layer: nn.Module) -> None:
    """Place ``layer`` at the places that `find_places` has found for another."""
    for parent, name in spots:
        setattr(parent, name, layer)
        if isinstance(parent, nn.TransformerEncoderLayer):
            parent.activation_relu_or_gelu = 0  # its fused path in evaluation mode reads linear1.weight


def _refuse_unfit(model: nn.Module, names: dict[nn.Module, str]) -> None:
    owners: dict[int, set[nn.Module]] = {}
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            owners.setdefault(id(parameter), set()).add(module)
    for layer, name in names.items():
        if reason := why_unfit(layer):
            raise InputError(f"{name!r} {reason}: leave it out with where(…)")
        for part in parts_of(layer):
            path, _, leaf = part.weight.rpartition(".")
            if leaf not in layer.get_submodule(path)._parameters:  # weight_norm, spectral_norm, prune
                raise InputError(
                    f"the {leaf} of {name!r} is computed by a hook: remove that first, or leave it out with where(…)"
                )
            if len(owners[id(layer.get_parameter(part.weight))]) > 1:
                raise InputError(f"the {leaf} of {name!r} is shared with another module: leave it out with where(…)")


def _sparse_twin(
    layer: nn.Module, densities: Iterator[float], keep: str, generator: torch.Generator | None
) -> nn.Module:
    patterns: dict[str, Pattern] = {}
    for part in parts_of(layer):
        matrix, density = part.matrix(layer).detach().flatten(1), next(densities)
        rows, cols = matrix.shape
        if keep == "magnitude":
            kept = matrix.abs().flatten().topk(connection_count(rows, cols, density), sorted=False).indices
            patterns[part.name] = Pattern.from_flat_indices(kept.sort().values, rows, cols)
        else:
            patterns[part.name] = Pattern.erdos_renyi(rows, cols, density, generator)
    twin = make_sparse(layer, patterns)
    if keep == "random":
        for part in parts_of(layer):
            part.layer(twin).reset_parameters(generator)
    return twin
