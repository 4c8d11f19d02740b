"""A multilayer perceptron with any connectivity and activation, and its dense twin."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gossamer.connectivity import (
    BridgeoutLinear,
    BridgeoutSparseLinear,
    FeatureMajorLinear,
    allocate_densities,
)
from gossamer.connectivity.allocate import Allocation
from gossamer.errors import InputError, check_count, check_fraction
from gossamer.models.drawn_layers import dense_linear, linear
from gossamer.models.noise import Dropout
from gossamer.models.specification import activation_from, weight_noise_from

__all__ = ["MLP"]


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
        weight_noise: noise on the weights of the hidden layers in training, as `weight_noise_from` reads it:
            ``"bridgeout:q=1.5,p=0.3"`` draws a mask for each batch; None for none.
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
        weight_noise: str | None = None,
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
        noise = None if weight_noise is None else weight_noise_from(weight_noise)

        def hidden_layer(inputs: int, outputs: int, share: float | None) -> nn.Module:
            if noise is None:
                return linear(inputs, outputs, share, generator, kind)
            p, q = noise
            if share is not None and share < 1:
                return BridgeoutSparseLinear(inputs, outputs, share, p=p, q=q, generator=generator)
            return dense_linear(inputs, outputs, generator, BridgeoutLinear, p=p, q=q, masks="batch")

        super().__init__()
        for i, ((outputs, inputs), share) in enumerate(zip(shapes, densities, strict=True), start=1):
            self.add_module(f"linear{i}", hidden_layer(inputs, outputs, share))
            self.add_module(f"activation{i}", activation_from(activation, outputs, position=i, generator=generator))
            if dropout:
                self.add_module(f"dropout{i}", Dropout(dropout))
        self.add_module("output", linear(sizes[-1], out_features, output_density, generator, kind))

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
