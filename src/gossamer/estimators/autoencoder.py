"""The supervised auto-encoder as a scikit-learn classifier, and a transformer to codes of given sparseness.

clf = gossamer.estimators.SupervisedAutoencoderClassifier(random_state=0).fit(X, y)
clf.predict(X_new)           # classes
clf.transform(X_new)         # codes, nine tenths of them zero
clf.components_[0]           # what the first unit looks for
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_array, check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from gossamer.connectivity.constraints import Constraint
from gossamer.device import find_device
from gossamer.errors import InputError, check_choice, check_count, check_fraction
from gossamer.estimators.machine import progress, threads
from gossamer.models.autoencoder import Schedule, SupervisedAutoencoder, exponential_schedule
from gossamer.training.autoencoder import Descent, train_autoencoder
from gossamer.training.recipe import sizes_for
from gossamer.training.samples import Samples

__all__ = ["SupervisedAutoencoderClassifier"]

Floats = NDArray[np.floating[Any]]

_DTYPES = (np.float64, np.float32)
_ROWS = 4096  # samples that go through the network at a time
_TAU = 0.75  # time constant of α, in units of all epochs


class SupervisedAutoencoderClassifier(
    ClassNamePrefixFeaturesOutMixin,  # type: ignore[misc]
    TransformerMixin,  # type: ignore[misc]
    ClassifierMixin,  # type: ignore[misc]
    BaseEstimator,  # type: ignore[misc]
):
    """A classifier by way of sparse codes, which learn to reconstruct the samples too (SOAE).

    See `gossamer.models.SupervisedAutoencoder` for the network and its cost. Correlation compares the features of a
    sample with each other, so they should share one unit, as pixels do; scale others first.

    Args:
        hidden: units of the code, ≥ 2.
        activation: which of them fire: "hoyer:0.8" (codes of that sparseness), "topk:90", "relu", "none", …
        connectivity: Hoyer's sparseness in (0, 1) of what each unit looks for, or any of `gossamer.constraints`; None
            leaves it free.
        bias: learn an additive term for each unit.
        alpha: weight of classification against reconstruction, in [0, 1]: a number, or a function of the epochs that
            lie behind. None for 1 − exp(−ν / τ), with τ three quarters of all epochs.
        init: units start as training "samples", or at "random".
        max_epochs: passes through the data; None chooses by its size.
        batch_size: samples in a step; None likewise.
        learning_rate: the highest, of Adam. It rises during the first tenth of training, and falls to zero.
        project_every: steps from one projection of the weights to the next.
        random_state: decides everything that is left to chance, without touching torch's or NumPy's own generator.
        n_jobs: threads for training and prediction, −1 for all; None leaves them as they are.
        device: "cpu", "cuda", …
        verbose: show progress.

    Attributes:
        components_: (hidden, n_features_in_), the weights W.
        classes_: (n_classes) labels in order.
        model_: the trained `gossamer.models.SupervisedAutoencoder`, in float32.
        n_iter_, loss_curve_: epochs, and the mean cost of each.
        n_features_in_, feature_names_in_: as everywhere in scikit-learn.

    Training is in float32; codes and probabilities are computed in the dtype of ``X``.
    """

    classes_: NDArray[Any]
    model_: SupervisedAutoencoder
    n_features_in_: int
    n_iter_: int
    loss_curve_: list[float]

    _descent: Descent | None = None  # what `partial_fit` keeps between calls, and pickles do without

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
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.device = device
        self.verbose = verbose

    # ---- training ----------------------------------------------------------------------------------------------------

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Train a new network on samples ``X`` (n_samples, n_features) of classes ``y`` (n_samples)."""
        X, y = self._read(X, y, reset=True)
        self.classes_, targets = self._classes(y, None)
        epochs, batch_size = self._sizes(*X.shape)
        alpha, self._descent, losses = self._schedule(epochs), None, []
        samples = self._samples(X, targets)
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

    def partial_fit(self, X: ArrayLike, y: ArrayLike, classes: ArrayLike | None = None) -> Self:
        """Go once through these samples, at a constant learning rate, and go on from there in the next call.

        The first call makes the network, from these samples, and has to be told all ``classes`` if they lack some. A
        pickled estimator goes on with a new optimizer.
        """
        first = not hasattr(self, "model_")
        X, y = self._read(X, y, reset=first)
        labels, targets = self._classes(y, classes if first else self.classes_)
        epochs, batch_size = self._sizes(*X.shape)
        alpha, samples = self._schedule(epochs), self._samples(X, targets)
        with threads(self.n_jobs):
            if first:
                self.classes_ = labels
                self.model_, self.n_iter_, self.loss_curve_ = self._new_model(samples), 0, []
            if self._descent is None:
                self._descent = Descent(self.model_.to(samples.x.device), self.learning_rate, self.project_every)
            self.model_.train()
            loss = self._descent.epoch(samples, self.n_iter_, alpha=alpha, batch_size=batch_size, seed=self._seed)
            self.model_.eval()
        self.n_iter_ += 1
        self.loss_curve_.append(loss)
        return self

    def _read(self, X: ArrayLike, y: ArrayLike, *, reset: bool) -> tuple[Floats, NDArray[Any]]:
        least = 2 if reset else 1  # what doesn't fit later is told by the number of features it should have
        samples, labels = validate_data(self, X, y, reset=reset, dtype=_DTYPES, ensure_min_features=least)
        check_classification_targets(labels)
        return samples, labels

    def _classes(self, y: NDArray[Any], classes: ArrayLike | None) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """All classes in order, and the number of each sample's."""
        known = np.unique(y if classes is None else np.asarray(classes))
        if len(known) < 2:
            raise InputError(f"y must have at least 2 classes, got {len(known)} class")
        targets = np.searchsorted(known, y).clip(max=len(known) - 1)
        if (known[targets] != y).any():
            raise InputError(f"y must be of the classes {known.tolist()}, got {y[known[targets] != y][0]!r} too")
        return known, targets.astype(np.int64)

    def _sizes(self, samples: int, features: int) -> tuple[int, int]:
        chosen = sizes_for(samples, features)
        epochs = chosen["epochs"] if self.max_epochs is None else check_count("max_epochs", self.max_epochs, low=1)
        given = chosen["batch_size"] if self.batch_size is None else check_count("batch_size", self.batch_size, low=1)
        return epochs, given

    def _schedule(self, epochs: int) -> Schedule:
        if self.alpha is None:
            return exponential_schedule(_TAU * epochs)
        if callable(self.alpha):
            return self.alpha
        constant = check_fraction("alpha", self.alpha)
        return lambda epoch: constant

    def _samples(self, X: Floats, targets: NDArray[np.int64]) -> Samples:
        device = find_device(self.device)
        return Samples(_tensor(X).to(device, torch.float32), torch.from_numpy(targets).to(device))

    def _new_model(self, samples: Samples) -> SupervisedAutoencoder:
        check_choice("init", self.init, ("samples", "random"))
        self._seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        assert isinstance(samples.x, torch.Tensor)
        return SupervisedAutoencoder(
            samples.x.shape[1],
            self.hidden,
            len(self.classes_),
            activation=self.activation if isinstance(self.activation, str) else copy.deepcopy(self.activation),
            connectivity=self.connectivity,
            bias=self.bias,
            samples=samples.x.cpu() if self.init == "samples" else None,
            generator=torch.Generator().manual_seed(self._seed),
        ).to(samples.x.device)

    # ---- the trained network -----------------------------------------------------------------------------------------

    @property
    def components_(self) -> NDArray[np.float32]:
        """(hidden, n_features_in_): the weights W, each row what one unit looks for."""
        check_is_fitted(self, "model_")
        return self.model_.weight.detach().cpu().numpy()

    @property
    def _n_features_out(self) -> int:
        return self.model_.hidden

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """The most probable class of each sample."""
        best = self.predict_proba(X).argmax(1)
        labels: NDArray[Any] = self.classes_[best]
        return labels

    def predict_proba(self, X: ArrayLike) -> Floats:
        """(n_samples, n_classes): the probability of each class, in the order of ``classes_``."""
        return self._mapped(X, lambda model, x: model(x).softmax(1))

    def transform(self, X: ArrayLike) -> Floats:
        """(n_samples, hidden): the code of each sample."""
        return self._mapped(X, lambda model, x: model.encode(x))

    def inverse_transform(self, X: ArrayLike) -> Floats:
        """(n_samples, n_features_in_): what codes ``X`` (n_samples, hidden) reconstruct.

        In correlation with the samples, that is: scale and offset are not theirs.
        """
        check_is_fitted(self, "model_")
        codes: Floats = check_array(X, dtype=_DTYPES)
        if codes.shape[1] != self.model_.hidden:
            raise InputError(f"X must have {self.model_.hidden} columns, one a unit, got {codes.shape[1]}")
        return codes @ self.components_.astype(codes.dtype)

    def _mapped(self, X: ArrayLike, function: Callable[[SupervisedAutoencoder, torch.Tensor], torch.Tensor]) -> Floats:
        """What ``function`` makes of the samples, in their dtype."""
        check_is_fitted(self, "model_")
        x = _tensor(validate_data(self, X, reset=False, dtype=_DTYPES))
        device = find_device(self.device)
        model = copy.deepcopy(self.model_).to(device, x.dtype)
        with threads(self.n_jobs), torch.inference_mode():
            parts = [function(model, rows.to(device)).cpu() for rows in x.split(_ROWS)]
        return torch.cat(parts).numpy()

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = {**super().__getstate__(), "_descent": None}
        if "model_" in state:
            state["model_"] = copy.deepcopy(self.model_).cpu()
        return state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _tensor(X: Floats) -> torch.Tensor:
    """The same numbers; a copy if NumPy forbids to write to them, which PyTorch can't promise."""
    return torch.from_numpy(np.require(X, requirements="W"))
