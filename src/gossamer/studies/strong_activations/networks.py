"""The networks of the study, and their training by the published recipe.

Adam with learning rate η, η/10 from 60 % and η/100 from 80 % of the epochs on, cross-entropy less Σ α_k L_k with local
gradients, on shifted and flipped images. On a GPU the forward pass is in bfloat16, whose range is that of float32: α_k
divided by the number of locations would be 0 in float16.

References:
    Cekic, Bakiskan, Madhow, "Neuro-inspired deep neural networks with sparse, strong activations", ICIP 2022, arXiv
    2202.13074; recipe and α as in the authors' released code.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gossamer.activation.hebbian import HebbianLoss
from gossamer.connectivity.normalized import NormalizedConv2d
from gossamer.models.blocks import HaHBlock
from gossamer.models.vgg import HEBBIAN_ALPHA, VGG
from gossamer.training.epoch import DivergedError

if TYPE_CHECKING:
    from gossamer.studies.strong_activations.images import Images
    from gossamer.studies.strong_activations.plans import Plan, Variant

__all__ = ["PlainConvolution", "augmented", "hebbian_loss", "network", "train"]

_EPS = 1e-6  # of unit_filters


class PlainConvolution(nn.Module):
    """A convolution with its own filter lengths, ``w_k ∗ x = (‖w_k‖ + ε) u_k``; the cost reads u of ``unit``."""

    def __init__(self, unit: NormalizedConv2d) -> None:
        super().__init__()
        self.unit = unit

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W)."""
        lengths = torch.linalg.vector_norm(self.unit.weight, dim=(1, 2, 3)) + _EPS
        return self.unit(x) * lengths.view(-1, 1, 1)  # type: ignore[no-any-return]


def network(variant: Variant, plan: Plan, images: Images, seed: int) -> VGG:
    """The network before training; blocks of equal shape start from equal filters for equal seeds."""
    net = VGG(
        plan.layers,
        in_channels=images.x.shape[1],
        classes=images.classes,
        image_size=images.x.shape[2],
        hebbian_blocks=plan.hebbian_blocks if variant.hah else 0,
        normalized=variant.hah and variant.implicit,
        mean=images.mean,
        std=images.std,
        generator=torch.Generator().manual_seed(seed),
    )
    for block in net.features:
        if isinstance(block, HaHBlock):
            if not variant.norm:
                block.norm = nn.Identity()
            if not variant.threshold:
                block.threshold = nn.Identity()
            if not variant.implicit and isinstance(block.conv, NormalizedConv2d):
                block.add_module("conv", PlainConvolution(block.conv))
    return net


def hebbian_loss(net: VGG, variant: Variant) -> HebbianLoss | None:
    """The cost of the HaH blocks, if the variant has one."""
    if not variant.hah or not variant.alpha:
        return None
    blocks = [block for block in net.features if isinstance(block, HaHBlock)]
    layers = [next(m for m in block.modules() if isinstance(m, NormalizedConv2d)) for block in blocks]
    alpha = [variant.alpha * published for published in HEBBIAN_ALPHA[: len(layers)]]
    return HebbianLoss(layers, alpha, anti=variant.anti)


def train(net: VGG, variant: Variant, plan: Plan, x: Tensor, y: Tensor, seed: int) -> list[float]:
    """Train on images ``x`` with classes ``y``, on their device; returns the mean cross-entropy of each epoch."""
    generator = torch.Generator().manual_seed(seed)
    layout = torch.channels_last if x.is_cuda else torch.contiguous_format
    net.to(x.device, memory_format=layout).train()  # type: ignore[call-overload]
    cost = hebbian_loss(net, variant)
    optimizer = torch.optim.Adam(net.parameters(), lr=plan.learning_rate)
    milestones = [int(0.6 * plan.epochs), int(0.8 * plan.epochs)]
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones, gamma=0.1)
    losses = []
    for epoch in range(1, plan.epochs + 1):
        total = torch.zeros((), device=x.device)
        for index in torch.randperm(len(x), generator=generator).to(x.device).split(plan.batch_size):
            batch = augmented(x[index], plan.shift, plan.flip, generator).contiguous(memory_format=layout)
            with torch.autocast("cuda", torch.bfloat16, enabled=x.is_cuda):
                loss = F.cross_entropy(net(batch), y[index])
            total += loss.detach() * len(index)
            optimizer.zero_grad()
            (loss if cost is None else loss + cost()).backward()
            optimizer.step()
        schedule.step()
        losses.append(float(total) / len(x))
        if not math.isfinite(losses[-1]):
            raise DivergedError(f"training diverged in epoch {epoch}")
    if cost is not None:
        cost.remove()
    net.eval()
    return losses


def augmented(x: Tensor, shift: int, flip: bool, generator: torch.Generator) -> Tensor:
    """Each image shifted by up to ``shift`` pixels either way, with zeros beyond its edge, and maybe flipped."""
    n, _, height, width = x.shape
    if shift:
        down, right = torch.randint(2 * shift + 1, (2, n, 1), generator=generator).to(x.device)
        rows, columns = down + torch.arange(height, device=x.device), right + torch.arange(width, device=x.device)
        padded = F.pad(x, (shift, shift, shift, shift)).permute(0, 2, 3, 1)
        image = torch.arange(n, device=x.device).view(-1, 1, 1)
        x = padded[image, rows.unsqueeze(2), columns.unsqueeze(1)].permute(0, 3, 1, 2)
    if flip:
        flipped = torch.rand((n, 1, 1, 1), generator=generator).to(x.device) < 0.5
        x = torch.where(flipped, x.flip(3), x)
    return x
