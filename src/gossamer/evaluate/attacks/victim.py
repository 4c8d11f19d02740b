"""The network under attack: logits and input gradients, counted and checked, without a trace left on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from gossamer.errors import InputError
from gossamer.evaluate.attacks.gates import straight_through as past_gates
from gossamer.evaluate.attacks.objective import Loss, objective
from gossamer.evaluate.mode import evaluating
from gossamer.noise import Noise

__all__ = ["Victim", "attacked", "check_classes", "check_samples"]

_DROPOUT = nn.modules.dropout._DropoutNd


class Victim:
    """A network that answers an attack's questions; ``queries`` counts samples times forward passes."""

    def __init__(self, network: nn.Module, expectation: int = 1) -> None:
        self.network, self.expectation, self.queries = network, expectation, 0

    def logits(self, x: Tensor) -> Tensor:
        """The mean of the logits (N, classes) over ``expectation`` forward passes."""
        self.queries += len(x) * self.expectation
        total = _checked(self.network(x), x)
        for _ in range(self.expectation - 1):
            total = total + _checked(self.network(x), x)
        return total / self.expectation if self.expectation > 1 else total

    def ascend(self, x: Tensor, y: Tensor, loss: Loss, target: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """The loss (N), its gradient at ``x``, and the logits; loss and gradient are means over the passes.

        Where the network has no derivative at all, as behind ``x.detach()``, the gradient is zero.
        """
        losses, gradients, logits = [], [], []
        for _ in range(self.expectation):
            self.queries += len(x)
            with torch.enable_grad():
                leaf = x.detach().requires_grad_()
                scores = _checked(self.network(leaf), x)
                value = objective(loss, scores, y, target)
                total = value.sum()
            if total.requires_grad:
                (gradient,) = torch.autograd.grad(total, leaf, allow_unused=True)
            else:
                gradient = None
            gradients.append(torch.zeros_like(x) if gradient is None else gradient)
            losses.append(value.detach())
            logits.append(scores.detach())
        gradient = _mean(gradients)
        finite = gradient.isfinite().flatten(1).all(1)
        if not bool(finite.all()):
            raise InputError(
                f"the gradient of network at x must be finite, got NaN or infinity for {int((~finite).sum())} of "
                f"{len(x)} samples; attack it with square, which needs no gradient"
            )
        return _mean(losses), gradient, _mean(logits)


@contextmanager
def attacked(
    network: nn.Module,
    like: Tensor,
    generator: torch.Generator,
    *,
    expectation: int = 1,
    stochastic: bool = False,
    straight_through: bool = False,
) -> Iterator[Victim]:
    """Prepare a network; afterwards, and after an error, restore modes, gates, ``requires_grad`` and generators.

    The network is in evaluation mode, with ``stochastic`` except for its dropout and noise. Torch's own generators, and
    those of noise layers, get seeds from ``generator`` in the meantime.
    """
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    needed = {parameter: parameter.requires_grad for parameter in network.parameters()}
    noisy = [module for module in network.modules() if isinstance(module, Noise)]
    drawn = {module: module.generator for module in noisy}
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(evaluating(network))
        stack.enter_context(torch.random.fork_rng([like.device] if like.is_cuda else []))
        torch.default_generator.manual_seed(seed)
        if like.is_cuda:
            torch.cuda.default_generators[like.device.index].manual_seed(seed)
        if straight_through:
            stack.enter_context(past_gates(network))
        try:
            for parameter in needed:
                parameter.requires_grad_(False)
            for module in noisy:
                if module.generator is not None:
                    module.generator = torch.Generator(module.generator.device).manual_seed(seed)
            if stochastic:
                for layer in network.modules():
                    if isinstance(layer, Noise | _DROPOUT):
                        layer.train()
            yield Victim(network, expectation)
        finally:
            for parameter, required in needed.items():
                parameter.requires_grad_(required)
            for module, own in drawn.items():
                module.generator = own


def check_samples(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """``x`` and ``y`` without history, if they are samples of a classifier."""
    if y.is_floating_point() or y.is_complex() or y.dtype == torch.bool:
        raise InputError(f"y must hold class numbers, got {y.dtype}; attacks are for classifiers, not for regression")
    if y.dim() != 1 or x.dim() < 2 or len(x) != len(y) or y.numel() == 0:
        shapes = f"{tuple(x.shape)} and {tuple(y.shape)}"
        raise InputError(f"x (N, …) and y (N) must hold as many samples, at least one, got {shapes}")
    if x.dtype not in (torch.float32, torch.float64) or x[0].numel() == 0:
        raise InputError(f"x must be float32 or float64 with at least one feature, got {x.dtype} of {tuple(x.shape)}")
    finite = x.isfinite().flatten(1).all(1)
    if not bool(finite.all()):
        raise InputError(f"x must be finite, got NaN or infinity in {int((~finite).sum())} of {len(x)} samples")
    with torch.inference_mode(False):  # tensors of inference mode cannot be saved for a gradient
        x = x.detach().clone() if x.is_inference() else x.detach()
    return x, y.to(x.device, torch.int64, copy=y.is_inference())


def check_classes(logits: Tensor, y: Tensor) -> None:
    """Raise `InputError` if a class number has no logit."""
    classes = logits.shape[1]
    if int(y.min()) < 0 or int(y.max()) >= classes:
        raise InputError(f"y must be class numbers from 0 to {classes - 1}, got {int(y.min())} to {int(y.max())}")


def _checked(logits: Tensor, x: Tensor) -> Tensor:
    if not isinstance(logits, Tensor) or logits.dim() != 2 or len(logits) != len(x) or logits.shape[1] < 2:
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise InputError(
            f"network(x) must be logits of shape (samples, classes) with at least 2 classes, got {got}; attacks are "
            "for classifiers, not for regression"
        )
    finite = logits.isfinite().all(1)
    if not bool(finite.all()):
        raise InputError(
            f"network(x) must be finite, got NaN or infinite logits for {int((~finite).sum())} of {len(x)} samples"
        )
    return logits


def _mean(tensors: list[Tensor]) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.stack(tensors).mean(0)
