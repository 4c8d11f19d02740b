"""Bridgeout: noise on weights that acts, on average, as a bridge (L_q) penalty on them.

    w̃ = w + sign(w) |w|^{q/2} ξ in training, w afterwards;   ξ = r/(1−p) − 1,   r ~ Bernoulli(1 − p) for each weight

For least squares of y = w·x, with the loss ½ Σ_n (y_n − w̃·x_n)² over samples n,

    E[loss(w̃)] = loss(w) + p / (2 (1−p)) Σ_j |w_j|^q Σ_n x_nj²,

whether each sample has a mask of its own or all share one, which makes the loss vary more. Other losses of generalised
linear models weight sample n by A''(η_n), to second order. At q = 2 it is DropConnect.

The gradient is the exact one of `gossamer.noise`; a weight of 0 has the gradient that it would have without noise.

References:
    Khan, Shah, Stavness, "Bridgeout: stochastic bridge regularization for deep neural networks", IEEE Access 2018,
    arXiv 1804.08042. Their later code adds |w|^{q/2} ξ without the sign; mean and variance are the same, but only with
    the sign is it DropConnect at q = 2 for any sign of w and any p.
"""

from __future__ import annotations

from typing import Any, Literal, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gossamer import kernels
from gossamer.connectivity.linear import SparseLinear, sparse_linear
from gossamer.connectivity.pattern import Pattern
from gossamer.errors import InputError, check_choice, check_count
from gossamer.kernels import Code
from gossamer.noise import Noise, check_p, check_q, lq_noise

__all__ = ["Bridgeout", "BridgeoutLinear", "BridgeoutSparseLinear", "bridgeout"]


def bridgeout(
    w: Tensor,
    p: float = 0.5,
    q: float = 2.0,
    training: bool = True,
    generator: torch.Generator | None = None,
    *,
    examples: int | None = None,
) -> Tensor:
    """Add noise to weights that acts, on average, like an L_q penalty.

        w̃ = w + sign(w) |w|^{q/2} ξ,   ξ = r/(1−p) − 1,   r ~ Bernoulli(1 − p) for each weight

    Args:
        w: weights, floating point, any shape.
        p: probability with which a weight is dropped, in [0, 1]. p = 0 changes nothing, p = 1 gives zeros.
        q: exponent of the penalty, in [0, ∞).
        training: whether there is noise; ``w`` itself is returned if not.
        generator: source of the masks, of the device of ``w`` (default: torch's own).
        examples: return so many noisy weights, each with a mask of its own.

    Returns:
        w̃, in the shape, dtype and layout of ``w``; with ``examples`` (examples, *w.shape).

    Raises:
        InputError: an argument outside its range, or ``w`` not floating point.

    Example:
        >>> w = torch.tensor([4.0, 0.0, -0.25])
        >>> gs.functional.bridgeout(w, p=0.5, q=1.0, generator=torch.Generator().manual_seed(0))
        tensor([ 6.0000,  0.0000, -0.7500])

    References:
        Khan, Shah, Stavness, "Bridgeout: stochastic bridge regularization for deep neural networks", IEEE Access 2018,
        arXiv 1804.08042.
    """
    copies = None if examples is None else check_count("examples", examples)
    return lq_noise("w", w, p, q, training, "exact", generator, copies)


