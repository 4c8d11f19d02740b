"""What associative estimators share: their arguments, how they learn by any method, and answers with noise."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gossamer.associative.conditions import StopConditions, stop_conditions
from gossamer.associative.online import learn_online
from gossamer.associative.problem import Associations, check_signs, random_signs
from gossamer.associative.recall import answers
from gossamer.associative.rule import OnlineRule
from gossamer.errors import InputError, check_choice, check_fraction
from gossamer.extras import needs

with needs("sklearn", "gossamer.associative.estimator"):
    from sklearn.base import BaseEstimator
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.utils import check_random_state
    from sklearn.utils.validation import check_is_fitted, validate_data

__all__ = ["AssociativeLearner"]

Floats = NDArray[np.float64]
Method = str | Callable[..., ArrayLike]


class AssociativeLearner(BaseEstimator):  # type: ignore[misc]
    """The base of `AssociativeUnit` and `AssociativeNetwork`; both document its arguments."""

    n_features_in_: int
    coef_: Floats
    threshold_: float
    signs_: NDArray[np.int8] | None
    n_iter_: NDArray[np.int64] | int
    conditions_: StopConditions

    def __init__(
        self,
        robustness: float = 0.1,
        *,
        method: Method = "online",
        gap: float | ArrayLike = 0.0,
        signs: float | ArrayLike | None = None,
        density: float | None = None,
        threshold: float = 0.0,
        weight_norm: float = 1.0,
        rule: OnlineRule | None = None,
        time_limit: float | None = None,
        max_iter: int = 100_000,
        binarize: float | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.robustness = robustness
        self.method = method
        self.gap = gap
        self.signs = signs
        self.density = density
        self.threshold = threshold
        self.weight_norm = weight_norm
        self.rule = rule
        self.time_limit = time_limit
        self.max_iter = max_iter
        self.binarize = binarize
        self.random_state = random_state

    def _learn(self, X: NDArray[Any], targets: NDArray[np.bool_]) -> Floats:
        """Weights (units, N) that store ``targets`` (n, units), and all that is known of them."""
        associations = Associations(self._binary(X), targets)
        n = associations.n_inputs
        seed = int(check_random_state(self.random_state).randint(2**31 - 1)) if self.random_state is not None else None
        generator = np.random.default_rng(seed)
        w = check_fraction("weight_norm", self.weight_norm, high=np.inf, open_low=True, open_high=True)
        self.signs_ = self._population(n, generator)
        self.threshold_ = n * w * check_fraction("threshold", self.threshold, low=-np.inf, high=np.inf)
        robustness = check_fraction("robustness", self.robustness, high=np.inf, open_high=True)
        constraints: dict[str, Any] = {"gap": np.asarray(self.gap, float) * w, "signs": self.signs_}
        constraints |= {"weight_norm": w, "threshold": self.threshold_, "robustness": robustness * w * np.sqrt(n)}
        if callable(self.method):
            weights = np.array(self.method(associations, **constraints), np.float64).reshape(-1, n)
            if len(weights) != targets.shape[1] or not np.isfinite(weights).all():
                raise InputError(f"method must return finite weights ({targets.shape[1]}, {n}), got {weights.shape}")
            self.n_iter_ = np.ones(len(weights), np.int64)
        elif check_choice("method", self.method, ("online", "exact", "greedy")) == "online":
            if self.density is not None:
                raise InputError(f"density must be None for method='online', which has no l0, got {self.density!r}")
            limit = math.inf if self.time_limit is None else self.time_limit
            result = learn_online(
                associations,
                **constraints,
                rule=self.rule,
                max_steps=self.max_iter,
                generator=generator,
                time_limit=limit,
            )
            weights, self.n_iter_ = result.weights, result.steps
        else:
            weights, self.n_iter_ = w * self._solve(associations), np.ones(targets.shape[1], np.int64)
            edge = np.abs(weights)
            at_edge = (edge < constraints["gap"]) & (edge > (1 - 1e-9) * constraints["gap"])  # but for rounding
            weights[at_edge] = np.sign(weights[at_edge]) * constraints["gap"]
        self.conditions_ = stop_conditions(associations, weights, **constraints)
        if unstored := int((self.conditions_.violated > 0).sum()):
            warnings.warn(
                f"{unstored} of {len(weights)} units do not store all associations with robustness {robustness:g}; "
                "fewer associations, a smaller robustness or gap, or more iterations may help",
                ConvergenceWarning,
                stacklevel=3,
            )
        return weights

    def _solve(self, associations: Associations) -> Floats:
        """The most robust weights (units, N), scaled to mean|J| = 1."""
        from gossamer.associative.solve import robust_weights

        if np.ndim(self.gap) != 0:
            raise InputError(f"gap must be one number for method={self.method!r}, got shape {np.shape(self.gap)}")
        rows = []
        for unit in range(associations.n_units or 0):
            found = robust_weights(
                associations.unit(unit),
                threshold=float(self.threshold),
                signs=self.signs_,
                density=self.density,
                gap=float(self.gap) or None,  # type: ignore[arg-type]
                method=str(self.method),
                time_limit=self.time_limit,
            )
            if found.weights is None:
                raise InputError(f"X and y can't be stored by unit {unit} under these constraints: {found.status}")
            rows.append(found.weights)
        return np.stack(rows)

    def _population(self, n: int, generator: np.random.Generator) -> NDArray[np.int8] | None:
        if self.signs is None:
            return None
        if np.ndim(self.signs) == 0:
            return random_signs(n, check_fraction("signs", self.signs), generator)  # type: ignore[arg-type]
        return check_signs(self.signs, n)

    def _binary(self, X: NDArray[Any]) -> NDArray[np.bool_]:
        if self.binarize is not None:
            return np.asarray(np.greater(X, self.binarize))
        if (odd := X[~np.isin(X, (0, 1))]).size:
            raise InputError(
                f"X must be of zeros and ones, got {odd[0]}; or give binarize, the value above which an input is 1"
            )
        return X.astype(np.bool_)

    def _read(self, X: ArrayLike) -> NDArray[np.bool_]:
        check_is_fitted(self, "coef_")
        return self._binary(validate_data(self, X, reset=False))

    def _answers(
        self, X: ArrayLike, input_noise: float, synaptic_noise: float, random_state: int | None
    ) -> NDArray[np.bool_]:
        return answers(
            self._read(X),
            np.atleast_2d(self.coef_),
            self.threshold_,
            input_noise=input_noise,
            synaptic_noise=synaptic_noise,
            generator=np.random.default_rng(random_state),
        )

    @property
    def sparsity_(self) -> float:
        """The share of weights that are zero; the connection probability is 1 − ``sparsity_``."""
        check_is_fitted(self, "coef_")
        return float((self.coef_ == 0).mean())
