"""The penalty that Sparseout's noise equals on average, without the noise.

For a generalised linear model with features a, weights W (outputs × features), η = W a + b and the loss
A(η) − ⟨y, η⟩ + const, a Taylor expansion to second order in the noise of ã (`gossamer.noise`) gives

    E[loss(ã)] ≈ loss(a) + R(a, W),     R = ½ p/(1−p) Σ_j C_j |a_j|^q,     C_j = Σ_kl W_kj ∂²A/∂η_k∂η_l W_lj

===============  ==========================  ================================  =========================================
loss             the loss of a sample        A(η)                              C_j
===============  ==========================  ================================  =========================================
``"squared"``    ½ Σ_k (y_k − η_k)²          ½ ‖η‖²                            Σ_k W_kj²
``"logistic"``   Σ_k log(1 + e^η_k) − y_k η_k  Σ_k log(1 + e^η_k)              Σ_k σ(η_k) (1 − σ(η_k)) W_kj²
``"softmax"``    log Σ_k e^η_k − η_y          log Σ_k e^η_k                     Σ_k π_k W_kj² − (Σ_k π_k W_kj)²
``"poisson"``    Σ_k e^η_k − y_k η_k          Σ_k e^η_k                         Σ_k e^η_k W_kj²
===============  ==========================  ================================  =========================================

with the sigmoid σ and π = softmax(η). For ``"squared"`` the equality is exact. Otherwise the neglected terms are of
third order in W_kj |a_j|^{q/2}, and proportional to p for small p, as R is.

References:
    Khan, Stavness, "Sparseout: Controlling Sparsity in Deep Networks", Canadian AI 2019, arXiv 1904.08050.
    Wager, Wang, Liang, "Dropout training as adaptive regularization", NeurIPS 2013 (the expansion, for dropout).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gossamer.errors import InputError, check_choice, check_fraction
from gossamer.noise import check_q

__all__ = ["Loss", "SparseoutPenalty", "sparseout_penalty"]

Loss = Literal["squared", "logistic", "softmax", "poisson"]
Reduction = Literal["mean", "sum", "none"]

_LOSSES = ("squared", "logistic", "softmax", "poisson")
_REDUCTIONS = ("mean", "sum", "none")


def sparseout_penalty(
    a: Tensor,
    weight: Tensor,
    p: float = 0.5,
    q: float = 2.0,
    *,
    bias: Tensor | None = None,
    loss: Loss = "squared",
    reduction: Reduction = "mean",
) -> Tensor:
    """Compute the L_q penalty that Sparseout on the inputs of a linear layer adds to the loss on average.

        R = ½ p/(1−p) Σ_j C_j |a_j|^q,     C_j = Σ_k W_kj² for ``"squared"``; see the module for the other losses

    It is exact for least squares and of second order for the others. At q = 2 it is the penalty of dropout. A zero
    contributes nothing, for q = 0 as well, and gets no gradient. Gradients flow into ``a``, ``weight`` and ``bias``.

    Args:
        a: inputs of the layer (…, features), without noise.
        weight: W (outputs, features).
        p: probability with which an element would be dropped, in [0, 1).
        q: exponent, in [0, ∞).
        bias: b (outputs), which ``"squared"`` does not need (default: zeros).
        loss: the loss of a sample: ``"squared"`` for ½ Σ_k (y_k − η_k)², ``"logistic"`` for binary cross-entropy
            summed over outputs, ``"softmax"`` for the cross-entropy of classes, ``"poisson"``. Where your loss has a
            factor (`torch.nn.functional.mse_loss` averages (y − η)² over outputs: 2 / outputs), multiply R by it.
        reduction: ``"mean"`` or ``"sum"`` over samples, or ``"none"``.

    Returns:
        R: a number, or (…) with ``reduction="none"``.

    Raises:
        InputError: an argument is outside its range, or shapes do not fit.

    Example:
        >>> a, weight = torch.tensor([[1.0, -4.0]]), torch.tensor([[2.0, 1.0]])
        >>> gs.functional.sparseout_penalty(a, weight, p=0.5, q=1.0)  # ½ (2² · 1 + 1² · 4)
        tensor(4.)

    References:
        Khan, Stavness, "Sparseout: Controlling Sparsity in Deep Networks", Canadian AI 2019, arXiv 1904.08050.
    """
    p, q = check_fraction("p", p, open_high=True), check_q(q)
    check_choice("loss", loss, _LOSSES)
    check_choice("reduction", reduction, _REDUCTIONS)
    for name, tensor in (("a", a), ("weight", weight)):
        if not tensor.is_floating_point():
            raise InputError(f"{name} must be floating point, got {tensor.dtype}")
    if weight.dim() != 2 or a.dim() == 0 or a.shape[-1] != weight.shape[1]:
        raise InputError(
            f"a and weight must have shapes (…, features) and (outputs, features), got {tuple(a.shape)} "
            f"and {tuple(weight.shape)}"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise InputError(f"bias must have shape ({weight.shape[0]},), got {tuple(bias.shape)}")
    zero = a == 0
    power = torch.where(zero, 0.0, torch.where(zero, 1.0, a.abs()) ** q)  # |0|^q has no slope at 0, or an infinite one
    each = p / (2 * (1 - p)) * (_curvature(a, weight, bias, loss) * power).sum(-1)
    return each if reduction == "none" else each.sum() if reduction == "sum" else each.mean()


def _curvature(a: Tensor, weight: Tensor, bias: Tensor | None, loss: Loss) -> Tensor:
    """C: (features), or (…, features) where it depends on the sample."""
    squares = weight.square()
    if loss == "squared":
        return squares.sum(0)
    eta = F.linear(a, weight, bias)
    if loss == "logistic":
        return (eta.sigmoid() * (-eta).sigmoid()) @ squares
    if loss == "poisson":
        return eta.exp() @ squares
    chances = eta.softmax(-1)
    centred = weight - (chances @ weight).unsqueeze(-2)  # (…, outputs, features): no difference of large numbers
    return (chances.unsqueeze(-1) * centred.square()).sum(-2)


class SparseoutPenalty(nn.Module):
    """The mean of `sparseout_penalty`, to be added to the loss: Sparseout as a regulariser without noise.

    Args:
        p: probability with which an element would be dropped, in [0, 1).
        q: exponent of the penalty, in [0, ∞).
        loss: the loss of a sample; see `sparseout_penalty`.

    Raises:
        InputError: an argument is outside its range.

    Example:
        >>> body, head = nn.Sequential(nn.Linear(8, 16), nn.ReLU()), nn.Linear(16, 3)
        >>> penalty = gs.SparseoutPenalty(p=0.3, q=1.5, loss="softmax")
        >>> h, y = body(torch.randn(5, 8)), torch.tensor([0, 1, 2, 0, 1])
        >>> loss = nn.functional.cross_entropy(head(h), y) + penalty(h, head.weight, head.bias)
        >>> loss.backward()
    """

    def __init__(self, p: float = 0.5, q: float = 2.0, loss: Loss = "squared") -> None:
        super().__init__()
        self.p, self.q, self.loss = check_fraction("p", p, open_high=True), check_q(q), loss
        check_choice("loss", loss, _LOSSES)

    def forward(self, a: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """Compute the penalty, in evaluation mode as well.

        Args:
            a: inputs of the layer (…, features), without noise.
            weight: its weights (outputs, features).
            bias: its bias (outputs).

        Returns:
            The mean over samples, a number.
        """
        return sparseout_penalty(a, weight, self.p, self.q, bias=bias, loss=self.loss)

    def extra_repr(self) -> str:
        """Show the arguments."""
        return f"p={self.p:g}, q={self.q:g}, loss={self.loss!r}"
