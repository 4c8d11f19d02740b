"""The supervised online auto-encoder (SOAE): one matrix encodes and decodes, and a small one classifies codes.

A sample x of d inputs, weights W (n × d, each row the filter of one hidden unit), V (classes × n) and θ (classes):

    u = W x,   h = f(u)              the code, f is the activation function
    x̃ = Wᵀ h                         the reconstruction, by the same weights
    y = softmax(V h + θ)             the classes

The cost of a sample mixes the errors of reconstruction and classification,

    E = (1 − α) E_R + α E_C,   E_R = 1 − ρ(x̃, x),   E_C = −log y_target,

where ρ is Pearson's correlation: invariant to the scale and the offset of x̃, which codes of fixed length cannot
represent. With g_r = dE/dx̃ and g_u = dE/du, the weights receive two terms, one as decoder and one as encoder:

    dE/dW = h g_rᵀ + g_u xᵀ.

*Sparse activations*: f projects u onto codes of a given sparseness (`Hoyer`), or keeps the k largest units (`TopK`).
*Sparse connectivity*: after a step of gradient descent each row of W is projected to a given sparseness and length 1.

Sparse activations save computation. Training n = 1000 units on d = 784 inputs takes five products of the size
batch × n × d: both directions forward, one backward, two for dE/dW. With a tenth of the units active, one of them stays
dense, u = W x; the other four touch active units only.

References:
    Thom, Palm, "Sparse Activity and Sparse Connectivity in Supervised Learning", JMLR 14 (2013) 1091-1143: the
    activation function, sparse connectivity by projection, and training end to end. Tied weights, the form of the cost,
    the schedule of α and the start from samples are as remembered, not checked against the article. Defaults are ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gossamer.activation import Hoyer, TopK
from gossamer.connectivity import constraints
from gossamer.errors import InputError, check_count, check_fraction
from gossamer.kernels import eager_in_cpp
from gossamer.models.specification import activation_from
from gossamer.models.tied_pass import tied_pass

__all__ = ["SupervisedAutoencoder", "correlation_cost", "exponential_schedule"]

Schedule = Callable[[float], float]
"""A function of the number ν ≥ 0 of completed epochs to α in [0, 1]."""


class Rows(Protocol):
    """Samples of which some are chosen: a tensor, or sparse rows."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __getitem__(self, rows: Tensor, /) -> Tensor: ...


_SILENT = (Hoyer, TopK, nn.ReLU)
"""Activations whose derivative is zero where they are zero. (A unit that `TopK` keeps with value 0 counts as such.)"""


def exponential_schedule(epochs: float = 100.0) -> Schedule:
    """Make the schedule α(ν) = 1 − exp(−ν / epochs), from reconstruction alone towards classification alone.

    Args:
        epochs: time constant, > 0.

    Returns:
        A function of the number ν ≥ 0 of completed epochs to α in [0, 1].

    Raises:
        InputError: ``epochs`` is not positive and finite.

    Example:
        >>> alpha = gs.models.exponential_schedule(100)
        >>> round(alpha(10), 3), round(alpha(100), 3)
        (0.095, 0.632)
    """
    return partial(_exponential, check_fraction("epochs", epochs, high=math.inf, open_low=True, open_high=True))


def _exponential(constant: float, epoch: float) -> float:
    return -math.expm1(-epoch / constant)


def correlation_cost(reconstruction: Tensor, x: Tensor) -> Tensor:
    """Compute E_R = 1 − ρ for each row, with ρ Pearson's correlation of the row and its reconstruction.

        ρ = ⟨a, x̂⟩ / (‖a‖ ‖x̂‖),   a and x̂ the rows less their means

    Where a row of either is constant, ρ is 0/0: its cost and its gradient are 0.

    Args:
        reconstruction: (batch, features).
        x: (batch, features).

    Returns:
        The costs (batch), in [0, 2].

    Example:
        >>> x = torch.tensor([[1.0, 2.0, 4.0], [1.0, 0.0, -1.0]])
        >>> cost = gs.models.correlation_cost(x * torch.tensor([[3.0], [-1.0]]), x)
        >>> torch.allclose(cost, torch.tensor([0.0, 2.0]), atol=1e-6)
        True
    """
    a = reconstruction - reconstruction.mean(1, keepdim=True)
    target = x - x.mean(1, keepdim=True)
    lengths = a.square().sum(1) * target.square().sum(1)
    defined = lengths > 0
    rho = (a * target).sum(1) * torch.where(defined, lengths, 1.0).rsqrt()
    return torch.where(defined, 1 - rho, 0.0)


