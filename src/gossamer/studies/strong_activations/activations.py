"""How sparse and how strong the activations of a network's first blocks are."""

from __future__ import annotations

import math
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gossamer.connectivity.normalized import unit_filters
from gossamer.evaluate.mode import evaluating
from gossamer.measures import hoyer
from gossamer.models.blocks import HaHBlock, StandardBlock
from gossamer.models.vgg import VGG

__all__ = ["activations"]

_WINNERS = 0.1  # ρ
_BATCH = 500


def activations(net: VGG, blocks: int, x: Tensor) -> dict[str, Any]:
    """Measure the activations of the first ``blocks`` blocks, before pooling.

    They are the output of a HaH block, and the result of the ReLU in a standard block, since the batch normalisation
    after it leaves no zeros.

    Args:
        net: the network.
        blocks: number of blocks, ≥ 1.
        x: images (N, channels, S, S).

    Returns:
        ``active`` (blocks): share of the activations that are not zero. ``hoyer`` (blocks): Hoyer's sparseness over the
        channels, mean of the locations that are not zero in all. ``top`` and ``rest``: means of the ⌈0.1 C⌉ largest
        ReLU(u) and of the others in the first block, for filters of length 1.
    """
    chosen = [m for m in net.features if isinstance(m, HaHBlock | StandardBlock)][:blocks]
    active, sparseness, places, count = ([0.0] * blocks for _ in range(4))
    top = rest = 0.0
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(evaluating(net))
        seen: dict[int, Tensor] = {}
        for i, block in enumerate(chosen):
            observed: Any = block if isinstance(block, HaHBlock) else block.relu
            stack.callback(observed.register_forward_hook(_keep(seen, i)).remove)
        for part in x.split(_BATCH):
            net(part)
            for i, z in seen.items():
                active[i] += float((z != 0).sum())
                count[i] += z.numel()
                columns = z.movedim(1, -1).flatten(0, -2)
                columns = columns[(columns != 0).any(1)]
                sparseness[i] += float(hoyer(columns).double().sum()) if len(columns) else 0.0
                places[i] += len(columns)
            high, low = _strength(net, part)
            top, rest = top + high * len(part), rest + low * len(part)
    return {
        "active": [a / n for a, n in zip(active, count, strict=True)],
        "hoyer": [s / n if n else None for s, n in zip(sparseness, places, strict=True)],
        "top": top / len(x),
        "rest": rest / len(x),
    }


def _keep(seen: dict[int, Tensor], i: int) -> Any:
    def hook(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        seen[i] = output

    return hook


def _strength(net: VGG, x: Tensor) -> tuple[float, float]:
    weight = next(net.features.parameters())
    a = F.conv2d((x - net.mean) / net.std, unit_filters(weight), padding=1).relu()
    channels = a.shape[1]
    k = max(1, math.ceil(_WINNERS * channels - 1e-9))
    ordered = a.sort(1, descending=True).values
    rest = ordered[:, k:]
    return float(ordered[:, :k].mean()), float(rest.mean()) if rest.numel() else 0.0
