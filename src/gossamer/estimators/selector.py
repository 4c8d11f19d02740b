"""Feature selection by the strength of a sparse network's connections."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.feature_selection import SelectorMixin
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import nn

from gossamer.connectivity.allocate import epsilon_density
from gossamer.device import find_device
from gossamer.errors import InputError, check_choice, check_count
from gossamer.estimators.base import first_layer
from gossamer.estimators.classifier import SparseClassifier
from gossamer.estimators.fit_context import all_or_nothing, draw_seed, progress, threads
from gossamer.estimators.regressor import SparseRegressor
from gossamer.estimators.scaling import Matrix, Scaling
from gossamer.evaluate.importance import strength_out
from gossamer.evaluate.unit_activations import fan_out
from gossamer.models.noise import GaussianNoise
from gossamer.training import Fit, Recipe, Samples
from gossamer.training.architecture import build
from gossamer.training.recipe import SMALL
from gossamer.training.task import REGRESSION

__all__ = ["SparseFeatureSelector"]

Method = Literal["SET", "CoDACoRSET", "QuickSelection"]
_METHODS = ("SET", "CoDACoRSET", "QuickSelection")
_NOISE = 0.2  # standard deviation, of inputs with variance 1


class SparseFeatureSelector(SelectorMixin, BaseEstimator):  # type: ignore[misc]
    """Select the features to which a sparse network connects most.

    ``"SET"``             A network learns to predict y while its weakest connections are replaced by random ones
    (Mocanu et
                          al., Nature Communications 9:2383, 2018). The score is Σ|w| over the connections that leave a
                          feature. Continuous y make it a regression.
    ``"CoDACoRSET"``      A network learns to predict y while its connections move to pairs of units that respond alike
                          (Pieterse & Mocanu, arXiv 1903.07138v1). The score of a feature is its number of connections
                          after the last removal; of equal ones the stronger is ranked higher.
    ``"QuickSelection"``  A denoising auto-encoder with one hidden layer learns the features, without y (Atashgahi et
    al.,
                          arXiv 2012.00560). The score is Σ|w| over the connections that leave a feature, after a last
                          removal.

    Of the three, SET selected best on average over eight data sets, CoDACoRSET where most features are noise. Ours are
    SET as a selector, the optimizer, Adam instead of plain descent, and noise that is drawn anew for each batch, not
    once. Features are scaled as by `SparseClassifier`; a sparse matrix stays sparse.

    Args:
        method: ``"SET"``, ``"CoDACoRSET"`` or ``"QuickSelection"``.
        k: how many features to keep, or None for those whose score reaches the ``threshold``.
        threshold: a number, ``"mean"`` or ``"median"`` of the scores.
        hidden: units of the hidden layers; None takes one of 1000, for CoDACoRSET three, as published, and 300 units
            where the table is small (50,000 numbers).
        epsilon: ε (n_in + n_out) connections in each layer; None takes the published 20, of an auto-encoder 13, or
            less where that would leave a feature half of all possible connections.
        max_epochs: passes through the data; None takes 100, of an auto-encoder as many as make 400 steps, or 5: one
            that trains for long learns to copy noise, and connects itself to noise too.
        batch_size: samples in a step.
        learning_rate: of Adam, None for 0.001; it falls along half a cosine.
        random_state: seed of all random choices; None is different each time.
        n_jobs: threads for training, −1 for all; None leaves them unchanged.
        device: ``"cpu"``, ``"cuda"``, …
        verbose: show progress.

    Attributes:
        scores_: (n_features_in_) float64.
        ranking_: (n_features_in_) 1 for the best feature, 2, 3, … for the others, by which ``k`` of them are selected.
        network_: the trained network.
        n_features_in_: number of features.
        feature_names_in_: (n_features_in_) their names, if ``X`` has names.

    Raises:
        InputError: from `fit`, for an argument outside its range.

    Example:
        >>> X = np.random.default_rng(0).normal(size=(500, 10))
        >>> selector = gs.SparseFeatureSelector(k=2, hidden=50, max_epochs=40, learning_rate=0.01, random_state=0)
        >>> selector.fit(X, X[:, 3] + X[:, 7]).get_support(indices=True)
        array([3, 7])
    """

    scores_: NDArray[np.float64]

    def __init__(
        self,
        method: Method = "SET",
        *,
        k: int | None = None,
        threshold: float | Literal["mean", "median"] = "mean",
        hidden: int | Sequence[int] | None = None,
        epsilon: float | None = None,
        max_epochs: int | None = None,
        batch_size: int = 100,
        learning_rate: float | None = None,
        random_state: int | np.random.RandomState | None = None,
        n_jobs: int | None = None,
        device: str = "cpu",
        verbose: bool = False,
    ) -> None:
        self.method = method
        self.k = k
        self.threshold = threshold
        self.hidden = hidden
        self.epsilon = epsilon
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.device = device
        self.verbose = verbose

    @all_or_nothing
    def fit(self, X: Matrix, y: ArrayLike | None = None) -> Self:
        """Train the network and rank the features.

        Args:
            X: (n_samples, n_features), an array, a data frame or a sparse matrix.
            y: (n_samples) classes or numbers, or (n_samples, n_labels); QuickSelection does without.

        Returns:
            The estimator.

        Raises:
            InputError: an argument is outside its range.
        """
        supervised = check_choice("method", self.method, _METHODS) != "QuickSelection"
        given = {"accept_sparse": "csr", "dtype": (np.float64, np.float32), "ensure_min_samples": 2}
        if supervised:
            X, y = validate_data(self, X, y, multi_output=True, **given)
        else:
            X = validate_data(self, X, **given)
        if self.k is not None:
            check_count("k", self.k, low=1, high=X.shape[1])
        elif isinstance(self.threshold, str):
            check_choice("threshold", self.threshold, ("mean", "median"))
        hidden = self._hidden(X)
        degrees, strength = self._connected(X, y, hidden) if supervised else self._encoded(X, hidden)
        self.scores_ = degrees if self.method == "CoDACoRSET" else strength
        order = np.lexsort((-strength, -self.scores_))
        self.ranking_ = np.empty(len(order), dtype=np.int64)
        self.ranking_[order] = np.arange(1, len(order) + 1)
        return self

    def _get_support_mask(self) -> NDArray[np.bool_]:
        check_is_fitted(self)
        if self.k is not None:
            return self.ranking_ <= self.k
        if isinstance(self.threshold, str):
            middle = self.scores_.mean() if self.threshold == "mean" else np.median(self.scores_)
            return self.scores_ >= middle * (1 - 1e-12)  # the mean of equal scores may be rounded up
        return self.scores_ >= self.threshold

    # ---- the two networks --------------------------------------------------------------------------------------------

    def _hidden(self, X: Matrix) -> tuple[int, ...]:
        if self.hidden is not None:
            hidden = self.hidden if isinstance(self.hidden, Sequence | np.ndarray) else (self.hidden,)
            return tuple(check_count("hidden", units, low=1) for units in hidden)
        units = 300 if X.shape[0] * X.shape[1] <= SMALL else 1000
        return (units,) * (3 if self.method == "CoDACoRSET" else 1)

    def _epsilon(self, features: int, units: int, published: float) -> float:
        """At most half of the connections between the features and the first layer."""
        return min(published, features * units / (features + units) / 2) if self.epsilon is None else self.epsilon

    def _connected(self, X: Matrix, y: Any, hidden: tuple[int, ...]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Degrees and strengths of the features in a network that has learned y."""
        predictor = SparseRegressor if type_of_target(y).startswith("continuous") else SparseClassifier
        network = predictor(
            hidden,
            epsilon=self._epsilon(X.shape[1], hidden[0], 20.0) if hidden else None,
            activation="srelu" if self.method == "CoDACoRSET" else "relu",
            dropout=0.3,
            rewire=self.method,
            max_epochs=100 if self.max_epochs is None else self.max_epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            random_state=self.random_state,
            n_jobs=self.n_jobs,
            device=self.device,
            verbose=self.verbose,
        ).fit(X, y)
        self.network_: nn.Module = network.network_
        return network.input_degrees_.astype(np.float64), network.feature_importances_

    def _encoded(self, X: Matrix, hidden: tuple[int, ...]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Degrees and strengths of the features in an auto-encoder."""
        if len(hidden) != 1:
            raise InputError(f"hidden must be one layer for QuickSelection, got {hidden!r}")
        features, device = X.shape[1], find_device(self.device)
        steps = -(-X.shape[0] // check_count("batch_size", self.batch_size, low=1))
        density = epsilon_density([(hidden[0], features)], self._epsilon(features, hidden[0], 13.0))
        recipe = Recipe(
            hidden=hidden,
            density=density,
            output_density=density,
            activation="sigmoid",
            dropout=0.2,
            rewire="SET",
            fraction=0.2,
            epochs=max(5, round(400 / steps)) if self.max_epochs is None else self.max_epochs,
            batch_size=self.batch_size,
            learning_rate=0.001 if self.learning_rate is None else self.learning_rate,
            weight_decay=1e-5,
        )
        seed = draw_seed(self.random_state)
        rows = Scaling.learn(X, None).rows(X, torch.float32, device)
        encoder = build(recipe, features, features, sparse=True, seed=seed).to(device)
        self.network_ = nn.Sequential(GaussianNoise(_NOISE), encoder)
        with threads(self.n_jobs), progress(bool(self.verbose), recipe.epochs, type(self).__name__) as watch:
            fit = Fit(
                recipe,
                sparse=True,
                seed=seed,
                outputs=features,
                train=Samples(rows, rows),
                validation=Samples(rows[:0], rows[:0]),
                task=REGRESSION,
                model=self.network_,
            )
            for epoch in fit.run():
                watch(epoch)
            if fit.rewire is not None:
                fit.rewire.final_prune()
        self.network_.eval()
        layer = first_layer(encoder)[1]
        return fan_out(layer).double().cpu().numpy(), strength_out(layer).double().cpu().numpy()

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.target_tags.required = self.method != "QuickSelection"
        return tags
