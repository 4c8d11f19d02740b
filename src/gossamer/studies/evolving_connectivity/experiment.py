"""One network of the study: connectivity, rewiring, training and measurements.

Every network is a multilayer perceptron of SReLU units with dropout, trained by gradient descent with momentum; a
hidden layer of n_in inputs and n_out units has ε (n_in + n_out) connections, the output layer all of them. They
differ in the rule that moves connections after each epoch but the last:

====================  ================================================================================================
the eight rules       as `gossamer.plasticity.PRESETS` has them; RigL's fraction falls along half a cosine to 0
``fixed``             not at all
``dense``             all connections exist
``random removed``    a control: as SET, but connections are dropped at random
``largest removed``   a control: as SET, but the connections of largest |weight| are dropped
====================  ================================================================================================
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gossamer.studies.rows import divided
from gossamer.studies.trials import Trial

if TYPE_CHECKING:
    import torch

    from gossamer.training import Fit, Samples

__all__ = ["CONTROLS", "COSINE", "PLANS", "RULES", "VARIANTS", "Plan", "carry_out", "plans", "trials_of"]

COSINE = ("CoDASET", "CoPASET", "CoRSET", "CoDACoRSET", "CoPACoRSET")
RULES = ("SET", *COSINE, "CTRE", "RigL")
VARIANTS = (*RULES, "fixed", "dense")
CONTROLS = ("random removed", "largest removed")

_MOST_DEGREES = 1100  # inputs whose degrees are kept one by one: images and Madelon, not thousands of genes or words
_ABLATIONS = 40  # steps of an ablation curve, at most


@dataclass(frozen=True)
class Plan:
    """How the networks of one data set are trained.

    ``dense_learning_rate`` is the dense network's where the other makes it diverge. ``start``: first weights are
    uniform on ±1/√fan-in of the connections that exist (``"fan-in"``), or drawn as for a dense layer. ``test_size``
    counts where the data set has no fixed test rows.
    """

    epochs: int
    seeds: int
    hidden: tuple[int, ...] = (1000, 1000, 1000)
    epsilon: float = 20
    batch_size: int = 100
    learning_rate: float = 0.01
    dense_learning_rate: float | None = None
    momentum: float = 0.9
    dropout: float = 0.3
    fraction: float = 0.3
    start: str = "fan-in"
    test_size: float = 0.2
    controls: bool = False

    @property
    def tail(self) -> int:
        """The last epochs, whose mean accuracy is a trial's accuracy."""
        return min(10, max(1, self.epochs // 5))


_TINY = Plan(epochs=50, seeds=5, batch_size=10, dense_learning_rate=0.001, test_size=1 / 3)
_TEXT = Plan(epochs=30, seeds=3, learning_rate=0.1)
_SMALL = Plan(epochs=15, seeds=3, hidden=(200, 200, 200), epsilon=5, batch_size=100, learning_rate=0.05)

PLANS: Mapping[str, Mapping[str, Plan]] = {
    "quick": {
        "digits": replace(_SMALL, controls=True),
        "breast_cancer": _SMALL,
        "wine": replace(_SMALL, batch_size=10, learning_rate=0.01),
    },
    "full": {
        "madelon": Plan(epochs=100, seeds=5, learning_rate=0.1, dense_learning_rate=0.01, start="dense shape"),
        "isolet": Plan(epochs=50, seeds=3, epsilon=18, controls=True),
        "coil20": Plan(epochs=60, seeds=3, controls=True),
        "basehock": _TEXT,
        "pcmac": _TEXT,
        "allaml": _TINY,
        "glioma": _TINY,
        "arcene": replace(_TINY, epochs=30),
        "fashion_mnist": Plan(epochs=15, seeds=3),
    },
}


def plans(preset: str, seeds: int | None, data: tuple[str, ...] | None) -> dict[str, Plan]:
    """Return the plan of each data set.

    A data set that the preset doesn't know has the published settings, and the size of the preset's first.
    """
    known = PLANS[preset]
    first = next(iter(known.values()))
    other = Plan(first.epochs, first.seeds, first.hidden, first.epsilon)
    chosen = {name: known.get(name, other) for name in data or known}
    return {name: plan if seeds is None else replace(plan, seeds=seeds) for name, plan in chosen.items()}


def trials_of(plans: Mapping[str, Plan]) -> list[Trial]:
    """Every variant of every data set and seed; those of one division of the rows follow each other."""
    return [
        Trial(variant, name, seed, {k: v for k, v in asdict(plan).items() if k not in ("seeds", "controls")})
        for name, plan in plans.items()
        for seed in range(plan.seeds)
        for variant in (*VARIANTS, *(CONTROLS if plan.controls else ()))
    ]


# ---- one trial -------------------------------------------------------------------------------------------------------


def carry_out(trial: Trial) -> dict[str, Any]:
    """Train one network; record its test accuracy after each epoch, its cost, and its connections.

    A network whose loss is no longer a number keeps its answers from then on.
    """
    import torch

    from gossamer.evaluate import cost
    from gossamer.training import DivergedError, Samples, evaluate

    settings: dict[str, Any] = {**trial.settings, "hidden": tuple(trial.settings["hidden"])}
    plan = Plan(seeds=1, **settings)
    rows = divided(trial.dataset, trial.seed, plan.test_size)
    train, test = (Samples(torch.from_numpy(x), torch.from_numpy(y)) for x, y in ((rows.x, rows.y), rows.test))
    fit = _fit(trial, plan, train, test, rows.classes)
    clock = _time_rewiring(fit)
    noisy = []
    try:
        for epoch in fit.run():
            if trial.dataset == "madelon":
                noisy += [_accuracy_with_dropout(fit.model, test, 1000 * trial.seed + epoch.epoch)]
    except DivergedError:
        pass
    curve = [epoch.validation_accuracy for epoch in fit.history]
    if diverged := len(curve) < plan.epochs:
        curve += [evaluate(fit.model, test)[1] / len(test.y)] * (plan.epochs - len(curve))
    total = cost(fit.model, fit.optimizer).total
    found: dict[str, Any] = {
        "accuracy": float(np.mean(curve[-plan.tail :])),
        "curve": [round(value, 5) for value in curve],
        "diverged": diverged,
        "train_seconds": sum(epoch.seconds for epoch in fit.history),
        "rewire_seconds": clock[0],
        "parameters": total.parameters,
        "connections": total.connections,
        "training_bytes": total.training_bytes,
        "rows": len(rows.y),
        "test_rows": len(rows.y_test),
        "largest_class": float(np.bincount(rows.y_test).max()) / len(rows.y_test),
    }
    if noisy:
        found["curve_with_dropout"] = [round(value, 5) for value in noisy]
    degrees = _core_degrees(fit)
    if degrees is not None and not diverged:
        found["ablation"] = _ablation(fit.model, test, degrees)
        found["spread"] = _spread(fit)
        if len(degrees) <= _MOST_DEGREES:
            found["degrees"] = degrees.tolist()
    return found


def _fit(trial: Trial, plan: Plan, train: Samples, test: Samples, classes: int) -> Fit:
    """Make the network and its rewiring. The test rows are measured after each epoch, and decide nothing."""
    import torch

    from gossamer.connectivity.allocate import epsilon_density
    from gossamer.models import MLP
    from gossamer.plasticity import Rewire
    from gossamer.training import Fit, Recipe

    dense, features = trial.variant == "dense", train.x.shape[1]
    generator = torch.Generator().manual_seed(trial.seed)
    shapes = list(zip(plan.hidden, (features, *plan.hidden[:-1]), strict=True))
    rate = plan.dense_learning_rate if dense else None
    options = Recipe(
        hidden=plan.hidden,
        activation="srelu",
        dropout=plan.dropout,
        rewire="none",
        epochs=plan.epochs,
        batch_size=plan.batch_size,
        optimizer="sgd",
        learning_rate=plan.learning_rate if rate is None else rate,
        momentum=plan.momentum,
        schedule="constant",
    )
    model = MLP(
        features,
        plan.hidden,
        classes,
        density=None if dense else epsilon_density(shapes, plan.epsilon),
        allocate="er",
        activation="srelu",
        dropout=plan.dropout,
        generator=generator,
    )
    if plan.start == "dense shape":
        _draw_for_dense_shape(model, generator)
    fit = Fit(options, sparse=not dense, seed=trial.seed, outputs=classes, train=train, validation=test, model=model)
    if trial.variant not in ("dense", "fixed"):
        fit.rewire = Rewire(
            fit.model,
            fit.optimizer,
            **_rule(trial.variant, plan),
            inputs=train.x,
            seed=trial.seed,
            record="degrees",
        )
    return fit


def _draw_for_dense_shape(model: torch.nn.Module, generator: torch.Generator) -> None:
    """Weights as the authors' code draws them: uniform on ±√(6 / (n_in + n_out)); biases 0."""
    import torch

    from gossamer.connectivity import SparseLinear

    for layer in model.modules():
        if isinstance(layer, SparseLinear | torch.nn.Linear):
            bound = math.sqrt(6 / (layer.in_features + layer.out_features))
            for name, parameter in layer.named_parameters():
                limit = 0 if name == "bias" else bound
                torch.nn.init.uniform_(parameter, -limit, limit, generator)


def _rule(variant: str, plan: Plan) -> Any:
    from gossamer.plasticity import PRESETS, drop, grow, preset, schedule

    if variant == "random removed":
        return {"drop": drop.random(plan.fraction), "grow": grow.uniform()}
    if variant == "largest removed":
        return {"drop": drop.largest(plan.fraction), "grow": grow.uniform()}
    if variant == "RigL":
        return preset(variant, schedule.cosine(plan.fraction, plan.epochs))
    return preset(variant, PRESETS[variant].fraction if variant == "CTRE" else plan.fraction)


def _time_rewiring(fit: Fit) -> list[float]:
    """A list whose only number grows by the seconds of every rewiring step."""
    spent, rewire = [0.0], fit.rewire
    if rewire is not None:
        step = rewire.step

        def timed(score: float | None = None) -> Any:
            start = time.perf_counter()
            changes = step(score)
            spent[0] += time.perf_counter() - start
            return changes

        rewire.step = timed  # type: ignore[method-assign]
    return spent


# ---- measurements ----------------------------------------------------------------------------------------------------


def _core_degrees(fit: Fit) -> NDArray[np.int64] | None:
    """(features): each input's connections after the last removal, before growth; None if the first layer is dense."""
    from gossamer.connectivity import SparseLinear

    first = fit.model.get_submodule("linear1")
    if not isinstance(first, SparseLinear):
        return None
    if fit.rewire is None or fit.rewire.steps == 0:
        return first.pattern.fan_out.numpy().astype(np.int64)
    return fit.rewire.core_degrees("linear1")[-1].numpy().astype(np.int64)


def _ablation(model: torch.nn.Module, test: Samples, degrees: NDArray[np.int64]) -> dict[str, list[float]]:
    """Measure the test accuracy with k inputs at zero, from the least connected on, and from the most connected on.

    Of equal degrees, the first input goes first both ways.
    """
    from gossamer.training import Samples, evaluate

    features = len(degrees)
    counts = np.unique(np.linspace(0, features, min(features, _ABLATIONS) + 1).round().astype(int))
    curves: dict[str, list[float]] = {"zeroed": counts.tolist()}
    for name, order in (
        ("least_first", np.argsort(degrees, kind="stable")),
        ("most_first", np.argsort(-degrees, kind="stable")),
    ):
        x, curve, done = test.x.clone(), [], 0  # type: ignore[union-attr]
        for count in counts:
            x[:, order[done:count]] = 0
            done = count
            curve.append(round(evaluate(model, Samples(x, test.y))[1] / len(test.y), 5))
        curves[name] = curve
    return curves


def _spread(fit: Fit) -> list[dict[str, Any]]:
    """Record the distribution of the inputs' degrees at the start, early, midway and at the end.

    The degrees that occur, and how many inputs have them.
    """
    last = max(fit.connectivity)
    chosen = sorted({min(fit.connectivity, key=lambda epoch: abs(epoch - part * last)) for part in (0, 0.1, 0.4, 1)})
    spread = []
    for epoch in chosen:
        degrees, inputs = np.unique(fit.connectivity[epoch][1].numpy(), return_counts=True)
        spread.append({"epoch": epoch, "degrees": degrees.tolist(), "inputs": inputs.tolist()})
    return spread


def _accuracy_with_dropout(model: torch.nn.Module, test: Samples, seed: int) -> float:
    """Measure the accuracy as the authors' script does, which leaves dropout on."""
    import torch

    model.train()
    with torch.random.fork_rng([]), torch.inference_mode():
        torch.manual_seed(seed)
        return float((model(test.x).argmax(1) == test.y).float().mean())
