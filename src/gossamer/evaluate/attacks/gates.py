"""Gradients past hard gates (backward pass differentiable approximation, BPDA).

A gate f(z) = z ∘ m, with a mask m that depends on z, has derivative m almost everywhere: removed values get no
gradient, although a small change of z may let it pass. The straight-through gradient keeps the values and takes the
identity for the derivative, ∂f/∂z := I.

References:
    Athalye, Carlini, Wagner, "Obfuscated gradients give a false sense of security", ICML 2018, section 4.1.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from gossamer import activation
from gossamer.errors import InputError
from gossamer.kernels import Code

__all__ = ["has_gates", "straight_through"]

_THRESHOLDS = (activation.QuantileThreshold, activation.MeanThreshold)


@contextmanager
def straight_through(network: nn.Module, *, layers: tuple[type[nn.Module], ...] = ()) -> Iterator[None]:
    """Let gradients through the hard gates of a network, with the same values; a context manager that restores them.

    The gates are `QuantileThreshold`, `MeanThreshold` and `TopK`. A `TopK` before a sparse layer returns a dense tensor
    in the meantime, since a code has room for the gradient of active units only. `Hoyer` has no gate: its projection is
    continuous. Thresholds that a network applies as functions are not found.

    Args:
        network: any module.
        layers: further classes of modules that shall have derivative 1, such as a layer that rounds its input. Their
            output has the shape of their input.

    Yields:
        Nothing.

    Raises:
        InputError: a module of ``layers`` returns another shape than that of its input.

    Example:
        >>> x = torch.tensor([[3.0, 2.0]], requires_grad=True)
        >>> net = gs.TopK(1)
        >>> with gs.evaluate.attacks.straight_through(net):
        ...     y = net(x)
        >>> y, torch.autograd.grad(y.sum(), x)[0]
        (tensor([[3., 0.]], grad_fn=<_IdentityBackward>), tensor([[1., 1.]]))

    References:
        Athalye, Carlini, Wagner, "Obfuscated gradients give a false sense of security", ICML 2018.
    """
    with ExitStack() as stack:
        stack.enter_context(activation.straight_through(network))
        for module in network.modules():
            if isinstance(module, (activation.TopK, *layers)):
                stack.callback(module.register_forward_hook(_identity).remove)
        yield


def has_gates(network: nn.Module) -> bool:
    """Find out whether a network has hard gates that `straight_through` opens.

    Args:
        network: any module.

    Returns:
        Whether one of its modules is a `QuantileThreshold`, a `MeanThreshold` or a `TopK`.

    Example:
        >>> gs.evaluate.attacks.has_gates(nn.Sequential(nn.Linear(4, 4), gs.TopK(2)))
        True
    """
    return any(isinstance(module, (*_THRESHOLDS, activation.TopK)) for module in network.modules())


def _identity(module: nn.Module, inputs: tuple[Any, ...], output: Tensor | Code) -> Tensor:
    z = inputs[0]
    values = (output.to_dense() if isinstance(output, Code) else output).detach()
    if values.shape != z.shape:
        name, shapes = type(module).__name__, f"{tuple(z.shape)} and {tuple(values.shape)}"
        raise InputError(f"layers must return the shape of their input, got {name} with {shapes}")
    opened: Tensor = _Identity.apply(z, values)  # type: ignore[no-untyped-call]
    return opened


class _Identity(torch.autograd.Function):
    @staticmethod
    def forward(z: Tensor, values: Tensor) -> Tensor:
        return values.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None
