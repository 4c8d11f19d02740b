"""The dense equal of a whole network."""

from __future__ import annotations

import copy
from typing import TypeVar

from torch import nn

from gossamer.connectivity.attention import SparseMultiheadAttention
from gossamer.connectivity.gru import SparseGRU
from gossamer.connectivity.layer import SparseLayer
from gossamer.connectivity.linear import SparseLinearReLU
from gossamer.connectivity.lstm import SparseLSTM

__all__ = ["to_dense"]

Model = TypeVar("Model", bound=nn.Module)
Sparse = SparseLayer | SparseLSTM | SparseGRU | SparseMultiheadAttention
SPARSE = (SparseLayer, SparseLSTM, SparseGRU, SparseMultiheadAttention)


def to_dense(model: Model) -> Model:
    """Copy a model with each sparse layer replaced by the dense layer of the same function, for export.

    A `SparseLinear` becomes a `torch.nn.Linear`, a `SparseConv2d` a `torch.nn.Conv2d`, a `SparseLinearReLU` a linear
    layer followed by a `torch.nn.ReLU`, a `SparseLSTM` a `torch.nn.LSTM`, a `SparseGRU` a `torch.nn.GRU`, and a
    `SparseMultiheadAttention` a `torch.nn.MultiheadAttention`; noise on weights (`BridgeoutSparseLinear`,
    ``recurrent_noise``) is left out. A layer that occurs at several places is one layer at all of them. ``model``
    itself is not changed.

    Args:
        model: any module, or a sparse layer itself.

    Returns:
        The copy. Its parameters are not those of ``model``.

    Example:
        >>> net = nn.Sequential(gs.SparseLinear(8, 4, density=0.5), nn.ReLU())
        >>> dense, x = gs.to_dense(net), torch.randn(3, 8)
        >>> type(dense[0]).__name__, torch.allclose(net(x), dense(x), atol=1e-6)
        ('Linear', True)
    """
    twin = copy.deepcopy(model)
    made: dict[nn.Module, nn.Module] = {}
    if isinstance(twin, SPARSE):
        return _dense(twin, made)  # type: ignore[return-value]
    for parent in list(twin.modules()):
        for name, child in list(parent._modules.items()):
            if isinstance(child, SPARSE):
                setattr(parent, name, _dense(child, made))
    return twin


def _dense(layer: Sparse, made: dict[nn.Module, nn.Module]) -> nn.Module:
    if layer not in made:
        dense: nn.Module = layer.to_dense()
        if isinstance(layer, SparseLinearReLU):
            dense = nn.Sequential(dense, nn.ReLU()).train(layer.training)
        made[layer] = dense
    return made[layer]
