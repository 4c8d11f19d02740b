"""The Hebbian and anti-Hebbian cost: the most active channels become more active, the others less.

At each image and location let a_(1) ≥ … ≥ a_(C) be the activations ReLU(u) of a layer's C channels in falling order,
and K = ⌈ρ C⌉. Then

    ℓ = (1/K) Σ_{j ≤ K} a_(j)  −  λ (1/(C − K)) Σ_{j > K} a_(j)            the second term is 0 if K = C
    L = mean of ℓ over images and locations,

which is to be *maximised*. The gradient pulls the filters of the winners towards what they see (Hebb's rule) and pushes
those of the others away from it: +1/K on a winner, −λ/(C − K) on another, 0 where u < 0. L grows with the scale of u,
so it is meant for layers whose output doesn't grow with their weights, such as `NormalizedConv2d` in
`gossamer.connectivity.normalized`.

A network is trained on

    loss = E − Σ_k α_k L_k        E: what the outputs are to do, such as cross-entropy.

*Local* gradients: L_k teaches the weights of layer k and nothing before it; they get ∂(E − α_k L_k)/∂w_k. *Joint*: the
gradient of the loss as it stands, in which a layer also serves the costs of all that follow.

Source: Cekic, Bakiskan, Madhow, "Neuro-inspired deep neural networks with sparse, strong activations", ICIP 2022, arXiv
2202.13074; local gradients as in the authors' released code, which makes them by clearing gradients between backward
passes of one layer after another.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from gossamer.errors import InputError, check_choice, check_fraction

__all__ = ["HebbianLoss", "Reduction", "hebbian_cost"]

Reduction = Literal["mean", "sum", "none"]


def hebbian_cost(
    u: Tensor, winners: float = 0.1, anti: float = 0.1, reduction: Reduction = "mean", dim: int = 1
) -> Tensor:
    """L of this page, a number; with ``reduction="sum"`` the sum of ℓ, with ``"none"`` ℓ itself.

    Args:
        u: floating point, any shape, not empty: a layer's signed outputs, such as (N, C, H, W).
        winners: ρ in (0, 1], the share of the channels that win.
        anti: λ ≥ 0, the weight of the others.
        reduction: over all but ``dim``.
        dim: the channels.

    Of equal candidates any may win. float16 and bfloat16 are computed in float32, and so is the result. NaN gives NaN.
    """
    check_choice("reduction", reduction, ("mean", "sum", "none"))
    winners, anti = _checked(winners, anti)
    if not u.is_floating_point() or not -u.dim() <= dim < u.dim() or not u.numel():
        raise InputError(
            f"u must be floating point with channels in dim {dim}, and not empty, got {u.dtype} of {tuple(u.shape)}"
        )
    a = (u if u.dtype == torch.float64 else u.float()).relu()
    channels = a.shape[dim]
    k = max(1, math.ceil(winners * channels - 1e-9))  # K; 0.07 · 100 is more than 7 in floating point
    share = anti / (channels - k) if k < channels else 0.0
    top = a.topk(k, dim, sorted=False).values.sum(dim)
    cost = (1 / k + share) * top - share * a.sum(dim)
    return cost if reduction == "none" else cost.mean() if reduction == "mean" else cost.sum()


def _checked(winners: float, anti: float) -> tuple[float, float]:
    anti = check_fraction("anti", anti, high=math.inf, open_high=True)
    return check_fraction("winners", winners, open_low=True), anti


class HebbianLoss:
    """−Σ α_k L_k of some layers of a network, to be added to what else it is trained on.

        hebbian = HebbianLoss(net.hebbian_layers, alpha=0.01)
        for x, y in loader:
            optimizer.zero_grad()
            (F.cross_entropy(net(x), y) + hebbian()).backward()
            optimizer.step()

    Args:
        layers: different modules, each of which gives one tensor, u_k.
        alpha: α ≥ 0, one for all layers or one for each.
        winners, anti, dim: ρ, λ and the channels, as in `hebbian_cost`.
        gradient: ``"local"`` reaches the parameters of layer k from L_k alone, and only they are reached by L_k;
            ``"joint"`` also whatever led to the input of the layer.

    A call takes what the layers gave in the last forward pass in training mode; it comes before ``backward``. Local
    gradients are computed in the call and handed on by one ordinary backward pass, to optimizers, gradient clipping and
    DDP; they have no second derivative. ``costs`` has L_k (layers) of the last call. `remove` detaches from the layers.
    """

    def __init__(
        self,
        layers: Iterable[nn.Module],
        alpha: float | Sequence[float],
        *,
        winners: float = 0.1,
        anti: float = 0.1,
        gradient: Literal["local", "joint"] = "local",
        dim: int = 1,
    ) -> None:
        self.layers = list(layers)
        alphas = list(alpha) if isinstance(alpha, Sequence) else [alpha] * len(self.layers)
        if not self.layers or len(set(self.layers)) < len(self.layers):
            raise InputError(f"layers must be different modules, at least one, got {len(self.layers)} in all")
        if len(alphas) != len(self.layers):
            raise InputError(f"alpha must be one number or one for each of {len(self.layers)} layers, got {alpha!r}")
        self.alphas = [check_fraction("alpha", value, high=math.inf, open_high=True) for value in alphas]
        self.winners, self.anti = _checked(winners, anti)
        self.gradient, self.dim = check_choice("gradient", gradient, ("local", "joint")), dim
        self.costs: Tensor | None = None
        self._outputs: dict[int, Tensor] = {}
        self._handles = [layer.register_forward_hook(partial(self._note, k)) for k, layer in enumerate(self.layers)]

    def _note(self, k: int, layer: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        if layer.training and torch.is_grad_enabled():
            self._outputs[k] = output

    def __call__(self) -> Tensor:
        outputs, self._outputs = self._outputs, {}
        if len(outputs) < len(self.layers):
            missing = next(k for k in range(len(self.layers)) if k not in outputs)
            raise InputError(
                f"layers must all have run in training mode, with gradients, since the last call; layer {missing}, "
                f"{self.layers[missing]}, has not"
            )
        costs = [hebbian_cost(outputs[k], self.winners, self.anti, dim=self.dim) for k in range(len(self.layers))]
        self.costs = torch.stack([cost.detach() for cost in costs])
        terms = [-alpha * cost for alpha, cost in zip(self.alphas, costs, strict=True)]
        if self.gradient == "local":
            terms = [_local(term, layer) for term, layer in zip(terms, self.layers, strict=True)]
        return torch.stack(terms).sum()

    def remove(self) -> None:
        """Detach from the layers and let go of their outputs."""
        for handle in self._handles:
            handle.remove()
        self._outputs = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_outputs": {}}  # a copy or a pickle has nothing of the last forward pass


def _local(term: Tensor, layer: nn.Module) -> Tensor:
    """``term``, but with a gradient that reaches the layer's own parameters and nothing else.

    It is replaced by its tangent: a function that is linear in these parameters, with the same value and gradient.
    """
    own = [parameter for parameter in layer.parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad(term, own, retain_graph=True) if own else ()
    return term.detach() + sum(((p - p.detach()) * g).sum() for p, g in zip(own, gradients, strict=True))
