"""What the estimators of sparse networks share: arguments, training, importances, files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import nn

from gossamer.connectivity import SparseLinear
from gossamer.connectivity.allocate import Allocation, epsilon_density
from gossamer.errors import InputError, check_choice, check_count, check_fraction
from gossamer.estimators.machine import draw_seed, progress, threads
from gossamer.estimators.scaling import Matrix, Scaling
from gossamer.estimators.storage import read_estimator, write_estimator
from gossamer.evaluate.importance import strength_out
from gossamer.evaluate.units import fan_out
from gossamer.models import MLP
from gossamer.plasticity import PRESETS, Rewire, preset
from gossamer.plasticity.drop import Drop
from gossamer.plasticity.grow import Grow, Sequential
from gossamer.plasticity.presets import Preset, RuleArguments
from gossamer.training import Fit, Recipe, Samples, Task
from gossamer.training.loop import architecture, build, make_optimizer, one_pass
from gossamer.training.options import REWIRINGS, SMALL, sizes_for
from gossamer.training.run import find_device

__all__ = ["Rule", "SparseEstimator", "Targets", "first_layer"]

Rule = str | Preset | tuple[Drop, Grow | Sequential] | None
Targets = Any
"""(n) or (n, outputs): an array, or a sparse matrix in CSR form."""

_UPDATES = 100  # between two rewiring steps of a stream of data, at least: as often as RigL does (Evci et al. 2020)
_CELLS = 1 << 20  # inputs that go through the network at a time in prediction


@dataclass
class _Stream:
    """What `partial_fit` keeps between calls, and pickles and files do without."""

    optimizer: torch.optim.Optimizer
    rewire: Rewire | None
    updates: int = 0  # since the last rewiring


class SparseEstimator(BaseEstimator):  # type: ignore[misc]
    """A multilayer perceptron with sparse connections, trained by gradient descent and rewired after each epoch.

    A subclass says what outputs mean: by `_task`, `_learn_targets`, `_encode` and its ``predict``.
    """

    network_: MLP
    n_features_in_: int
    n_iter_: int

    _stored: tuple[str, ...] = (  # what a file keeps besides the network
        "n_features_in_",
        "n_iter_",
        "loss_curve_",
        "validation_scores_",
        "input_degrees_",
        "_architecture",
        "_seed",
    )
    _stream: _Stream | None = None

    def __init__(
        self,
        hidden: int | Sequence[int] | None = None,
        *,
        density: float | None = None,
        epsilon: float | None = None,
        output_density: float | None = None,
        allocate: Allocation = "er",
        activity: str = "hoyer:0.7",
        dropout: float = 0.0,
        rewire: Rule = "SET",
        fraction: float | None = None,
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
        verbose: bool = False,
    ) -> None:
        self.hidden = hidden
        self.density = density
        self.epsilon = epsilon
        self.output_density = output_density
        self.allocate = allocate
        self.activity = activity
        self.dropout = dropout
        self.rewire = rewire
        self.fraction = fraction
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
        self.verbose = verbose

    # ---- what a subclass says ----------------------------------------------------------------------------------------

    @property
    def _task(self) -> Task:
        """What the outputs are to tell."""
        raise NotImplementedError

    def _learn_targets(self, y: Targets, weight: NDArray[np.float64] | None) -> None:
        """Find out what kind of targets these are."""
        raise NotImplementedError

    def _encode(self, y: Targets) -> NDArray[Any]:
        """``y`` as `_task` reads it: (n) int64, or (n, outputs) of numbers."""
        raise NotImplementedError

    def _outputs(self) -> int:
        """How many outputs the targets need."""
        raise NotImplementedError

    # ---- training ----------------------------------------------------------------------------------------------------

    def fit(self, X: Matrix, y: Targets, sample_weight: ArrayLike | None = None) -> Self:
        """Train a new network (with ``warm_start``, go on with the one there is).

        Args:
            X: (n_samples, n_features), an array, a data frame or a sparse matrix.
            y: what is to be predicted.
            sample_weight: (n_samples), ≥ 0, how much each sample counts; one of weight 0 might as well not be there.
        """
        warm = self.warm_start and hasattr(self, "network_")
        X, y, weight = self._read(X, y, sample_weight, reset=not warm)
        if not warm:
            self._begin(X, y, weight)
        recipe, targets = self._recipe(*X.shape), self._encode(y)
        rows, held_out = self._divided(targets)
        self._end_stream()
        with threads(self.n_jobs), progress(bool(self.verbose), recipe.epochs, type(self).__name__) as watch:
            fit = Fit(
                recipe,
                sparse=True,
                seed=self._seed,
                outputs=self._outputs(),
                train=self._samples(X, targets, weight, rows),
                validation=self._samples(X, targets, weight, held_out),
                task=self._task,
                rule=self._rule(),
                model=self.network_.to(find_device(self.device)) if warm else None,
            )
            for epoch in fit.run():
                watch(epoch)
        if fit.rewire is not None:
            fit.rewire.remove_hooks()
        assert isinstance(fit.model, MLP)
        self._keep(fit.model, None if self.early_stopping else fit.rewire)  # it went back to before the last removal
        self.n_iter_ = len(fit.history)
        self.loss_curve_ = [epoch.train_loss for epoch in fit.history]
        self.validation_scores_ = [epoch.validation_accuracy for epoch in fit.history] if self.early_stopping else None
        return self

    def partial_fit(self, X: Matrix, y: Targets, sample_weight: ArrayLike | None = None) -> Self:
        """Train once through these samples, and go on from there in the next call.

        The first call decides the sizes and learns the scaling, so let it bring more than a handful of samples. The
        network is rewired at the beginning of a call if it has had 100 updates since the last time. The learning rate
        stays what it is; a pickled or loaded estimator goes on with a new optimizer.
        """
        first = not hasattr(self, "network_")
        X, y, weight = self._read(X, y, sample_weight, reset=first)
        if first:
            self._begin(X, y, weight)
        recipe = replace(self._recipe(*X.shape), schedule="constant", hidden=tuple(self._architecture["hidden"]))
        samples = self._samples(X, self._encode(y), weight)
        with threads(self.n_jobs):
            if first:
                self.network_ = build(recipe, self.n_features_in_, self._outputs(), sparse=True, seed=self._seed)
            self.network_.to(samples.x.device, samples.x.dtype)
            if self._stream is None:
                self._stream = self._new_stream(recipe)
            stream = self._stream
            if stream.rewire is not None and stream.updates >= _UPDATES:
                stream.rewire.inputs = samples.x
                stream.rewire.step(score=-self.loss_curve_[-1])
                stream.rewire.inputs, stream.updates = (), 0
            loss, _ = one_pass(
                self.network_,
                stream.optimizer,
                samples,
                self._task,
                batch_size=recipe.batch_size,
                seed=(self._seed, self.n_iter_ + 1),
            )
        if not np.isfinite(loss):
            raise InputError(f"training diverged: the loss is {loss:g}. Lower the learning rate")
        stream.updates += -(-len(samples.y) // recipe.batch_size)
        self._keep(self.network_, stream.rewire)
        self.n_iter_ += 1
        self.loss_curve_.append(loss)
        return self

    def _read(
        self, X: Matrix, y: Targets, sample_weight: ArrayLike | None, *, reset: bool
    ) -> tuple[Matrix, Targets, NDArray[np.float64] | None]:
        """Checked samples that count, and how much: with mean 1, or None if all count the same."""
        X, y = validate_data(
            self, X, y, reset=reset, accept_sparse="csr", dtype=(np.float64, np.float32), multi_output=True
        )
        weight = self._weights(X, y, sample_weight)
        if weight is None:
            return X, y, None
        counts = weight > 0
        if not counts.any():
            raise InputError("sample_weight must have a weight above zero, got zero weights only")
        if not counts.all():
            X, y, weight = X[counts], y[counts], weight[counts]
        return X, y, weight / weight.mean()

    def _weights(self, X: Matrix, y: Targets, sample_weight: ArrayLike | None) -> NDArray[np.float64] | None:
        if sample_weight is None:
            return None
        weight = np.asarray(sample_weight, dtype=np.float64)
        if weight.shape != (X.shape[0],):
            raise InputError(f"sample_weight must be {X.shape[0]} numbers, got shape {weight.shape}")
        if not np.isfinite(weight).all() or weight.min() < 0:
            raise InputError("sample_weight must be finite numbers of at least 0, got NaN, infinite or negative ones")
        return weight

    def _begin(self, X: Matrix, y: Targets, weight: NDArray[np.float64] | None) -> None:
        """Learn all that comes before training."""
        self._learn_targets(y, weight)
        self._scaling = Scaling.learn(X, weight) if self.standardize else Scaling(None, None)
        self._seed = draw_seed(self.random_state)
        double = X.dtype == np.float64 and X.shape[0] * X.shape[1] <= SMALL
        name = ("float64" if double else "float32") if self.dtype is None else self.dtype
        self._number = getattr(torch, check_choice("dtype", name, ("float32", "float64")))
        self._architecture = architecture(self._recipe(*X.shape), X.shape[1], self._outputs())
        self.n_iter_, self.loss_curve_, self.validation_scores_ = 0, [], None

    def _divided(self, targets: NDArray[Any]) -> tuple[NDArray[np.int64] | None, NDArray[np.int64]]:
        """Numbers of the samples to train on (None for all) and to validate on."""
        if not self.early_stopping:
            return None, np.zeros(0, np.int64)
        from sklearn.model_selection import ShuffleSplit, StratifiedShuffleSplit

        check_fraction("validation_fraction", self.validation_fraction, open_low=True, open_high=True)
        n = len(targets)
        count = max(1, round(self.validation_fraction * n))
        if count >= n:
            raise InputError(f"early_stopping needs samples to train on beside {count} to validate on, got {n} in all")
        sizes = np.bincount(targets) if targets.ndim == 1 else np.zeros(1, np.int64)
        stratify = min(sizes) > 1 and len(sizes) <= min(count, n - count)
        splitter = (StratifiedShuffleSplit if stratify else ShuffleSplit)(1, test_size=count, random_state=self._seed)
        train, validation = next(splitter.split(targets, targets))
        return train, validation

    def _samples(
        self,
        X: Matrix,
        targets: NDArray[Any],
        weight: NDArray[np.float64] | None,
        rows: NDArray[np.int64] | None = None,
    ) -> Samples:
        """What training reads of the samples with these numbers (None for all)."""
        if rows is not None:
            X, targets, weight = X[rows], targets[rows], None if weight is None else weight[rows]
        device = find_device(self.device)
        y = torch.from_numpy(targets).to(device)
        y = y.to(self._number) if y.is_floating_point() else y
        counts = None if weight is None else torch.from_numpy(weight).to(device, self._number)
        return Samples(self._scaling.rows(X, self._number, device), y, counts)

    # ---- what the arguments say --------------------------------------------------------------------------------------

    def _recipe(self, samples: int, features: int) -> Recipe:
        chosen = sizes_for(samples, features)
        hidden = chosen["hidden"] if self.hidden is None else self.hidden
        hidden = hidden if isinstance(hidden, Sequence | np.ndarray) else (hidden,)
        hidden = tuple(check_count("hidden", units, low=1) for units in hidden)
        rewire = self._rule_name()
        fraction = self.fraction
        if fraction is None:
            fraction = PRESETS[rewire].fraction if rewire in PRESETS else 0.3
        rate = self.learning_rate
        if rate is None:
            rate = 0.1 if self.optimizer == "sgd" else 0.001
        density, allocate = self.density, self.allocate
        if self.epsilon is not None:
            if density is not None:
                raise InputError(f"density must be None where epsilon is given, got {density!r}")
            sizes = [features, *hidden]
            density, allocate = epsilon_density(list(zip(sizes[1:], sizes[:-1], strict=True)), self.epsilon), "er"
        values = {
            "hidden": hidden,
            "density": 0.1 if density is None else density,
            "output_density": self.output_density,
            "allocate": allocate,
            "activity": self.activity,
            "dropout": self.dropout,
            "rewire": rewire,
            "fraction": fraction,
            "epochs": chosen["epochs"] if self.max_epochs is None else self.max_epochs,
            "batch_size": chosen["batch_size"] if self.batch_size is None else self.batch_size,
            "optimizer": self.optimizer,
            "learning_rate": rate,
            "schedule": self.schedule,
            "momentum": self.momentum,
            "weight_decay": self.weight_decay,
            "patience": self.patience if self.early_stopping else None,
        }
        return Recipe(**{name: _plain(value) for name, value in values.items()})

    def _rule_name(self) -> str:
        """The name of the rewiring rule, as on the command line; "none" for a pair of rules."""
        if isinstance(self.rewire, str):
            return next((name for name in REWIRINGS if name.lower() == self.rewire.lower()), self.rewire)
        return self.rewire.name if isinstance(self.rewire, Preset) else "none"

    def _rule(self) -> RuleArguments | None:
        """A pair of rules as arguments of `Rewire`; None for a rule that has a name."""
        if self.rewire is None or isinstance(self.rewire, str | Preset):
            return None
        pair = tuple(self.rewire)
        if len(pair) != 2 or not isinstance(pair[0], Drop) or not isinstance(pair[1], Grow | Sequential):
            raise InputError(
                f"rewire must be one of {', '.join(map(repr, REWIRINGS))} or a pair of rules of gossamer.drop and "
                f"gossamer.grow, got {self.rewire!r}"
            )
        if self.fraction is not None:
            raise InputError(f"fraction must be None where rewire is a pair of rules, got {self.fraction!r}")
        return {"drop": pair[0], "grow": pair[1], "new_links": "zero", "regrown": "new"}

    def _new_stream(self, recipe: Recipe) -> _Stream:
        optimizer = make_optimizer(recipe, self.network_)
        rule = self._rule() or (None if recipe.rewire == "none" else preset(recipe.rewire, recipe.fraction))
        sparse = any(isinstance(layer, SparseLinear) for layer in self.network_.children())
        rewire = Rewire(self.network_, optimizer, **rule, inputs=(), seed=self._seed) if rule and sparse else None
        return _Stream(optimizer, rewire)

    def _end_stream(self) -> None:
        if self._stream is not None and self._stream.rewire is not None:
            self._stream.rewire.remove_hooks()
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
        """(n_samples, outputs): what the network says."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, accept_sparse="csr", dtype=(np.float64, np.float32))
        device = find_device(self.device)
        network = self.network_.to(device)
        number = next(network.parameters()).dtype
        size = max(1, _CELLS // max(1, X.shape[1]))
        parts = []
        with threads(self.n_jobs), torch.inference_mode():
            for start in range(0, X.shape[0], size):
                rows = self._scaling.rows(X[start : start + size], number, device)
                parts.append(network(rows if isinstance(rows, torch.Tensor) else rows[:]))
        return torch.cat(parts).double().cpu().numpy()

    # ---- files -------------------------------------------------------------------------------------------------------

    def save(self, path: str | Path) -> None:
        """Write the trained estimator to ``path``, a safetensors file: whole or not at all, and safe to open.

        What `partial_fit` keeps between calls isn't written, and neither are a pair of rules in ``rewire`` and a
        ``random_state`` that isn't a number.
        """
        check_is_fitted(self)
        write_estimator(self, Path(path))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote; `InputError` if it is missing, damaged, of a newer format or something else."""
        return read_estimator(cls, Path(path))

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = {**super().__getstate__(), "_stream": None}
        away = "network_" in state and next(self.network_.parameters()).device.type != "cpu"
        if away or self._stream is not None:  # whose rewiring watches the network
            state["network_"] = _on_cpu(self.network_, self._architecture)
        return state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def first_layer(network: MLP) -> tuple[str, nn.Linear | SparseLinear]:
    """Its name, and the layer that reads the inputs."""
    return next((name, m) for name, m in network.named_children() if isinstance(m, nn.Linear | SparseLinear))


def _plain(value: Any) -> Any:
    """A number of NumPy as one of Python."""
    return value.item() if isinstance(value, np.generic) else value


def _on_cpu(network: MLP, arguments: dict[str, Any]) -> MLP:
    """A copy on the CPU that nobody watches."""
    copied = MLP(**arguments, generator=torch.Generator().manual_seed(0))
    copied.to(next(network.parameters()).dtype).load_state_dict(network.state_dict())
    return copied.eval()
