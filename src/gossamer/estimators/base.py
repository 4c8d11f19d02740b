"""The base of estimators of sparse networks: training, importances, files."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import nn

from gossamer.connectivity import SparseLinear
from gossamer.device import find_device
from gossamer.errors import InputError, check_choice
from gossamer.estimators.arguments import Arguments
from gossamer.estimators.fit_context import all_or_nothing, draw_seed, progress, threads
from gossamer.estimators.sample_weights import Targets, counting, hold_out, sample_weights
from gossamer.estimators.scaling import Matrix, Scaling
from gossamer.estimators.storage import Loadable, Stored, write_stored
from gossamer.estimators.stream import Stream
from gossamer.evaluate.importance import strength_out
from gossamer.evaluate.predictor import Predictor
from gossamer.evaluate.unit_activations import fan_out
from gossamer.io.tensor_file import load_weights
from gossamer.models import MLP
from gossamer.plasticity import Rewire
from gossamer.training import Fit, Samples, Task
from gossamer.training.architecture import architecture
from gossamer.training.recipe import SMALL, Recipe

__all__ = ["SparseEstimator", "first_layer"]

_CELLS = 1 << 20  # inputs that go through the network at a time in prediction


class SparseEstimator(Loadable, Arguments):
    """A multilayer perceptron with sparse connections, trained by gradient descent and rewired after each epoch.

    A subclass defines the meaning of outputs by `_task`, `_learn_targets`, `_encode` and its ``predict``.
    """

    network_: MLP
    n_features_in_: int
    n_iter_: int
    step_: str

    _stored: tuple[str, ...] = (  # contents of a file besides the network
        "n_features_in_",
        "n_iter_",
        "loss_curve_",
        "validation_scores_",
        "input_degrees_",
        "_architecture",
        "_seed",
    )
    _stream: Stream | None = None

    # ---- defined by a subclass ---------------------------------------------------------------------------------------

    @property
    def _task(self) -> Task:
        """The task of the outputs."""
        raise NotImplementedError

    def _learn_targets(self, y: Targets, counted: Targets, weight: NDArray[np.float64] | None) -> None:
        """Learn the kind of the targets: of all ``y``, of which ``counted`` have a ``weight`` above 0."""
        raise NotImplementedError

    def _encode(self, y: Targets) -> NDArray[Any]:
        """``y`` as `_task` reads it: (n) int64, or (n, outputs) of numbers."""
        raise NotImplementedError

    def _outputs(self) -> int:
        """How many outputs the targets need."""
        raise NotImplementedError

    # ---- training ----------------------------------------------------------------------------------------------------

    @all_or_nothing
    def fit(self, X: Matrix, y: Targets, sample_weight: ArrayLike | None = None) -> Self:
        """Train a new network (with ``warm_start``, continue with the existing one).

        After an error or Ctrl-C the estimator is as it was before the call.

        Args:
            X: (n_samples, n_features), an array, a data frame or a sparse matrix.
            y: (n_samples) targets, or (n_samples, n_targets).
            sample_weight: (n_samples), ≥ 0, how much each sample counts. One of weight 0 has no influence except that
                its class is one of ``classes_``.

        Returns:
            The estimator.

        Raises:
            InputError: an argument is outside its range.
        """
        warm = self.warm_start and hasattr(self, "network_")
        X, y, weight = self._read(X, y, sample_weight, reset=not warm)
        recipe, targets = self._recipe(*X.shape), self._encode(y)
        if not warm:
            self._begin(X, weight, recipe)
        rows, held_out = None, np.zeros(0, np.int64)
        if self.early_stopping:
            rows, held_out = hold_out(targets, self.validation_fraction, self._seed)
        with threads(self.n_jobs), progress(bool(self.verbose), recipe.epochs, type(self).__name__) as watch:
            network = _copied(self.network_, self._architecture) if warm else self._new_network()
            fit = Fit(
                recipe,
                sparse=True,
                seed=self._seed,
                outputs=self._outputs(),
                train=self._samples(X, targets, weight, rows),
                validation=self._samples(X, targets, weight, held_out),
                task=self._task,
                rule=self._rule(),
                model=network.to(find_device(self.device)),
            )
            for epoch in fit.run():
                watch(epoch)
            if fit.rewire is not None:
                fit.rewire.remove_hooks()
            if warm:  # a copy was trained, so that the network stays whole until now
                self.network_.to(find_device(self.device)).load_state_dict(network.state_dict())
                network = self.network_
        self._end_stream()
        self.step_ = _named(fit.fallback)
        if self.verbose:
            print(f"{type(self).__name__}: step: {self.step_}")
        self._keep(network, None if self.early_stopping else fit.rewire)  # it went back to before the last removal
        self.n_iter_ = len(fit.history)
        self.loss_curve_ = [epoch.train_loss for epoch in fit.history]
        self.validation_scores_ = [epoch.validation_accuracy for epoch in fit.history] if self.early_stopping else None
        return self

    @all_or_nothing
    def partial_fit(self, X: Matrix, y: Targets, sample_weight: ArrayLike | None = None) -> Self:
        """Train once through these samples, and continue from there in the next call.

        The first call fixes the sizes and learns the scaling, so it should bring more than a handful of samples. The
        network is rewired at the beginning of a call if it has had 100 updates since the last time. The learning rate
        is constant; a pickled or loaded estimator continues with a new optimizer. After an error or Ctrl-C network
        and optimizer are as they were before the call.

        Args:
            X: (n_samples, n_features), an array, a data frame or a sparse matrix.
            y: (n_samples) targets, or (n_samples, n_targets).
            sample_weight: (n_samples), ≥ 0, how much each sample counts.

        Returns:
            The estimator.

        Raises:
            InputError: an argument is outside its range.
        """
        if self.prune is not None:
            raise InputError(f"prune must be None for partial_fit, which has no end, got {self.prune!r}: use fit")
        first = not hasattr(self, "network_")
        X, y, weight = self._read(X, y, sample_weight, reset=first)
        recipe = replace(self._recipe(*X.shape), schedule="constant")
        if first:
            self._begin(X, weight, recipe)
        samples = self._samples(X, self._encode(y), weight)
        with threads(self.n_jobs):
            if first:
                self.network_ = self._new_network()
            self.network_.to(samples.x.device, samples.x.dtype)
            if self._stream is None:
                self._stream = Stream(self.network_, recipe, self._rule(), self._seed)
            loss = self._stream.go_through(samples, self._task, recipe.batch_size, number=self.n_iter_ + 1)
        self.step_ = _named(self._stream.fallback)
        self._keep(self.network_, self._stream.rewire)
        self.n_iter_ += 1
        self.loss_curve_.append(loss)
        return self

    def _read(
        self, X: Matrix, y: Targets, sample_weight: ArrayLike | None, *, reset: bool
    ) -> tuple[Matrix, Targets, NDArray[np.float64] | None]:
        """Checked samples that count, and how much: with mean 1, or None if all count the same.

        With ``reset``, the kind of the targets is learned from them.
        """
        X, y = validate_data(
            self, X, y, reset=reset, accept_sparse="csr", dtype=(np.float64, np.float32), multi_output=True
        )
        given, (X, y, weight) = y, counting(X, y, self._weights(X, y, sample_weight))
        if reset:
            self._learn_targets(given, y, weight)
        return X, y, weight

    def _weights(self, X: Matrix, y: Targets, sample_weight: ArrayLike | None) -> NDArray[np.float64] | None:
        return sample_weights(sample_weight, X.shape[0])

    def _begin(self, X: Matrix, weight: NDArray[np.float64] | None, recipe: Recipe) -> None:
        """Learn the scaling, and decide seed, dtype and architecture."""
        self._scaling = Scaling.learn(X, weight) if self.standardize else Scaling(None, None)
        self._seed = draw_seed(self.random_state)
        double = X.dtype == np.float64 and X.shape[0] * X.shape[1] <= SMALL
        name = ("float64" if double else "float32") if self.dtype is None else self.dtype
        self._number = getattr(torch, check_choice("dtype", name, ("float32", "float64")))
        self._architecture = architecture(recipe, X.shape[1], self._outputs())
        self.n_iter_, self.loss_curve_, self.validation_scores_ = 0, [], None

    def _new_network(self) -> MLP:
        return MLP(**self._architecture, generator=torch.Generator().manual_seed(self._seed)).to(self._number)

    def _samples(
        self,
        X: Matrix,
        targets: NDArray[Any],
        weight: NDArray[np.float64] | None,
        rows: NDArray[np.int64] | None = None,
    ) -> Samples:
        """Training samples with these row numbers (None for all)."""
        if rows is not None:
            X, targets, weight = X[rows], targets[rows], None if weight is None else weight[rows]
        device = find_device(self.device)
        y = torch.from_numpy(targets).to(device)
        y = y.to(self._number) if y.is_floating_point() else y
        counts = None if weight is None else torch.from_numpy(weight).to(device, self._number)
        return Samples(self._scaling.rows(X, self._number, device), y, counts)

    def _end_stream(self) -> None:
        if self._stream is not None:
            self._stream.end()
        self._stream = None

    # ---- the trained network -----------------------------------------------------------------------------------------

    def _keep(self, network: MLP, rewire: Rewire | None) -> None:
        self.network_ = network.eval()
        name, first = first_layer(network)
        degrees = fan_out(first)
        if rewire is not None and rewire.steps and name in rewire.layers:
            degrees = rewire.core_degrees(name)[-1]
        self.input_degrees_ = degrees.cpu().numpy().astype(np.int64)

    @property
    def feature_importances_(self) -> NDArray[np.float64]:
        """(n_features_in_): Σ|w| over the connections that leave each input, as shares of the whole."""
        check_is_fitted(self)
        strength = strength_out(first_layer(self.network_)[1]).double().cpu().numpy()
        total = strength.sum()
        return strength / total if total > 0 else strength

    def _raw(self, X: Matrix) -> NDArray[np.float64]:
        """Compute the outputs of the network (n_samples, outputs)."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, accept_sparse="csr", dtype=(np.float64, np.float32))
        device = find_device(self.device)
        network = self.network_.to(device)
        number = next(network.parameters()).dtype
        size = max(1, _CELLS // max(1, X.shape[1]))
        parts, predict = [], Predictor(network)
        with threads(self.n_jobs), torch.inference_mode():
            for start in range(0, X.shape[0], size):
                rows = self._scaling.rows(X[start : start + size], number, device)
                parts.append(predict(rows if isinstance(rows, torch.Tensor) else rows[:]))
        return torch.cat(parts).double().cpu().numpy()

    # ---- files -------------------------------------------------------------------------------------------------------

    def save(self, path: str | Path) -> None:
        """Write the trained estimator to a safetensors file: whole or not at all, and safe to open.

        The file does not hold the state that `partial_fit` keeps between calls, a pair of rules in ``rewire`` and a
        ``random_state`` that is not a number.

        Args:
            path: of the file.

        Raises:
            sklearn.exceptions.NotFittedError: the estimator is not fitted.
        """
        check_is_fitted(self)
        parameters: dict[str, Any] = self.get_params(deep=False)
        if isinstance(parameters["random_state"], np.random.RandomState):
            parameters["random_state"] = None
        if self._rule() is not None:
            warnings.warn(f"the file won't hold rewire={self.rewire!r}, but 'none'", stacklevel=2)
        fitted = {name: getattr(self, name) for name in self._stored}
        fitted |= {"feature_names_in_": getattr(self, "feature_names_in_", None)}
        fitted |= {"input_mean": self._scaling.mean, "input_scale": self._scaling.scale}
        parameters["rewire"] = self.rewire if isinstance(self.rewire, str) else self._rule_name()
        write_stored(Path(path), Stored(type(self).__name__, parameters, fitted, self.network_.state_dict()))

    @classmethod
    def _from_stored(cls, stored: Stored) -> Self:
        estimator = cls(**stored.parameters)
        if stored.fitted["feature_names_in_"] is not None:
            estimator.feature_names_in_ = stored.fitted["feature_names_in_"]
        for name in cls._stored:
            setattr(estimator, name, stored.fitted[name])
        estimator._scaling = Scaling(stored.fitted["input_mean"], stored.fitted["input_scale"])
        estimator._number = next(t.dtype for t in stored.network.values() if t.is_floating_point())
        with threads(estimator.n_jobs):
            network = estimator._new_network()
            load_weights(network, stored.network)
        estimator.network_ = network.eval()
        return estimator

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = {**super().__getstate__(), "_stream": None}
        away = "network_" in state and next(self.network_.parameters()).device.type != "cpu"
        if away or self._stream is not None:  # whose rewiring watches the network
            state["network_"] = _copied(self.network_, self._architecture)
        return state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def _named(fallback: str | None) -> str:
    return "compiled" if fallback is None else f"autograd ({fallback})"


def first_layer(network: nn.Module) -> tuple[str, nn.Linear | SparseLinear]:
    """Return the layer that reads the inputs, and its name."""
    return next((name, m) for name, m in network.named_children() if isinstance(m, nn.Linear | SparseLinear))


def _copied(network: MLP, arguments: dict[str, Any]) -> MLP:
    """A copy on the CPU without hooks, in evaluation mode."""
    copied = MLP(**arguments, generator=torch.Generator().manual_seed(0))
    copied.to(next(network.parameters()).dtype).load_state_dict(network.state_dict())
    return copied.eval()
