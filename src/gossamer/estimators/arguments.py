"""Arguments of the estimators of sparse networks, and the recipe that they define."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from sklearn.base import BaseEstimator

from gossamer.connectivity.allocate import Allocation
from gossamer.errors import InputError, check_count
from gossamer.plasticity.drop import Drop
from gossamer.plasticity.grow import Grow, Sequential
from gossamer.plasticity.presets import Preset, RuleArguments
from gossamer.training import Recipe
from gossamer.training.recipe import REWIRINGS, completed

__all__ = ["Arguments", "Rule"]

Rule = str | Preset | tuple[Drop, Grow | Sequential] | None

_SAME = (  # arguments that a recipe has by the same names
    *("density", "epsilon", "output_density", "allocate", "activation", "dropout", "fraction", "batch_size"),
    *(
        "weight_noise",
        "constraint",
        "prune",
        "optimizer",
        "learning_rate",
        "schedule",
        "momentum",
        "weight_decay",
        "step",
    ),
)


class Arguments(BaseEstimator):  # type: ignore[misc]
    """The arguments that all estimators share, stored as given; `SparseClassifier` documents them."""

    def __init__(
        self,
        hidden: int | Sequence[int] | None = None,
        *,
        density: float | None = None,
        epsilon: float | None = None,
        output_density: float | None = None,
        allocate: Allocation = "er",
        activation: str = "hoyer:0.7",
        dropout: float = 0.0,
        weight_noise: str | None = None,
        rewire: Rule = "auto",
        fraction: float | None = None,
        constraint: str | None = None,
        prune: str | None = None,
        max_epochs: int | None = None,
        batch_size: int | None = None,
        optimizer: str = "adam",
        learning_rate: float | None = None,
        schedule: str = "cosine",
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        patience: int = 10,
        standardize: bool = True,
        warm_start: bool = False,
        random_state: int | np.random.RandomState | None = None,
        n_jobs: int | None = None,
        device: str = "cpu",
        dtype: Literal["float32", "float64"] | None = None,
        step: Literal["compiled", "autograd"] = "compiled",
        verbose: bool = False,
    ) -> None:
        self.hidden = hidden
        self.density = density
        self.epsilon = epsilon
        self.output_density = output_density
        self.allocate = allocate
        self.activation = activation
        self.dropout = dropout
        self.weight_noise = weight_noise
        self.rewire = rewire
        self.fraction = fraction
        self.constraint = constraint
        self.prune = prune
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.standardize = standardize
        self.warm_start = warm_start
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.device = device
        self.dtype = dtype
        self.step = step
        self.verbose = verbose

    def _recipe(self, samples: int, features: int) -> Recipe:
        """The recipe for so many samples; arguments that are not given are chosen as on the command line."""
        hidden = self.hidden
        if hidden is not None:
            layers = hidden if isinstance(hidden, Sequence | np.ndarray) else (hidden,)
            hidden = tuple(check_count("hidden", units, low=1) for units in layers)
        given = {name: getattr(self, name) for name in _SAME} | {
            "hidden": hidden,
            "rewire": self._rule_name(),
            "epochs": None if self.max_epochs is None else check_count("max_epochs", self.max_epochs, low=1),
            "patience": self.patience if self.early_stopping else None,
        }
        return Recipe(**completed({name: _plain(value) for name, value in given.items()}, samples, features))

    def _rule_name(self) -> str:
        """The name of the rewiring rule, as on the command line; "none" for a pair of rules."""
        if isinstance(self.rewire, str):
            if self.rewire.lower() == "auto":
                return "none" if self.prune is not None or "gap" in str(self.constraint).lower() else "SET"
            return next((name for name in REWIRINGS if name.lower() == self.rewire.lower()), self.rewire)
        return self.rewire.name if isinstance(self.rewire, Preset) else "none"

    def _rule(self) -> RuleArguments | None:
        """A pair of rules as arguments of `Rewire`; None for a rule that has a name."""
        if self.rewire is None or isinstance(self.rewire, str | Preset):
            return None
        pair = tuple(self.rewire) if isinstance(self.rewire, Sequence) else ()
        if len(pair) != 2 or not isinstance(pair[0], Drop) or not isinstance(pair[1], Grow | Sequential):
            raise InputError(
                f"rewire must be 'auto', one of {', '.join(map(repr, REWIRINGS))} or a pair of rules of "
                "gossamer.drop and "
                f"gossamer.grow, got {self.rewire!r}"
            )
        if self.fraction is not None:
            raise InputError(f"fraction must be None where rewire is a pair of rules, got {self.fraction!r}")
        return {"drop": pair[0], "grow": pair[1], "new_weights": "zero", "regrown": "new"}


def _plain(value: Any) -> Any:
    """A number of NumPy as one of Python."""
    return value.item() if isinstance(value, np.generic) else value
