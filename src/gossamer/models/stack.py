"""A network as a stack of layers that C++ computes in one call, to train or to predict.

Linear layers, sparse and dense; ReLU, leaky ReLU, All-ReLU, SReLU, sigmoid, tanh, the identity, Hoyer's projection and
TopK; dropout, and to predict any noise that there is in training only. Nothing may watch or change what a layer does:
no hooks, no parametrizations, no other `forward`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from torch import Tensor, nn
from torch.nn.modules import module as registries

from gossamer.activation import AllReLU, Hoyer, Sparseout, SReLU, TopK
from gossamer.connectivity import FeatureMajorLinear, SparseLinear, SparseLinearReLU
from gossamer.kernels.projection_reference import FLAT
from gossamer.kernels.stages import Stages
from gossamer.models.mlp import MLP
from gossamer.models.noise import Dropout, GaussianNoise

__all__ = ["HOOKS", "Named", "Refused", "add_layers", "layers_of", "parameters_of"]

Named = tuple[str, nn.Module]

_LARGE = 1 << 17  # connections from which on a dense layer of torch is the faster one
_STACKS = (nn.Sequential, MLP)
_LINEAR = (SparseLinear, SparseLinearReLU, FeatureMajorLinear, nn.Linear)
_CURVES: dict[type[nn.Module], str] = {nn.ReLU: "relu", nn.Sigmoid: "sigmoid", nn.Tanh: "tanh"}
_OTHERS = (*_CURVES, nn.LeakyReLU, nn.Identity, AllReLU, Hoyer, SReLU, TopK, Dropout)
_NOISE = (nn.Dropout, nn.AlphaDropout, GaussianNoise, Sparseout, Dropout)  # which evaluation mode does without
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


class Refused(Exception):  # noqa: N818  (nothing is wrong)
    """No such call applies; the message says why."""


def layers_of(model: nn.Module, *, training: bool = True) -> list[Named]:
    """The layers of ``model`` in the order in which it calls them; `Refused` if it is not such a stack.

    Unless ``training``, layers that do nothing in evaluation mode are left out.
    """
    if any(getattr(registries, f"_global{name}") for name in HOOKS):
        raise Refused("hooks watch all modules")
    noise = () if training else _NOISE
    return [(name, layer) for name, layer in _layers(model, "", noise) if type(layer) not in noise]


def _layers(module: nn.Module, name: str, noise: tuple[type[nn.Module], ...]) -> Iterator[Named]:
    shown = name or "the network"
    if type(module) not in (*_STACKS, *_LINEAR, *_OTHERS, *noise):
        step = "prediction" if noise else "step"
        raise Refused(f"{shown} is a {type(module).__name__}, no layer of those that the compiled {step} computes")
    if any(getattr(module, hooks) for hooks in HOOKS):
        raise Refused(f"a hook watches {shown}")
    if "forward" in vars(module) or module._compiled_call_impl is not None:
        raise Refused(f"{shown} has a forward of its own")
    if not isinstance(module, _STACKS):
        yield shown, module
        return
    # Sequential calls a module as often as it lists it, MLP each one once.
    children = module._modules.items() if isinstance(module, nn.Sequential) else module.named_children()
    for child, layer in children:
        assert layer is not None
        yield from _layers(layer, f"{name}.{child}" if name else child, noise)


def parameters_of(layers: list[Named]) -> list[tuple[str, nn.Parameter]]:
    """All parameters, by the names of their layers; `Refused` if one of them stands for two."""
    found = [(name, p) for name, layer in layers for p in layer._parameters.values() if p is not None]
    if len({id(parameter) for _, parameter in found}) != len(found):
        raise Refused("two layers share a parameter")
    return found


def add_layers(
    step: Stages,
    layers: list[Named],
    number: Callable[[Tensor], int],
    features: int,
    batch_major: bool = True,
    *,
    training: bool = True,
) -> tuple[int, list[int]]:
    """Add ``layers`` that read ``features`` numbers to ``step``.

    ``number`` gives that of a parameter; ``batch_major`` says how a batch lies in memory where PyTorch computes, which
    decides on the order of dropout's bits; without ``training`` there are no gradients. Returns the number of outputs
    and the units of each dropout layer in training. `Refused` if layers don't fit together or one asks for something
    else.
    """
    units, dropped = features, list[int]()
    kept = [(name, layer) for name, layer in layers if not _does_nothing(layer)]
    for i, (name, layer) in enumerate(kept):
        if i and _fuses(kept[i - 1][1], layer):
            continue
        relu = i + 1 < len(kept) and _fuses(layer, kept[i + 1][1])
        if isinstance(layer, SparseLinear | nn.Linear):
            if layer.in_features != units:
                raise Refused(f"{name} reads {layer.in_features} numbers and gets {units}")
            batch_major = type(layer) is nn.Linear or (isinstance(layer, nn.Linear) and (batch_major or units == 1))
            units = layer.out_features
            _add_linear(step, name, layer, number, relu)
        elif isinstance(layer, Dropout):
            if layer.p == 1:
                raise Refused(f"{name} drops everything")
            dropped.append(units)
            step.dropout(units, layer.p, batch_major)
        else:
            _add_activation(step, name, layer, number, units, training)
    return units, dropped


def _does_nothing(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Identity) or (isinstance(layer, Dropout) and (layer.p == 0 or not layer.training))


def _fuses(layer: nn.Module, after: nn.Module) -> bool:
    """Whether ``after`` is a ReLU that a linear ``layer`` can do on its way."""
    return isinstance(layer, SparseLinear | nn.Linear) and type(after) is nn.ReLU


def _add_linear(
    step: Stages, name: str, layer: SparseLinear | nn.Linear, number: Callable[[Tensor], int], relu: bool
) -> None:
    weights = "weight_values" if isinstance(layer, SparseLinear) else "weight"
    if weights not in layer._parameters or hasattr(layer, "parametrizations"):
        raise Refused(f"{name} has parametrized weights")
    bias = -1 if layer.bias is None else number(layer.bias)
    if isinstance(layer, SparseLinear):
        relu = relu or isinstance(layer, SparseLinearReLU)
        step.sparse(layer.pattern.structure, number(layer.weight_values), bias, relu)
    elif layer.weight.numel() > _LARGE:
        raise Refused(f"{name} is dense and large")
    else:
        step.dense(layer.in_features, layer.out_features, number(layer.weight), bias, relu)


def _add_activation(
    step: Stages, name: str, layer: nn.Module, number: Callable[[Tensor], int], units: int, training: bool
) -> None:
    if type(layer) in _CURVES:
        step.curve(units, _CURVES[type(layer)])
    elif isinstance(layer, nn.LeakyReLU):
        step.curve(units, "leaky_relu", layer.negative_slope)
    elif isinstance(layer, AllReLU):
        step.curve(units, "leaky_relu", -layer.alpha if layer.position % 2 else layer.alpha)
    elif isinstance(layer, SReLU):
        if layer.features != units:
            raise Refused(f"{name} has {layer.features} units and gets {units}")
        step.srelu(units, *(number(piece) for piece in (layer.t_l, layer.a_l, layer.t_r, layer.a_r)))
    elif isinstance(layer, TopK):
        if layer.packed or layer.dim not in (-1, 1):
            raise Refused(f"{name} makes packed codes or goes along another dimension")
        if layer.k > units:
            raise Refused(f"{name} keeps {layer.k} units of {units}")
        step.top_k(units, layer.k, layer.signed)
    else:
        assert isinstance(layer, Hoyer)
        _add_hoyer(step, name, layer, units, training)


def _add_hoyer(step: Stages, name: str, layer: Hoyer, units: int, training: bool) -> None:
    if layer.packed or layer.dim not in (-1, 1):
        raise Refused(f"{name} makes packed codes or goes along another dimension")
    if isinstance(layer.sparseness, Tensor):
        raise Refused(f"{name} has a tensor as sparseness")
    if isinstance(layer.norm, str) or not 0 < layer.norm < math.inf or units < 2:
        raise Refused(f"{name} keeps the length of its input")
    root = math.sqrt(units)
    radius = root - layer.sparseness * (root - 1)
    if training and radius * radius > (1 - FLAT) * units:
        raise Refused(f"{name} has so little sparseness that its derivative needs more care")
    step.hoyer(units, radius, layer.norm, layer.signed)
