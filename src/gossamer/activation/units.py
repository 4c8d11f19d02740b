"""Activation functions of evolving sparse networks: SReLU with learned pieces, and All-ReLU with an alternating slope.

**SReLU** (Jin et al., arXiv 1512.07030). Each unit learns t_l, a_l, t_r, a_r; its right knee is T = t_l + |t_r|:

    f(x) = t_l + a_l (x − t_l)   for x ≤ t_l
           x                     for t_l < x < T
           T + a_r (x − T)       for x ≥ T

With d = ∂L/∂f and the masks lo = [x ≤ t_l], hi = [x ≥ T], summed over all samples of a unit:

    ∂L/∂t_l = d ((1 − a_l) lo + (1 − a_r) hi)      ∂L/∂a_l = d (x − t_l) lo
    ∂L/∂t_r = d sign(t_r) (1 − a_r) hi             ∂L/∂a_r = d (x − T) hi
    ∂L/∂x   = d (a_l lo + a_r hi + [neither])

Where the knees coincide (t_r = 0), x = t_l belongs to lo alone.

**All-ReLU** (Curci et al., arXiv 2102.01732). Nothing is learned; below zero the slope changes its sign from layer to
layer:

    f(x) = x for x ≥ 0,   slope · x for x < 0;   slope = −α in the 1st, 3rd, … layer and +α in the 2nd, 4th, …
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gossamer import kernels
from gossamer.errors import InputError, check_count
from gossamer.kernels.route import AUTOGRAD, KERNEL, way

__all__ = ["AllReLU", "SReLU", "all_relu", "srelu"]


class _SReLU(torch.autograd.Function):
    """SReLU that saves x and the parameters alone, where `torch.where` would save a dozen arrays of the size of x."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, t_l: Tensor, a_l: Tensor, t_r: Tensor, a_r: Tensor) -> Tensor:
        return kernels.srelu(x, t_l, a_l, t_r, a_r)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, d: Tensor) -> tuple[Tensor, ...]:
        return kernels.srelu_backward(d, *ctx.saved_tensors)


