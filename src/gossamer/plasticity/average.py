"""Averages of weights over training, when connections change meanwhile.

A position in ``weight_values`` belongs to one connection before a rewiring and to another after it, so a copy of a
network must not be combined with the network by position. `align_` gives a copy the connections of the network first,
its weights following by connection. `AveragedModel` is torch's, for weight averages (SWA, Izmailov et al. 2018) and
exponential moving averages (EMA), with `align_` before each update.

An average is that of the dense matrices, in which a connection that does not exist has weight 0, at the connections
that the network has now. So a connection that was grown starts at 0 in the average, wherever the network starts it
with, and one that was dropped leaves the average, which stays as sparse as the network.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import swa_utils

from gossamer.connectivity import Pattern, SparseLayer
from gossamer.errors import InputError
from gossamer.kernels import split
from gossamer.plasticity.carry import Prepared, prepare
from gossamer.plasticity.commit import commit
from gossamer.plasticity.flat_indices import contained
from gossamer.plasticity.layers import bare

__all__ = ["AveragedModel", "align_"]


@torch.no_grad()
def align_(copy: nn.Module, net: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> None:
    """Give the sparse layers of ``copy`` the connections of those of ``net``, all of them or none.

    Weights of connections that both have stay as they are in ``copy``, those of others are dropped, and new ones start
    at 0. Call it before anything that combines the two by position: an average, Polyak's target network, a mean
    teacher. Where the patterns are equal, nothing happens.

    Args:
        copy: changed in place: a network with the layers of ``net``, such as ``copy.deepcopy(net)``.
        net: is only read.
        optimizer: of ``copy``, if it has one; its state follows.

    Raises:
        InputError: the two have not the same sparse layers, by name and size.

    Example:
        >>> from copy import deepcopy
        >>> net = gs.SparseLinear(10, 5, density=0.4)
        >>> teacher = deepcopy(net)
        >>> _ = gs.Rewire(net).step()
        >>> gs.align_(teacher, net)
        >>> for slow, fast in zip(teacher.parameters(), net.parameters()):
        ...     _ = slow.detach().lerp_(fast.detach(), 0.01)
    """
    mine, other = ({n: m for n, m in bare(x).named_modules() if isinstance(m, SparseLayer)} for x in (copy, net))
    sizes, expected = ({n: (m.out_features, m.in_features) for n, m in x.items()} for x in (mine, other))
    if sizes != expected:
        raise InputError(f"copy must have the sparse layers of net, {expected} (name: shape), got {sizes}")
    planned = [_plan(name, layer, other[name].pattern, optimizer) for name, layer in mine.items()]
    commit([change.put for change in planned if change is not None])


def _plan(name: str, layer: SparseLayer, target: Pattern, optimizer: torch.optim.Optimizer | None) -> Prepared | None:
    here = layer.pattern
    if here.nnz == target.nnz and all(
        a is b or torch.equal(a, b.to(a.device)) for a, b in zip(here.structure[:2], target.structure[:2], strict=True)
    ):
        return None
    before, after = here.flat_indices, target.flat_indices.to(here.structure.indices.device)
    stays = contained(before, after)
    kept, _ = split(before, stays)
    _, grown = split(after, contained(after, before))
    return prepare(name, layer, kept, stays, grown, layer.weight_values.new_zeros(grown.numel()), optimizer)


class AveragedModel(swa_utils.AveragedModel):
    """`torch.optim.swa_utils.AveragedModel` for networks whose connections change, by rewiring, pruning or loading.

    `update_parameters` calls `align_` first, so each connection is averaged with itself. With ``use_buffers=True``
    buffers of integers, such as patterns and counts of batches, are copied instead of averaged.

    Args:
        model: the network that is trained, or its wrapper.
        device: device of the average (default: that of ``model``).
        avg_fn: how to average one tensor, as for torch's.
        multi_avg_fn: how to average lists of tensors, as for torch's; the default is the mean of all updates (SWA),
            ``torch.optim.swa_utils.get_ema_multi_avg_fn(0.999)`` an exponential moving average.
        use_buffers: average buffers of floating point too, instead of copying them.

    Example:
        >>> net = gs.SparseLinear(10, 5, density=0.4)
        >>> average = gs.AveragedModel(net, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.99))
        >>> average.update_parameters(net)
        >>> _ = gs.Rewire(net).step()
        >>> average.update_parameters(net)
        >>> torch.equal(average.module.pattern.flat_indices, net.pattern.flat_indices)
        True

    References:
        Izmailov et al., "Averaging weights leads to wider optima and better generalization", UAI 2018 (SWA).
    """

    def __init__(
        self,
        model: nn.Module,
        device: int | torch.device | None = None,
        avg_fn: Callable[[Tensor, Tensor, Tensor | int], Tensor] | None = None,
        multi_avg_fn: Callable[[Any, Any, Tensor | int], None] | None = None,
        use_buffers: bool = False,
    ) -> None:
        super().__init__(model, device, avg_fn, multi_avg_fn, use_buffers)
        if avg_fn is None:
            self.multi_avg_fn = _OfFloats(multi_avg_fn or swa_utils.get_swa_multi_avg_fn())
        else:
            self.avg_fn = _OfFloat(avg_fn)

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Average the parameters of a network, connection by connection, with those of all updates before.

        Args:
            model: the network that is trained, or its wrapper.
        """
        align_(self.module, model)
        super().update_parameters(model)


@dataclass(frozen=True)
class _OfFloats:
    """``average``, for lists of tensors of one dtype; integers are copied."""

    average: Callable[[Any, Any, Tensor | int], None]

    def __call__(self, averaged: Any, current: Any, count: Tensor | int) -> None:
        if averaged[0].is_floating_point() or averaged[0].is_complex():
            self.average(averaged, current, count)
        else:
            for mine, now in zip(averaged, current, strict=True):
                mine.copy_(now)


@dataclass(frozen=True)
class _OfFloat:
    """``average``, for one tensor; integers are copied."""

    average: Callable[[Tensor, Tensor, Tensor | int], Tensor]

    def __call__(self, averaged: Tensor, current: Tensor, count: Tensor | int) -> Tensor:
        return self.average(averaged, current, count) if averaged.is_floating_point() else current
