"""The supervised auto-encoder as a scikit-learn classifier, and a transformer to codes of given sparseness.

clf = gossamer.SupervisedAutoencoderClassifier(random_state=0).fit(X, y)
clf.predict(X_new)           # classes
clf.transform(X_new)         # codes, nine tenths of them zero
clf.components_[0]           # the filter of the first unit
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from gossamer.connectivity.constraints import Constraint
from gossamer.device import find_device
from gossamer.errors import InputError, check_choice, check_count, check_fraction
from gossamer.estimators.fit_context import all_or_nothing, progress, threads
from gossamer.estimators.sample_weights import class_numbers, counting, sample_weights
from gossamer.estimators.scaling import Matrix
from gossamer.estimators.storage import Loadable, Stored, write_stored
from gossamer.estimators.trained_autoencoder import DTYPES, TrainedAutoencoder, rows_of
from gossamer.io.tensor_file import load_weights
from gossamer.models.autoencoder import Schedule, SupervisedAutoencoder, exponential_schedule
from gossamer.training.autoencoder import Descent, train_autoencoder
from gossamer.training.recipe import sizes_for
from gossamer.training.samples import Samples

__all__ = ["SupervisedAutoencoderClassifier"]

_STORED = ("classes_", "n_features_in_", "n_iter_", "loss_curve_", "feature_names_in_", "_seed")
_TAU = 0.75  # time constant of α, in units of all epochs


class SupervisedAutoencoderClassifier(
    Loadable,
    TrainedAutoencoder,
    ClassNamePrefixFeaturesOutMixin,  # type: ignore[misc]
    TransformerMixin,  # type: ignore[misc]
    ClassifierMixin,  # type: ignore[misc]
    BaseEstimator,  # type: ignore[misc]
):
    """A classifier by way of sparse codes, which learn to reconstruct the samples too (SOAE).

    See `gossamer.models.SupervisedAutoencoder` for the network and its cost. Correlation compares the features of a
    sample with each other, so they should share one unit, as pixels do; scale others first. Training is in float32;
    codes and probabilities are computed in the dtype of ``X``. Of a sparse ``X`` one batch at a time is dense.

    Args:
        hidden: number of units of the code, ≥ 2.
        activation: their activation function: ``"hoyer:0.8"`` (codes of that sparseness), ``"topk:90"``, ``"relu"``,
            ``"none"``, …
        connectivity: Hoyer's sparseness in (0, 1) of the weights of each unit, or any of `gossamer.constraints`; None
            leaves them free.
        bias: learn an additive term for each unit.
        alpha: weight of classification against reconstruction, in [0, 1]: a number, or a function of the number ν of
            completed epochs. None for 1 − exp(−ν / τ), with τ three quarters of all epochs.
        init: units start as training ``"samples"``, or at ``"random"``.
        max_epochs: passes through the data; None chooses by its size.
        batch_size: samples in a step; None likewise.
        learning_rate: the highest, of Adam. It rises during the first tenth of training, and falls to zero.
        project_every: steps from one projection of the weights to the next.
        class_weight: a weight for each class, as a dict, or ``"balanced"``.
        random_state: seed of all random choices; torch's and NumPy's own generators stay untouched.
        n_jobs: threads for training and prediction, −1 for all; None leaves them unchanged.
        device: ``"cpu"``, ``"cuda"``, …
        verbose: show progress.

    Attributes:
        components_: (hidden, n_features_in_), the weights W.
        classes_: (n_classes) labels in order.
        model_: the trained `gossamer.models.SupervisedAutoencoder`, in float32.
        n_iter_: number of epochs.
        loss_curve_: mean cost of each epoch.
        n_features_in_: number of features.
        feature_names_in_: (n_features_in_) their names, if ``X`` has names.

    Raises:
        InputError: from `fit` and `partial_fit`, for an argument outside its range.

    Example:
        >>> from sklearn.datasets import load_digits
        >>> X, y = load_digits(return_X_y=True)
        >>> clf = gs.SupervisedAutoencoderClassifier(hidden=40, max_epochs=5, random_state=0).fit(X / 16, y)
        >>> clf.transform(X[:3] / 16).shape
        (3, 40)

    References:
        Thom, Palm, "Sparse Activity and Sparse Connectivity in Supervised Learning", JMLR 14 (2013) 1091-1143.
    """

    classes_: NDArray[Any]
    model_: SupervisedAutoencoder
    n_features_in_: int
    n_iter_: int
    loss_curve_: list[float]

    _descent: Descent | None = None  # state of `partial_fit` between calls, not in pickles

    def __init__(
        self,
        hidden: int = 1000,
        *,
        activation: str | torch.nn.Module = "hoyer:0.8",
        connectivity: float | Constraint | None = 0.75,
        bias: bool = False,
        alpha: float | Callable[[float], float] | None = None,
        init: Literal["samples", "random"] = "samples",
        max_epochs: int | None = None,
        batch_size: int | None = None,
        learning_rate: float = 0.003,
        project_every: int = 1,
        class_weight: Mapping[Any, float] | Literal["balanced"] | None = None,
        random_state: int | np.random.RandomState | None = None,
        n_jobs: int | None = None,
        device: str = "cpu",
        verbose: bool = False,
    ) -> None:
        self.hidden = hidden
        self.activation = activation
        self.connectivity = connectivity
        self.bias = bias
        self.alpha = alpha
        self.init = init
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.project_every = project_every
        self.class_weight = class_weight
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.device = device
        self.verbose = verbose

    # ---- training ----------------------------------------------------------------------------------------------------

    @all_or_nothing
    def fit(self, X: Matrix, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Train a new network. After an error or Ctrl-C the estimator is as it was before the call.

        Args:
            X: (n_samples, n_features), an array, a data frame or a sparse matrix.
            y: (n_samples) labels.
            sample_weight: (n_samples), ≥ 0, how much each sample counts. One of weight 0 has no influence except that
                its class is one of ``classes_``.

        Returns:
            The estimator.

        Raises:
            InputError: an argument is outside its range.
        """
        X, y, weight = self._read(X, y, sample_weight, classes=None, reset=True)
        epochs, batch_size = self._sizes(*X.shape)
        alpha, self._descent, losses = self._schedule(epochs), None, []
        samples = self._samples(X, y, weight)
        with threads(self.n_jobs), progress(bool(self.verbose), epochs, type(self).__name__) as watch:
            model = self._new_model(samples)
            for done in train_autoencoder(
                model,
                samples,
                epochs=epochs,
                alpha=alpha,
                batch_size=batch_size,
                learning_rate=self.learning_rate,
                project_every=self.project_every,
                seed=self._seed,
            ):
                losses.append(done.train_loss)
                watch(done)
        self.model_, self.n_iter_, self.loss_curve_ = model.eval(), epochs, losses
        return self

    @all_or_nothing
    def partial_fit(
        self, X: Matrix, y: ArrayLike, classes: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Train once through these samples, at a constant learning rate, and continue from there in the next call.

        The first call makes the network, from these samples. A pickled or loaded estimator continues with a new
        optimizer. After an error or Ctrl-C network and optimizer are as they were before the call.

        Args:
            X: (n_samples, n_features), an array, a data frame or a sparse matrix.
            y: (n_samples) labels.
            classes: (n_classes) all labels that will ever occur: needed in the first call, may be repeated later.
            sample_weight: (n_samples), ≥ 0, how much each sample counts.

        Returns:
            The estimator.

        Raises:
            InputError: an argument is outside its range, or ``classes`` is missing or differs from the first call's.
        """
        first = not hasattr(self, "model_")
        if self.class_weight == "balanced":
            raise InputError("class_weight must not be 'balanced' in partial_fit, which doesn't see all samples")
        if first and classes is None:
            raise InputError("classes must be all labels that will occur in the first call of partial_fit, got None")
        if not first and classes is not None and not np.array_equal(np.unique(np.asarray(classes)), self.classes_):
            raise InputError(f"classes must be those of the first call, {self.classes_.tolist()}, got {classes!r}")
        X, y, weight = self._read(X, y, sample_weight, classes=classes, reset=first)
        epochs, batch_size = self._sizes(*X.shape)
        alpha, samples = self._schedule(epochs), self._samples(X, y, weight)
        with threads(self.n_jobs):
            if first:
                self.model_, self.n_iter_, self.loss_curve_ = self._new_model(samples), 0, []
            if self._descent is None:
                self._descent = Descent(self.model_.to(samples.x.device), self.learning_rate, self.project_every)
            descent = self._descent
            before = copy.deepcopy(descent.state_dict())
            try:
                self.model_.train()
                loss = descent.epoch(samples, self.n_iter_, alpha=alpha, batch_size=batch_size, seed=self._seed)
            except BaseException:
                descent.load_state_dict(before)
                raise
            finally:
                self.model_.eval()
        self.n_iter_ += 1
        self.loss_curve_ = [*self.loss_curve_, loss]
        return self

    def _read(
        self, X: Matrix, y: ArrayLike, sample_weight: ArrayLike | None, *, classes: ArrayLike | None, reset: bool
    ) -> tuple[Matrix, NDArray[np.int64], NDArray[np.float64] | None]:
        """Checked samples that count, the numbers of their classes, and how much they count."""
        least = 2 if reset else 1  # later tables of other widths are refused by the number of features
        X, labels = validate_data(self, X, y, reset=reset, accept_sparse="csr", dtype=DTYPES, ensure_min_features=least)
        check_classification_targets(labels)
        if reset:
            self.classes_ = np.unique(labels if classes is None else np.asarray(classes))
            if len(self.classes_) < 2:
                raise InputError(f"y must have at least 2 classes, got {len(self.classes_)} class")
        weight = sample_weights(sample_weight, X.shape[0], self.class_weight, labels)
        return counting(X, class_numbers(labels, self.classes_), weight)

    def _sizes(self, samples: int, features: int) -> tuple[int, int]:
        chosen = sizes_for(samples, features)["batch_size"]
        given = chosen if self.batch_size is None else check_count("batch_size", self.batch_size, low=1)
        epochs = min(100, max(10, round(2000 / math.ceil(samples / chosen))))  # reconstruction does not overfit so soon
        if self.max_epochs is not None:
            epochs = check_count("max_epochs", self.max_epochs, low=1)
        return epochs, given

    def _schedule(self, epochs: int) -> Schedule:
        if self.alpha is None:
            return exponential_schedule(_TAU * epochs)
        if callable(self.alpha):
            return self.alpha
        constant = check_fraction("alpha", self.alpha)
        return lambda epoch: constant

    def _samples(self, X: Matrix, targets: NDArray[np.int64], weight: NDArray[np.float64] | None) -> Samples:
        device = find_device(self.device)
        counts = None if weight is None else torch.from_numpy(weight).to(device, torch.float32)
        return Samples(rows_of(X, torch.float32, device), torch.from_numpy(targets).to(device), counts)

    def _new_model(self, samples: Samples) -> SupervisedAutoencoder:
        check_choice("init", self.init, ("samples", "random"))
        self._seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        start = samples.x.cpu() if isinstance(samples.x, torch.Tensor) else samples.x
        return SupervisedAutoencoder(
            samples.x.shape[1],
            self.hidden,
            len(self.classes_),
            activation=self.activation if isinstance(self.activation, str) else copy.deepcopy(self.activation),
            connectivity=self.connectivity,
            bias=self.bias,
            samples=start if self.init == "samples" else None,
            generator=torch.Generator().manual_seed(self._seed),
        ).to(samples.x.device)

    # ---- files -------------------------------------------------------------------------------------------------------

    def save(self, path: str | Path) -> None:
        """Write the trained estimator to a safetensors file: whole or not at all, and safe to open.

        The file does not hold the state that `partial_fit` keeps between calls, a ``connectivity`` that is not a
        number, an ``alpha`` that is a function, and a ``random_state`` that is not a number: the last three become
        None.

        Args:
            path: of the file.

        Raises:
            InputError: ``activation`` is a module, which a file cannot hold.
            sklearn.exceptions.NotFittedError: the estimator is not fitted.
        """
        check_is_fitted(self, "model_")
        if not isinstance(self.activation, str):
            raise InputError(f"activation must be a string for a file to hold it, got {self.activation!r}")
        parameters: dict[str, Any] = self.get_params(deep=False)
        lost = [name for name in ("connectivity", "alpha") if not isinstance(parameters[name], int | float | None)]
        if lost:
            given = ", ".join(f"{name}={parameters[name]!r}" for name in lost)
            warnings.warn(f"the file won't hold {given}, but None", stacklevel=2)
        if isinstance(self.random_state, np.random.RandomState):
            lost.append("random_state")
        fitted = {name: getattr(self, name, None) for name in _STORED}
        kept = parameters | dict.fromkeys(lost)
        write_stored(Path(path), Stored(type(self).__name__, kept, fitted, self.model_.state_dict()))

    @classmethod
    def _from_stored(cls, stored: Stored) -> Self:
        estimator = cls(**stored.parameters)
        for name in _STORED:
            if name != "feature_names_in_" or stored.fitted[name] is not None:
                setattr(estimator, name, stored.fitted[name])
        hidden, features = stored.network["weight"].shape
        model = SupervisedAutoencoder(
            features,
            hidden,
            len(estimator.classes_),
            activation=estimator.activation,
            connectivity=estimator.connectivity,
            bias="bias" in stored.network,
            generator=torch.Generator().manual_seed(0),
        )
        load_weights(model, stored.network)
        estimator.model_ = model.eval()
        return estimator

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = {**super().__getstate__(), "_descent": None}
        if "model_" in state:
            state["model_"] = copy.deepcopy(self.model_).cpu()
        return state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