class _Direct(torch.autograd.Function):
    """The same where no transform looks on, in one call for each direction."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, t_l: Tensor, a_l: Tensor, t_r: Tensor, a_r: Tensor) -> Tensor:
        ctx.save_for_backward(x, t_l, a_l, t_r, a_r)
        return _computed(x, t_l, a_l, t_r, a_r)

    @staticmethod
    def backward(ctx: Any, d: Tensor) -> tuple[Tensor, ...]:
        return kernels.srelu_backward(d, *ctx.saved_tensors)


def _computed(x: Tensor, t_l: Tensor, a_l: Tensor, t_r: Tensor, a_r: Tensor) -> Tensor:
    done = kernels.srelu_matrix(x, t_l, a_l, t_r, a_r)
    if done is None:
        _check(x, t_l, a_l, t_r, a_r)
        return kernels.srelu(x, t_l, a_l, t_r, a_r)
    return done


def srelu(x: Tensor, t_l: Tensor, a_l: Tensor, t_r: Tensor, a_r: Tensor) -> Tensor:
    """Apply the S-shaped rectified linear unit, in the layout of ``x``.

        f(x) = t_l + a_l (x − t_l) for x ≤ t_l,   x for t_l < x < T,   T + a_r (x − T) for x ≥ T;   T = t_l + |t_r|

    Args:
        x: (…, units), floating point.
        t_l: left threshold (units).
        a_l: slope below the left threshold (units).
        t_r: distance of the right threshold from the left one (units); its magnitude counts.
        a_r: slope above the right threshold (units).

    Returns:
        Tensor (…, units).

    Raises:
        InputError: a parameter is not a vector with a number for each unit.

    Example:
        >>> t_l, a_l, t_r, a_r = (torch.tensor([value]) for value in (0.0, 0.1, 2.0, 0.5))
        >>> gs.functional.srelu(torch.tensor([[-1.0], [1.0], [4.0]]), t_l, a_l, t_r, a_r).T
        tensor([[-0.1000,  1.0000,  3.0000]])

    References:
        Jin et al., "Deep learning with S-shaped rectified linear activation units", arXiv 1512.07030.
    """
    chosen = way(x, t_l)
    if chosen is KERNEL:
        return _computed(x, t_l, a_l, t_r, a_r)
    if chosen is AUTOGRAD:
        return _Direct.apply(x, t_l, a_l, t_r, a_r)  # type: ignore[no-any-return, no-untyped-call]
    _check(x, t_l, a_l, t_r, a_r)
    return _SReLU.apply(x, t_l, a_l, t_r, a_r)  # type: ignore[no-any-return, no-untyped-call]


def _check(x: Tensor, *pieces: Tensor) -> None:
    for name, parameter in zip(("t_l", "a_l", "t_r", "a_r"), pieces, strict=True):
        if parameter.shape != x.shape[-1:]:
            raise InputError(
                f"{name} must be a vector with a number for each unit of x, {tuple(x.shape[-1:])}, "
                f"got shape {tuple(parameter.shape)}"
            )


class SReLU(nn.Module):
    """The S-shaped rectified linear unit with learned pieces; see `srelu`.

    t_l starts at 0, a_l uniform on (0, 1), t_r uniform on (0, 5), a_r at 1.

    Args:
        features: number of units, the last dimension of the input.
        generator: source of the first parameters (default: torch's own).
        device: device of the parameters.
        dtype: dtype of the parameters.

    Attributes:
        t_l: left threshold (features).
        a_l: slope below the left threshold (features).
        t_r: distance of the right threshold from the left one (features).
        a_r: slope above the right threshold (features).

    Example:
        >>> gs.SReLU(16)(torch.randn(3, 16)).shape
        torch.Size([3, 16])

    References:
        Jin et al., "Deep learning with S-shaped rectified linear activation units", arXiv 1512.07030.
    """

    t_l: Tensor
    a_l: Tensor
    t_r: Tensor
    a_r: Tensor

    def __init__(
        self,
        features: int,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.features = check_count("features", features, low=1)
        for name in ("t_l", "a_l", "t_r", "a_r"):
            setattr(self, name, nn.Parameter(torch.empty(features, dtype=dtype)))
        self.reset_parameters(generator)
        if device is not None:
            self.to(device)

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the parameters again.

        Args:
            generator: source of the parameters (default: torch's own).
        """
        for parameter, start in ((self.t_l, 0.0), (self.a_r, 1.0)):
            parameter.fill_(start)
        for parameter, most in ((self.a_l, 1.0), (self.t_r, 5.0)):  # on the CPU: all devices start alike
            parameter.copy_(torch.rand(self.features, generator=generator, dtype=parameter.dtype) * most)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the activation function of each unit.

        Args:
            x: (…, features).

        Returns:
            Tensor (…, features).
        """
        return srelu(x, self.t_l, self.a_l, self.t_r, self.a_r)

    def extra_repr(self) -> str:
        """Show the arguments."""
        return f"features={self.features}"


def all_relu(x: Tensor, slope: float) -> Tensor:
    """Return ``x`` where it is at least 0, and ``slope`` · x elsewhere.

    Args:
        x: floating point, any shape.
        slope: any finite slope, also a negative one.

    Returns:
        Tensor of the shape of ``x``.

    Raises:
        InputError: ``slope`` is not finite.

    Example:
        >>> gs.functional.all_relu(torch.tensor([-2.0, 3.0]), slope=-0.6)
        tensor([1.2000, 3.0000])

    References:
        Curci, Mocanu, Pechenizkiy, "Truly sparse neural networks at scale", arXiv 2102.01732.
    """
    if not math.isfinite(slope):
        raise InputError(f"slope must be a finite number, got {slope!r}")
    return F.leaky_relu(x, slope)


class AllReLU(nn.Module):
    """All-ReLU after a hidden layer: slope −α below zero in layers 1, 3, 5, …, +α in layers 2, 4, …; see `all_relu`.

    Args:
        alpha: α ≥ 0. Published with 0.6 (MNIST, Fashion-MNIST) and 0.75 (CIFAR-10).
        position: number of the hidden layer, 1, 2, ….

    Raises:
        InputError: an argument is outside its range.

    Example:
        >>> gs.AllReLU(0.6, position=1)(torch.tensor([-1.0, 1.0]))
        tensor([0.6000, 1.0000])

    References:
        Curci, Mocanu, Pechenizkiy, "Truly sparse neural networks at scale", arXiv 2102.01732.
    """

    def __init__(self, alpha: float = 0.6, position: int = 1) -> None:
        super().__init__()
        if not (math.isfinite(alpha) and alpha >= 0):
            raise InputError(f"alpha must be a finite number of at least 0, got {alpha!r}")
        self.alpha, self.position = alpha, check_count("position", position, low=1)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the activation function.

        Args:
            x: any shape, such as (batch, features).

        Returns:
            Tensor of the shape of ``x``.
        """
        return all_relu(x, -self.alpha if self.position % 2 else self.alpha)

    def extra_repr(self) -> str:
        """Show the arguments."""
        return f"alpha={self.alpha:g}, position={self.position}"
