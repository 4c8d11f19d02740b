"""Training that continues from one call to the next."""

from __future__ import annotations

import copy
import math
from typing import Any

from gossamer.connectivity import SparseLayer
from gossamer.models import MLP
from gossamer.plasticity import Rewire, preset
from gossamer.plasticity.presets import RuleArguments
from gossamer.training import DivergedError, Recipe, Samples, Task
from gossamer.training.architecture import constrain
from gossamer.training.optimizer import make_optimizer
from gossamer.training.passes import one_pass

__all__ = ["Stream"]

_UPDATES = 100  # between two rewiring steps, at least: as often as RigL does (Evci et al. 2020)


class Stream:
    """State that `partial_fit` keeps between calls, not saved in pickles and files: optimizer and rewiring.

    ``rule`` is the rewiring rule, if it is not the one that ``recipe`` names.
    """

    def __init__(self, network: MLP, recipe: Recipe, rule: RuleArguments | None, seed: int) -> None:
        self.network, self.seed, self.step = network, seed, recipe.step
        self.fallback: str | None = None
        self.optimizer = make_optimizer(recipe, network)
        if rule is None and recipe.rewire != "none":
            rule = preset(recipe.rewire, recipe.fraction)
        self.rewire: Rewire | None = None
        if rule is not None and any(isinstance(layer, SparseLayer) for layer in network.children()):
            self.rewire = Rewire(network, self.optimizer, **rule, inputs=(), seed=seed)
        if recipe.constraint is not None:
            constrain(network, recipe.constraint, self.optimizer, seed)
        self.updates, self.loss = 0, math.nan  # since the last rewiring, and of the last call

    def go_through(self, samples: Samples, task: Task, batch_size: int, number: int) -> float:
        """Train on all ``samples`` once, in the ``number``-th call, after rewiring if it is due.

        After an error or Ctrl-C network, optimizer and rewiring are as they were before the call.
        """
        before = self._state()
        try:
            return self._go_through(samples, task, batch_size, number)
        except BaseException:
            self._restore(before)
            raise

    def _state(self) -> dict[str, Any]:
        state: dict[str, Any] = {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}
        state |= {"rewire": None if self.rewire is None else self.rewire.state_dict()}
        return copy.deepcopy(state | {"updates": self.updates, "loss": self.loss})

    def _restore(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.network.eval()
        self.optimizer.load_state_dict(state["optimizer"])
        if self.rewire is not None:
            self.rewire.inputs = ()
            self.rewire.load_state_dict(state["rewire"])
        self.updates, self.loss = state["updates"], state["loss"]

    def _go_through(self, samples: Samples, task: Task, batch_size: int, number: int) -> float:
        if self.rewire is not None and self.updates >= _UPDATES:
            self.rewire.inputs = samples.x
            self.rewire.step(score=-self.loss)
            self.rewire.inputs, self.updates = (), 0
        self.loss, _, self.fallback = one_pass(
            self.network,
            self.optimizer,
            samples,
            task,
            batch_size=batch_size,
            seed=(self.seed, number),
            step=self.step,
        )
        if not math.isfinite(self.loss):
            raise DivergedError(f"training diverged: the loss is {self.loss:g}. Lower the learning rate")
        self.updates += math.ceil(len(samples.y) / batch_size)
        return self.loss

    def end(self) -> None:
        """Release the network."""
        if self.rewire is not None:
            self.rewire.remove_hooks()
