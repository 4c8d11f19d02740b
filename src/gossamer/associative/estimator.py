"""Associative units as scikit-learn classifiers of binary patterns: one unit, and a layer or a recurrent network."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gossamer.associative.learner import AssociativeLearner
from gossamer.associative.recall import Recall, recall_sequence, sequence_recall
from gossamer.errors import InputError
from gossamer.extras import needs

with needs("sklearn", "gossamer.associative.estimator"):
    from sklearn.base import ClassifierMixin
    from sklearn.utils import check_array
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import validate_data

__all__ = ["AssociativeNetwork", "AssociativeUnit"]

Floats = NDArray[np.float64]


class AssociativeUnit(ClassifierMixin, AssociativeLearner):  # type: ignore[misc]
    """A binary threshold unit that stores associations (X, y) robustly under constraints on its connections.

    It answers the second class where J·X > h, and learns J so that s (J·X − h) ≥ κ for all samples, s = ±1, with
    Σ|J_i| = N w. Arguments are the scaled ones of the theory: κ = κ̃ w √N, h = N w h̃, δ = w δ̃.

    Args:
        robustness: κ̃ ≥ 0.
        method: "online", the rule of `gossamer.associative.rule`; "exact" or "greedy" for the most robust weights, see
            `gossamer.associative.solve.robust_weights`, with ``robustness`` as the least that is expected; or a
            function ``method(associations, *, robustness, threshold, weight_norm, gap, signs)``, of unscaled values,
            that returns weights (units, N).
        gap: δ̃ ≥ 0, one for all inputs or (N,): a weight is zero or at least this large in units of w.
        signs: Dale's law: the share of inhibitory inputs, placed at random, or a vector (N,) of ±1; None for weights
            of either sign.
        density: the largest share of weights other than zero (l0), for "exact" and "greedy".
        threshold: h̃.
        weight_norm: w > 0, the mean of |J|.
        rule: constants of the online rule.
        time_limit: seconds, of the online rule or of the integer program of each unit; None for no limit.
        max_iter: steps of the online rule.
        binarize: inputs above this value are 1, others 0; None if inputs must be zeros and ones.
        random_state: decides initial weights, the order of samples and the places of inhibitory inputs.

    Attributes:
        classes_: one or two labels; the second, or a single one other than 0, False or −1, is y = 1.
        coef_: J, (N,).
        threshold_: h.
        signs_: g, (N,), or None.
        conditions_: the four stop conditions, found from ``coef_``.
        n_iter_: steps of the online rule.
        sparsity_: the share of zero weights.
        n_features_in_: N.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> X, y = rng.random((30, 100)) < 0.5, rng.random(30) < 0.5
        >>> unit = gs.AssociativeUnit(0.3, gap=1.5, random_state=0).fit(X, y)
        >>> unit.score(X, y)
        1.0

    References:
        Baig, Stepanyants, arXiv 2409.04946.
    """

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Store the samples.

        Args:
            X: (n, N).
            y: (n,), of at most two classes.

        Returns:
            The estimator.

        Raises:
            InputError: more classes, inputs other than zeros and ones without ``binarize``.
        """
        x, labels = validate_data(self, X, y)
        check_classification_targets(labels)
        self.classes_ = np.unique(labels)
        if len(self.classes_) > 2:
            raise InputError(
                f"Only binary classification is supported: y must have at most 2 classes, got {len(self.classes_)}"
            )
        single = len(self.classes_) == 1
        silent = single and self.classes_[0] in (0, False, -1)
        targets = np.zeros(len(labels), np.bool_) if silent else np.asarray(labels == self.classes_[-1])
        self.coef_ = self._learn(x, targets[:, None])[0]
        self.n_iter_ = int(np.max(self.n_iter_))
        return self

    def decision_function(self, X: ArrayLike) -> Floats:
        """Compute J·X − h, positive for the second class.

        Args:
            X: (n, N).

        Returns:
            The numbers (n,).
        """
        return np.asarray(self._read(X) @ self.coef_ - self.threshold_)

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Predict the labels.

        Args:
            X: (n, N).

        Returns:
            The labels (n,).
        """
        return self.predict_noisy(X)

    def predict_noisy(
        self, X: ArrayLike, *, input_noise: float = 0.0, synaptic_noise: float = 0.0, random_state: int | None = None
    ) -> NDArray[Any]:
        """Predict the labels under noise; see `gossamer.associative.recall.answers`.

        Args:
            X: (n, N).
            input_noise: the probability with which an input is flipped, in [0, 1].
            synaptic_noise: standard deviation of noise on weights, in units of the mean |J|.
            random_state: seed of the noise; None differs each time.

        Returns:
            The labels (n,).
        """
        given = self._answers(X, input_noise, synaptic_noise, random_state)[:, 0]
        labels: NDArray[Any] = self.classes_[
            given.astype(int) if len(self.classes_) == 2 else np.zeros(len(given), int)
        ]
        return labels

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        tags.classifier_tags.poor_score = True  # it stores samples, and promises nothing of others
        return tags


class AssociativeNetwork(AssociativeLearner):
    """A layer of associative units with the same inputs; a recurrent network if there are as many units as inputs.

    All units learn at once, independently. Signs are those of the inputs, so that in a recurrent network each neuron is
    excitatory or inhibitory to all others (Dale's law).

    Args:
        robustness: see `AssociativeUnit`, as all others.
        method: likewise.
        gap: likewise.
        signs: likewise.
        density: likewise.
        threshold: likewise.
        weight_norm: likewise.
        rule: likewise.
        time_limit: likewise.
        max_iter: likewise.
        binarize: likewise.
        random_state: likewise.

    Attributes:
        coef_: J, (units, N).
        threshold_: h.
        signs_: g, (N,), or None.
        conditions_: the four stop conditions of each unit.
        n_iter_: steps of each unit, (units,).
        sparsity_: the share of zero weights.

    Example:
        >>> sequence = np.random.default_rng(0).random((15, 80)) < 0.5
        >>> network = gs.AssociativeNetwork(0.5, gap=1.5, signs=0.2, random_state=0).fit_sequence(sequence)
        >>> network.recall(sequence).complete
        1.0
    """

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Store the samples.

        Args:
            X: (n, N).
            y: (n, units) of zeros and ones.

        Returns:
            The estimator.

        Raises:
            InputError: ``X`` or ``y`` have other shapes or entries.
        """
        x = validate_data(self, X)
        targets = check_array(y, dtype=None)
        if len(targets) != len(x) or not ((targets == 0) | (targets == 1)).all():
            raise InputError(
                f"y must be zeros and ones of shape ({len(x)}, units), got {targets.dtype} {targets.shape}"
            )
        self.coef_ = self._learn(x, targets.astype(np.bool_))
        return self

    def fit_sequence(self, sequence: ArrayLike) -> Self:
        """Store the transitions of ``sequence`` (T, N), from each state to the next, in a recurrent network.

        Args:
            sequence: the states (T, N), of zeros and ones.

        Returns:
            The estimator.
        """
        states = check_array(sequence, dtype=None, ensure_min_samples=2)
        return self.fit(states[:-1], self._binary(states[1:]))

    def decision_function(self, X: ArrayLike) -> Floats:
        """Compute J·X − h.

        Args:
            X: (n, N).

        Returns:
            The numbers (n, units).
        """
        return np.asarray(self._read(X) @ self.coef_.T - self.threshold_)

    def predict(self, X: ArrayLike) -> NDArray[np.int64]:
        """Predict the outputs.

        Args:
            X: (n, N).

        Returns:
            The outputs (n, units), 0 and 1.
        """
        return self.predict_noisy(X)

    def predict_noisy(
        self, X: ArrayLike, *, input_noise: float = 0.0, synaptic_noise: float = 0.0, random_state: int | None = None
    ) -> NDArray[np.int64]:
        """Predict the outputs under noise; see `gossamer.associative.recall.answers`.

        Args:
            X: (n, N).
            input_noise: the probability with which an input is flipped, in [0, 1].
            synaptic_noise: standard deviation of noise on weights, in units of the mean |J|.
            random_state: seed of the noise; None differs each time.

        Returns:
            The outputs (n, units), 0 and 1.
        """
        return self._answers(X, input_noise, synaptic_noise, random_state).astype(np.int64)

    def score(self, X: ArrayLike, y: ArrayLike) -> float:
        """Measure the share of correct outputs, over samples and units.

        Args:
            X: (n, N).
            y: (n, units) of zeros and ones.

        Returns:
            The share in [0, 1].
        """
        return float((self.predict(X) == np.asarray(y)).mean())

    def run(
        self,
        first: ArrayLike,
        steps: int,
        *,
        input_noise: float = 0.0,
        synaptic_noise: float = 0.0,
        random_state: int | None = None,
    ) -> NDArray[np.int64]:
        """Run a recurrent network from a state; see `gossamer.associative.recall.recall_sequence`.

        Args:
            first: the first state (N,).
            steps: number of steps, ≥ 0.
            input_noise: the probability with which an input is flipped, in [0, 1].
            synaptic_noise: standard deviation of noise on weights, in units of the mean |J|.
            random_state: seed of the noise; None differs each time.

        Returns:
            The states (steps + 1, N), ``first`` included.
        """
        state = self._read(np.atleast_2d(np.asarray(first)))[0]
        noise = {"input_noise": input_noise, "synaptic_noise": synaptic_noise}
        generator = np.random.default_rng(random_state)
        states = recall_sequence(state, self.coef_, steps, self.threshold_, **noise, generator=generator)
        return states.astype(np.int64)

    def recall(
        self,
        sequence: ArrayLike,
        *,
        input_noise: float = 0.0,
        synaptic_noise: float = 0.0,
        trials: int = 100,
        random_state: int | None = None,
    ) -> Recall:
        """Measure how well a sequence is recalled from its first state; see `gossamer.associative.recall`.

        Args:
            sequence: the states (T, N).
            input_noise: the probability with which an input is flipped, in [0, 1].
            synaptic_noise: standard deviation of noise on weights, in units of the mean |J|.
            trials: number of independent trials, ≥ 1.
            random_state: seed of the noise; None differs each time.

        Returns:
            The shares of correct units.
        """
        stored = self._read(sequence)
        noise = {"input_noise": input_noise, "synaptic_noise": synaptic_noise}
        generator = np.random.default_rng(random_state)
        return sequence_recall(stored, self.coef_, self.threshold_, **noise, trials=trials, generator=generator)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.estimator_type = "classifier"
        tags.target_tags.required = tags.target_tags.multi_output = True
        tags.target_tags.single_output = False
        return tags
