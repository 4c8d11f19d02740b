"""One trial: train a network, and measure its accuracy, its accuracy under noise and attacks, and its activations.

Attacks, on the first test rows, each alone; the *strongest* result counts a sample as correct if it is after all of
them together, the sanity checks' own attacks included.

==================  ===================================================================================================
``short PGD``       20 steps, one start: too weak, shown for comparison alone
``PGD``             100 steps, 3 starts
``APGD-CE``         100 steps
``APGD-T``          100 steps for each of at most 9 targets, in the preset for a GPU
``Square``          random search without gradients
``straight``        APGD-CE with derivative 1 for the gates of the thresholds; for a network without thresholds another
                    random start, so that all networks are attacked as often
``transfer``        APGD-CE on the baseline of the same seed
==================  ===================================================================================================

The networks after training are kept in the folder ``networks`` beside the trials, so that a baseline is trained once.
"""

from __future__ import annotations

import hashlib
import io
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gossamer.evaluate import accuracy_under_noise, attacks
from gossamer.evaluate.attacks import APGD, PGD, Attack, Box, Square
from gossamer.io.files import write_atomically, written
from gossamer.models.vgg import VGG
from gossamer.studies.strong_activations.activations import activations
from gossamer.studies.strong_activations.images import Images, images
from gossamer.studies.strong_activations.networks import network, train
from gossamer.studies.strong_activations.plans import NOISE, VARIANTS, Plan, plan_of
from gossamer.studies.trials import Trial

__all__ = ["carry_out"]

_DRAWS = 3
_STEPS, _STARTS = 100, 3
_BOX = Box(0, 1)
_FOLDER = "networks"


def carry_out(trial: Trial, folder: Path) -> dict[str, Any]:
    """Train one network and measure it."""
    plan, pictures = plan_of(trial), images(trial.dataset)
    device = torch.device("cuda" if plan.cuda else "cpu")
    net, losses, seconds = _trained(trial, plan, pictures, folder, device)
    x, y = (part[: plan.test_rows].to(device) for part in (pictures.x_test, pictures.y_test))
    baseline = None
    if trial.variant != "baseline":
        same_seed = Trial("baseline", trial.dataset, trial.seed, trial.settings)
        baseline = _trained(same_seed, plan, pictures, folder, device)[0]
    few = x[: plan.attacked], y[: plan.attacked]
    return {
        "accuracy": accuracy_under_noise(net, x, y, [0.0])[0][1],
        "noise": [
            sum(accuracy_under_noise(net, x, y, [sigma], seed=draw, clip=(0, 1))[0][1] for draw in range(_DRAWS))
            / _DRAWS
            for sigma in NOISE
        ],
        "attacked_accuracy": accuracy_under_noise(net, *few, [0.0])[0][1],
        "attacks": [
            _attacked(net, baseline, *few, norm, radius, plan, trial.seed, last=radius == radii[-1])
            for norm, radii in (("linf", plan.linf), ("l2", plan.l2))
            for radius in radii
        ],
        **activations(net, plan.hebbian_blocks, x),
        "losses": [round(loss, 5) for loss in losses],
        "train_seconds": seconds,
        "rows": min(plan.rows, len(pictures.y)),
        "test_rows": len(y),
    }


def _trained(
    trial: Trial, plan: Plan, pictures: Images, folder: Path, device: torch.device
) -> tuple[VGG, list[float], float]:
    """The network of a trial, from its file or trained, the losses of its epochs and the seconds of training."""
    variant = VARIANTS[trial.variant]
    net = network(variant, plan, pictures, trial.seed)
    path = folder / _FOLDER / f"{hashlib.sha256(trial.key.encode()).hexdigest()[:16]}.pt"
    with written(path):
        if path.exists():
            kept = torch.load(path, map_location="cpu", weights_only=True)
            net.load_state_dict(kept["state"])
            return net.to(device).eval(), kept["losses"], kept["seconds"]
    generator = torch.Generator().manual_seed(trial.seed)
    drawn = torch.randperm(len(pictures.y), generator=generator)[: plan.rows]
    x, y = pictures.x[drawn].to(device), pictures.y[drawn].to(device)
    start = time.perf_counter()
    losses = train(net, variant, plan, x, y, trial.seed)
    seconds = time.perf_counter() - start
    state = {name: value.cpu() for name, value in net.state_dict().items()}
    content = io.BytesIO()
    torch.save({"state": state, "losses": losses, "seconds": seconds}, content)
    with written(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content.getvalue())
    return net, losses, seconds


# ---- attacks ---------------------------------------------------------------------------------------------------------


def _attacked(
    net: nn.Module,
    baseline: nn.Module | None,
    x: Tensor,
    y: Tensor,
    norm: Any,
    radius: float,
    plan: Plan,
    seed: int,
    *,
    last: bool,
) -> dict[str, Any]:
    """Accuracy under each attack and under all, and the sanity checks at the ``last`` radius of the first seeds."""
    ball: dict[str, Any] = {"norm": norm, "radius": radius}
    direct: dict[str, Attack] = {
        "short PGD": PGD(steps=20, restarts=1, **ball),
        "PGD": PGD(steps=_STEPS, restarts=_STARTS, **ball),
        "APGD-CE": APGD(steps=_STEPS, **ball),
        "straight": APGD(steps=_STEPS, straight_through=True, **ball),
        "Square": Square(queries=plan.queries, **ball),
    }
    if plan.targeted:
        direct["APGD-T"] = APGD(steps=_STEPS, loss="dlr", targeted=True, **ball)
    generator = torch.Generator(x.device).manual_seed(seed)
    settings: dict[str, Any] = {"box": _BOX, "generator": generator}
    found = {name: attacks.evaluate(net, x, y, attack, **settings) for name, attack in direct.items()}
    outcome: dict[str, Any] = {**ball, "zero_gradients": found["PGD"].gradient_zero_share}
    if baseline is not None:
        automatic = direct["APGD-CE"]
        found["transfer"] = attacks.transfer(baseline, net, x, y, automatic, **settings)
        if last:
            outcome["transfer_to_baseline"] = attacks.transfer(net, baseline, x, y, automatic, **settings).accuracy
    outcome["accuracy"] = {name: result.accuracy for name, result in found.items()}
    left = torch.stack([result.correct for result in found.values()]).all(0)
    strongest = float(left.double().mean())
    if last and seed < plan.checked_seeds:
        rows = slice(0, plan.checked)
        report = attacks.sanity(net, x[rows], y[rows], source=baseline, **ball, **settings)
        outcome["sanity"] = {
            "samples": report.samples,
            "accuracy": report.accuracy,
            "checks": [{"name": c.name, "measured": c.measured, "limit": c.limit} for c in report.checks],
        }
        broken = float(left[rows].double().mean()) - report.accuracy  # at least so many more, of the checked rows
        strongest -= max(0.0, broken) * report.samples / len(x)
    return outcome | {"strongest": strongest}
