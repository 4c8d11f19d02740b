"""The Hebbian and anti-Hebbian cost: it makes the most active channels more active and the others less.

At each image and location let a_(1) ≥ … ≥ a_(C) be the activations ReLU(u) of a layer's C channels in falling order,
and K = ⌈ρ C⌉. Then

    ℓ = (1/K) Σ_{j ≤ K} a_(j)  −  λ (1/(C − K)) Σ_{j > K} a_(j)            the second term is 0 if K = C
    L = mean of ℓ over images and locations,

which is to be *maximised*. The gradient pulls the filters of the winners towards their inputs (Hebb's rule) and pushes
those of the others away from it: +1/K on a winner, −λ/(C − K) on another, 0 where u < 0. L grows with the scale of u,
so it is meant for layers whose output does not grow with their weights, such as `NormalizedConv2d` in
`gossamer.connectivity.normalized`.

A network is trained on

    loss = E − Σ_k α_k L_k        E: the loss of the task, such as cross-entropy.

With *local* gradients, L_k trains the weights of layer k and no layer before it; they get ∂(E − α_k L_k)/∂w_k. With
*joint* gradients, the gradient of the loss as it stands, a layer also serves the costs of all that follow.

References:
    Cekic, Bakiskan, Madhow, "Neuro-inspired deep neural networks with sparse, strong activations", ICIP 2022, arXiv
    2202.13074; local gradients as in the authors' released code, which clears gradients between the backward passes of
    one layer after another.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from gossamer.errors import InputError, check_choice, check_fraction
from gossamer.kernels import winners_cost

__all__ = ["HebbianLoss", "Reduction", "hebbian_cost"]

Reduction = Literal["mean", "sum", "none"]


def hebbian_cost(
    u: Tensor, winners: float = 0.1, anti: float = 0.1, reduction: Reduction = "mean", dim: int = 1
) -> Tensor:
    """Compute the Hebbian and anti-Hebbian cost of a layer, which is to be maximised.

        ℓ = (1/K) Σ_{j ≤ K} a_(j) − λ (1/(C − K)) Σ_{j > K} a_(j),   a = ReLU(u) in falling order,   K = ⌈ρ C⌉

    Of equal candidates any may win. NaN gives NaN.

    Args:
        u: signed outputs of a layer, floating point, any shape, not empty, such as (N, C, H, W).
        winners: ρ in (0, 1], the share of the channels that win.
        anti: λ ≥ 0, the weight of the others.
        reduction: ``"mean"`` or ``"sum"`` over all dimensions but ``dim``, or ``"none"``.
        dim: the dimension of the channels.

    Returns:
        L, a scalar; with ``reduction="none"`` ℓ, in the shape of ``u`` without ``dim``. float16 and bfloat16 give
        float32.

    Raises:
        InputError: ``u`` is empty or not floating point, or an argument is outside its range.

    Example:
        >>> u = torch.tensor([[3.0, 1.0, -2.0, 0.0]])
        >>> gs.functional.hebbian_cost(u, winners=0.25, anti=0.3)
        tensor(2.9000)

    References:
        Cekic, Bakiskan, Madhow, "Neuro-inspired deep neural networks with sparse, strong activations", ICIP 2022, arXiv
        2202.13074.
    """
    check_choice("reduction", reduction, ("mean", "sum", "none"))
    winners, anti = _checked(winners, anti)
    if not u.is_floating_point() or not -u.dim() <= dim < u.dim() or not u.numel():
        raise InputError(
            f"u must be floating point with channels in dim {dim}, and not empty, got {u.dtype} of {tuple(u.shape)}"
        )
    wide = u if u.dtype == torch.float64 else u.float()
    channels = u.shape[dim]
    k = max(1, math.ceil(winners * channels - 1e-9))  # K; 0.07 · 100 is more than 7 in floating point
    share = anti / (channels - k) if k < channels else 0.0
    cost = winners_cost(wide, dim, k, share)
    return cost if reduction == "none" else cost.mean() if reduction == "mean" else cost.sum()


def _checked(winners: float, anti: float) -> tuple[float, float]:
    anti = check_fraction("anti", anti, high=math.inf, open_high=True)
    return check_fraction("winners", winners, open_low=True), anti


class HebbianLoss:
    """The Hebbian loss −Σ α_k L_k of some layers of a network, to be added to the loss of the task.

    A call uses the outputs of the layers in the last forward pass in training mode; it comes before ``backward``. Local
    gradients reach optimizers, gradient clipping and DDP by one ordinary backward pass. Those of a layer with
    ``gives_twin``, such as `NormalizedConv2d`, are computed there, together with those of the task; those of another
    layer are computed in the call, and have no second derivative.

    Args:
        layers: different modules, each of which returns one tensor, u_k.
        alpha: α ≥ 0, one for all layers or one for each.
        winners: ρ in (0, 1], the share of the channels that win.
        anti: λ ≥ 0, the weight of the others.
        gradient: ``"local"``: L_k reaches the parameters of layer k alone; ``"joint"``: also those of all layers before
            it.
        dim: the dimension of the channels.

    Attributes:
        costs: L_k (layers) of the last call, None before the first.

    Raises:
        InputError: there are no layers or one twice, or an argument is outside its range.

    Example:
        >>> net = nn.Sequential(gs.NormalizedConv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 6 * 6, 10))
        >>> hebbian = gs.HebbianLoss([net[0]], alpha=0.01)
        >>> x, y = torch.randn(4, 1, 8, 8), torch.tensor([0, 1, 2, 3])
        >>> (nn.functional.cross_entropy(net(x), y) + hebbian()).backward()
        >>> hebbian.costs.shape
        torch.Size([1])
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
        for layer in self.layers:
            if self.gradient == "local" and hasattr(layer, "gives_twin"):
                layer.gives_twin = True  # type: ignore[assignment]
        self._handles = [layer.register_forward_hook(partial(self._note, k)) for k, layer in enumerate(self.layers)]

    def _note(self, k: int, layer: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        if layer.training and torch.is_grad_enabled():
            self._outputs[k] = output

    def __call__(self) -> Tensor:
        """Return −Σ α_k L_k for the last forward pass, a scalar.

        Raises:
            InputError: a layer has not run in training mode, with gradients, since the last call.
        """
        outputs, self._outputs = self._outputs, {}
        if len(outputs) < len(self.layers):
            missing = next(k for k in range(len(self.layers)) if k not in outputs)
            raise InputError(
                f"layers must all have run in training mode, with gradients, since the last call; layer {missing}, "
                f"{self.layers[missing]}, has not"
            )
        twins = [
            getattr(outputs[k], "twin", None) if self.gradient == "local" else None for k in range(len(self.layers))
        ]
        us = [outputs[k] if twin is None else twin for k, twin in enumerate(twins)]
        costs = [hebbian_cost(u, self.winners, self.anti, dim=self.dim) for u in us]
        self.costs = torch.stack([cost.detach() for cost in costs])
        terms = [-alpha * cost for alpha, cost in zip(self.alphas, costs, strict=True)]
        if self.gradient == "local":
            terms = [
                _local(term, layer) if twin is None else term
                for term, layer, twin in zip(terms, self.layers, twins, strict=True)
            ]
        return torch.stack(terms).sum()

    def remove(self) -> None:
        """Remove the hooks from the layers and release their outputs."""
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
