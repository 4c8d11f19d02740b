"""Networks, data and attacks of each preset.

=======================  ==============================================================================================
``baseline``             standard blocks: convolution, ReLU, batch normalisation
``block``                HaH blocks first, without cost
``HaH``                  HaH blocks with the Hebbian cost at the published α
``HaH ×10`` …            with the cost at 10, 30 and 100 times this α
``HaH ×100, λ = 1``      with the anti-Hebbian weight 1 instead of 0.1
``without norm``         ``HaH`` whose blocks have no divisive normalisation
``without threshold``    ``HaH`` whose blocks have no threshold
``without implicit …``   ``HaH`` with plain convolutions in all blocks; the cost still uses unit filters
=======================  ==============================================================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from gossamer.errors import InputError, check_choice, check_count
from gossamer.studies.trials import Trial

__all__ = ["MAIN", "NOISE", "PLANS", "VARIANTS", "Plan", "Variant", "check_device", "plan_of", "planned", "trials_of"]

Layers = tuple[int | Literal["M"], ...]


@dataclass(frozen=True)
class Variant:
    """One network: ``alpha`` multiplies the published α, ``anti`` is λ; the others say which parts its blocks have."""

    hah: bool = True
    alpha: float = 1.0
    anti: float = 0.1
    norm: bool = True
    threshold: bool = True
    implicit: bool = True


VARIANTS: Mapping[str, Variant] = {
    "baseline": Variant(hah=False, alpha=0),
    "block": Variant(alpha=0),
    "HaH": Variant(),
    "HaH ×10": Variant(alpha=10),
    "HaH ×30": Variant(alpha=30),
    "HaH ×100": Variant(alpha=100),
    "HaH ×100, λ = 1": Variant(alpha=100, anti=1.0),
    "without norm": Variant(norm=False),
    "without threshold": Variant(threshold=False),
    "without implicit norm": Variant(implicit=False),
}
MAIN = ("baseline", "block", "HaH", "HaH ×100")
NOISE = (0.1, 0.2, 0.3)
"""Standard deviations, in units of pixels in [0, 1]."""


@dataclass(frozen=True)
class Plan:
    """How the networks of one data set are trained and attacked.

    ``rows`` training rows are drawn by each seed, and the first ``test_rows`` test rows judge, of which the first
    ``attacked`` are attacked. ``linf`` and ``l2`` are radii in units of pixels in [0, 1]. The last of each norm
    undergoes the sanity checks, on the first ``checked`` test rows and for the first ``checked_seeds`` seeds. Images
    are shifted by up to ``shift`` pixels.
    """

    layers: Layers
    linf: tuple[float, ...]
    l2: tuple[float, ...]
    variants: tuple[str, ...] = MAIN
    seeds: int = 5
    hebbian_blocks: int = 3
    epochs: int = 40
    batch_size: int = 64
    learning_rate: float = 1e-3
    rows: int = 1200
    test_rows: int = 1000
    shift: int = 1
    flip: bool = False
    attacked: int = 100
    checked: int = 50
    checked_seeds: int = 1
    queries: int = 500
    targeted: bool = False
    cuda: bool = False


_DIGITS = Plan(
    (32, 32, "M", 64, 64, "M"), linf=(0.05, 0.1), l2=(0.5,), variants=tuple(VARIANTS), attacked=50, queries=300
)

PLANS: Mapping[str, Mapping[str, Plan]] = {
    "quick": {
        "digits": replace(
            _DIGITS,
            layers=(16, 16, "M", 32, 32, "M"),
            linf=(0.1,),
            variants=MAIN,
            seeds=3,
            rows=800,
            attacked=50,
            checked=25,
            queries=300,
            epochs=20,
        )
    },
    "full": {
        "digits": _DIGITS,
        "fashion_mnist": Plan(
            (16, "M", 32, "M", 32, 64, "M"),
            linf=(0.01, 0.02),
            l2=(0.3,),
            epochs=8,
            rows=1500,
            flip=True,
            attacked=50,
            queries=300,
        ),
    },
    "gpu": {
        "cifar10": Plan(
            (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M"),
            linf=(2 / 255,),
            l2=(0.25,),
            variants=("baseline", "block", "HaH"),
            seeds=3,
            hebbian_blocks=6,
            epochs=100,
            batch_size=128,
            rows=50_000,
            test_rows=10_000,
            shift=4,
            flip=True,
            attacked=1000,
            checked=250,
            checked_seeds=3,
            queries=2000,
            targeted=True,
            cuda=True,
        )
    },
}


def planned(preset: str, seeds: int | None, data: tuple[str, ...] | None) -> dict[str, Plan]:
    """The plan of each data set; one that the preset doesn't know gets that of its last."""
    known = PLANS[check_choice("preset", preset, tuple(PLANS))]
    other = list(known.values())[-1]
    chosen = {name: known.get(name, other) for name in data or known}
    if seeds is None:
        return chosen
    return {name: replace(plan, seeds=check_count("seeds", seeds, low=1)) for name, plan in chosen.items()}


def check_device(chosen: Mapping[str, Plan]) -> None:
    """Raise `InputError` for a plan that needs a GPU where there is none."""
    import torch

    if any(plan.cuda for plan in chosen.values()) and not torch.cuda.is_available():
        raise InputError(
            "preset must be one for this machine, got 'gpu', which needs a CUDA GPU and PyTorch with CUDA; "
            "--preset full runs on the CPU"
        )


_PROTOCOL = ("seeds", "variants")


def trials_of(chosen: Mapping[str, Plan]) -> tuple[list[Trial], list[Trial]]:
    """The baselines, and then the others, whose attacks include inputs made for the baseline of their seed."""
    every = [
        Trial(variant, name, seed, {key: value for key, value in _settings(plan).items() if key not in _PROTOCOL})
        for name, plan in chosen.items()
        for seed in range(plan.seeds)
        for variant in ("baseline", *(v for v in plan.variants if v != "baseline"))
    ]
    return [t for t in every if t.variant == "baseline"], [t for t in every if t.variant != "baseline"]


def _settings(plan: Plan) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(plan).items()}


def plan_of(trial: Trial) -> Plan:
    """The plan of which a trial is."""
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in trial.settings.items()}
    return Plan(**values)
