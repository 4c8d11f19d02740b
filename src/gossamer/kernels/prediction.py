"""The outputs of a network for a batch in one C++ call, for which nothing is kept that a backward pass would need."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from gossamer.kernels import _cpu
from gossamer.kernels.spspmm import COSTS
from gossamer.kernels.stages import Stages
from gossamer.kernels.structure import Structure

__all__ = ["Prediction"]


class Prediction(Stages):
    """The layers of a network, ready to predict.

    Parameters are read where they are at the time of a call: plain contiguous tensors on the CPU of ``dtype``, float32
    or float64. Layers are added as they are in evaluation mode.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        self._prediction = (_cpu.Prediction32 if dtype == torch.float32 else _cpu.Prediction64)()
        self._prediction.costs(*COSTS)
        super().__init__(self._prediction)

    def parameter(self, tensor: Tensor) -> int:
        """The number that stands for a parameter."""
        return self._prediction.parameter(tensor)

    def sparse(self, s: Structure, weights: int, bias: int, relu: bool) -> None:
        """Append y = W x + b with W on the pattern ``s``; ``bias`` −1 for none; with ``relu`` max(y, 0)."""
        super().sparse(s, weights, bias, relu)
        if not self._prediction.pattern(*s):
            raise ValueError("changes of the pattern can't be seen")

    def watch(self, dictionary: dict[str, Any], owner: object = None) -> None:
        """Give no outputs once an entry of ``dictionary``, or of one in it, or the type of ``owner`` has changed."""
        self._prediction.watch(dictionary, owner)

    def __call__(self, x: Tensor) -> Tensor | Literal[False] | None:
        """The outputs (batch, outputs) for ``x`` (batch, inputs), or the reason why there are none.

        None: the network has changed, and the layers have to be made anew. False: ``x`` is no ordinary
        matrix of their dtype.
        """
        return self._prediction(x, torch.get_num_threads())
