"""The methods of the study: a network in training, and how it becomes sparse.

Every network is a multilayer perceptron of ReLU units, trained by Adam with a learning rate that falls along half a
cosine, for the same number of epochs on the same rows. The connections between inputs and hidden units and between
hidden layers become sparse; the output layer stays dense and is not counted.

=============  ========================================================================================================
``gap``        starts with all connections. Ten times an epoch, those with |w| < δ are eliminated; 2 % of them move to
               δ sign(w) and 2 % to −δ sign(w) instead. The network finds its density. Option: the gap opens from 0 to
               δ until 3/4 of the training, by equal steps or along a cubic curve, or it is δ from the start
``magnitude``  all connections at first; then the weakest are removed at once. Option: after which share of the epochs
``gradual``    all connections at first; the weakest are removed ten times an epoch along a cubic curve. Option: the
               share of the training at which that ends
``SET``        sparse from the start, rewired at random after each epoch. Option: the fraction that is rewired
``RigL``       sparse from the start, rewired by the gradient twice an epoch until 3/4 of the training. Option: the
               fraction that is rewired
``l1``         all connections for half of the epochs, with each unit's weights in the l1 ball of radius r √k; then the
               weakest are removed. Option: r
``Hoyer``      as l1, but each unit's weights have the sparseness of r k equal weights. Option: r
``random``     sparse from the start, never changed. Option: how the layers share the connections
``dense``      all connections, for comparison
=============  ========================================================================================================

Where a network is given its density it is that which ``gap`` found on the same rows with the same seed; k is the number
of connections that each unit has then on average.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gossamer.studies.trials import Trial
from gossamer.studies.weak_elimination.settings import Plan

if TYPE_CHECKING:
    import torch
    from torch import nn

    from gossamer.models import MLP

__all__ = ["Training"]

_EVENTS = 10  # of pruning, in an epoch
_KEPT = _FLIPPED = 0.02  # of the weak connections, Baig & Stepanyants 2024


class Training:
    """A network, its optimizer and its way to become sparse; counts the multiplications of training."""

    def __init__(
        self,
        trial: Trial,
        plan: Plan,
        features: int,
        classes: int,
        rows: int,
        width: float | None,
        connections: int | None,
        option: Any,
    ) -> None:
        import torch

        from gossamer.models import MLP
        from gossamer.training import Recipe
        from gossamer.training.optimizer import make_optimizer

        self.method, self.plan, self.option = trial.variant, plan, option
        shapes = list(zip(plan.hidden, (features, *plan.hidden[:-1]), strict=True))
        self.positions = sum(n_out * n_in for n_out, n_in in shapes)
        self.per_epoch = math.ceil(rows / plan.batch_size)
        self.total = plan.epochs * self.per_epoch
        share = option if self.method == "magnitude" else 0.5
        self.dense_epochs = min(max(1, round(share * plan.epochs)), plan.epochs - 1)  # before pruning at once
        self.density = 1.0 if connections is None else connections / self.positions
        static = self.method in ("SET", "RigL", "random")
        self.model: MLP = MLP(
            features,
            plan.hidden,
            classes,
            density=self.density if static else None,
            allocate=option if self.method == "random" else "er",
            activation="relu",
            generator=torch.Generator().manual_seed(trial.seed),
        )
        if self.method in ("gap", "gradual"):
            self._store_connections(None)
        self.recipe = Recipe(
            hidden=plan.hidden,
            activation="relu",
            rewire="none",
            epochs=plan.epochs,
            batch_size=plan.batch_size,
            learning_rate=plan.learning_rate,
        )
        self.optimizer = make_optimizer(self.recipe, self.model)
        self.macs, self.number, self.events = 0, 0, 0
        self._attached: list[Any] = []
        self._step = self._prepared(trial.seed, width)

    def _prepared(self, seed: int, width: float | None) -> Callable[[], object] | None:
        """The step that changes the connections, if the method has one; constraints are attached."""
        from gossamer.plasticity import GradualMagnitudePruning, Rewire, drop, grow, preset, schedule

        net, optimizer = self.model, self.optimizer
        if self.method == "gap":
            assert width is not None
            opens: Any = {"equal steps": schedule.linear, "cubic": schedule.cubic}.get(self.option)
            opening = opens(0.0, self._event_count(3 * self.total // 4), end=width) if opens else width
            rule = drop.gap(opening, kept=_KEPT, flipped=_FLIPPED)
            return Rewire(net, optimizer, drop=rule, grow=grow.none(), seed=seed).step
        if self.method == "gradual":
            steps = self._event_count(int(self.option * self.total))
            return GradualMagnitudePruning(net, optimizer, density=self.density, steps=steps, scope="net").step
        if self.method == "SET":
            fraction = schedule.cosine(self.option, self.plan.epochs)
            return Rewire(net, optimizer, **preset("SET", fraction), seed=seed).step
        if self.method == "RigL":
            fraction = schedule.cosine(self.option, max(1, 3 * self.total // 4 // self._rigl_interval))
            return Rewire(net, optimizer, **preset("RigL", fraction), seed=seed).step
        if self.method in ("l1", "Hoyer"):
            self._constrain()
        return None

    def _constrain(self) -> None:
        from gossamer.connectivity import constraints

        for name, layer in self.hidden().items():
            n = layer.in_features
            strength = self.option if self.method == "Hoyer" else 1.0
            k = min(max(1.5, strength * self.density * n), n - 1.0)
            chosen: constraints.Constraint = (
                constraints.L1(self.option * math.sqrt(k))
                if self.method == "l1"
                else constraints.Hoyer((math.sqrt(n) - math.sqrt(k)) / (math.sqrt(n) - 1), norm="preserve")
            )
            self._attached.append(constraints.attach(self.model.get_submodule(name), chosen, self.optimizer))

    def _event_count(self, steps: int) -> int:
        return max(1, steps // self._interval)

    @property
    def _interval(self) -> int:
        return max(1, self.per_epoch // _EVENTS)

    @property
    def _rigl_interval(self) -> int:
        return max(1, self.per_epoch // 2)

    def hidden(self) -> dict[str, Any]:
        """The layers that become sparse."""
        return {f"linear{i}": self.model.get_submodule(f"linear{i}") for i in range(1, len(self.plan.hidden) + 1)}

    def sparse(self) -> dict[str, Any]:
        """Those of them that are stored sparse."""
        from gossamer.connectivity import SparseLayer

        return {name: layer for name, layer in self.hidden().items() if isinstance(layer, SparseLayer)}

    @property
    def connections(self) -> int:
        """The number of connections of the layers that become sparse."""
        sparse = self.sparse()
        return sum(layer.nnz if name in sparse else layer.weight.numel() for name, layer in self.hidden().items())

    def _store_connections(self, optimizer: torch.optim.Optimizer | None) -> None:
        from gossamer.connectivity import compact_

        def hidden(name: str, layer: nn.Module) -> bool:
            return name != "output"

        compact_(self.model, 1.0, hidden, optimizer=optimizer)

    def begin(self, epoch: int) -> None:
        """Half of the epochs are over: networks that were trained with all connections are pruned."""
        from gossamer.plasticity import magnitude_prune_

        if epoch == self.dense_epochs + 1 and self.method in ("magnitude", "l1", "Hoyer"):
            for attached in self._attached:
                attached.remove()
            self._store_connections(self.optimizer)
            stored = sum(layer.nnz for layer in self.sparse().values())
            if stored > self.density * self.positions:
                magnitude_prune_(self.model, self.density, self.optimizer, scope="net")

    def before_step(self, number: int) -> None:
        """Set the learning rate."""
        from gossamer.training.optimizer import learning_rate_at, set_learning_rate

        set_learning_rate(self.optimizer, learning_rate_at(self.number, self.recipe, self.per_epoch))

    def after_step(self, number: int, loss: torch.Tensor) -> None:
        """Count the multiplications, and change the connections where it is time."""
        self.number += 1
        self.macs += 3 * self.connections * self.plan.batch_size
        if self._step is None:
            return
        if self.method in ("gap", "gradual"):
            if self.number % self._interval == 0:
                self._step()
        elif self.method == "RigL" and self.number % self._rigl_interval == 0 and self.number <= 3 * self.total // 4:
            self.macs += self.positions * self.plan.batch_size  # the gradient of all positions
            self._step()

    def end(self, epoch: int) -> None:
        """After an epoch SET moves connections, but not after the last; the gap holds at the end."""
        if self._step is not None and (
            (self.method == "SET" and epoch < self.plan.epochs) or (self.method == "gap" and epoch == self.plan.epochs)
        ):
            self._step()
