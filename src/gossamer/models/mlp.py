"""A multilayer perceptron with any connectivity and activation, and its dense twin."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gossamer.activation import AllReLU, Hoyer, SReLU, TopK
from gossamer.connectivity import FeatureMajorLinear, SparseLinear, allocate_densities
from gossamer.connectivity.allocate import Allocation
from gossamer.errors import InputError, check_count, check_fraction
from gossamer.models.noise import Dropout

__all__ = ["MLP", "activation_from"]

_SPECS = (
    '"relu", "hoyer:0.8" (sparseness in (0, 1)), "topk:100" (active units), "srelu", "allrelu:0.6" (slope), "sigmoid" '
    'or "none"'
)
_PLAIN: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "none": nn.Identity}


def activation_from(
    spec: str, units: int | None = None, *, position: int = 1, generator: torch.Generator | None = None
) -> nn.Module:
    """Make the activation module that a string names, for a layer of ``units``.

    ``"relu"``       max(x, 0)
    ``"hoyer:σ"``    projection of each sample onto the non-negative vectors of Hoyer's sparseness σ and length
                     √(units / 6) (1 if units are not given)
    ``"topk:k"``     the k largest units of each sample, the others 0
    ``"srelu"``      `SReLU`, S-shaped, with four learned numbers for each unit, drawn by ``generator``
    ``"allrelu:α"``  `AllReLU`, of the slope that belongs to the hidden layer number ``position``
    ``"sigmoid"``    1 / (1 + exp(−x))
    ``"none"``       the identity

    The length √(units / 6) is that of a ReLU layer at the start of training on inputs of unit variance, whose units
    have variance 1/3 (weights are uniform on ±1/√fan-in) and half of that as mean square. Length 1, as in Thom & Palm
    (2013), leaves the logits of wide layers so small that training with usual learning rates is slow.

    Args:
        spec: one of the strings above.
        units: number of units of the layer (default: any number).
        position: number of the hidden layer, 1, 2, ….
        generator: source of the parameters of SReLU (default: torch's own).

    Returns:
        The module, from (batch, units) to (batch, units).

    Raises:
        InputError: ``spec`` is none of the strings above, or its number is outside its range.

    Example:
        >>> gs.models.activation_from("topk:3", units=10)
        TopK(k=3, dim=-1, signed=False, packed=False)
    """
    name, colon, argument = str(spec).strip().lower().partition(":")
    if not colon and name in _PLAIN:
        return _PLAIN[name]()
    if not colon and name == "srelu":
        return SReLU(units or 1, generator=generator)
    try:
        if name == "hoyer":
            if units is not None and units < 2:
                raise InputError(f"hidden layers must have at least 2 units, got {units}")
            return Hoyer(float(argument), norm=1.0 if units is None else math.sqrt(units / 6))
        if name == "topk":
            return TopK(check_count("k", int(argument), low=1, high=units))
        if name == "allrelu":
            return AllReLU(float(argument), position)
    except InputError as error:
        raise InputError(f"activation {spec!r}: {error}") from None
    except ValueError:  # not a number after the colon
        pass
    raise InputError(f"activation must be {_SPECS}, got {spec!r}")


class MLP(nn.Module):
    """A multilayer perceptron with sparse or dense connections, in_features → hidden → out_features.

        x ↦ W_L f(… f(W₁ x + b₁) …) + b_L,   without an activation function at the end

    The layers are named ``linear1``, ``activation1``, …, ``output``, the same in a network and in its dense twin.
    Weights start uniform on ±1/√fan-in, counting the connections that exist.

    Args:
        in_features: number of inputs, ≥ 1.
        hidden: units of each hidden layer; may be empty.
        out_features: number of outputs, ≥ 1.
        density: fraction of the connections of all hidden layers together, in (0, 1]; None makes every layer an
            `nn.Linear`: the dense twin.
        output_density: fraction of the connections of the output layer, in (0, 1]; None leaves it dense, as in SET
            (Mocanu et al. 2018), since it is small and each of its connections matters.
        allocate: how the hidden layers share their connections; see `gossamer.allocate_densities`. A layer whose share
            is all of its connections is dense.
        activation: f, as `activation_from` reads it.
        dropout: probability of zeroing a hidden unit during training, in [0, 1).
        generator: source of patterns and weights (default: torch's own).

    Raises:
        InputError: an argument is outside its range.

    Example:
        >>> net = gs.models.MLP(784, (300, 100), 10, density=0.05, activation="hoyer:0.7")
        >>> net.linear1
        SparseLinear(in_features=784, out_features=300, density=0.05, nnz=11760, bias=True)
        >>> net(torch.rand(32, 784)).shape
        torch.Size([32, 10])
    """

    def __init__(
        self,
        in_features: int,
        hidden: Sequence[int],
        out_features: int,
        *,
        density: float | None,
        output_density: float | None = None,
        allocate: Allocation = "uniform",
        activation: str = "relu",
        dropout: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> None:
        check_count("in_features", in_features, low=1)
        check_count("out_features", out_features, low=1)
        for units in hidden:
            check_count("hidden", units, low=1)
        check_fraction("dropout", dropout, open_high=True)
        if output_density is not None:
            check_fraction("output_density", output_density, open_low=True)
        if density is None and output_density is not None:
            raise InputError(f"output_density must be None in a network without density, got {output_density!r}")
        sizes = [in_features, *hidden]
        shapes = list(zip(sizes[1:], sizes[:-1], strict=True))  # (out, in), as weights have it
        densities: Sequence[float | None] = [None] * len(shapes)
        if density is not None:
            densities = allocate_densities(shapes, density, allocate)  # checks them
        kind = nn.Linear if density is None else FeatureMajorLinear

        def layer(inputs: int, outputs: int, share: float | None) -> nn.Module:
            if share is not None and share < 1:
                return SparseLinear(inputs, outputs, share, generator=generator)
            return _dense(kind, inputs, outputs, generator)

        super().__init__()
        for i, ((outputs, inputs), share) in enumerate(zip(shapes, densities, strict=True), start=1):
            self.add_module(f"linear{i}", layer(inputs, outputs, share))
            self.add_module(f"activation{i}", activation_from(activation, outputs, position=i, generator=generator))
            if dropout:
                self.add_module(f"dropout{i}", Dropout(dropout))
        self.add_module("output", layer(sizes[-1], out_features, output_density))

    def forward(self, x: Tensor) -> Tensor:
        """Compute the outputs.

        Args:
            x: (batch, in_features).

        Returns:
            The outputs (batch, out_features), logits for a classifier.
        """
        for layer in self.children():
            x = layer(x)
        return x


def _dense(kind: type[nn.Linear], inputs: int, outputs: int, generator: torch.Generator | None) -> nn.Linear:
    layer: nn.Linear = nn.utils.skip_init(kind, inputs, outputs)
    bound = 1 / math.sqrt(inputs)
    for parameter in layer.parameters():
        nn.init.uniform_(parameter, -bound, bound, generator)
    return layer