class Bridgeout(Noise, nn.Module):
    """Bridgeout as a module, and as a parametrization of the weights of any dense layer; see `bridgeout`.

    A parametrized layer draws a mask at each access to its weight, which is once a forward pass; the plain weight is
    ``layer.parametrizations.weight.original``, and assigning to ``layer.weight`` sets it. The ``weight_values`` of a
    sparse layer can be parametrized in the same way, but such a layer can't be rewired: `BridgeoutSparseLinear` can.

    Args:
        p: probability with which a weight is dropped, in [0, 1].
        q: exponent of the penalty, in [0, ∞).
        generator: source of the masks, of the device of the weight (default: torch's own).

    Raises:
        InputError: ``p`` or ``q`` is outside its range.

    Example:
        >>> layer = nn.Linear(8, 4)
        >>> _ = nn.utils.parametrize.register_parametrization(layer, "weight", gs.Bridgeout(p=0.3, q=1.5))
        >>> torch.equal(layer.weight, layer.weight), torch.equal(layer.eval().weight, layer.weight)
        (False, True)
    """

    def __init__(self, p: float = 0.5, q: float = 2.0, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.p, self.q, self.generator = check_p(p), check_q(q), generator

    def forward(self, w: Tensor, examples: int | None = None) -> Tensor:
        """Add noise in training mode.

        Args:
            w: weights of any shape, such as (out_features, in_features).
            examples: return so many noisy weights, each with a mask of its own.

        Returns:
            Tensor of the shape of ``w``; with ``examples`` (examples, *w.shape).
        """
        return bridgeout(w, self.p, self.q, self.training, self.generator, examples=examples)

    def right_inverse(self, w: Tensor) -> Tensor:
        """Return the weight whose noisy versions have the mean ``w``, that is ``w``.

        Args:
            w: weights of any shape.

        Returns:
            ``w``.
        """
        return w

    def extra_repr(self) -> str:
        """Show the arguments."""
        return f"p={self.p:g}, q={self.q:g}"


class BridgeoutLinear(nn.Linear):
    """A `torch.nn.Linear` with Bridgeout on its weight, but not on its bias.

    With masks per example, a training step holds a noisy weight and a mask for each example between forward and
    backward, 8 · examples · in_features · out_features bytes in float32, and twice that at its peak. Per batch, it is
    as much as for one example. Parameters and state dict are those of `torch.nn.Linear`.

    Args:
        in_features: number of inputs.
        out_features: number of outputs.
        bias: learn an additive (out_features) bias.
        p: probability with which a weight is dropped, in [0, 1].
        q: exponent of the penalty, in [0, ∞).
        masks: one for each ``"example"``, that is for each row of a (…, in_features) input, or one for the ``"batch"``.
        noise_generator: source of the masks, of the device of the weight (default: torch's own).
        device: of the parameters.
        dtype: of the parameters.

    Raises:
        InputError: an argument is outside its range.

    Example:
        >>> gs.BridgeoutLinear(8, 4, p=0.3, q=1.5)(torch.randn(5, 8)).shape
        torch.Size([5, 4])
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        p: float = 0.5,
        q: float = 2.0,
        masks: Literal["example", "batch"] = "example",
        noise_generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(in_features, out_features, bias, device=device, dtype=dtype)
        check_choice("masks", masks, ("example", "batch"))
        self.masks, self.noise = masks, Bridgeout(p, q, noise_generator)

    def forward(self, x: Tensor) -> Tensor:
        """Compute y = x w̃ᵀ + b, with noise in training mode.

        Args:
            x: (…, in_features).

        Returns:
            Tensor (…, out_features).

        Raises:
            InputError: ``x`` has another last dimension.
        """
        if self.masks == "batch" or not self.training:
            return F.linear(x, self.noise(self.weight), self.bias)
        if x.dim() == 0 or x.shape[-1] != self.in_features:
            raise InputError(f"x must have shape (…, {self.in_features}), got {tuple(x.shape)}")
        columns = x.reshape(-1, self.in_features, 1)
        weights = self.noise(self.weight, examples=len(columns))  # (rows of x, out, in)
        y = torch.bmm(weights, columns) if self.bias is None else torch.baddbmm(self.bias[:, None], weights, columns)
        return y.reshape(*x.shape[:-1], self.out_features)

    def extra_repr(self) -> str:
        """Show the arguments."""
        return f"{super().extra_repr()}, masks={self.masks!r}"


class BridgeoutSparseLinear(SparseLinear):
    """A `SparseLinear` with Bridgeout on its connections, one mask for the batch.

    Noise takes time and memory in proportion to nnz. Parameters, state dict and connectivity are those of
    `SparseLinear`, so optimizers and `Rewire` see the plain weights, and each may load the state of the other;
    ``to_dense`` leaves the noise out.

    Args:
        in_features: number of inputs, ≥ 1.
        out_features: number of outputs, ≥ 1.
        density: fraction of the connections, in (0, 1]; or give ``pattern``.
        bias: learn an additive (out_features) bias.
        p: probability with which a connection is dropped for a batch, in [0, 1].
        q: exponent of the penalty, in [0, ∞).
        noise_generator: source of the masks, of the device of the weights (default: torch's own).
        options: keyword arguments of `SparseLinear`.

    Raises:
        InputError: an argument is outside its range.

    Example:
        >>> gs.BridgeoutSparseLinear(8, 4, density=0.5, p=0.3)(torch.randn(5, 8)).shape
        torch.Size([5, 4])
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        density: float | None = None,
        bias: bool = True,
        *,
        p: float = 0.5,
        q: float = 2.0,
        noise_generator: torch.Generator | None = None,
        **options: Any,
    ) -> None:
        super().__init__(in_features, out_features, density, bias, **options)
        self.noise = Bridgeout(p, q, noise_generator)

    def forward(self, x: Tensor | Code) -> Tensor:
        """Compute y = x w̃ᵀ + b, with noise in training mode.

        Args:
            x: (…, in_features), or a `Code`.

        Returns:
            Tensor (…, out_features).
        """
        if not self.training:
            return super().forward(x)
        values = self.noise(self.weight_values)
        if isinstance(x, Code):
            return kernels.spspmm(values, self._structure, x, self.bias, self._relu)
        return sparse_linear(x, values, self._structure, self.bias, relu=self._relu)

    @classmethod
    def from_dense(
        cls,
        dense: nn.Linear,
        pattern: Pattern | None = None,
        *,
        p: float = 0.5,
        q: float = 2.0,
        noise_generator: torch.Generator | None = None,
    ) -> Self:
        """Make a sparse layer from a dense one.

        Args:
            dense: the dense layer.
            pattern: the connections that keep their weights (default: all non-zero weights).
            p: probability with which a connection is dropped for a batch, in [0, 1].
            q: exponent of the penalty, in [0, ∞).
            noise_generator: source of the masks (default: torch's own).

        Returns:
            The sparse layer.
        """
        layer = super().from_dense(dense, pattern)
        layer.noise = Bridgeout(p, q, noise_generator).train(layer.training)
        return layer
