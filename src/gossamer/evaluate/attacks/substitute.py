"""A smooth network that imitates another one, as the source of transfer attacks."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gossamer.evaluate.attacks.ball import Ball, Norm
from gossamer.evaluate.attacks.box import Box
from gossamer.evaluate.attacks.victim import attacked

__all__ = ["substitute"]

_HIDDEN, _COPIES, _STEPS = 64, 3, 150


def substitute(
    network: nn.Module, x: Tensor, *, box: Box, norm: Norm, radius: float, generator: torch.Generator
) -> nn.Module:
    """Train a network with one hidden layer to give the classes that another one gives, near some samples.

    Its gradients are smooth, whatever those of the network are: where the network hides its gradients, inputs found for
    the substitute can be stronger than those found for the network itself.

    Args:
        network: returns logits (N, classes).
        x: samples (N, …); it is trained on them and on random points of their balls.
        box: range of the inputs.
        norm: of the balls.
        radius: of the balls.
        generator: source of weights and points.

    Returns:
        A network of the same classes, in evaluation mode.

    Example:
        >>> from gossamer.evaluate.attacks.substitute import substitute
        >>> x, g = torch.rand(50, 2), torch.Generator().manual_seed(0)
        >>> rounded = lambda x: x.round()
        >>> net = substitute(nn.Identity(), x, box=gs.evaluate.attacks.Box(0, 1), norm="linf", radius=0.1, generator=g)
        >>> (net(x).argmax(1) == x.argmax(1)).float().mean() > 0.9
        tensor(True)

    References:
        Papernot, McDaniel, Goodfellow, Jha, Celik, Swami, "Practical black-box attacks against machine learning",
        AsiaCCS 2017, section 4.
    """
    ball = Ball.of(x, norm, radius, box)
    points = torch.cat([x, *(ball.start(generator) for _ in range(_COPIES))])
    with attacked(network, x, generator) as victim:
        labels = torch.cat([victim.logits(part).argmax(1) for part in points.split(len(x))])
        classes = victim.logits(x[:1]).shape[1]
    mean, std = points.mean(0, keepdim=True), points.flatten(1).std(0).clamp(min=1e-3).mean()
    net = nn.Sequential(_Standardize(mean, std), nn.Flatten(), *_layers(x[0].numel(), classes, x, generator))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    with torch.inference_mode(False), torch.enable_grad():
        for _ in range(_STEPS):
            optimizer.zero_grad()
            F.cross_entropy(net(points), labels).backward()
            optimizer.step()
    return net.eval()


class _Standardize(nn.Module):
    mean: Tensor
    std: Tensor

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std


def _layers(features: int, classes: int, like: Tensor, generator: torch.Generator) -> list[nn.Module]:
    layers = [nn.Linear(features, _HIDDEN), nn.Linear(_HIDDEN, classes)]
    for layer in layers:
        bound = 1 / math.sqrt(layer.in_features)
        for parameter in layer.parameters():
            drawn = torch.rand(parameter.shape, generator=generator, device=generator.device)
            parameter.data = ((2 * drawn - 1) * bound).to(like)
    return [layers[0], nn.GELU(), layers[1]]
