"""One network of the study: how well it classifies once it is sparse, and the cost of its training.

`gossamer.studies.weak_elimination.methods` defines the networks and the options of each method. A network that is given
its density has that which ``gap`` found on the same rows with the same seed.

**Protocol.** For each data set, every method's option is chosen by its mean accuracy on validation rows, a fifth of the
training rows, over the gaps ``Plan.tuned`` and seeds that are not reported. The test rows are the same in all trials
and judge only the networks with the chosen options, which are trained on all drawn rows with seeds of their own.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from gossamer.errors import InputError
from gossamer.studies.rows import divided
from gossamer.studies.trials import Record, Trial
from gossamer.studies.weak_elimination.methods import Training
from gossamer.studies.weak_elimination.settings import OPTIONS, OTHERS, Option, Options, Plan

__all__ = ["at_equal_density", "carry_out", "chosen_options", "gap_trials", "others_tuned", "tuned_gaps"]

_FIRST_REPORTED, _FIRST_TUNED = 100, 10_000  # seeds
_VALIDATION = 0.2  # of the training rows
_DIVISION = 0  # the seed by which test rows are set aside, where a data set does not fix them

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
    from gossamer.training.task import MULTICLASS

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
    training = Training(trial, plan, train.x.shape[1], rows.classes, len(kept), width, connections, option)
    curve, losses = [], []
    for epoch in range(1, plan.epochs + 1):
        training.begin(epoch)
        loss, _, _ = one_pass(
            training.model,
            training.optimizer,
            train,
            MULTICLASS,
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
