"""The layers of a network, one by one, as the stages of a compiled training step or prediction."""

from __future__ import annotations

from torch import Tensor

from gossamer.kernels import _cpu
from gossamer.kernels.structure import Structure, csc_permutation, validate

__all__ = ["Stages"]

_CURVES = ("relu", "leaky_relu", "sigmoid", "tanh")


class Stages:
    """Layers in the order of the network; weights, biases and pieces are numbers that stand for parameters.

    Tensors are kept alive here.
    """

    def __init__(self, stages: _cpu.Stages) -> None:
        self._stages = stages
        self._kept: list[Tensor] = []

    def sparse(self, s: Structure, weights: int, bias: int, relu: bool) -> None:
        """Append y = W x + b with W on the pattern ``s``; ``bias`` −1 for none; with ``relu`` max(y, 0)."""
        validate(s)
        permutation = csc_permutation(s, keep=True)
        self._kept += [*s, permutation]
        indptr, indices, t_indptr, t_indices, place = (t.data_ptr() for t in (*s, permutation))
        self._stages.sparse(s.shape[1], s.shape[0], indptr, indices, t_indptr, t_indices, place, weights, bias, relu)

    def dense(self, inputs: int, outputs: int, weights: int, bias: int, relu: bool) -> None:
        """The same with all connections."""
        self._stages.dense(inputs, outputs, weights, bias, relu)

    def curve(self, units: int, name: str, slope: float = 0.0) -> None:
        """``"relu"``, ``"leaky_relu"`` of that ``slope``, ``"sigmoid"`` or ``"tanh"``."""
        self._stages.curve(units, _CURVES.index(name), slope)

    def hoyer(self, units: int, radius: float, norm: float, magnitude: bool) -> None:
        """The projection of each sample to ``radius`` = ‖s‖₁ / ‖s‖₂, times ``norm``."""
        self._stages.hoyer(units, radius, norm, magnitude)

    def top_k(self, units: int, k: int, magnitude: bool) -> None:
        """The ``k`` largest of each sample."""
        self._stages.top_k(units, k, magnitude)

    def srelu(self, units: int, t_l: int, a_l: int, t_r: int, a_r: int) -> None:
        """S-shaped units with these parameters."""
        self._stages.srelu(units, t_l, a_l, t_r, a_r)

    def dropout(self, units: int, p: float, batch_major: bool) -> None:
        """Dropout as in `gossamer.models.noise`, its bits laid out as the activations are in PyTorch."""
        self._stages.dropout(units, round(p * 65536) - 32768, 1 / (1 - p), batch_major)
