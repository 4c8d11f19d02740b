"""The gradient of the loss by every weight that could exist, connected or not.

With δ = ∂L/∂y of a layer y = W x + b, ∂L/∂W[j, i] = Σ_b δ[b, j] x[b, i] over the samples b of a batch: an outer product
of the layer's input and the gradient of its output, so both are kept and the matrix is made only in blocks of rows. A
convolution is a linear layer whose samples are its positions in the images (see `convolved`).
Weighted by decay^age over the last passes it is a momentum, truncated after ``window`` of them:

    M[j, i] = Σ_{t < window} decayᵗ Σ_b δ_t[b, j] x_t[b, i]        (t = 0 the last pass)

RigL grows where |M| of one pass is largest (Evci et al. 2020, equation 1); sparse momentum where that of many is
(Dettmers & Zettlemoyer 2019).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from gossamer.connectivity import SparseConv2d, SparseLayer, SparseLinearReLU
from gossamer.connectivity.layer_input import layer_input
from gossamer.errors import InputError, check_count, check_fraction
from gossamer.plasticity.convolved import Convolved
from gossamer.plasticity.evidence import PairScores, Statistic
from gossamer.plasticity.layers import bare, uncompiled
from gossamer.plasticity.pairs import Factored, Score

__all__ = ["GradientMemory", "LossGradient"]


@dataclass(frozen=True)
class LossGradient(Statistic):
    """The statistic |M| over the last ``window`` passes, M the gradient or momentum of the module's docstring.

    Attributes:
        window: number of passes, ≥ 1.
        decay: weight of each pass relative to the one after it, in (0, 1].

    Example:
        >>> gs.plasticity.LossGradient(window=8, decay=0.9)
        LossGradient(window=8, decay=0.9)
    """

    window: int = 1
    decay: float = 1.0

    def __post_init__(self) -> None:
        check_count("window", self.window, low=1)
        check_fraction("decay", self.decay, open_low=True)


class GradientMemory:
    """Keeps x and δ of each layer from the last ``window`` training passes, by hooks; batches are not copied."""

    def __init__(self, net: nn.Module, layers: Mapping[str, SparseLayer], window: int) -> None:
        self.inner, self.layers, self.window = bare(net), layers, window
        self.passes = 0
        self.kept: dict[str, deque[tuple[int, Tensor, Tensor]]] = {name: deque() for name in layers}
        self.handles: list[RemovableHandle] = [net.register_forward_pre_hook(self._begin)]
        for name, layer in layers.items():
            self.handles.append(layer.register_forward_hook(partial(self._watch, name), with_kwargs=True))

    @uncompiled
    def _begin(self, net: nn.Module, args: Any) -> None:
        self.passes += self.inner.training and torch.is_grad_enabled()

    @uncompiled
    def _watch(self, name: str, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], y: Tensor) -> None:
        if layer.training and y.requires_grad:
            active = y > 0 if isinstance(layer, SparseLinearReLU) else None  # where its ReLU lets the gradient through
            y.register_hook(partial(self._keep, name, self.passes, layer_input(args, kwargs).detach(), active))

    def _keep(self, name: str, number: int, x: Tensor, active: Tensor | None, delta: Tensor) -> None:
        kept = self.kept[name]
        kept.append((number, x, delta.detach() if active is None else delta.detach() * active))
        while kept[0][0] <= self.passes - self.window:
            kept.popleft()

    def measure(
        self, layers: Iterable[str], wanted: LossGradient, group: dist.ProcessGroup | None = None
    ) -> dict[str, PairScores]:
        """Return |M| of these layers, summed over ranks."""
        out: dict[str, PairScores] = {}
        for name in layers:
            recent = [entry for entry in self.kept[name] if entry[0] > self.passes - wanted.window]
            if not recent:
                raise InputError(f"layer {name!r} has no gradient yet: train a batch between two steps")
            if not all(bool(x.isfinite().all() and delta.isfinite().all()) for _, x, delta in recent):
                raise InputError(f"inputs and gradients of layer {name!r} must be finite numbers")
            weighted = [(wanted.decay ** (self.passes - number), delta, x) for number, x, delta in recent]
            layer = self.layers[name]
            if isinstance(layer, SparseConv2d):
                terms = tuple((weight, _images(delta), _images(x)) for weight, delta, x in weighted)
                out[name] = Convolved(layer, terms, Score(), group)
            else:
                dtype = torch.promote_types(recent[0][2].dtype, torch.float32)
                delta = torch.cat([_rows(delta) * weight for weight, delta, _ in weighted]).t().to(dtype)
                x = torch.cat([_rows(x) for _, _, x in weighted]).t().to(dtype)
                out[name] = Factored(delta.contiguous(), x.contiguous(), Score(), group)
        return out

    def forget(self) -> None:
        """Forget all passes: they belong to past weights."""
        for kept in self.kept.values():
            kept.clear()

    def remove(self) -> None:
        """Remove the hooks."""
        for handle in self.handles:
            handle.remove()

    def state(self) -> dict[str, Any]:
        """Return the state, as numbers and tensors."""
        return {"passes": self.passes, "kept": {name: list(kept) for name, kept in self.kept.items()}}

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore the result of `state`."""
        self.passes = int(state["passes"])
        self.kept = {name: deque(tuple(entry) for entry in state["kept"].get(name, ())) for name in self.kept}


def _rows(x: Tensor) -> Tensor:
    return x.reshape(-1, x.shape[-1])


def _images(x: Tensor) -> Tensor:
    return x[None] if x.dim() == 3 else x
