"""A sparse network for multiclass and multilabel classification."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, softmax
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import column_or_1d

from gossamer.connectivity.allocate import Allocation
from gossamer.errors import InputError
from gossamer.estimators.arguments import Rule
from gossamer.estimators.base import SparseEstimator
from gossamer.estimators.sample_weights import Targets, class_numbers, sample_weights
from gossamer.estimators.scaling import Matrix, dense
from gossamer.training.task import MULTICLASS, MULTILABEL, Task

__all__ = ["SparseClassifier"]


class SparseClassifier(ClassifierMixin, SparseEstimator):  # type: ignore[misc]
    """A multilayer perceptron of sparse connections that are rewired during training, as a scikit-learn classifier.

    Arguments are named as those of ``gossamer train``, and defaults of None follow from the size of the data as there.

    The importance of an input is the strength of its connections, Σ|w|. Where inputs are standardised their weights can
    be compared; an uninformative input loses its connections to the others in the course of rewiring.

    Args:
        hidden: units of each hidden layer, such as ``(300, 300)``; a number is one layer.
        density: fraction of the connections of all hidden layers together, in (0, 1]; None for 0.1, with ``prune`` 0.5.
        epsilon: instead of ``density``: ε (n_in + n_out) connections in each hidden layer (Mocanu et al. 2018).
        output_density: fraction of the connections of the output layer; None leaves it dense.
        allocate: how the hidden layers share connections: ``"er"``, ``"erk"`` or ``"uniform"``.
        activation: the activation function: ``"hoyer:0.7"`` (sparseness), ``"topk:100"`` (active units), ``"relu"``,
            ``"srelu"``, ``"allrelu:0.6"``, ``"sigmoid"`` or ``"none"``; with noise in training, as in
            ``"relu+sparseout:q=1.5,p=0.3"``; see `gossamer.models.activation_from`.
        dropout: probability of dropping a hidden unit in training, in [0, 1).
        weight_noise: noise on the weights of the hidden layers in training, ``"bridgeout:q=1.5,p=0.3"``.
        rewire: how connections move after each epoch but the last: a published rule (``"SET"``, ``"CoDACoRSET"``,
            ``"CTRE"``, ``"RigL"``, …; see `gossamer.plasticity.PRESETS`), ``"none"``, or a pair of rules such as
            ``(gossamer.drop.magnitude(0.2), gossamer.grow.gradient())``. ``"auto"`` is SET, or
            none with ``prune`` or the constraint ``gap``.
        fraction: share of the connections that moves, in (0, 1); None takes the rule's own.
        constraint: a set in which the weights of the hidden layers are kept, by projection after each step:
            ``"gap:0.02"``, ``"sign"``, ``"hoyer:0.8"``, ``"l0:20"``, ``"l1:2"``, ``"l1norm:0.01"``, or several joined
            by ``+``; see `gossamer.constraints.parse`.
        prune: remove connections while the network learns, until training has used 3/4 of its steps: ``"gap:0.1"``
            eliminates weak connections and finds the density itself, ``"gradual:0.05"`` and ``"magnitude:0.05"`` end at
            this density; see `gossamer.training.Pruning`. The start then has ``density`` 0.5 by default.
        max_epochs: passes through the data; None chooses by its size.
        batch_size: samples in a step; None likewise.
        optimizer: ``"adam"``, ``"adamw"`` or ``"sgd"``.
        learning_rate: None for 0.001, with sgd 0.1; larger for sparse weights under Adam, see
            `gossamer.training.Recipe`.
        schedule: of learning rate and fraction: ``"cosine"`` or ``"constant"``.
        momentum: of sgd, in [0, 1).
        weight_decay: strength of weight decay, ≥ 0.
        early_stopping: hold back ``validation_fraction`` of the samples, stop after ``patience`` epochs without a
            better loss on them, and return to the best epoch.
        validation_fraction: share of the samples that ``early_stopping`` holds back, in (0, 1).
        patience: epochs without a better loss until ``early_stopping`` stops, ≥ 1.
        standardize: give dense inputs mean 0 and variance 1; divide those of a sparse matrix by the root mean square of
            their non-zero entries, so that it stays sparse.
        class_weight: a weight for each class, as a dict, or ``"balanced"``; for multilabel targets, a list of dicts.
        warm_start: `fit` continues with the network of the last one.
        random_state: seed of all random choices; None is different each time. Torch's and NumPy's own generators stay
            untouched.
        n_jobs: threads for training and prediction, −1 for all; None leaves them unchanged.
        device: ``"cpu"``, ``"cuda"``, …
        dtype: ``"float32"`` or ``"float64"``; None computes in double precision where the data has it and is so small
            that this costs nothing (50,000 numbers), else in single.
        step: ``"compiled"`` trains without autograd where it can, in one call of C++ for many batches;
            ``"autograd"`` never does. The results are the same up to rounding.
        verbose: show progress, and which step it was.

    Attributes:
        network_: the trained `gossamer.models.MLP`.
        classes_: (n_classes) labels in order; for an indicator matrix the numbers of its columns.
        feature_importances_: (n_features_in_) share of Σ|w| over the connections that leave an input.
        input_degrees_: (n_features_in_) connections of each input that survived the last removal, or with
            ``early_stopping`` all connections that it has.
        n_iter_: number of epochs.
        loss_curve_: mean loss of each epoch, in nats.
        validation_scores_: accuracy after each epoch on the samples that ``early_stopping`` held back, else None.
        step_: ``"compiled"``, or ``"autograd"`` with the reason in brackets; of the last call, not saved in files.
        n_features_in_: number of features.
        feature_names_in_: (n_features_in_) their names, if ``X`` has names.

    Raises:
        InputError: from `fit` and `partial_fit`, for an argument outside its range.

    Example:
        >>> from sklearn.datasets import load_digits
        >>> X, y = load_digits(return_X_y=True)
        >>> clf = gs.SparseClassifier((100,), density=0.2, batch_size=20, max_epochs=10, random_state=0)
        >>> clf = clf.fit(X[:1000], y[:1000])
        >>> clf.score(X[1000:], y[1000:]) > 0.8
        True

    References:
        Mocanu et al., "Scalable training of artificial neural networks with adaptive sparse connectivity inspired by
        network science", Nature Communications 9:2383 (2018) (SET).
    """

    classes_: NDArray[Any]

    _stored = (*SparseEstimator._stored, "classes_", "_multilabel")

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
        class_weight: Mapping[Any, float] | Sequence[Mapping[Any, float]] | Literal["balanced"] | None = None,
        warm_start: bool = False,
        random_state: int | np.random.RandomState | None = None,
        n_jobs: int | None = None,
        device: str = "cpu",
        dtype: Literal["float32", "float64"] | None = None,
        step: Literal["compiled", "autograd"] = "compiled",
        verbose: bool = False,
    ) -> None:
        super().__init__(
            hidden,
            density=density,
            epsilon=epsilon,
            output_density=output_density,
            allocate=allocate,
            activation=activation,
            dropout=dropout,
            weight_noise=weight_noise,
            rewire=rewire,
            fraction=fraction,
            constraint=constraint,
            prune=prune,
            max_epochs=max_epochs,
            batch_size=batch_size,
            optimizer=optimizer,
            learning_rate=learning_rate,
            schedule=schedule,
            momentum=momentum,
            weight_decay=weight_decay,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            patience=patience,
            standardize=standardize,
            warm_start=warm_start,
            random_state=random_state,
            n_jobs=n_jobs,
            device=device,
            dtype=dtype,
            step=step,
            verbose=verbose,
        )
        self.class_weight = class_weight

    def partial_fit(
        self, X: Matrix, y: Targets, sample_weight: ArrayLike | None = None, classes: ArrayLike | None = None
    ) -> Self:
        """Train once through these samples, and continue in the next call; see `SparseEstimator.partial_fit`.

        Args:
            X: (n_samples, n_features), an array, a data frame or a sparse matrix.
            y: (n_samples) labels, or an indicator matrix (n_samples, n_labels) of 0 and 1.
            sample_weight: (n_samples), ≥ 0, how much each sample counts.
            classes: (n_classes) all labels that will ever occur: needed in the first call, may be repeated later. Not
                needed for an indicator matrix.

        Returns:
            The estimator.

        Raises:
            InputError: no ``classes`` in a first call, or others than in the first.
        """
        if self.class_weight == "balanced":
            raise InputError("class_weight must not be 'balanced' in partial_fit, which doesn't see all samples")
        first = not hasattr(self, "network_")
        if classes is None and first and type_of_target(y) != "multilabel-indicator":
            raise InputError("classes must be all labels that will occur in the first call of partial_fit, got None")
        if classes is not None:
            given = np.unique(np.asarray(classes))
            known = given if first else self.classes_
            if not np.array_equal(given, known):
                raise InputError(f"classes must be those of the first call, {known.tolist()}, got {given.tolist()}")
            self._announced = given
        try:
            return super().partial_fit(X, y, sample_weight)
        finally:
            self._announced = None

    _announced: NDArray[Any] | None = None

    # ---- targets -----------------------------------------------------------------------------------------------------

    @property
    def _task(self) -> Task:
        return MULTILABEL if self._multilabel else MULTICLASS

    def _outputs(self) -> int:
        return len(self.classes_)

    def _weights(self, X: Matrix, y: Targets, sample_weight: ArrayLike | None) -> NDArray[np.float64] | None:
        return sample_weights(sample_weight, X.shape[0], self.class_weight, y)

    def _learn_targets(self, y: Targets, counted: Targets, weight: NDArray[np.float64] | None) -> None:
        check_classification_targets(y)
        kind = type_of_target(y, input_name="y")
        self._multilabel = kind == "multilabel-indicator"
        if self._multilabel:
            self.classes_ = np.arange(y.shape[1])
        elif kind == "multiclass-multioutput":
            raise InputError("y must be classes (n_samples) or an indicator matrix of 0 and 1, got several columns")
        else:
            found = np.unique(column_or_1d(y, warn=True))
            self.classes_ = found if self._announced is None else self._announced

    def _encode(self, y: Targets) -> NDArray[Any]:
        if self._multilabel:
            labels = dense(y)
            if labels.ndim != 2 or labels.shape[1] != len(self.classes_):
                raise InputError(f"y must have {len(self.classes_)} columns as before, got shape {y.shape}")
            return labels.astype(np.float64)
        return class_numbers(column_or_1d(y), self.classes_)

    # ---- prediction --------------------------------------------------------------------------------------------------

    def decision_function(self, X: Matrix) -> NDArray[np.float64]:
        """Compute the logits of each class or label, in nats.

        Args:
            X: (n_samples, n_features_in_).

        Returns:
            The logits (n_samples, n_classes); for two classes (n_samples), the logit of the second minus that of the
            first.
        """
        raw = self._raw(X)
        return raw[:, 1] - raw[:, 0] if len(self.classes_) == 2 and not self._multilabel else raw

    def predict_proba(self, X: Matrix) -> NDArray[np.float64]:
        """Predict the probability of each class, or of each label; the latter need not add up to 1.

        Args:
            X: (n_samples, n_features_in_).

        Returns:
            The probabilities (n_samples, n_classes).
        """
        raw = self._raw(X)
        return expit(raw) if self._multilabel else softmax(raw, axis=1)

    def predict_log_proba(self, X: Matrix) -> NDArray[np.float64]:
        """Compute the logarithms of `predict_proba`.

        Args:
            X: (n_samples, n_features_in_).

        Returns:
            The logarithms (n_samples, n_classes).
        """
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    def predict(self, X: Matrix) -> NDArray[Any]:
        """Predict the most probable class, or all labels that are more probable than not.

        Args:
            X: (n_samples, n_features_in_).

        Returns:
            The classes (n_samples), or an indicator matrix (n_samples, n_labels).
        """
        raw = self._raw(X)
        return (raw > 0).astype(np.int64) if self._multilabel else self.classes_[raw.argmax(1)]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
