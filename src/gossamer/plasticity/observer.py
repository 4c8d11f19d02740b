"""Observation of a network for the rules: the inputs and gradients of training passes, and the statistics of a step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from gossamer.connectivity import SparseLayer
from gossamer.plasticity.evidence import PairScores, Statistic
from gossamer.plasticity.gradient import GradientMemory, LossGradient
from gossamer.plasticity.inputs import InputMemory, Inputs, calls_of, take
from gossamer.plasticity.layers import bare
from gossamer.plasticity.similarity import Cosine, measure_cosines

__all__ = ["Observer"]


class Observer:
    """Keeps what the statistics ``needs`` read of training, by hooks on ``net``, and measures them.

    Args:
        net: the network.
        layers: its layers that are rewired, by name.
        needs: the statistics of all rules.
        keep: number of samples of training whose inputs are kept for similarities; 0 if they are given at each step.
    """

    def __init__(
        self, net: nn.Module, layers: Mapping[str, SparseLayer], needs: Iterable[Statistic], *, keep: int
    ) -> None:
        self.net, needs = bare(net), tuple(needs)
        window = max((need.window for need in needs if isinstance(need, LossGradient)), default=0)
        similarity = any(isinstance(need, Cosine) for need in needs)
        self._inputs = InputMemory(net, keep) if similarity and keep else None
        self._gradients = GradientMemory(net, layers, window) if window else None

    def measure(
        self,
        layers: Mapping[str, SparseLayer],
        needs: tuple[Statistic, ...],
        inputs: Inputs | None,
        samples: int,
        generator: torch.Generator,
        group: dist.ProcessGroup | None,
    ) -> dict[str, dict[Statistic, PairScores]]:
        """Measure the statistics ``needs`` of ``layers``; similarities on ``samples`` of ``inputs`` or of the kept."""
        out: dict[str, dict[Statistic, PairScores]] = {name: {} for name in layers}
        cosines = [need for need in needs if isinstance(need, Cosine)]
        if layers and cosines:
            if inputs is not None:
                device = next(iter(layers.values())).weight_values.device
                calls = calls_of(inputs, device, samples, generator)
            else:
                assert self._inputs is not None
                calls = iter(self._inputs.calls)
            out |= measure_cosines(self.net, layers, cosines, take(calls, samples), group=group)
        for need in needs:
            if layers and isinstance(need, LossGradient):
                assert self._gradients is not None
                for name, pairs in self._gradients.measure(layers, need, group).items():
                    out[name][need] = pairs
        return out

    def forget(self) -> None:
        """Forget the gradients, which are those of another pattern after a step."""
        if self._gradients is not None:
            self._gradients.forget()

    def state(self) -> dict[str, Any]:
        """Return the inputs and gradients that are kept."""
        return {
            "inputs": [] if self._inputs is None else list(self._inputs.calls),
            "gradients": None if self._gradients is None else self._gradients.state(),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Continue with the inputs and gradients of `state`."""
        if self._inputs is not None:
            self._inputs.calls.clear()
            self._inputs.calls.extend((tuple(args), dict(kwargs)) for args, kwargs in state["inputs"])
        if self._gradients is not None and state["gradients"] is not None:
            self._gradients.load(state["gradients"])

    def remove(self) -> None:
        """Remove the hooks."""
        for memory in (self._inputs, self._gradients):
            if memory is not None:
                memory.remove()
