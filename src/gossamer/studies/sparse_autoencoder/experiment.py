"""One network of the study: activations, connections, training data and test error.

All have one hidden layer and the same numbers of units, samples, epochs and steps. The differences:

===============================  =====================  ==========================  ====================================
variant                          activations            weights of a unit           cost
===============================  =====================  ==========================  ====================================
``both``                         projection to σ        projected to σ, length 1    reconstruction, then classification
``activation``                     projection to σ        free                        the same
``connectivity``                 tanh                   projected to σ              the same
``neither``                      tanh                   free                        the same
``l0 activation``                  k largest magnitudes   free                        the same
``l0 both``                      k largest magnitudes   k' largest magnitudes       the same
``activation, l0 connectivity``    projection to σ        k' largest magnitudes       the same
``MLP from samples``             tanh, with biases      free                        classification
``MLP from noise``               tanh, with biases      free, start at random       classification
===============================  =====================  ==========================  ====================================

By default units start as training samples.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from gossamer.studies.trials import Record, Trial, where

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from gossamer.connectivity.constraints import Constraint
    from gossamer.models.autoencoder import SupervisedAutoencoder

__all__ = ["PLANS", "VARIANTS", "Plan", "Variant", "carry_out", "errors", "filters_of", "shifted", "trials_of"]

FILTERS = 64
"""Units of a record whose weights are kept, to be drawn."""

LOUD = 0.01
"""A weight counts as a connection if its magnitude is more than this share of its unit's largest. (After training with
Adam hardly a projected weight is zero to the last digit.)"""


@dataclass(frozen=True)
class Variant:
    """The options in which networks differ; see the top of this file."""

    activation: Literal["projection", "l0", "tanh"]
    connectivity: Literal["projection", "l0"] | None = None
    reconstructs: bool = True
    from_samples: bool = True


VARIANTS: Mapping[str, Variant] = {
    "both": Variant("projection", "projection"),
    "activation": Variant("projection"),
    "connectivity": Variant("tanh", "projection"),
    "neither": Variant("tanh"),
    "l0 activation": Variant("l0"),
    "l0 both": Variant("l0", "l0"),
    "activation, l0 connectivity": Variant("projection", "l0"),
    "MLP from samples": Variant("tanh", reconstructs=False),
    "MLP from noise": Variant("tanh", reconstructs=False, from_samples=False),
}


@dataclass(frozen=True)
class Plan:
    """How the networks of a preset are trained.

    ``sparseness`` is that of codes, ``connectivity`` that of a unit's weights, ``live_units`` and ``live_weights`` are
    their counterparts k and k' in l0. ``tau`` is the time constant of α, in epochs. With ``shifts`` each sample is
    moved by up to a pixel in each direction, anew in each epoch. ``test_size`` counts where the data set has no fixed
    test rows.
    """

    dataset: str
    seeds: int
    epochs: int
    hidden: int
    live_units: int
    live_weights: int
    shifts: bool
    tau: float
    batch_size: int = 100
    learning_rate: float = 0.003
    sparseness: float = 0.8
    connectivity: float = 0.6
    l0_every: int = 100
    test_size: float = 0.2


PLANS: Mapping[str, Plan] = {
    "quick": Plan(
        dataset="digits",
        seeds=6,
        epochs=40,
        hidden=200,
        live_units=40,
        live_weights=13,
        shifts=False,
        tau=30,
        batch_size=50,
        learning_rate=0.02,
        sparseness=0.7,
    ),
    "full": Plan(dataset="mnist", seeds=5, epochs=12, hidden=1000, live_units=90, live_weights=105, shifts=True, tau=9),
}


def trials_of(plan: Plan) -> list[Trial]:
    """Every variant with every seed."""
    settings = {name: value for name, value in asdict(plan).items() if name not in ("dataset", "seeds")}
    return [Trial(variant, plan.dataset, seed, settings) for seed in range(plan.seeds) for variant in VARIANTS]


# ---- one trial -------------------------------------------------------------------------------------------------------


def carry_out(trial: Trial) -> dict[str, Any]:
    """Train and measure one network; the record of the first seed also holds the ``filters`` for `filters_of`."""
    import torch

    from gossamer import measures
    from gossamer.models.autoencoder import correlation_cost, exponential_schedule
    from gossamer.training.autoencoder import train_autoencoder
    from gossamer.training.samples import Samples

    variant, plan = VARIANTS[trial.variant], Plan(trial.dataset, seeds=1, **trial.settings)
    rows = _rows(trial.dataset, trial.seed, plan.test_size)
    x, y, x_test, y_test = (torch.from_numpy(part) for part in rows.parts)
    net = _network(variant, plan, x, int(y.max()) + 1, torch.Generator().manual_seed(trial.seed))
    epochs = list(
        train_autoencoder(
            net,
            Samples(x, y),
            epochs=plan.epochs,
            alpha=exponential_schedule(plan.tau) if variant.reconstructs else lambda epoch: 1.0,
            batch_size=plan.batch_size,
            learning_rate=plan.learning_rate,
            project_every=plan.l0_every if variant.connectivity == "l0" else 1,
            augment=(lambda x, chance: shifted(x, rows.image, chance)) if plan.shifts else None,
            seed=trial.seed,
        )
    )
    with torch.inference_mode():
        wrong, active, sparse, costs = 0, 0.0, 0.0, 0.0
        for part, classes in zip(x_test.split(4096), y_test.split(4096), strict=True):
            code = net.encode(part)
            wrong += int((net.output(code).argmax(1) != classes).sum())
            active += float(measures.active_fraction(code).sum())
            sparse += float(measures.hoyer(code).sum())
            costs += float(correlation_cost(net.decode(code), part).sum())
        weight, tests = net.weight, len(y_test)
        loud = weight.abs() > LOUD * weight.abs().amax(1, keepdim=True)
        found = {
            "error": wrong / tests,
            "correlation": 1 - costs / tests,
            "active_units": active / tests,
            "code_sparseness": sparse / tests,
            "weight_sparseness": float(measures.hoyer(weight).mean()),
            "loud_weights": float(loud.float().mean()),
            "losses": [round(epoch.train_loss, 5) for epoch in epochs],
            "train_seconds": sum(epoch.seconds for epoch in epochs),
            "rows": len(y),
            "test_rows": tests,
        }
        if trial.seed == 0:
            found |= {"filters": _packed(weight[:FILTERS].numpy()), "image": list(rows.image)}
    return found


def _network(
    variant: Variant, plan: Plan, x: Tensor, classes: int, generator: torch.Generator
) -> SupervisedAutoencoder:
    from torch import nn

    from gossamer.activation import Hoyer, TopK
    from gossamer.models.autoencoder import SupervisedAutoencoder

    activations: dict[str, nn.Module] = {
        "projection": Hoyer(plan.sparseness),
        "l0": TopK(plan.live_units, signed=True),
        "tanh": nn.Tanh(),
    }
    return SupervisedAutoencoder(
        x.shape[1],
        plan.hidden,
        classes,
        activation=activations[variant.activation],
        connectivity=_constraint(variant, plan),
        bias=not variant.reconstructs,
        samples=x if variant.from_samples else None,
        generator=generator,
    )


def _constraint(variant: Variant, plan: Plan) -> Constraint | None:
    """Return the set of the weights.

    A code's sparseness does not depend on the length of all weights, so that length 1 takes little from a network of
    projected codes; where tanh needs longer ones to saturate, they keep their length.
    """
    from gossamer.connectivity import constraints

    if variant.connectivity == "projection":
        return constraints.Hoyer(plan.connectivity, norm="preserve" if variant.activation == "tanh" else 1.0)
    return constraints.L0(plan.live_weights) if variant.connectivity == "l0" else None


# ---- samples and filters ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Rows:
    """Pixels in [0, 1], (n, features) float32, and classes, to train and to test with."""

    parts: tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]
    image: tuple[int, int]


@lru_cache(maxsize=1)
def _rows(name: str, seed: int, test_size: float) -> _Rows:
    """Divided by ``seed`` unless the data set has fixed test rows; nothing is kept for validation."""
    from gossamer import data

    found = data.load(name, seed=seed, test_size=test_size, validation_size=0)
    assert found.image is not None
    return _Rows((found.train.x, found.train.y, found.test.x, found.test.y), found.image[:2])


def shifted(x: Tensor, image: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Move images (n, height · width), each by −1, 0 or 1 pixel in both directions, one of nine equally likely ways.

    Pixels that move in are 0.
    """
    import torch
    from torch.nn import functional as F

    height, width = image
    ways, moved = torch.randint(9, (len(x),), generator=generator), torch.empty_like(x)
    for way in range(9):
        down, right = divmod(way, 3)
        rows = (ways == way).nonzero()[:, 0]
        padded = F.pad(x[rows].view(-1, height, width), (1, 1, 1, 1))
        moved[rows] = padded[:, down : down + height, right : right + width].flatten(1)
    return moved


def _packed(weight: NDArray[np.float32]) -> str:
    scaled = np.round(127 * weight / np.maximum(np.abs(weight).max(1, keepdims=True), 1e-12)).astype(np.int8)
    return base64.b64encode(scaled.tobytes()).decode("ascii")


def filters_of(record: Mapping[str, Any]) -> NDArray[np.float32]:
    """Return the filters of the first units of a record (units, height, width), each with largest magnitude 1."""
    content = np.frombuffer(base64.b64decode(record["filters"]), np.int8)
    return content.reshape(-1, *record["image"]).astype(np.float32) / np.float32(127)


def errors(records: Sequence[Record], variant: str) -> NDArray[np.float64]:
    """(seeds,): test errors, in the order of seeds."""
    found = sorted(where(records, variant=variant), key=lambda record: record["seed"])
    return np.array([record["error"] for record in found])
