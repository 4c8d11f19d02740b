"""One network of the study: how it becomes sparse, how well it classifies then, and what its training cost.

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

**Protocol.** For each data set, every method's option is chosen by its mean accuracy on validation rows, a fifth of the
training rows, over the gaps ``Plan.tuned`` and seeds that are not reported. The test rows are the same in all trials
and judge only the networks with the chosen options, which are trained on all drawn rows with seeds of their own.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from gossamer.errors import InputError
from gossamer.studies.rows import divided
from gossamer.studies.trials import Record, Trial

if TYPE_CHECKING:
    import torch
    from torch import nn

    from gossamer.models import MLP

__all__ = [
    "METHODS",
    "OPTIONS",
    "OTHERS",
    "PLANS",
    "Options",
    "Plan",
    "at_equal_density",
    "carry_out",
    "chosen_options",
    "gap_trials",
    "others_tuned",
    "plans",
    "tuned_gaps",
]

OTHERS = ("magnitude", "gradual", "SET", "RigL", "l1", "Hoyer", "random")
METHODS = ("gap", *OTHERS)

Option = str | float
OPTIONS: Mapping[str, tuple[Option, ...]] = {
    "gap": ("equal steps", "cubic", "at once"),
    "magnitude": (0.25, 0.5, 0.75),
    "gradual": (0.5, 0.75, 0.9),
    "SET": (0.1, 0.3, 0.5),
    "RigL": (0.1, 0.3, 0.5),
    "l1": (0.5, 1.0, 2.0),
    "Hoyer": (1.0, 2.0, 4.0),
    "random": ("er", "uniform"),
}
"""What each method is tried with."""

Options = Mapping[tuple[str, str], Option]
"""The chosen option of each data set and method."""

_EVENTS = 10  # of pruning, in an epoch
_FIRST_REPORTED, _FIRST_TUNED = 100, 10_000  # seeds
_VALIDATION = 0.2  # of the training rows
_DIVISION = 0  # the seed by which test rows are set aside, where a data set does not fix them
_KEPT = _FLIPPED = 0.02  # of the weak connections, Baig & Stepanyants 2024


@dataclass(frozen=True)
class Plan:
    """How the networks of one data set are trained.

    ``widths`` are the gaps δ, each of which gives one density, and ``tuned`` those of them at which options are chosen,
    with ``tuning_seeds`` seeds; ``rows`` is the number of training rows, drawn anew for each seed, if there are more.
    """

    widths: tuple[float, ...]
    tuned: tuple[float, ...]
    seeds: int = 5
    tuning_seeds: int = 2
    epochs: int = 10
    hidden: tuple[int, ...] = (100, 50)
    batch_size: int = 64
    learning_rate: float = 0.002
    rows: int = 2560


_QUICK = Plan(widths=(0.05, 0.15), tuned=(0.15,), tuning_seeds=1, epochs=6, hidden=(60, 40), batch_size=32, rows=640)

PLANS: Mapping[str, Mapping[str, Plan]] = {
    "quick": {"digits": _QUICK, "breast_cancer": _QUICK},
    "full": {
        "fashion_mnist": Plan(widths=(0.02, 0.06, 0.12, 0.18, 0.26), tuned=(0.06, 0.18)),
        "isolet": Plan(widths=(0.02, 0.06, 0.1, 0.15), tuned=(0.06, 0.15)),
    },
}


def plans(preset: str, seeds: int | None, data: tuple[str, ...] | None) -> dict[str, Plan]:
    """The plan of each data set; one that the preset doesn't know gets that of its first."""
    known = PLANS[preset]
    other = next(iter(known.values()))
    chosen = {name: known.get(name, other) for name in data or known}
    return {name: plan if seeds is None else replace(plan, seeds=seeds) for name, plan in chosen.items()}


_PROTOCOL = ("widths", "tuned", "seeds", "tuning_seeds")


def _settings(plan: Plan) -> dict[str, Any]:
    return {name: value for name, value in asdict(plan).items() if name not in _PROTOCOL}


def tuned_gaps(plans: Mapping[str, Plan]) -> list[Trial]:
    """The networks that find their density, with each option, judged on validation rows."""
    return [
        Trial("gap", name, _FIRST_TUNED + seed, _settings(plan) | {"width": width, "option": option, "tuning": True})
        for name, plan in plans.items()
        for seed in range(plan.tuning_seeds)
        for width in plan.tuned
        for option in OPTIONS["gap"]
    ]


def others_tuned(found: Sequence[Record], options: Options) -> list[Trial]:
    """Every other method with each of its options, at the densities of the gap's chosen option."""
    return [
        Trial(method, r["dataset"], r["seed"], r["settings"] | {"connections": r["connections"], "option": option})
        for r in found
        if r["settings"]["option"] == options[r["dataset"], "gap"]
        for method in OTHERS
        for option in OPTIONS[method]
    ]


def chosen_options(found: Sequence[Record]) -> dict[tuple[str, str], Option]:
    """For each data set and method the option with the highest mean validation accuracy; the first one of a tie."""
    scores: dict[tuple[str, str], dict[Option, list[float]]] = {}
    for r in found:
        of_option = scores.setdefault((r["dataset"], r["variant"]), {})
        accuracy = r["accuracy"] if r["connections"] else 0.0  # no connections are no candidate
        of_option.setdefault(r["settings"]["option"], []).append(accuracy)
    means = {cell: {option: float(np.mean(each)) for option, each in of.items()} for cell, of in scores.items()}
    return {
        (name, method): max((o for o in OPTIONS[method] if o in of), key=of.__getitem__)
        for (name, method), of in means.items()
    }