class SupervisedAutoencoder(nn.Module):
    """A classifier by way of sparse codes, which learn to reconstruct the inputs too.

        u = W x,   h = f(u),   x̃ = Wᵀ h,   logits = V h + θ

    An optimizer's step may leave the set that ``connectivity`` names: call `project_` after it.

    Args:
        in_features: number of inputs d, ≥ 2.
        hidden: number of hidden units n, ≥ 2.
        classes: ≥ 2.
        activation: f: a string that `activation_from` reads (``"hoyer:0.8"`` for codes of that sparseness and length 1,
            ``"topk:90"``, ``"relu"``, ``"none"`` for a linear network, …), or a module.
        connectivity: Hoyer's sparseness in (0, 1) of each row of W, or any of `gossamer.constraints`; None leaves W
            free.
        bias: learn an additive term in u.
        samples: (m, d), a tensor, or anything with that ``shape`` whose rows can be indexed by a tensor; each row of W
            starts as one of them, of length 1. Without samples it starts at random.
        generator: source of the initial weights (default: torch's own).

    Attributes:
        weight: W (hidden, in_features).
        output: the linear layer with V as its ``weight`` and θ as its ``bias``.

    Raises:
        InputError: an argument is outside its range.

    Example:
        >>> net = gs.models.SupervisedAutoencoder(64, hidden=100, classes=10)
        >>> x, y = torch.rand(8, 64), torch.arange(8)
        >>> net.loss(x, y, alpha=0.5).backward()
        >>> gs.measures.hoyer(net.weight[:3].detach())
        tensor([0.7500, 0.7500, 0.7500])

    References:
        Thom, Palm, "Sparse Activity and Sparse Connectivity in Supervised Learning", JMLR 14 (2013) 1091-1143.
    """

    def __init__(
        self,
        in_features: int,
        hidden: int,
        classes: int,
        *,
        activation: str | nn.Module = "hoyer:0.8",
        connectivity: float | constraints.Constraint | None = 0.75,
        bias: bool = False,
        samples: Rows | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.in_features = check_count("in_features", in_features, low=2)
        self.hidden = check_count("hidden", hidden, low=2)
        self.classes = check_count("classes", classes, low=2)
        if connectivity is not None and not isinstance(connectivity, constraints.Constraint):
            check_fraction("connectivity", connectivity, open_low=True, open_high=True)
            connectivity = constraints.Hoyer(connectivity)
        self.connectivity = connectivity
        self.activation = activation_from(activation) if isinstance(activation, str) else activation
        if getattr(self.activation, "packed", False):
            raise InputError(f"activation must give dense codes, not packed ones, got {self.activation}")
        self.weight = nn.Parameter(torch.empty(hidden, in_features))
        self.bias = nn.Parameter(torch.empty(hidden)) if bias else None
        self.output: nn.Linear = nn.utils.skip_init(nn.Linear, hidden, classes)
        self.reset_parameters(samples, generator)

    @torch.no_grad()
    def reset_parameters(self, samples: Rows | None = None, generator: torch.Generator | None = None) -> None:
        """Draw new parameters: rows of W from ``samples`` or at random, V small and random, the rest zero.

        Args:
            samples: (m, in_features), or None.
            generator: source of the parameters (default: torch's own).

        Raises:
            InputError: ``samples`` has another shape or no rows.
        """
        rows = torch.randn(self.weight.shape, generator=generator)
        if samples is not None:
            if len(samples.shape) != 2 or samples.shape[1] != self.in_features or not samples.shape[0]:
                raise InputError(f"samples must have shape (m ≥ 1, {self.in_features}), got {tuple(samples.shape)}")
            order = torch.randperm(samples.shape[0], generator=generator).repeat(-(-self.hidden // samples.shape[0]))
            chosen = samples[order[: self.hidden]].to(rows)
            # A trace of noise separates units that start as the same sample, and keeps a blank sample from being 0.
            spread = float(chosen.std())
            rows = chosen + (0.01 * spread if spread > 0 else 1.0) * rows
        self.weight.copy_(F.normalize(rows, dim=1))
        self.project_()
        nn.init.normal_(self.output.weight, 0, 0.01, generator)
        nn.init.zeros_(self.output.bias)
        if self.bias is not None:
            self.bias.zero_()

    def project_(self) -> None:
        """Replace W by the nearest weights in the set that ``connectivity`` names."""
        if self.connectivity is not None:
            self.connectivity.project_(self.weight)

    def encode(self, x: Tensor) -> Tensor:
        """Compute the codes h.

        Args:
            x: (batch, in_features).

        Returns:
            The codes (batch, hidden).
        """
        return self._pass(x, decode=False)[0]

    def decode(self, code: Tensor) -> Tensor:
        """Compute the reconstructions x̃.

        Args:
            code: (batch, hidden).

        Returns:
            The reconstructions (batch, in_features).
        """
        return code @ self.weight

    def forward(self, x: Tensor) -> Tensor:
        """Compute the logits V h + θ.

        Args:
            x: (batch, in_features).

        Returns:
            The logits (batch, classes).

        Raises:
            InputError: ``x`` has another shape.
        """
        logits: Tensor = self.output(self.encode(x))
        return logits

    def loss(self, x: Tensor, y: Tensor, alpha: float, weight: Tensor | None = None) -> Tensor:
        """Compute the mean of w ((1 − α) E_R + α E_C) over a batch.

        Args:
            x: (batch, in_features).
            y: class numbers (batch), int64.
            alpha: α in [0, 1].
            weight: w (batch), how much each sample counts; None for ones.

        Returns:
            The cost, a scalar.

        Raises:
            InputError: ``alpha`` is outside [0, 1], or ``x`` has another shape.
        """
        alpha = check_fraction("alpha", alpha)
        code, decoded = self._pass(x, decode=alpha < 1)
        cost = x.new_zeros(())
        if decoded is not None:
            cost = (1 - alpha) * _mean(correlation_cost(decoded, x), weight)
        if alpha > 0:
            logits = self.output(code)
            if weight is None:
                return cost + alpha * F.cross_entropy(logits, y)
            cost = cost + alpha * _mean(F.cross_entropy(logits, y, reduction="none"), weight)
        return cost

    def _pass(self, x: Tensor, *, decode: bool) -> tuple[Tensor, Tensor | None]:
        """Compute the codes and, with ``decode``, their reconstructions."""
        if x.dim() != 2 or x.shape[1] != self.in_features:
            raise InputError(f"x must have shape (batch, {self.in_features}), got {tuple(x.shape)}")
        f = self.activation
        fixed = isinstance(f, _SILENT) and not any(True for _ in f.parameters())
        if fixed and torch.is_grad_enabled() and eager_in_cpp(x, self.weight):
            return tied_pass(x, self.weight, self.bias, f, decode)
        code: Tensor = f(F.linear(x, self.weight, self.bias))
        return code, self.decode(code) if decode else None

    def extra_repr(self) -> str:
        """Show the arguments."""
        sizes = f"in_features={self.in_features}, hidden={self.hidden}, classes={self.classes}"
        return f"{sizes}, connectivity={self.connectivity}, bias={self.bias is not None}"


def _mean(cost: Tensor, weight: Tensor | None) -> Tensor:
    return cost.mean() if weight is None else (cost * weight).mean()
