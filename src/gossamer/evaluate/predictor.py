"""Prediction in one C++ call for networks that are a stack of layers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as registries

from gossamer.connectivity import SparseLinear
from gossamer.evaluate.mode import evaluating
from gossamer.kernels import is_plain
from gossamer.kernels.prediction import Prediction
from gossamer.models.stack import HOOKS, Refused, add_layers, layers_of

__all__ = ["Predictor"]


class Predictor(nn.Module):
    """A network in evaluation mode, computed without gradients and in one C++ call where that is possible.

    Between the layers of a small network, Python takes longer than the layers themselves. A predictor calls C++ once
    for all of them if the network is a stack (`torch.nn.Sequential`, `gossamer.models.MLP`) of linear layers, some of
    them sparse; ReLU, leaky ReLU, All-ReLU, SReLU, sigmoid, tanh, the identity, Hoyer's projection and TopK; and noise
    that evaluation mode does without, such as dropout; on the CPU in float32 or float64. Outputs are those of the
    network up to rounding. Parameters are read at each call, and other changes of the network (another pattern, layer,
    argument or hook) are noticed, so nothing has to be made anew after training or rewiring.

    Everything else is computed by the network itself, in evaluation mode: large dense layers, other layers, hooks,
    parametrizations, autocast, transforms, tensor subclasses and devices. ``fallback`` gives the reason. Modes of
    modules are restored afterwards.

    Args:
        network: the network.

    Attributes:
        network: the network.
        fallback: why the network itself computed the latest call; None if the C++ call did, or before the first.

    Example:
        >>> net = nn.Sequential(gs.SparseLinear(64, 100, density=0.1), nn.ReLU(), nn.Dropout(0.5), nn.Linear(100, 10))
        >>> predict = gs.Predictor(net)
        >>> x = torch.rand(1, 64)
        >>> torch.testing.assert_close(predict(x), net.eval()(x).detach())
        >>> predict.fallback is None
        True
    """

    network: nn.Module

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.fallback: str | None = None
        self._prediction: Prediction | None = None

    def forward(self, x: Any) -> Tensor:
        """Compute the outputs; they carry no gradient.

        Args:
            x: (batch, features), or whatever else the network takes.

        Returns:
            The outputs (batch, outputs).
        """
        if not _is_ordinary(x):
            return self._by_network(x, "the input is no ordinary tensor, or autocast, a transform or a compiler is on")
        outputs = None if self._prediction is None else self._prediction(x)
        if outputs is None:
            try:
                self._prediction = _prediction(self.network)
                outputs = self._prediction(x)
            except Refused as reason:
                self._prediction = None
                return self._by_network(x, str(reason))
        if not isinstance(outputs, Tensor):
            return self._by_network(x, f"the input is {x.dtype} on {x.device} of shape {tuple(x.shape)}")
        if self.fallback is not None:
            self.fallback = None
        return outputs

    def _by_network(self, x: Any, reason: str) -> Tensor:
        if self.fallback != reason:
            self.fallback = reason
        with evaluating(self.network):
            return self.network(x)  # type: ignore[no-any-return]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_prediction": None}


def _is_ordinary(x: Any) -> bool:
    return isinstance(x, Tensor) and is_plain(x) and not torch.is_autocast_enabled("cpu") and not x.is_neg()


def _prediction(network: nn.Module) -> Prediction:
    if not hasattr(Tensor, "__dlpack_c_exchange_api__"):
        raise Refused("PyTorch before 2.10 has no C interface to tensors")
    layers = layers_of(network, training=False)
    if not any(isinstance(layer, SparseLinear) for _, layer in layers):
        raise Refused("no layer is sparse")
    parameters = {id(p): (name, p) for name, layer in layers for p in layer._parameters.values() if p is not None}
    linear = next(layer for _, layer in layers if isinstance(layer, SparseLinear | nn.Linear))
    dtype = next(iter(linear.parameters())).dtype
    if dtype not in (torch.float32, torch.float64):
        raise Refused(f"the parameters are {dtype}")
    prediction, numbers = Prediction(dtype), dict[int, int]()
    for key, (name, p) in parameters.items():
        if type(p) is not nn.Parameter or not is_plain(p) or p.is_neg():
            raise Refused(f"{name} has other parameters than ordinary ones")
        if not p.is_cpu or p.dtype != dtype or not p.is_contiguous():
            raise Refused(f"{name} has {p.dtype} on {p.device}, another layer {dtype}")
        numbers[key] = prediction.parameter(p)
    add_layers(prediction, layers, lambda p: numbers[id(p)], linear.in_features, training=False)
    for module in network.modules():
        prediction.watch(vars(module), module)
    for name in HOOKS:
        prediction.watch(getattr(registries, f"_global{name}"))
    return prediction