def gap_trials(plans: Mapping[str, Plan], options: Options) -> list[Trial]:
    """The reported networks that depend on no other: each gap, and the dense one."""
    return [
        Trial(
            "gap" if width else "dense",
            name,
            _FIRST_REPORTED + seed,
            _settings(plan) | ({"width": width, "option": options[name, "gap"]} if width else {}),
        )
        for name, plan in plans.items()
        for seed in range(plan.seeds)
        for width in (0.0, *plan.widths)
    ]


def at_equal_density(found: Sequence[Record], options: Options) -> list[Trial]:
    """Every other method, with the number of connections of each network that found its own."""
    if empty := [r for r in found if r["connections"] == 0]:
        raise InputError(
            f"widths must leave connections, got {empty[0]['settings']['width']:g}, which eliminates all on "
            f"{empty[0]['dataset']}, seed {empty[0]['seed']}"
        )
    return [
        Trial(
            method,
            r["dataset"],
            r["seed"],
            r["settings"] | {"connections": r["connections"], "option": options[r["dataset"], method]},
        )
        for r in found
        if r["variant"] == "gap"
        for method in OTHERS
    ]


# ---- one trial -------------------------------------------------------------------------------------------------------


def carry_out(trial: Trial) -> dict[str, Any]:
    """Train one network; its accuracy on test or validation rows, its connections after each epoch, and its cost."""
    import torch

    from gossamer.training import DivergedError, Samples, evaluate
    from gossamer.training.passes import one_pass

    own: dict[str, Any] = {**trial.settings, "hidden": tuple(trial.settings["hidden"])}
    width, connections = own.pop("width", None), own.pop("connections", None)
    option, tuning = own.pop("option", None), own.pop("tuning", False)
    plan = Plan(widths=(), tuned=(), **own)
    rows = divided(trial.dataset, _DIVISION)
    kept = np.random.default_rng(trial.seed).permutation(len(rows.y))[: plan.rows]
    judging = [torch.from_numpy(part) for part in rows.test]
    if tuning:
        kept, held = np.split(kept, [len(kept) - math.ceil(_VALIDATION * len(kept))])
        judging = [torch.from_numpy(rows.x[held]), torch.from_numpy(rows.y[held])]
    train, test = Samples(torch.from_numpy(rows.x[kept]), torch.from_numpy(rows.y[kept])), Samples(*judging)
    start = time.perf_counter()
    training = _Training(trial, plan, train.x.shape[1], rows.classes, len(kept), width, connections, option)
    curve, losses = [], []
    for epoch in range(1, plan.epochs + 1):
        training.begin(epoch)
        loss, _, _ = one_pass(
            training.model,
            training.optimizer,
            train,
            _task(),
            batch_size=plan.batch_size,
            seed=(trial.seed, epoch),
            before_step=training.before_step,
            on_step=training.after_step,
        )
        if not math.isfinite(loss):
            raise DivergedError(f"training diverged in epoch {epoch}")
        training.end(epoch)
        curve.append(training.connections)
        losses.append(round(loss, 5))
    seconds = time.perf_counter() - start
    return {
        "accuracy": evaluate(training.model, test)[1] / len(test.y),
        "connections": training.connections,
        "positions": training.positions,
        "layers": {name: layer.nnz for name, layer in training.sparse().items()},
        "curve": curve,
        "losses": losses,
        "macs": training.macs,
        "train_seconds": seconds,
        "rows": len(kept),
        "test_rows": len(test.y),
    }


def _task() -> Any:
    from gossamer.training.task import MULTICLASS

    return MULTICLASS


class _Training:
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
        from gossamer.connectivity import SparseLayer

        return {name: layer for name, layer in self.hidden().items() if isinstance(layer, SparseLayer)}

    @property
    def connections(self) -> int:
        sparse = self.sparse()
        return sum(layer.nnz if name in sparse else layer.weight.numel() for name, layer in self.hidden().items())

    def _store_connections(self, optimizer: torch.optim.Optimizer | None) -> None:
        from gossamer.connectivity import compact_

        def hidden(name: str, layer: nn.Module) -> bool:
            return name != "output"

        compact_(self.model, 1.0, hidden, optimizer=optimizer)

    def begin(self, epoch: int) -> None:
        """Half of the epochs are over: what was trained with all connections is pruned."""
        from gossamer.plasticity import magnitude_prune_

        if epoch == self.dense_epochs + 1 and self.method in ("magnitude", "l1", "Hoyer"):
            for attached in self._attached:
                attached.remove()
            self._store_connections(self.optimizer)
            stored = sum(layer.nnz for layer in self.sparse().values())
            if stored > self.density * self.positions:
                magnitude_prune_(self.model, self.density, self.optimizer, scope="net")

    def before_step(self, number: int) -> None:
        from gossamer.training.optimizer import learning_rate_at, set_learning_rate

        set_learning_rate(self.optimizer, learning_rate_at(self.number, self.recipe, self.per_epoch))

    def after_step(self, number: int, loss: torch.Tensor) -> None:
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
